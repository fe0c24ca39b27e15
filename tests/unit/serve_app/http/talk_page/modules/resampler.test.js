import assert from "node:assert/strict";
import test from "node:test";
import { Resampler } from "../page/resampler.js";
import { loudness } from "../page/sound.js";

const tone = (hz, rate, seconds = 0.5) =>
  Float32Array.from({ length: rate * seconds }, (_, i) => Math.sin((2 * Math.PI * hz * i) / rate));

const inner = (samples) => samples.subarray(2000, samples.length - 2000);

for (const rate of [16000, 44100, 48000, 96000]) {
  test(`a tone at ${rate} Hz keeps its level, its pitch and its time`, () => {
    const made = new Resampler(rate, 24000).push(tone(1000, rate));
    assert.ok(Math.abs(made.length - 12000) < 40, `${made.length} samples`);
    const wanted = tone(1000, 24000);
    const error = inner(made).map((x, i) => x - inner(wanted.subarray(0, made.length))[i]);
    assert.ok(loudness(error) < 0.001, `error ${loudness(error)}`);
  });
}

test("what the new rate cannot hold is left out", () => {
  const made = new Resampler(48000, 24000).push(tone(15000, 48000));
  assert.ok(loudness(inner(made)) < 0.001);
});

test("the pieces in which sound comes change nothing", () => {
  const whole = new Resampler(44100, 24000).push(tone(700, 44100));
  const resampler = new Resampler(44100, 24000);
  const sound = tone(700, 44100);
  const made = [];
  for (let i = 0; i < sound.length; i += 128) made.push(...resampler.push(sound.slice(i, i + 128)));
  assert.equal(made.length, whole.length);
  assert.ok(loudness(Float32Array.from(made, (x, i) => x - whole[i])) < 1e-5);
});
