// One turn of the conversation: its words, its sound, and how quickly it came.

import { Captions } from "./captions.js";
import { RATE_HZ } from "./sound.js";

const PEAK = 0.04 * RATE_HZ; // samples that share a bar of the waveform

export class Turn {
  captions = new Captions();
  pieces = []; // Int16Array
  peaks = []; // 0 to 1, each of 40 ms
  heardS = 0;
  firstSoundMs = null;
  realTimeFactor = null;
  gaps = 0;
  isOpen = true; // more of it may come
  isInterrupted = false;
  isWritten = false; // an answer without sound
  #samples = 0;
  #askedAt;
  #lastSoundAt = null;

  constructor(id, role, askedAt = null) {
    this.id = id;
    this.role = role;
    this.#askedAt = askedAt;
  }

  /** A turn whose text is known from the start. */
  static typed(id, text) {
    const turn = new Turn(id, "user");
    turn.captions.add(text);
    turn.isOpen = false;
    return turn;
  }

  get seconds() {
    return this.#samples / RATE_HZ;
  }

  get text() {
    return this.captions.text;
  }

  /** What of the text was heard: all of it, unless the turn was interrupted. */
  get heardText() {
    return this.isInterrupted && this.pieces.length ? this.captions.heard(this.heardS) : this.text;
  }

  /** Replaces the text. */
  write(text) {
    this.captions = new Captions();
    this.captions.add(text);
  }

  /** Appends Int16 samples that came at `now` (ms). */
  addSound(samples, now) {
    this.pieces.push(samples);
    for (let i = 0; i < samples.length; i++) this.#addPeak(Math.abs(samples[i]) / 32768);
    this.#lastSoundAt = now;
  }

  /** The first sound was heard at `now` (ms). */
  started(now) {
    if (this.#askedAt !== null) this.firstSoundMs ??= Math.max(0, now - this.#askedAt);
  }

  /** No more of it comes; `begunAt` (ms) is when the server began with it. */
  close(begunAt) {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.captions.finish(this.seconds);
    if (this.#lastSoundAt === null || begunAt === null) return;
    this.realTimeFactor = (this.#lastSoundAt - begunAt) / 1000 / this.seconds;
  }

  #addPeak(level) {
    const bar = Math.floor(this.#samples++ / PEAK);
    this.peaks[bar] = Math.max(this.peaks[bar] ?? 0, level);
  }
}
