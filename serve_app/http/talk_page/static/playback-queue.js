// What is to be played, sample by sample: a jitter buffer that counts what was played.

import { RATE_HZ } from "./sound.js";

const FADE = 0.01 * RATE_HZ; // 10 ms: an edge that is not heard as a click
const FIRST_WAIT = 0.06 * RATE_HZ; // sound that has to be there before an answer begins
const LONGER_WAIT = 0.04 * RATE_HZ; // added after each gap
const LONGEST_WAIT = 0.3 * RATE_HZ;

/** Answers that are played one behind the other, each known by an id. */
export class PlaybackQueue {
  #pieces = []; // {id, samples, at}
  #queued = 0; // samples
  #played = new Map(); // samples of each answer
  #complete = new Set(); // answers of which no more sound comes
  #current = null; // the answer of the sample that was played last
  #flows = false;
  #gain = 0;
  #volume = 1;
  #wait = FIRST_WAIT;
  #dry = null; // the answer that had nothing left to play before it was complete
  #tail = []; // the faded end of what was stopped
  #news = []; // {type, id, samples}: started, gap, finished, stopped

  /** Appends float samples of the answer `id`. */
  add(id, samples) {
    if (!samples.length) return;
    if (this.#dry === id) this.#gap(id);
    if (!this.#played.has(id)) this.#played.set(id, 0);
    this.#pieces.push({ id, samples, at: 0 });
    this.#queued += samples.length;
  }

  /** Says that no more sound of `id` comes. */
  complete(id) {
    this.#complete.add(id);
    if (!this.#pieces.some((piece) => piece.id === id)) this.#finish(id);
  }

  /** Fades out and forgets all that is queued; what is added from now on is played. */
  stop() {
    const ids = new Set(this.#pieces.map((piece) => piece.id));
    if (this.#current !== null) ids.add(this.#current);
    if (this.#flows) this.#tail = this.#faded();
    this.#pieces = [];
    this.#queued = 0;
    this.#flows = false;
    this.#current = null;
    for (const id of ids) this.#end("stopped", id);
  }

  /** Plays at this part of the full level. */
  setVolume(volume) {
    this.#volume = volume;
  }

  /** Samples of the answer `id` that were played. */
  played(id) {
    return this.#played.get(id) ?? 0;
  }

  /** The answer that is playing, or null. */
  get current() {
    return this.#current;
  }

  /** What has happened since the last call. */
  news() {
    return this.#news.splice(0);
  }

  /** Fills a block (Float32Array) with what is to be heard next. */
  read(block) {
    for (let i = 0; i < block.length; i++) block[i] = this.#next();
  }

  #next() {
    if (this.#tail.length) return this.#tail.shift();
    if (!this.#flows && !this.#begins()) return 0;
    this.#fade();
    return this.#take() * this.#gain;
  }

  #begins() {
    if (!this.#pieces.length) return false;
    const isWhole = this.#complete.has(this.#pieces.at(-1).id);
    this.#flows = isWhole || this.#queued >= this.#wait;
    this.#gain = 0;
    return this.#flows;
  }

  /** Towards silence where the sound ends, else towards the volume. */
  #fade() {
    const aim = this.#queued < FADE ? 0 : this.#volume;
    const distance = aim - this.#gain;
    const isNear = Math.abs(distance) <= 1 / FADE;
    this.#gain = isNear ? aim : this.#gain + Math.sign(distance) / FADE;
  }

  #take() {
    const piece = this.#pieces[0];
    const played = this.played(piece.id);
    if (played === 0) this.#tell("started", piece.id);
    this.#current = piece.id;
    this.#played.set(piece.id, played + 1);
    this.#queued -= 1;
    const sample = piece.samples[piece.at++];
    if (piece.at === piece.samples.length) this.#drop(piece.id);
    return sample;
  }

  #drop(id) {
    this.#pieces.shift();
    this.#flows = this.#pieces.length > 0;
    if (this.#pieces[0]?.id === id) return;
    if (this.#complete.has(id)) this.#finish(id);
    else this.#dry = id;
  }

  /** The next 10 ms of the sound that plays, down to silence. They count as played. */
  #faded() {
    const samples = this.#pieces.flatMap(({ id, samples, at }) =>
      id === this.#current ? [...samples.subarray(at, at + FADE)] : [],
    );
    const tail = samples.slice(0, FADE).map((x, i) => x * this.#gain * (1 - (i + 1) / FADE));
    this.#played.set(this.#current, this.played(this.#current) + tail.length);
    return tail;
  }

  #gap(id) {
    this.#dry = null;
    this.#wait = Math.min(this.#wait + LONGER_WAIT, LONGEST_WAIT);
    this.#tell("gap", id);
  }

  #finish(id) {
    if (this.#current === id) this.#current = null;
    this.#end("finished", id);
  }

  #end(type, id) {
    this.#tell(type, id);
    if (this.#dry === id) this.#dry = null;
    this.#played.delete(id);
    this.#complete.delete(id);
  }

  #tell(type, id) {
    this.#news.push({ type, id, samples: this.played(id) });
  }
}
