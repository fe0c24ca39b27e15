// The waveform of an answer with its figures, and buttons to hear it again and to keep it.

import { element, secondsText } from "./dom.js";
import { drawWaveform } from "./drawing.js";
import { wavOf } from "./sound.js";

/** Shows the sound of one Turn; `onplay` is called with the turn. */
export class SoundRow {
  #turn;
  #canvas = element("canvas");
  #figures = element("span", { className: "figures" });
  #buttons;

  constructor(turn, onplay) {
    this.#turn = turn;
    this.#canvas.setAttribute("role", "img");
    const play = iconButton("▶", "Play again", () => onplay(turn));
    const save = iconButton("⤓", "Save as WAV", () => this.#save());
    this.#buttons = element("span", { className: "icons", hidden: true }, play, save);
    this.root = element("div", { className: "sound" }, this.#canvas, this.#figures, this.#buttons);
  }

  /** Draws the turn as it is now, with `heardS` seconds of it in the accent colour. */
  show(heardS = this.#turn.heardS) {
    const turn = this.#turn;
    const part = turn.seconds ? heardS / turn.seconds : 0;
    drawWaveform(this.#canvas, turn.peaks, part);
    this.#canvas.setAttribute("aria-label", `Waveform, ${secondsText(turn.seconds)}`);
    this.#figures.replaceChildren(...figuresOf(turn));
    this.#buttons.hidden = turn.isOpen || !turn.pieces.length;
  }

  #save() {
    const href = URL.createObjectURL(wavOf(this.#turn.pieces));
    element("a", { href, download: "answer.wav" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  }
}

/** First sound, real-time factor, length, gaps: as far as they are known. */
function figuresOf({ firstSoundMs, realTimeFactor, seconds, gaps, isOpen }) {
  const figures = [];
  const add = (text, title) => {
    if (figures.length) figures.push(" · ");
    figures.push(element("span", { textContent: text, title }));
  };
  if (firstSoundMs !== null) {
    const text = secondsText(firstSoundMs / 1000);
    add(`first sound ${text}`, "From your last word to the first sound");
  }
  if (realTimeFactor !== null) {
    add(`RTF ${realTimeFactor.toFixed(2)}`, "Time to make the sound, divided by its length");
  }
  if (!isOpen && seconds) add(secondsText(seconds), "Length of the sound");
  if (gaps) add(`${gaps} ${gaps === 1 ? "gap" : "gaps"}`, "The sound came too late");
  return figures;
}

function iconButton(sign, label, onclick) {
  const button = element("button", { type: "button", className: "icon", title: label, onclick });
  button.setAttribute("aria-label", label);
  button.append(element("span", { textContent: sign, ariaHidden: "true" }));
  return button;
}
