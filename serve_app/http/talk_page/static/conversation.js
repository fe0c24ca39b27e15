// A conversation over the socket: turns out of events, and what an interruption does.

import { Line } from "./line.js";
import { LoudSpeech } from "./loud-speech.js";
import { itemOf, newItemId, sessionOf } from "./session.js";
import { fromBase64, RATE_HZ, toBase64 } from "./sound.js";
import { Turn } from "./turn.js";
import { Turns } from "./turns.js";

const HARMLESS = ["response_cancel_not_active", "conversation_already_has_active_response"];
const TOO_SHORT = "input_audio_buffer_commit_empty";

/**
 * `turns` has its own events. Those of the conversation, each with a `detail`:
 * - `state`: off, connecting, ready, hearing, thinking or speaking;
 * - `progress`: `{turn, level}` while an answer is heard;
 * - `notice`: a sentence for the visitor.
 */
export class Conversation extends EventTarget {
  #line;
  #player;
  #now; // ms
  #settings = null;
  #state = "off";
  turns = new Turns();
  #isAnswering = false; // the server makes an answer
  #begunAt = null; // ms, when it began with it
  #askedAt = null; // ms, when the visitor's turn ended
  #sent = { samples: 0, at: 0 };
  #isHolding = false;
  #still = null; // a promise: what was heard of the last answer is known
  #loud = new LoudSpeech();
  #handlers = this.#handlersOfEvents();

