import assert from "node:assert/strict";
import test from "node:test";
import { fromBase64, loudness, toBase64, toInt16, wavOf } from "../page/sound.js";

test("samples survive base64", () => {
  const samples = Int16Array.from({ length: 70000 }, (_, i) => (i * 7919) % 65536 - 32768);
  assert.deepEqual(fromBase64(toBase64(samples)), samples);
});

test("a part of a buffer is sent without the rest of it", () => {
  const whole = Int16Array.of(1, 2, 3, 4);
  assert.deepEqual(fromBase64(toBase64(whole.subarray(1, 3))), Int16Array.of(2, 3));
});

test("floats beyond full scale are cut, not wrapped", () => {
  assert.deepEqual(toInt16(Float32Array.of(-2, 0, 2)), Int16Array.of(-32767, 0, 32767));
});

test("a WAV file says what it holds", async () => {
  const blob = wavOf([Int16Array.of(1, 2), Int16Array.of(3)]);
  const view = new DataView(await blob.arrayBuffer());
  assert.equal(view.byteLength, 44 + 6);
  assert.equal(view.getUint32(4, true), 36 + 6);
  assert.equal(view.getUint32(24, true), 24000);
  assert.equal(view.getUint32(40, true), 6);
  assert.equal(view.getInt16(48, true), 3);
});

test("the loudness of full scale is 1", () => {
  assert.equal(loudness(Float32Array.of(1, -1, 1)), 1);
  assert.equal(loudness(new Float32Array(0)), 0);
});
