// Speech of a text, outside the conversation: the reader, and a voice that is tried.

import { Turn } from "./turn.js";

/** Asks for speech and plays it as it comes; one text or turn at a time. */
export class Listening {
  #api;
  #player;
  #abort = null; // of what is listened to
  #count = 0;

  constructor(api, player) {
    this.#api = api;
    this.#player = player;
  }

  stop() {
    if (this.#abort === null) return;
    this.#abort.abort();
    this.#player.stop();
  }

  /**
   * Speaks `fields` of /v1/audio/speech; resolves once that was heard or stopped. `onchange` is
   * called with its Turn as it grows. Throws ApiError.
   */
  async speak(fields, onchange = () => {}) {
    const abort = await this.#begin();
    const begun = performance.now();
    const turn = new Turn(`speech ${++this.#count}`, "assistant", begun);
    const heard = this.#heard(turn, abort, onchange);
    try {
      for await (const samples of samplesOf(this.#api.speech(fields, abort.signal))) {
        if (abort.signal.aborted) break; // a piece that came together with the end
        turn.addSound(samples, performance.now());
        this.#player.add(turn.id, samples);
        onchange(turn);
      }
    } catch (error) {
      if (error.name !== "AbortError") throw error;
    } finally {
      turn.close(begun);
      this.#player.complete(turn.id);
      onchange(turn);
    }
    await heard;
  }

  /** Plays a turn again. `onchange` is called with the seconds that were heard. */
  async replay(turn, onchange) {
    const abort = await this.#begin();
    const again = new Turn(`again ${++this.#count}`, "assistant");
    const heard = this.#heard(again, abort, () => onchange(again.heardS));
    for (const samples of turn.pieces) this.#player.add(again.id, samples);
    this.#player.complete(again.id);
    await heard;
    onchange(turn.heardS);
  }

  /** Ends what is played now. */
  async #begin() {
    this.#abort?.abort();
    const abort = (this.#abort = new AbortController());
    await this.#player.open();
    await this.#player.stop();
    return abort;
  }

  /** Follows the player until the turn has ended, whoever ends it. */
  async #heard(turn, abort, onchange) {
    await new Promise((resolve) => {
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
    abort.abort();
    if (this.#abort === abort) this.#abort = null;
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
