// A short recording from the microphone, as a WAV file.

import { Microphone } from "./microphone.js";
import { RATE_HZ, wavOf } from "./sound.js";

export class Recorder {
  #microphone = new Microphone();
  #pieces = [];

  /** `onpiece` is called with the level of each piece and the seconds so far. */
  constructor(onpiece = () => {}) {
    this.#microphone.addEventListener("piece", ({ detail }) => {
      this.#pieces.push(detail.samples);
      onpiece(detail.level, this.seconds);
    });
  }

  get isRecording() {
    return this.#microphone.isOpen;
  }

  get seconds() {
    return this.#pieces.reduce((sum, piece) => sum + piece.length, 0) / RATE_HZ;
  }

  /** Throws NoMicrophone. */
  async start(options) {
    this.#pieces = [];
    await this.#microphone.open(options);
  }

  /** Gives the recording as a File. */
  stop() {
    this.#microphone.close();
    return new File([wavOf(this.#pieces)], "recording.wav", { type: "audio/wav" });
  }
}
