import assert from "node:assert/strict";
import test from "node:test";
import { Captions } from "../page/captions.js";

test("pieces of a word are one word, in whatever pieces they come", () => {
  const captions = new Captions();
  for (const piece of ["Hel", "lo the", "re", ", you", " two."]) captions.add(piece);
  assert.deepEqual(captions.words, ["Hello ", "there, ", "you", " two."]);
  assert.equal(captions.text, "Hello there, you two.");
});

test("words begin when the server says", () => {
  const captions = new Captions();
  captions.add("One two. ", 0.1);
  captions.add("Three four.", 2.0);
  assert.equal(captions.begun(0), 0);
  assert.equal(captions.heard(0.1), "One");
  assert.equal(captions.heard(1.9), "One two.");
  assert.equal(captions.heard(2.0), "One two. Three");
});

test("without times words are spread over the sound by their letters", () => {
  const captions = new Captions();
  captions.add("aaaa bbbb cccc dddd");
  captions.finish(4);
  assert.equal(captions.heard(0), "aaaa");
  assert.equal(captions.heard(2.2), "aaaa bbbb cccc");
  assert.equal(captions.begun(4), 4);
});

test("while the length is not known words are heard at the usual pace", () => {
  const captions = new Captions();
  captions.add("aaaaaaaaaaaaa bbbbbbbbbbbbb"); // 14 letters with the space: a second
  assert.equal(captions.begun(0.95), 1);
  assert.equal(captions.begun(1.05), 2);
});

test("Chinese is marked character by character", () => {
  const captions = new Captions();
  captions.add("你好，世界");
  assert.equal(captions.words.length, 5);
});

test("times that run backwards are not taken", () => {
  const captions = new Captions();
  captions.add("One ", 1);
  captions.add("two ", 0.5);
  captions.add("three", 3);
  assert.equal(captions.heard(2.9), "One two");
});
