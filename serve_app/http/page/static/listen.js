// Speech of a text, outside the conversation: the reader, and a voice that is tried.

import { Turn } from "./turn.js";

/** Asks for speech and plays it as it comes. */
export class Listening {
  #api;
  #player;
  #abort = null;
  #count = 0;

  constructor(api, player) {
    this.#api = api;
    this.#player = player;
  }

  stop() {
    this.#abort?.abort();
    this.#abort = null;
    this.#player.stop();
  }

  /**
   * Speaks `fields` of /v1/audio/speech; resolves to the Turn once it was heard or stopped.
   * `onchange` is called with the Turn as it grows. Throws ApiError.
   */
  async speak(fields, onchange = () => {}) {
    this.stop();
    const abort = (this.#abort = new AbortController());
    await this.#player.open();
    const begun = performance.now();
    const turn = new Turn(`speech ${++this.#count}`, "assistant", begun);
    turn.captions.add(fields.input);
    const heard = this.#heard(turn, onchange);
    try {
      for await (const samples of samplesOf(this.#api.speech(fields, abort.signal))) {
        turn.addSound(samples, performance.now());
        this.#player.add(turn.id, samples);
        onchange(turn);
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      turn.isInterrupted = true;
    } finally {
      turn.close(begun);
      this.#player.complete(turn.id);
      onchange(turn);
    }
    await heard;
    return turn;
  }

  /** Plays a turn again. */
  async replay(turn, onchange) {
    this.stop();
    await this.#player.open();
    const again = new Turn(`again ${++this.#count}`, "assistant");
    const heard = this.#heard(again, () => onchange(turn, again.heardS));
    for (const samples of turn.pieces) this.#player.add(again.id, samples);
    this.#player.complete(again.id);
    await heard;
    onchange(turn, turn.heardS);
  }

  /** Follows the player until the turn has ended. */
  #heard(turn, onchange) {
    return new Promise((resolve) => {
      const follow = ({ type, detail }) => {
        if (detail.id !== turn.id) return;
        turn.heardS = detail.seconds;
        if (type === "started") turn.started(performance.now());
        if (type === "gap") turn.gaps += 1;
        if (type === "finished" || type === "stopped") {
          types.forEach((one) => this.#player.removeEventListener(one, follow));
          resolve();
        }
        onchange(turn);
      };
      const types = ["started", "played", "gap", "finished", "stopped"];
      types.forEach((one) => this.#player.addEventListener(one, follow));
    });
  }
}

/** Int16 samples of pieces of bytes, which may end in the middle of a sample. */
async function* samplesOf(pieces) {
  let odd = new Uint8Array(0);
  for await (const piece of pieces) {
    const bytes = new Uint8Array(odd.length + piece.length);
    bytes.set(odd);
    bytes.set(piece, odd.length);
    const whole = bytes.length & ~1;
    odd = bytes.slice(whole);
    if (whole) yield new Int16Array(bytes.buffer, 0, whole / 2);
  }
}
