import assert from "node:assert/strict";
import test from "node:test";
import { Conversation } from "../page/conversation.js";
import { toBase64 } from "../page/sound.js";

const SETTINGS = { turns: "semantic", voice: "low", instructions: "", captions: true, model: "m" };
const LOUD = 0.2;
const PIECE = new Int16Array(960); // 40 ms

class FakeConnection extends EventTarget {
  sent = [];
  isClosed = false;

  send(event) {
    this.sent.push(event);
  }

  close() {
    this.isClosed = true;
  }

  gives(type, fields = {}) {
    this.dispatchEvent(new CustomEvent("event", { detail: { type, ...fields } }));
  }

  loses(comesBack, message = "lost") {
    this.dispatchEvent(new CustomEvent("closed", { detail: { comesBack, message } }));
  }

  of(type) {
    return this.sent.filter((event) => event.type === type);
  }
}

class FakePlayer extends EventTarget {
  isActive = false;
  added = [];
  completed = [];
  volumes = [];
  heard = 0;

  add(id, samples) {
    this.isActive = true;
    this.id = id;
    this.added.push([id, samples.length]);
  }

  complete(id) {
    this.completed.push(id);
  }

  duck(isDucked) {
    this.volumes.push(isDucked);
  }

  stop() {
    this.isActive = false;
    this.says("stopped");
  }

  says(type, seconds = this.heard) {
    if (type === "finished") this.isActive = false;
    this.dispatchEvent(new CustomEvent(type, { detail: { id: this.id, seconds, level: 0.1 } }));
  }
}

async function started(settings = {}) {
  const connections = [];
  const clock = { now: 0 };
  const player = new FakePlayer();
  const open = async () => connections[connections.push(new FakeConnection()) - 1];
  const conversation = new Conversation({ open, player, now: () => clock.now });
  const notices = [];
  conversation.addEventListener("notice", ({ detail }) => notices.push(detail));
  const turns = new Map();
  conversation.turns.addEventListener("turn", ({ detail }) => turns.set(detail.id, detail));
  conversation.turns.addEventListener("removed", ({ detail }) => turns.delete(detail.id));
  await conversation.start({ ...SETTINGS, ...settings });
  return { conversation, connections, socket: connections[0], player, clock, turns, notices };
}

/** The events of an answer up to its sound, of one second. */
function answers(socket, id = "a1", text = "One two three four.") {
  socket.gives("response.created", { response: { id: "r1" } });
  socket.gives("conversation.item.added", { item: { id, type: "message", role: "assistant" } });
  socket.gives("response.output_audio_transcript.delta", { item_id: id, delta: text });
  const delta = toBase64(new Int16Array(24000));
  socket.gives("response.output_audio.delta", { item_id: id, delta });
}

test("the session asks for the voice, the turns and a transcript", async () => {
  const { socket } = await started();
  const [{ session }] = socket.of("session.update");
  assert.equal(session.type, "realtime");
  assert.deepEqual(session.output_modalities, ["audio"]);
  assert.equal(session.audio.output.voice, "low");
  assert.equal(session.audio.input.turn_detection.type, "semantic_vad");
  assert.deepEqual(session.audio.input.transcription, { model: "m" });
});

test("a server that does not speak is asked for text", async () => {
  const { socket } = await started({ voice: null });
  const [{ session }] = socket.of("session.update");
  assert.deepEqual(session.output_modalities, ["text"]);
  assert.equal(session.audio.output, undefined);
});

test("a written answer is read, not heard", async () => {
  const { conversation, socket, player, turns } = await started({ voice: null });
  await conversation.say("Hello");
  socket.gives("response.created", { response: { id: "r1" } });
  socket.gives("conversation.item.added", { item: { id: "a1", type: "message", role: "assistant" } });
  socket.gives("response.output_text.delta", { item_id: "a1", delta: "Good morning" });
  socket.gives("response.output_text.done", { item_id: "a1", text: "Good morning" });
  socket.gives("response.done", { response: { status: "completed", output: [{ id: "a1" }] } });
  assert.ok(turns.get("a1").isWritten);
  assert.equal(turns.get("a1").heardText, "Good morning");
  assert.equal(turns.get("a1").isOpen, false);
  assert.deepEqual(player.added, []);
  assert.equal(conversation.state, "ready");
});