  constructor({ open, player, now = () => performance.now() }) {
    super();
    this.#player = player;
    this.#now = now;
    this.#line = new Line(open, () => this.#greeting());
    this.#line.addEventListener("event", ({ detail }) => this.#take(detail));
    this.#line.addEventListener("lost", ({ detail }) => this.#lost(detail));
    this.#line.addEventListener("back", () => this.#become("ready"));
    this.#line.addEventListener("failed", ({ detail }) => this.#fail(detail));
    player.addEventListener("started", ({ detail }) => this.#started(detail));
    player.addEventListener("played", ({ detail }) => this.#played(detail));
    player.addEventListener("gap", ({ detail }) => this.#gap(detail));
    player.addEventListener("finished", ({ detail }) => this.#finished(detail));
    player.addEventListener("stopped", ({ detail }) => this.#stopped(detail));
  }

  get state() {
    return this.#state;
  }

  /** Connects. Throws an Error whose message says why that is impossible. */
  async start(settings) {
    this.#settings = settings;
    if (this.#state === "off") await this.#connect();
  }

  /** Asks the server for other settings; the voice of a session is fixed once it was heard. */
  async change(settings) {
    const needsNewSession = this.#settings?.voice !== settings.voice;
    this.#settings = settings;
    if (!this.#line.isOpen) return;
    if (!needsNewSession) return this.#line.send("session.update", this.#session());
    this.stop();
    await this.#still;
    this.#leave();
    await this.#connect();
  }

  /** Takes a piece of the microphone. */
  hear(samples, level) {
    if (this.#loud.hear(level)) this.#interrupt();
    if (this.#settings?.turns === "hold" && !this.#isHolding) return;
    if (!this.#line.isOpen) return;
    this.#line.send("input_audio_buffer.append", { audio: toBase64(samples) });
    this.#sent = { samples: this.#sent.samples + samples.length, at: this.#now() };
  }

  /** The visitor holds the key and speaks. */
  beginHold() {
    this.stop();
    this.#isHolding = true;
    this.#line.send("input_audio_buffer.clear");
    this.#become("hearing");
  }

  /** The visitor has let the key go. */
  endHold() {
    if (!this.#isHolding) return;
    this.#isHolding = false;
    this.#line.send("input_audio_buffer.commit");
    this.#ask();
  }

  /** A typed turn; it interrupts. */
  async say(text) {
    this.stop();
    await this.#still;
    const turn = Turn.typed(newItemId(), text);
    this.turns.add(turn);
    this.#line.send("conversation.item.create", { item: itemOf(turn) });
    this.#ask();
  }

  /** Stops the answer; gives whether there was one. */
  stop() {
    const wasActive = this.#isAnswering || this.#player.isActive;
    if (this.#isAnswering) this.#line.send("response.cancel");
    this.#interrupt();
    return wasActive;
  }

  /** Ends the conversation; its turns stay, and the next one goes on with them. */
  end() {
    this.stop();
    this.#leave();
    this.#become("off");
  }

  async #connect() {
    this.#become("connecting");
    try {
      await this.#line.connect();
    } catch (error) {
      this.#become("off");
      throw error;
    }
    if (this.#line.isOpen) this.#become("ready");
  }

  /** What a new session has to know: how it is to be, and the turns so far. */
  #greeting() {
    this.#sent = { samples: 0, at: this.#now() };
    const items = this.turns.items().map((item) => ({ type: "conversation.item.create", item }));
    return [{ type: "session.update", ...this.#session() }, ...items];
  }

  #session() {
    return { session: sessionOf(this.#settings) };
  }

  #leave() {
    this.#isAnswering = this.#isHolding = false;
    this.#line.close();
  }

  #lost({ message, comesBack }) {
    this.#isAnswering = this.#isHolding = false;
    this.#interrupt();
    if (comesBack) this.#become("connecting");
    else this.#fail(message);
  }

  #fail(message) {
    this.#tell("notice", message);
    this.#become("off");
  }

  #ask() {
    this.#askedAt = this.#now();
    this.#line.send("response.create");
    this.#become("thinking");
  }

  #interrupt() {
    this.#loud.end();
    if (this.#player.isActive) this.#still = this.#player.stop();
  }

  #take(event) {
    this.#handlers[event.type]?.(event);
  }

  #handlersOfEvents() {
    return {
      "input_audio_buffer.speech_started": (event) => this.#speechStarted(event),
      "input_audio_buffer.speech_stopped": (event) => this.#speechStopped(event),
      "input_audio_buffer.cleared": () => this.turns.removeUnheard(),
      "conversation.item.added": ({ item }) => this.#itemAdded(item),
      "conversation.item.input_audio_transcription.delta": (event) => this.#wrote(event),
      "conversation.item.input_audio_transcription.completed": (event) => this.#transcribed(event),
      "conversation.item.input_audio_transcription.failed": (event) => this.#transcribed(event),
      "response.created": () => this.#responseCreated(),
      "response.output_audio.delta": (event) => this.#sound(event),
      "response.output_audio_transcript.delta": (event) => this.#words(event),
      "response.output_text.delta": (event) => this.#written(event),
      "response.output_audio.done": (event) => this.#complete(event.item_id),
      "response.output_text.done": (event) => this.#complete(event.item_id),
      "response.done": ({ response }) => this.#responseDone(response),
      error: ({ error }) => this.#error(error),
    };
  }

  #speechStarted({ item_id }) {
    if (!this.turns.has(item_id)) this.turns.add(new Turn(item_id, "user"));
    if (this.#player.isActive) this.#doubt();
    else this.#become("hearing");
  }

  /** Somebody speaks over an answer: it is lowered until it is known whether that interrupts. */
  #doubt() {
    if (this.#settings.turns === "quick" || this.#loud.begin()) return this.#interrupt();
    this.#player.duck(true);
  }

  #speechStopped({ audio_end_ms }) {
    this.#loud.end();
    this.#player.duck(false);
    this.#askedAt = this.#spokenAt(audio_end_ms);
    if (!this.#player.isActive) this.#become("thinking");
  }

  /** When (ms) the visitor said what is at this time of the session's sound. */
  #spokenAt(audioMs) {
    const sentMs = (this.#sent.samples / RATE_HZ) * 1000;
    return this.#sent.at - Math.max(0, sentMs - audioMs);
  }

  #itemAdded({ id, type, role }) {
    if (type === "message" && role !== "system" && !this.turns.has(id)) {
      this.turns.add(new Turn(id, role, role === "assistant" ? this.#askedAt : null));
    }
  }

  #wrote({ item_id, delta }) {
    this.turns.change(item_id, (turn) => turn.captions.add(delta));
  }

  #transcribed({ item_id, transcript = "" }) {
    this.turns.change(item_id, (turn) => {
      turn.write(transcript);
      turn.close(null);
    });
  }

  #responseCreated() {
    this.#interrupt(); // the rest of the answer before
    this.#isAnswering = true;
    this.#begunAt = this.#now();
    this.#become("thinking");
  }

  #sound({ item_id, delta }) {
    this.turns.change(item_id, (turn) => {
      if (turn.isInterrupted) return;
      const samples = fromBase64(delta);
      turn.addSound(samples, this.#now());
      this.#player.add(item_id, samples);
    });
  }

  #words({ item_id, delta, start_time }) {
    this.turns.change(item_id, (turn) => turn.captions.add(delta, start_time));
  }

  #written({ item_id, delta }) {
    this.turns.change(item_id, (turn) => {
      turn.isWritten = true;
      turn.captions.add(delta);
    });
  }

  #complete(id) {
    this.turns.change(id, (turn) => turn.close(this.#begunAt));
    if (!this.turns.get(id)?.isInterrupted) this.#player.complete(id);
  }

  #responseDone({ status, status_details, output }) {
    this.#isAnswering = false;
    for (const { id } of output ?? []) if (this.turns.get(id)?.isOpen) this.#complete(id);
    if (status_details?.reason === "turn_detected") this.#interrupt();
    if (status === "failed") this.#tell("notice", status_details?.error?.message ?? "It failed.");
    if (!this.#player.isActive && this.#state !== "hearing") this.#become("ready");
  }

  #error({ code, message }) {
    if (HARMLESS.includes(code)) return;
    this.#tell("notice", code === TOO_SHORT ? "Hold the key for as long as you speak." : message);
    if (this.#state === "thinking" && !this.#isAnswering) this.#become("ready");
  }

  #started({ id }) {
    this.turns.change(id, (turn) => turn.started(this.#now()));
    if (this.turns.has(id)) this.#become("speaking");
  }

  #played({ id, seconds, level }) {
    const turn = this.turns.get(id);
    if (turn === undefined) return;
    turn.heardS = seconds;
    this.#tell("progress", { turn, level });
  }

  #gap({ id }) {
    this.turns.change(id, (turn) => (turn.gaps += 1));
  }

  #finished({ id }) {
    this.turns.change(id, (turn) => (turn.heardS = turn.seconds));
    if (this.#state === "speaking" && !this.#player.isActive) this.#become("ready");
  }

  #stopped({ id, seconds }) {
    this.turns.change(id, (turn) => {
      turn.heardS = seconds;
      turn.isInterrupted = true;
      turn.close(this.#begunAt);
      const end = { content_index: 0, audio_end_ms: Math.floor(1000 * seconds) };
      this.#line.send("conversation.item.truncate", { item_id: id, ...end });
    });
    if (this.#state === "speaking") this.#become(this.#isAnswering ? "thinking" : "ready");
  }

  #become(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#tell("state", state);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
