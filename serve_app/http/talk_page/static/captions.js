// Which word is being heard: the times of an answer's words, estimated.

const LETTERS_PER_S = 14; // of English speech, where nothing else is known
const LETTERS_PER_S_CJK = 4.5;
const CJK = /[\u3040-\u30ff\u3400-\u9fff]/;

/** The words of one answer, each with the second at which it begins. */
export class Captions {
  #words = []; // {text, letter}: where it begins, in letters of the whole
  #anchors = []; // {letter, startS}
  #letters = 0;
  #totalS = null;

  /** Appends a piece of the transcript; `startS` is when it begins, if the server says so. */
  add(text, startS) {
    const isTimed = Number.isFinite(startS) && startS >= (this.#anchors.at(-1)?.startS ?? 0);
    if (isTimed) this.#anchors.push({ letter: this.#letters, startS });
    for (const word of wordsOf(text)) this.#append(word);
  }

  /** Says how long the whole answer is, in seconds. */
  finish(totalS) {
    this.#totalS = totalS;
  }

  get words() {
    return this.#words.map((word) => word.text);
  }

  get text() {
    return this.words.join("");
  }

  /** How many words have begun at `seconds` of the answer's sound. */
  begun(seconds) {
    const next = this.#words.findIndex(({ letter }) => this.#timeOf(letter) > seconds);
    return next < 0 ? this.#words.length : next;
  }

  /** The text of the words that have begun by then. */
  heard(seconds) {
    return this.words.slice(0, this.begun(seconds)).join("").trimEnd();
  }

  #append(text) {
    const last = this.#words.at(-1);
    const goesOn = last && !/\s$/.test(last.text) && !CJK.test(last.text + text);
    if (goesOn && !/^\s/.test(text)) last.text += text;
    else this.#words.push({ text, letter: this.#letters });
    this.#letters += text.length;
  }

  #timeOf(letter) {
    const points = this.#points();
    const after = points.findIndex((point) => point.letter > letter);
    const last = after < 0 ? points.length - 1 : after - 1;
    const from = points[Math.max(0, last)];
    const to = points[last + 1];
    if (!to) return from.startS + (letter - from.letter) / this.#pace();
    const part = (letter - from.letter) / (to.letter - from.letter);
    return from.startS + part * (to.startS - from.startS);
  }

  /** What is known: letters and seconds, both rising. */
  #points() {
    const points = this.#anchors.length ? [...this.#anchors] : [{ letter: 0, startS: 0 }];
    const last = points.at(-1);
    if (this.#totalS !== null && this.#letters > last.letter && this.#totalS > last.startS) {
      points.push({ letter: this.#letters, startS: this.#totalS });
    }
    return points;
  }

  #pace() {
    return CJK.test(this.#words[0]?.text ?? "") ? LETTERS_PER_S_CJK : LETTERS_PER_S;
  }
}

function wordsOf(text) {
  if (CJK.test(text)) return [...text];
  return text.match(/\s*\S+\s*|\s+/g) ?? [];
}
