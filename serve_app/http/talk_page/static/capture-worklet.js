// Takes the microphone's samples at the device's own rate and gives pieces of 40 ms at 24 kHz.

import { Resampler } from "./resampler.js";
import { loudness, RATE_HZ, toInt16 } from "./sound.js";

const PIECE = 0.04 * RATE_HZ;

class CaptureProcessor extends AudioWorkletProcessor {
  #resampler = new Resampler(sampleRate, RATE_HZ);
  #piece = new Float32Array(PIECE);
  #filled = 0;

  process([channels]) {
    if (channels.length) for (const x of this.#resampler.push(mono(channels))) this.#take(x);
    return true;
  }

  #take(sample) {
    this.#piece[this.#filled++] = sample;
    if (this.#filled < PIECE) return;
    this.#filled = 0;
    const samples = toInt16(this.#piece);
    const level = loudness(this.#piece);
    this.port.postMessage({ samples, level }, [samples.buffer]);
  }
}

function mono(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((x, i) => (x + channels[1][i]) / 2);
}

registerProcessor("capture", CaptureProcessor);
