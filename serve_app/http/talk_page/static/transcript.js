// The conversation as it is read: turns, their words as they are heard, their sound.

import { element } from "./dom.js";
import { SoundRow } from "./sound-row.js";

const NEAR_END_PX = 80;
const SPEAKERS = { user: "You", assistant: "Step-Audio" };

export class Transcript {
  #root;
  #views = new Map(); // by the turn's id
  #onplay;

  constructor(root, onplay) {
    this.#root = root;
    this.#onplay = onplay;
  }

  /** Shows a turn that is new or has changed, at the next frame. */
  show(turn) {
    const view = this.#views.get(turn.id) ?? this.#add(turn);
    if (view.isDirty) return;
    view.isDirty = true;
    requestAnimationFrame(() => {
      view.isDirty = false;
      this.#keepEnd(() => view.show());
    });
  }

  /** Marks the words that were heard `seconds` into the turn. */
  mark(turn, seconds) {
    this.#views.get(turn.id)?.mark(seconds);
  }

  remove(turn) {
    this.#views.get(turn.id)?.root.remove();
    this.#views.delete(turn.id);
  }

  #add(turn) {
    const view = new TurnView(turn, this.#onplay);
    this.#views.set(turn.id, view);
    this.#keepEnd(() => this.#root.append(view.root));
    return view;
  }

  /** The end stays in sight, unless the visitor has scrolled up. */
  #keepEnd(change) {
    const { scrollHeight, scrollTop, clientHeight } = this.#root;
    const isNear = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    change();
    if (isNear) this.#root.scrollTop = this.#root.scrollHeight;
  }
}

class TurnView {
  isDirty = false;
  #turn;
  #words = []; // {before, span, behind}
  #captions = null;
  #text = element("p");
  #sound = null;

  constructor(turn, onplay) {
    this.#turn = turn;
    const speaker = element("span", { className: "unseen", textContent: SPEAKERS[turn.role] });
    this.root = element("article", { className: `turn ${turn.role}` }, speaker, this.#text);
    this.root.dataset.id = turn.id;
    if (turn.role !== "assistant") return;
    this.#sound = new SoundRow(turn, onplay);
    this.#sound.root.hidden = true;
    this.root.append(this.#sound.root);
  }

  show() {
    this.#write();
    this.root.setAttribute("aria-busy", this.#turn.isOpen); // read out once it is whole
    this.root.classList.toggle("interrupted", this.#turn.isInterrupted);
    this.mark(this.#turn.heardS);
  }

  mark(seconds) {
    const { pieces, captions, isOpen, isInterrupted, isWritten } = this.#turn;
    const isRead = isWritten || this.#sound === null;
    const begun = isRead ? Infinity : captions.begun(seconds);
    const isOver = !isOpen && seconds >= this.#turn.seconds - 0.05;
    this.#words.forEach(({ span }, i) => {
      span.classList.toggle("said", i < begun);
      span.classList.toggle("now", i === begun - 1 && !isOver && !isInterrupted);
    });
    if (this.#sound === null || !pieces.length) return;
    this.#sound.root.hidden = false;
    this.#sound.show(seconds);
  }

  #write() {
    const { captions } = this.#turn;
    if (captions !== this.#captions) {
      this.#captions = captions;
      this.#words = [];
      this.#text.replaceChildren();
    }
    captions.words.forEach((text, i) => {
      const { before, span, behind } = (this.#words[i] ??= this.#append());
      const [, space, word, rest] = /^(\s*)(.*?)(\s*)$/s.exec(text);
      if (span.textContent !== word) span.textContent = word;
      before.data = space;
      behind.data = rest;
    });
  }

  /** A word and the space around it, which is not marked with it. */
  #append() {
    const span = element("span", { className: "word" });
    const word = { before: new Text(), span, behind: new Text() };
    this.#text.append(word.before, word.span, word.behind);
    return word;
  }
}
