// The dialog in which a recording becomes a voice.

import { byId, secondsText } from "./dom.js";
import { Meter } from "./drawing.js";
import { Recorder } from "./recorder.js";

const LONGEST_S = 29; // the server takes 30

export class VoiceDialog {
  #api;
  #onadded;
  #dialog = byId("voice-dialog");
  #meter = new Meter(byId("voice-meter"));
  #recorder = new Recorder((level, seconds) => this.#heard(level, seconds));
  #sample = null;

  /** `onadded` is called with the new voice. */
  constructor({ api, onadded }) {
    this.#api = api;
    this.#onadded = onadded;
    byId("voice-add").onclick = () => this.#open();
    byId("voice-record").onclick = () => this.#toggle();
    byId("voice-file").onchange = ({ target }) => {
      if (target.files[0]) this.#take(target.files[0], target.files[0].name);
      target.value = "";
    };
    byId("voice-form").onsubmit = (event) => {
      if (event.submitter?.value === "cancel") return;
      event.preventDefault();
      this.#create();
    };
    this.#dialog.onclose = () => this.#recorder.isRecording && this.#recorder.stop();
  }

  #open() {
    byId("voice-form").reset();
    this.#take(null, "");
    this.#fail("");
    this.#dialog.showModal();
  }

  async #toggle() {
    this.#fail("");
    try {
      if (this.#recorder.isRecording) this.#end();
      else await this.#recorder.start({ echoCancellation: false });
    } catch (error) {
      this.#fail(error.message);
    }
    this.#showButton();
  }

  #end() {
    const { seconds } = this.#recorder;
    this.#take(this.#recorder.stop(), secondsText(seconds));
    this.#showButton();
  }

  #heard(level, seconds) {
    this.#meter.add("left", level);
    this.#meter.add("right", level);
    byId("voice-sample").textContent = secondsText(seconds);
    if (seconds >= LONGEST_S) this.#end();
  }

  #take(sample, text) {
    this.#sample = sample;
    byId("voice-sample").textContent = text;
    byId("voice-create").disabled = sample === null;
  }

  async #create() {
    byId("voice-create").disabled = true;
    this.#fail("");
    try {
      const voice = await this.#api.createVoice(byId("voice-name").value.trim(), this.#sample);
      this.#dialog.close();
      this.#onadded(voice);
    } catch (error) {
      this.#fail(error.message);
    }
    byId("voice-create").disabled = this.#sample === null;
  }

  #showButton() {
    const { isRecording } = this.#recorder;
    byId("voice-record").textContent = isRecording ? "Stop" : "Record";
    byId("voice-record").setAttribute("aria-pressed", isRecording);
  }

  #fail(message) {
    byId("voice-error").textContent = message;
    byId("voice-error").hidden = !message;
  }
}