test("an answer is played, and its figures are those of what was heard", async () => {
  const { socket, player, clock, turns, conversation } = await started();
  clock.now = 1000;
  await conversation.say("Hello");
  clock.now = 1100;
  answers(socket);
  clock.now = 1350;
  player.says("started", 0);
  assert.equal(conversation.state, "speaking");
  socket.gives("response.output_audio.done", { item_id: "a1" });
  const turn = turns.get("a1");
  assert.equal(turn.firstSoundMs, 350);
  assert.equal(turn.seconds, 1);
  assert.equal(turn.realTimeFactor, 0);
  assert.deepEqual(player.completed, ["a1"]);
  player.says("finished", 1);
  assert.equal(conversation.state, "ready");
});

test("first sound is counted from the visitor's last word, not from the server's event", async () => {
  const { conversation, socket, player, clock, turns } = await started();
  for (let i = 0; i < 50; i++) {
    clock.now = 40 * (i + 1); // 2 s of sound
    conversation.hear(PIECE, 0);
  }
  clock.now = 2010;
  socket.gives("input_audio_buffer.speech_stopped", { item_id: "u1", audio_end_ms: 1500 });
  answers(socket);
  clock.now = 2100;
  player.says("started", 0);
  assert.equal(turns.get("a1").firstSoundMs, 600);
});

test("a typed turn interrupts, and the server learns what was heard", async () => {
  const { conversation, socket, player, turns } = await started();
  answers(socket);
  player.says("started", 0);
  player.heard = 0.4567;
  await conversation.say("Wait");
  const kinds = socket.sent.slice(1).map(({ type }) => type);
  assert.deepEqual(kinds, [
    "response.cancel",
    "conversation.item.truncate",
    "conversation.item.create",
    "response.create",
  ]);
  const [truncate] = socket.of("conversation.item.truncate");
  assert.deepEqual(truncate, {
    type: "conversation.item.truncate",
    item_id: "a1",
    content_index: 0,
    audio_end_ms: 456,
  });
  assert.ok(turns.get("a1").isInterrupted);
});

test("a typed turn waits until the server knows what was heard", async () => {
  const { conversation, socket, player } = await started();
  answers(socket);
  player.stop = async () => {
    await new Promise((resolve) => setTimeout(resolve, 5)); // a worklet answers later
    player.says("stopped", 0.5);
  };
  await conversation.say("Wait");
  const kinds = socket.sent.map(({ type }) => type);
  assert.ok(kinds.indexOf("conversation.item.truncate") < kinds.indexOf("response.create"));
  assert.ok(kinds.includes("conversation.item.truncate"));
});

test("sound that comes behind an interruption is not played", async () => {
  const { conversation, socket, player } = await started();
  answers(socket);
  conversation.stop();
  const delta = toBase64(PIECE);
  socket.gives("response.output_audio.delta", { item_id: "a1", delta });
  assert.equal(player.added.length, 1);
});

test("an answer that was played to its end is not truncated by the next question", async () => {
  const { conversation, socket, player } = await started();
  answers(socket);
  socket.gives("response.done", { response: { status: "completed", output: [{ id: "a1" }] } });
  player.says("finished", 1);
  await conversation.say("Next");
  assert.equal(socket.of("conversation.item.truncate").length, 0);
  assert.equal(socket.of("response.cancel").length, 0);
});

test("in the quick mode speech stops an answer at once", async () => {
  const { socket, player } = await started({ turns: "quick" });
  answers(socket);
  socket.gives("input_audio_buffer.speech_started", { item_id: "u2", audio_start_ms: 0 });
  assert.equal(player.isActive, false);
});

test("in the semantic mode a short sound only lowers the answer", async () => {
  const { conversation, socket, player } = await started();
  answers(socket);
  for (let i = 0; i < 3; i++) conversation.hear(PIECE, LOUD);
  socket.gives("input_audio_buffer.speech_started", { item_id: "u2", audio_start_ms: 0 });
  for (let i = 0; i < 20; i++) conversation.hear(PIECE, 0);
  assert.deepEqual(player.volumes, [true]);
  assert.equal(player.isActive, true);
  socket.gives("input_audio_buffer.speech_stopped", { item_id: "u2", audio_end_ms: 120 });
  assert.deepEqual(player.volumes, [true, false]);
});

