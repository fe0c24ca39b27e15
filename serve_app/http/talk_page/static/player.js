// The loudspeaker: plays answers, and knows what of each was heard.

import { PlaybackQueue } from "./playback-queue.js";
import { loudness, RATE_HZ, toFloat } from "./sound.js";

const DUCKED = 0.25;
const BLOCK = 0.02 * RATE_HZ; // of the player without a worklet
const AHEAD_S = 0.15; // what it has scheduled beforehand
const STARTS_WITHIN_MS = 5000; // Firefox waits for ever where there is no loudspeaker
const STILL_WITHIN_MS = 300; // where the loudspeaker is suspended it does not answer

/**
 * Events: `started`, `played` (with `level`), `gap`, `finished`, `stopped`, each with a `detail` of
 * the answer's `id` and the `seconds` of it that were heard.
 */
export class Player extends EventTarget {
  #context = null;
  #driver = null;
  #heard = new Map(); // seconds, by answer
  #active = new Set();
  #awaitStill = [];

  /**
   * Opens the loudspeaker. Browsers allow that inside a click or a key.
   *
   * Throws an Error where the browser plays nothing.
   */
  async open() {
    if (this.#context === null) {
      this.#context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "interactive" });
      const { audioWorklet } = this.#context; // there is none where the page is no secure context
      this.#driver = audioWorklet ? await workletDriver(this.#context) : timerDriver(this.#context);
      this.#driver.onnews = (news) => this.#take(news);
    }
    await Promise.race([this.#context.resume(), wait(STARTS_WITHIN_MS)]);
    if (this.#context.state === "running") return;
    throw new Error("The browser does not start its sound. Is there a loudspeaker?");
  }

  get isOpen() {
    return this.#driver !== null;
  }

  /** Whether any sound is queued or playing. */
  get isActive() {
    return this.#active.size > 0;
  }

  /** The node whose output is what is heard. */
  get output() {
    return this.#driver?.output ?? null;
  }

  /** Appends Int16 samples of the answer `id`. */
  add(id, samples) {
    this.#active.add(id);
    this.#driver.send({ type: "add", id, samples: toFloat(samples) });
  }

  /** Says that all sound of `id` was added. */
  complete(id) {
    this.#driver?.send({ type: "complete", id });
  }

  /** Lowers the level while it is not known yet whether somebody interrupts. */
  duck(isDucked) {
    this.#driver?.send({ type: "volume", volume: isDucked ? DUCKED : 1 });
  }

  /** Fades out within 10 ms and forgets the rest; resolves once `stopped` has said its part. */
  async stop() {
    if (this.#driver === null) return;
    this.duck(false);
    await new Promise((resolve) => {
      this.#awaitStill.push(resolve);
      wait(STILL_WITHIN_MS).then(resolve);
      this.#driver.send({ type: "stop" });
    });
  }

  /** The seconds of the answer `id` that have left the loudspeaker. */
  heardS(id) {
    return this.#heard.get(id) ?? 0;
  }

  #take({ type, id, samples, level = 0 }) {
    if (type === "still") return this.#awaitStill.splice(0).forEach((resolve) => resolve());
    const latencyS = type === "finished" ? 0 : (this.#context.outputLatency ?? 0);
    const seconds = Math.max(0, samples / RATE_HZ - latencyS);
    this.#heard.set(id, Math.max(seconds, type === "started" ? 0 : this.heardS(id)));
    if (type === "finished" || type === "stopped") this.#active.delete(id);
    const detail = { id, seconds: this.heardS(id), level };
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function workletDriver(context) {
  await context.audioWorklet.addModule(new URL("player-worklet.js", import.meta.url));
  const node = new AudioWorkletNode(context, "player", {
    numberOfInputs: 0,
    outputChannelCount: [1],
  });
  node.connect(context.destination);
  const driver = { output: node, onnews: null, send: (order) => node.port.postMessage(order) };
  node.port.onmessage = ({ data }) => driver.onnews(data);
  return driver;
}

/** Plays short buffers one behind the other, by a timer: for pages that get no worklet. */
function timerDriver(context) {
  const queue = new PlaybackQueue();
  const output = context.createGain();
  output.connect(context.destination);
  let nextS = 0;
  const orders = {
    add: ({ id, samples }) => queue.add(id, samples),
    complete: ({ id }) => queue.complete(id),
    stop: () => stop(),
    volume: ({ volume }) => queue.setVolume(volume),
  };
  const driver = { output, onnews: null, send: (order) => orders[order.type](order) };
  const fill = () => {
    nextS = Math.max(nextS, context.currentTime);
    while (nextS < context.currentTime + AHEAD_S) {
      const buffer = context.createBuffer(1, BLOCK, RATE_HZ);
      const block = buffer.getChannelData(0);
      queue.read(block);
      const source = new AudioBufferSourceNode(context, { buffer });
      source.connect(output);
      source.start(nextS);
      nextS += BLOCK / RATE_HZ;
      report(block);
    }
  };
  const stop = () => {
    queue.stop();
    tell();
    driver.onnews({ type: "still" });
  };
  const tell = () => queue.news().forEach((one) => driver.onnews(one));
  const report = (block) => {
    tell();
    const id = queue.current;
    if (id === null) return;
    const waiting = (nextS - context.currentTime) * RATE_HZ;
    const samples = Math.max(0, queue.played(id) - waiting);
    driver.onnews({ type: "played", id, samples, level: loudness(block) });
  };
  setInterval(fill, 40);
  return driver;
}
