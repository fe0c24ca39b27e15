// Plays in the audio thread, and says what it has played.

import { PlaybackQueue } from "./playback-queue.js";
import { loudness } from "./sound.js";

const REPORT_EVERY = 8; // blocks of 128 samples: 43 ms at 24 kHz

class PlayerProcessor extends AudioWorkletProcessor {
  #queue = new PlaybackQueue();
  #blocks = 0;

  constructor() {
    super();
    const orders = {
      add: ({ id, samples }) => this.#queue.add(id, samples),
      complete: ({ id }) => this.#queue.complete(id),
      stop: () => this.#stop(),
      volume: ({ volume }) => this.#queue.setVolume(volume),
    };
    this.port.onmessage = ({ data }) => orders[data.type](data);
  }

  process(_, [[block]]) {
    this.#queue.read(block);
    this.#tell();
    const id = this.#queue.current;
    if (id !== null && this.#blocks++ % REPORT_EVERY === 0) {
      const samples = this.#queue.played(id);
      this.port.postMessage({ type: "played", id, samples, level: loudness(block) });
    }
    return true;
  }

  #stop() {
    this.#queue.stop();
    this.#tell();
    this.port.postMessage({ type: "still" });
  }

  #tell() {
    for (const one of this.#queue.news()) this.port.postMessage(one);
  }
}

registerProcessor("player", PlayerProcessor);
