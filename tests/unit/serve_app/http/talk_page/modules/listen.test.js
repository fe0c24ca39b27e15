import assert from "node:assert/strict";
import test from "node:test";
import { Listening } from "../page/listen.js";

class FakePlayer extends EventTarget {
  added = [];
  isOpen = false;

  async open() {
    this.isOpen = true;
  }

  add(id, samples) {
    this.id = id;
    this.added.push(...samples);
  }

  complete(id) {
    this.says("finished", id, this.added.length / 24000);
  }

  async stop() {
    if (this.id) this.says("stopped", this.id, 0);
  }

  says(type, id, seconds) {
    this.dispatchEvent(new CustomEvent(type, { detail: { id, seconds } }));
  }
}

const apiOf = (...pieces) => ({
  async *speech() {
    for (const piece of pieces) yield typeof piece === "function" ? piece() : piece;
  },
});

const FIELDS = { input: "Hello" };

test("samples that are torn between two pieces are whole again", async () => {
  const player = new FakePlayer();
  const api = apiOf(Uint8Array.of(1, 0, 2), Uint8Array.of(0), Uint8Array.of(3, 0));
  await new Listening(api, player).speak(FIELDS);
  assert.deepEqual(player.added, [1, 2, 3]);
});

test("a speech that somebody else stops is not played on", async () => {
  const player = new FakePlayer();
  const stopping = () => {
    player.stop();
    return Uint8Array.of(2, 0);
  };
  const turns = [];
  const api = apiOf(Uint8Array.of(1, 0), stopping, Uint8Array.of(3, 0));
  await new Listening(api, player).speak(FIELDS, (turn) => turns.push(turn));
  assert.deepEqual(player.added, [1]);
  assert.equal(turns.at(-1).isOpen, false);
});

test("a refusal is told in the server's words, and nothing goes on", async () => {
  const player = new FakePlayer();
  const refusing = () => {
    throw new Error("the input has 5000 characters, the limit is 4096");
  };
  await assert.rejects(new Listening(apiOf(refusing), player).speak(FIELDS), /the limit is 4096/);
  assert.deepEqual(player.added, []);
});

test("a turn is played again from its first sample", async () => {
  const player = new FakePlayer();
  const turn = { pieces: [Int16Array.of(1, 2), Int16Array.of(3)], heardS: 0.5 };
  const heard = [];
  await new Listening(null, player).replay(turn, (seconds) => heard.push(seconds));
  assert.deepEqual(player.added, [1, 2, 3]);
  assert.equal(heard.at(-1), 0.5);
});
