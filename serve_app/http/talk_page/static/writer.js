// The tab that writes a recording down.

import { byId, notify, secondsText } from "./dom.js";
import { Recorder } from "./recorder.js";

const MEDIA_TYPES = { text: "text/plain", srt: "application/x-subrip", vtt: "text/vtt" };

export class Writer {
  #api;
  #model; // () => promise of its name
  #file = null;
  #abort = null;
  #recorder = new Recorder((_, seconds) => this.#say(`Recording, ${secondsText(seconds)}`));

  constructor({ api, model, onread }) {
    this.#api = api;
    this.#model = model;
    byId("write-form").onsubmit = (event) => {
      event.preventDefault();
      this.#write();
    };
    byId("write-stop").onclick = () => this.stop();
    byId("write-file").onchange = ({ target }) => {
      this.#choose(target.files[0]);
      target.value = "";
    };
    byId("write-record").onclick = () => this.#record();
    byId("write-read").onclick = () => onread(byId("write-text").value);
    byId("write-copy").onclick = () => this.#copy();
    this.#acceptDrops(byId("drop"));
  }

  stop() {
    this.#abort?.abort();
  }

  #acceptDrops(area) {
    const shows = (isOver) => (event) => {
      event.preventDefault();
      area.classList.toggle("over", isOver);
    };
    area.ondragover = shows(true);
    area.ondragleave = shows(false);
    area.ondrop = (event) => {
      shows(false)(event);
      this.#choose(event.dataTransfer.files[0]);
    };
  }

  async #record() {
    try {
      if (this.#recorder.isRecording) this.#choose(this.#recorder.stop());
      else await this.#recorder.start();
    } catch (error) {
      notify(error.message);
    }
    byId("write-record").textContent = this.#recorder.isRecording ? "Stop recording" : "Record";
    byId("write-record").setAttribute("aria-pressed", this.#recorder.isRecording);
  }

  #choose(file) {
    if (!file) return;
    this.#file = file;
    this.#say(`${file.name}, ${(file.size / 1e6).toFixed(1)} MB`);
    byId("write-button").disabled = false;
  }

  async #write() {
    notify("");
    this.#writing(true);
    this.#abort = new AbortController();
    const begun = performance.now();
    const format = byId("write-format").value;
    const out = byId("write-text");
    out.value = "";
    try {
      const pieces = this.#api.transcript(this.#file, await this.#fields(), this.#abort.signal);
      for await (const piece of pieces) out.value += piece;
      const took = (performance.now() - begun) / 1000;
      byId("write-figures").textContent = `written in ${secondsText(took)}`;
    } catch (error) {
      if (error.name !== "AbortError") notify(error.message);
    }
    this.#offer(out.value, format);
    this.#writing(false);
  }

  async #fields() {
    return {
      model: await this.#model(),
      task: byId("write-task").value,
      response_format: byId("write-format").value,
    };
  }

  /** Offers the transcript for use elsewhere. */
  #offer(text, format) {
    const link = byId("write-save");
    if (link.href) URL.revokeObjectURL(link.href);
    link.href = URL.createObjectURL(new Blob([text], { type: MEDIA_TYPES[format] }));
    link.download = `transcript.${format === "text" ? "txt" : format}`;
    link.hidden = !text;
    byId("write-copy").disabled = !text || !navigator.clipboard;
    byId("write-read").disabled = !text || format !== "text";
  }

  async #copy() {
    await navigator.clipboard.writeText(byId("write-text").value);
    byId("write-figures").textContent = "copied";
  }

  #writing(isWriting) {
    byId("write-button").disabled = isWriting;
    byId("write-stop").hidden = !isWriting;
    byId("write-text").setAttribute("aria-busy", isWriting);
    if (isWriting) byId("write-figures").textContent = "";
  }

  #say(text) {
    byId("write-chosen").textContent = text;
  }
}
