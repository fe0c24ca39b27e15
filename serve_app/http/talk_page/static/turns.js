// The turns of a conversation, in their order, by their ids.

import { itemOf } from "./session.js";

/** Events: `turn` with one that is new or has changed; `removed` with one that came to nothing. */
export class Turns extends EventTarget {
  #turns = new Map();

  has(id) {
    return this.#turns.has(id);
  }

  get(id) {
    return this.#turns.get(id);
  }

  add(turn) {
    this.#turns.set(turn.id, turn);
    this.#tell("turn", turn);
  }

  /** Applies `change` to the turn `id`, if there is one. */
  change(id, change) {
    const turn = this.get(id);
    if (turn === undefined) return;
    change(turn);
    this.#tell("turn", turn);
  }

  /** Removes the visitor's turns of which nothing was heard in the end. */
  removeUnheard() {
    for (const turn of this.#turns.values()) {
      if (turn.role !== "user" || !turn.isOpen || turn.text) continue;
      this.#turns.delete(turn.id);
      this.#tell("removed", turn);
    }
  }

  /** The turns as items of text, for a session that does not know them. */
  items() {
    return [...this.#turns.values()].map(itemOf).filter(Boolean);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
