// Whether somebody speaks over an answer, or only says "mhm": how long the microphone was loud.

const PIECE_MS = 40;
const ENOUGH_MS = 200;
const QUIETEST = 0.01; // of full scale
const ABOVE_NOISE = 3; // 10 dB
const REMEMBERED = 4; // pieces before the server's word: it comes about 150 ms after the speech

export class LoudSpeech {
  #noise = QUIETEST;
  #recent = [];
  #loudMs = null; // null: nobody is asking

  /** Takes the level of one piece; gives whether the speech has been long enough just now. */
  hear(level) {
    const isLoud = level > Math.max(QUIETEST, ABOVE_NOISE * this.#noise);
    this.#noise = level < this.#noise ? level : Math.min(this.#noise * 1.01 + 1e-6, 0.05);
    this.#recent = [...this.#recent, isLoud].slice(-REMEMBERED);
    if (this.#loudMs === null) return false;
    if (isLoud) this.#loudMs += PIECE_MS;
    return this.#isEnough();
  }

  /** Begins to count, with what was heard just before; gives whether that is enough already. */
  begin() {
    this.#loudMs = PIECE_MS * this.#recent.filter(Boolean).length;
    return this.#isEnough();
  }

  end() {
    this.#loudMs = null;
  }

  #isEnough() {
    if (this.#loudMs < ENOUGH_MS) return false;
    this.end();
    return true;
  }
}