test("in the semantic mode 200 ms of speech stop what is left of an answer", async () => {
  const { conversation, socket, player } = await started();
  answers(socket);
  socket.gives("response.done", { response: { status: "completed", output: [{ id: "a1" }] } });
  for (let i = 0; i < 3; i++) conversation.hear(PIECE, LOUD);
  socket.gives("input_audio_buffer.speech_started", { item_id: "u2", audio_start_ms: 0 });
  assert.equal(player.isActive, true);
  for (let i = 0; i < 2; i++) conversation.hear(PIECE, LOUD);
  assert.equal(player.isActive, false);
});

test("an answer that the server cut for speech is not played on", async () => {
  const { socket, player } = await started();
  answers(socket);
  const status_details = { type: "cancelled", reason: "turn_detected" };
  socket.gives("response.done", { response: { status: "cancelled", status_details, output: [] } });
  assert.equal(player.isActive, false);
});

test("a new answer is not queued behind the rest of the one before", async () => {
  const { socket, player } = await started();
  answers(socket, "a1");
  socket.gives("response.created", { response: { id: "r2" } });
  assert.equal(player.isActive, false);
});

test("held turns send sound while the key is down, and nothing else", async () => {
  const { conversation, socket } = await started({ turns: "hold" });
  conversation.hear(PIECE, LOUD);
  conversation.beginHold();
  conversation.hear(PIECE, LOUD);
  conversation.hear(PIECE, LOUD);
  conversation.endHold();
  conversation.hear(PIECE, LOUD);
  assert.deepEqual(socket.sent.slice(1).map(({ type }) => type), [
    "input_audio_buffer.clear",
    "input_audio_buffer.append",
    "input_audio_buffer.append",
    "input_audio_buffer.commit",
    "response.create",
  ]);
});

test("what the visitor said is written where it was said", async () => {
  const { socket, turns } = await started();
  socket.gives("input_audio_buffer.speech_started", { item_id: "u1", audio_start_ms: 0 });
  answers(socket);
  const type = "conversation.item.input_audio_transcription";
  socket.gives(`${type}.delta`, { item_id: "u1", delta: "What is" });
  socket.gives(`${type}.completed`, { item_id: "u1", transcript: "What is a glacier?" });
  assert.deepEqual([...turns.keys()], ["u1", "a1"]);
  assert.equal(turns.get("u1").text, "What is a glacier?");
});

test("a lost connection is opened again, and the conversation goes on with what was heard", async () => {
  const { conversation, connections, socket, player } = await started();
  await conversation.say("Hello");
  answers(socket);
  player.heard = 0.1;
  socket.loses(true);
  while (connections.length < 2) await new Promise((resolve) => setTimeout(resolve, 20));
  await new Promise((resolve) => setTimeout(resolve, 0));
  const items = connections[1].of("conversation.item.create").map(({ item }) => item);
  assert.deepEqual(items.map(({ role }) => role), ["user", "assistant"]);
  assert.equal(items[1].content[0].type, "output_text");
  assert.equal(items[1].content[0].text, "One");
  assert.equal(conversation.state, "ready");
});

test("who ends the conversation while the server is away is not connected again", async () => {
  const { conversation, connections, socket } = await started();
  socket.loses(true);
  conversation.end();
  await new Promise((resolve) => setTimeout(resolve, 700)); // the first attempt is after 500 ms
  assert.equal(connections.length, 1);
  assert.equal(conversation.state, "off");
});

test("a refusal ends the conversation with the server's words", async () => {
  const { conversation, socket, notices } = await started();
  socket.loses(false, "this key has used its hour");
  assert.equal(conversation.state, "off");
  assert.deepEqual(notices, ["this key has used its hour"]);
});

test("another voice takes a new session with the turns so far", async () => {
  const { conversation, connections } = await started();
  await conversation.say("Hello");
  await conversation.change({ ...SETTINGS, voice: "high" });
  assert.ok(connections[0].isClosed);
  assert.equal(connections[1].of("session.update")[0].session.audio.output.voice, "high");
  assert.equal(connections[1].of("conversation.item.create").length, 1);
});

test("other settings are told to the session that is open", async () => {
  const { conversation, connections } = await started();
  await conversation.change({ ...SETTINGS, turns: "hold" });
  assert.equal(connections.length, 1);
  const [, { session }] = connections[0].of("session.update");
  assert.equal(session.audio.input.turn_detection, null);
});

test("a race that the server calls an error is not the visitor's business", async () => {
  const { socket, notices } = await started();
  socket.gives("error", { error: { code: "response_cancel_not_active", message: "no" } });
  socket.gives("error", { error: { code: "server_full", message: "no room" } });
  assert.deepEqual(notices, ["no room"]);
});
