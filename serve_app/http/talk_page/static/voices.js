// The list of voices: choose one, hear it, add one, delete one's own.

import { byId, element, notify } from "./dom.js";

const OPENAI = new Set(
  "alloy ash ballad coral echo fable onyx nova sage shimmer verse marin cedar".split(" "),
);
const SAMPLE = "Hello. This is how I sound when I read a sentence aloud.";

export class Voices {
  #api;
  #select = byId("voice");
  #listening;
  #model;

  constructor({ api, listening, model, onchange }) {
    this.#api = api;
    this.#listening = listening;
    this.#model = model;
    this.#select.onchange = () => {
      this.#showDelete();
      onchange();
    };
    byId("voice-try").onclick = () => this.#try();
    byId("voice-delete").onclick = () => this.#delete();
  }

  /** The id of the chosen voice; null on a server that does not speak. */
  get chosen() {
    return this.#select.value || null;
  }

  /** Reads the list again and keeps the choice, or chooses `id`. Throws ApiError. */
  async load(id = this.chosen) {
    const voices = await this.#api.voices();
    const groups = { "Of this server": [], "Added here": [], "OpenAI's names": [] };
    for (const voice of voices) groups[groupOf(voice)].push(voice);
    this.#select.replaceChildren(...Object.entries(groups).flatMap(optionsOf));
    if (voices.some((voice) => voice.id === id)) this.#select.value = id;
    for (const name of ["voice", "voice-try", "voice-add"]) byId(name).disabled = !voices.length;
    this.#showDelete();
  }

  async #try() {
    try {
      const model = await this.#model();
      await this.#listening.speak({ model, voice: this.chosen, input: SAMPLE });
    } catch (error) {
      notify(error.message);
    }
  }

  async #delete() {
    const { textContent: name } = this.#select.selectedOptions[0];
    if (!confirm(`Delete the voice ${name}?`)) return;
    try {
      await this.#api.deleteVoice(this.chosen);
      await this.load(null);
      this.#select.onchange();
    } catch (error) {
      notify(error.message);
    }
  }

  #showDelete() {
    const group = this.#select.selectedOptions[0]?.parentElement;
    byId("voice-delete").hidden = group?.label !== "Added here";
  }
}

function groupOf({ id, name }) {
  if (id !== name) return "Added here";
  return OPENAI.has(name) ? "OpenAI's names" : "Of this server";
}

function optionsOf([label, voices]) {
  if (!voices.length) return [];
  const options = voices.map(({ id, name }) => element("option", { value: id, textContent: name }));
  return [element("optgroup", { label }, ...options)];
}
