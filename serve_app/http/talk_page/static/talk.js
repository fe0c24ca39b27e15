// The dock: the microphone, the round button, the keys, the line to type in.

import { byId, notify } from "./dom.js";
import { NoMicrophone } from "./microphone.js";

const STATES = {
  off: "Ready when you are",
  connecting: "Connecting …",
  ready: "Connected",
  hearing: "I hear you",
  thinking: "One moment …",
  speaking: "Speaking. You may interrupt",
};
const TYPING = "input:not([type=range], [type=radio], [type=checkbox]), textarea, select";
const OWN_SPACE = `${TYPING}, button, a, summary, input, [contenteditable]`;

export class Talk {
  #conversation;
  #microphone;
  #player;
  #settings; // () => settings of the session, as a promise
  #options; // of the microphone
  #isMuted = false;
  #isBusy = false;
  #wakeLock = null;
  #button = byId("talk-button");

  constructor({ conversation, microphone, player, settings, meter, options }) {
    this.#conversation = conversation;
    this.#microphone = microphone;
    this.#player = player;
    this.#settings = settings;
    this.#options = options;
    microphone.addEventListener("piece", ({ detail }) => {
      if (this.#isMuted) return;
      meter.add("left", detail.level);
      conversation.hear(detail.samples, detail.level);
    });
    microphone.addEventListener("ended", () => {
      notify("The microphone is gone.");
      this.hangUp();
    });
    conversation.addEventListener("state", () => this.#show());
    this.#listenToButtons();
    document.addEventListener("keydown", (event) => this.#keyDown(event));
    document.addEventListener("keyup", (event) => this.#keyUp(event));
    this.#show();
  }

  /** Opens microphone and conversation; where they are open, mutes the microphone or ends that. */
  async toggle() {
    if (this.#microphone.isOpen) this.#isMuted = !this.#isMuted;
    else await this.#begin(true);
    this.#show();
  }

  /** Sends a typed turn. */
  async say(text) {
    if (await this.#begin(false)) this.#conversation.say(text);
  }

  hangUp() {
    this.#microphone.close();
    this.#conversation.end();
    this.#wakeLock?.release().catch(() => {});
    this.#wakeLock = null;
    this.#show();
  }

  /** Stops the answer; where there is none, ends the conversation. */
  stop() {
    if (!this.#conversation.stop()) this.hangUp();
  }

  /** Shows what was changed in the settings. */
  refresh() {
    this.#show();
  }

  async #begin(withMicrophone) {
    if (this.#isBusy) return false;
    this.#isBusy = true;
    notify("");
    try {
      await this.#player.open();
      if (withMicrophone) await this.#microphone.open(this.#options);
      this.#isMuted &&= !withMicrophone;
      await this.#conversation.start(await this.#settings());
      this.#wakeLock ??= await navigator.wakeLock?.request("screen").catch(() => null);
      return true;
    } catch (error) {
      notify(error.message);
      if (!(error instanceof NoMicrophone)) this.#microphone.close();
      return false;
    } finally {
      this.#isBusy = false;
      this.#show();
    }
  }

  get #holds() {
    return byId("turns").querySelector(":checked").value === "hold";
  }

  #listenToButtons() {
    this.#button.onclick = () => {
      if (!this.#holds || !this.#microphone.isOpen) this.toggle();
    };
    this.#button.onpointerdown = () => this.#hold();
    this.#button.oncontextmenu = (event) => event.preventDefault(); // of a long touch
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      this.#button.addEventListener(end, () => this.#letGo());
    }
    byId("stop-button").onclick = () => this.stop();
    byId("type").onsubmit = (event) => {
      event.preventDefault();
      const text = byId("type-text").value.trim();
      if (!text) return;
      byId("type-text").value = "";
      this.say(text);
    };
  }

  #keyDown(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key === "Escape") return this.stop();
    if (!this.#isSpaceToTalk(event)) return;
    event.preventDefault();
    if (event.repeat) return;
    if (this.#holds && this.#microphone.isOpen) this.#hold();
    else this.toggle();
  }

  #keyUp(event) {
    if (!this.#isSpaceToTalk(event)) return;
    event.preventDefault(); // else the button would be clicked
    this.#letGo();
  }

  #isSpaceToTalk({ key, target }) {
    if (key !== " " || byId("talk").hidden) return false;
    return target === this.#button || !target.closest(OWN_SPACE);
  }

  #hold() {
    if (this.#holds && this.#microphone.isOpen) this.#conversation.beginHold();
  }

  #letGo() {
    this.#conversation.endHold();
  }

  #show() {
    const { state } = this.#conversation;
    const isOpen = this.#microphone.isOpen;
    const isMuted = isOpen && this.#isMuted;
    const isActive = ["thinking", "speaking"].includes(state);
    this.#button.dataset.state = isMuted ? "muted" : state;
    byId("talk-label").textContent = this.#label(isOpen, isMuted);
    byId("state").textContent = this.#sentence(state, isOpen, isMuted);
    byId("stop-button").hidden = state === "off";
    byId("stop-button").textContent = isActive ? "Stop" : "End";
  }

  #label(isOpen, isMuted) {
    if (!isOpen) return "Talk";
    if (this.#holds) return "Hold to talk";
    return isMuted ? "Let the microphone hear" : "Mute the microphone";
  }

  #sentence(state, isOpen, isMuted) {
    if (state !== "ready") return STATES[state];
    if (isMuted) return "The microphone is muted";
    if (!isOpen) return STATES.ready;
    return this.#holds ? "Hold Space or the button while you speak" : "Listening";
  }
}
