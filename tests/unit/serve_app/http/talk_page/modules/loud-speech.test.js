import assert from "node:assert/strict";
import test from "node:test";
import { LoudSpeech } from "../page/loud-speech.js";

const QUIET = 0.002;
const LOUD = 0.1;

function afterSilence() {
  const speech = new LoudSpeech();
  for (let i = 0; i < 50; i++) speech.hear(QUIET);
  return speech;
}

test("a short sound such as mhm is not enough", () => {
  const speech = afterSilence();
  for (let i = 0; i < 3; i++) speech.hear(LOUD); // 120 ms
  assert.equal(speech.begin(), false);
  for (let i = 0; i < 50; i++) assert.equal(speech.hear(QUIET), false);
});

test("speech that goes on is enough after 200 ms, with what came before the server's word", () => {
  const speech = afterSilence();
  for (let i = 0; i < 4; i++) speech.hear(LOUD); // 160 ms
  assert.equal(speech.begin(), false);
  assert.equal(speech.hear(LOUD), true);
  assert.equal(speech.hear(LOUD), false); // said once
});

test("steady noise is not speech", () => {
  const speech = new LoudSpeech();
  for (let i = 0; i < 400; i++) speech.hear(0.03);
  assert.equal(speech.begin(), false);
  for (let i = 0; i < 20; i++) assert.equal(speech.hear(0.03), false);
});
