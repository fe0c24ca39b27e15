// Resampling of a mono stream between any two rates, piece by piece: a windowed sinc.

const CROSSINGS = 16; // zero crossings of the sinc on either side
const STEPS = 512; // entries of the kernel's table between two crossings
const PASSBAND = 0.94; // of the lower Nyquist frequency; the rest is the filter's slope

/** Gives the same samples whatever the pieces are. */
export class Resampler {
  #history;
  #position = 0; // of the next output sample, in input samples from the start of #history
  #step; // input samples for each output sample
  #scale; // of the kernel's argument: crossings for each input sample
  #reach; // input samples that an output sample needs on either side

  constructor(fromHz, toHz) {
    this.#step = fromHz / toHz;
    this.#scale = Math.min(1, toHz / fromHz) * PASSBAND;
    this.#reach = Math.ceil(CROSSINGS / this.#scale);
    this.#history = new Float32Array(this.#reach); // silence before the first sample
    this.#position = this.#reach;
  }

  /** Takes input samples; gives the output samples that are complete by now (Float32Array). */
  push(samples) {
    if (this.#step === 1) return samples;
    const known = joined(this.#history, samples);
    const last = known.length - this.#reach - 1;
    const out = new Float32Array(Math.max(0, Math.floor((last - this.#position) / this.#step) + 1));
    for (let i = 0; i < out.length; i++) {
      out[i] = this.#at(known, this.#position);
      this.#position += this.#step;
    }
    const dropped = Math.min(Math.floor(this.#position) - this.#reach, known.length);
    this.#history = known.slice(dropped);
    this.#position -= dropped;
    return out;
  }

  #at(samples, position) {
    const first = Math.ceil(position - this.#reach);
    const end = Math.floor(position + this.#reach);
    let sum = 0;
    for (let i = first; i <= end; i++) {
      const place = Math.abs(position - i) * this.#scale * STEPS;
      const below = Math.floor(place);
      if (below >= KERNEL.length - 1) continue;
      const weight = KERNEL[below] + (place - below) * (KERNEL[below + 1] - KERNEL[below]);
      sum += samples[i] * weight;
    }
    return sum * this.#scale;
  }
}

const KERNEL = Float32Array.from({ length: CROSSINGS * STEPS + 1 }, (_, i) => {
  const x = i / STEPS;
  const sinc = x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
  return sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / CROSSINGS)); // Hann
});

function joined(a, b) {
  const both = new Float32Array(a.length + b.length);
  both.set(a);
  both.set(b, a.length);
  return both;
}
