import assert from "node:assert/strict";
import test from "node:test";
import { PlaybackQueue } from "../page/playback-queue.js";

const FIRST_WAIT = 1440; // 60 ms
const FADE = 240; // 10 ms

const ones = (count) => new Float32Array(count).fill(1);

function heard(queue, count) {
  const block = new Float32Array(count);
  queue.read(block);
  return block;
}

const steepest = (block) => Math.max(...block.slice(1).map((x, i) => Math.abs(x - block[i])));

test("an answer begins once enough of it is there", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(FIRST_WAIT - 1));
  assert.ok(heard(queue, 128).every((x) => x === 0));
  queue.add("a", ones(1000));
  assert.ok(heard(queue, 512).at(-1) === 1);
  assert.equal(queue.played("a"), 512);
});

test("a short answer begins when it is complete", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(500));
  queue.complete("a");
  heard(queue, 600);
  assert.deepEqual(queue.news().map(({ type, samples }) => [type, samples]), [
    ["started", 0],
    ["finished", 500],
  ]);
  assert.equal(queue.current, null);
});

test("no edge of the sound is a click", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(4000));
  const edges = [...heard(queue, 2000)];
  queue.stop();
  edges.push(...heard(queue, 1000));
  queue.add("b", ones(3000));
  queue.complete("b");
  edges.push(...heard(queue, 4000));
  assert.ok(steepest(edges) < 1.5 / FADE, `a step of ${steepest(edges)}`);
});

test("a stop says what was heard, and the rest is never played", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(24000));
  heard(queue, 4800);
  queue.stop();
  const [, stopped] = queue.news();
  assert.deepEqual(stopped, { type: "stopped", id: "a", samples: 4800 + FADE });
  assert.ok(heard(queue, 4800).subarray(FADE).every((x) => x === 0));
});

test("what is added behind a stop is played, even within the fade", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(24000));
  heard(queue, 4800);
  queue.stop();
  queue.add("b", ones(FIRST_WAIT));
  heard(queue, FADE + 1000);
  assert.equal(queue.current, "b");
  assert.equal(queue.played("b"), 1000);
});

test("a stop reaches the answers that have not begun", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(24000));
  queue.add("b", ones(24000));
  heard(queue, 100);
  queue.stop();
  const stopped = queue.news().filter(({ type }) => type === "stopped");
  assert.deepEqual(stopped.map(({ id, samples }) => [id, samples]), [["a", 340], ["b", 0]]);
});

test("after a gap more sound has to be there before it goes on", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(2000));
  heard(queue, 3000);
  queue.add("a", ones(FIRST_WAIT + 100));
  assert.ok(heard(queue, 128).every((x) => x === 0));
  assert.deepEqual(queue.news().map(({ type }) => type), ["started", "gap"]);
  queue.add("a", ones(1000));
  assert.ok(heard(queue, 512).at(-1) === 1);
});

test("an answer that is complete when all of it was played had no gap", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(2000));
  heard(queue, 3000);
  queue.complete("a");
  assert.deepEqual(queue.news().map(({ type }) => type), ["started", "finished"]);
});

test("answers follow each other, and each counts its own samples", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(2000));
  queue.complete("a");
  queue.add("b", ones(3000));
  queue.complete("b");
  heard(queue, 6000);
  const ends = queue.news().filter(({ type }) => type === "finished");
  assert.deepEqual(ends.map(({ id, samples }) => [id, samples]), [["a", 2000], ["b", 3000]]);
});

test("a lower volume is reached without a step", () => {
  const queue = new PlaybackQueue();
  queue.add("a", ones(24000));
  heard(queue, 2000);
  queue.setVolume(0.25);
  const block = heard(queue, 1000);
  assert.equal(block.at(-1), 0.25);
  assert.ok(steepest(block) < 2 / FADE);
});
