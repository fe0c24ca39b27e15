// The tab that reads a text aloud.

import { byId, notify } from "./dom.js";
import { SoundRow } from "./sound-row.js";

export class Reader {
  #listening;
  #fields; // () => promise of model and voice
  #row = null;

  constructor({ listening, fields }) {
    this.#listening = listening;
    this.#fields = fields;
    byId("read-form").onsubmit = (event) => {
      event.preventDefault();
      this.#read();
    };
    byId("read-stop").onclick = () => listening.stop();
    document.addEventListener("keydown", ({ key }) => key === "Escape" && listening.stop());
    byId("read-speed").oninput = ({ target }) => {
      byId("read-speed-value").textContent = `${Number(target.value).toFixed(2)}×`;
    };
    byId("read-file").onchange = async ({ target }) => {
      if (target.files[0]) byId("read-text").value = await target.files[0].text();
      target.value = "";
    };
  }

  /** Takes over a text. */
  take(text) {
    byId("read-text").value = text;
    byId("read-text").focus();
  }

  async #read() {
    notify("");
    this.#reading(true);
    this.#row = null;
    try {
      await this.#listening.speak(await this.#request(), (turn) => this.#show(turn));
    } catch (error) {
      notify(error.message);
    }
    this.#reading(false);
  }

  async #request() {
    return {
      ...(await this.#fields()),
      input: byId("read-text").value,
      speed: Number(byId("read-speed").value),
      instructions: byId("read-how").value.trim() || null,
    };
  }

  #show(turn) {
    if (this.#row === null) {
      this.#row = new SoundRow(turn, (played) =>
        this.#listening.replay(played, (seconds) => this.#row.show(seconds)),
      );
      byId("read-answer").replaceChildren(this.#row.root);
    }
    this.#row.show();
  }

  #reading(isReading) {
    byId("read-button").disabled = isReading;
    byId("read-stop").hidden = !isReading;
  }
}
