// The page's parts, put together.

import { Api } from "./api.js";
import { Connection } from "./connection.js";
import { Conversation } from "./conversation.js";
import { byId, notify } from "./dom.js";
import { Meter } from "./drawing.js";
import { Listening } from "./listen.js";
import { watchLoad } from "./load.js";
import { Microphone } from "./microphone.js";
import { Player } from "./player.js";
import { Reader } from "./reader.js";
import { makeTabs } from "./tabs.js";
import { Talk } from "./talk.js";
import { Transcript } from "./transcript.js";
import { VoiceDialog } from "./voice-dialog.js";
import { Voices } from "./voices.js";
import { Writer } from "./writer.js";

const NO_ECHO_CANCELLATION = new URLSearchParams(location.search).get("aec") === "0";

const api = new Api();
const player = new Player();
const microphone = new Microphone();
const listening = new Listening(api, player);
const meter = new Meter(byId("meter"));
let modelName = null;
const model = async () => (modelName ??= await api.model());

const conversation = new Conversation({
  open: async () => Connection.open(api.socketUrl(await model()), await api.socketToken()),
  player,
});
const transcript = new Transcript(byId("transcript"), (turn) =>
  listening.replay(turn, (seconds) => transcript.mark(turn, seconds)),
);
const voices = new Voices({ api, listening, model, onchange: changeSettings });
const talk = new Talk({
  conversation,
  microphone,
  player,
  meter,
  settings,
  options: { echoCancellation: !NO_ECHO_CANCELLATION },
});
const reader = new Reader({
  listening,
  fields: async () => ({ model: await model(), voice: voices.chosen }),
});
const select = makeTabs(document.querySelector("[role=tablist]"));
new Writer({
  api,
  model,
  onread: (text) => {
    select("read");
    reader.take(text);
  },
});
new VoiceDialog({
  api,
  onadded: async (voice) => {
    await voices.load(voice.id);
    changeSettings();
  },
});

conversation.turns.addEventListener("turn", ({ detail: turn }) => {
  byId("welcome").hidden = true;
  transcript.show(turn);
});
conversation.turns.addEventListener("removed", ({ detail: turn }) => transcript.remove(turn));
conversation.addEventListener("notice", ({ detail: message }) => notify(message));
conversation.addEventListener("progress", ({ detail: { turn } }) => {
  transcript.mark(turn, turn.heardS);
});
player.addEventListener("played", ({ detail }) => meter.add("right", detail.level));

/** What the panel says of a session. */
async function settings() {
  return {
    model: await model(),
    voice: voices.chosen,
    turns: byId("turns").querySelector(":checked").value,
    captions: byId("captions").checked,
    instructions: byId("instructions").value.trim(),
  };
}

async function changeSettings() {
  talk.refresh();
  if (conversation.state === "off") return;
  try {
    await conversation.change(await settings());
  } catch (error) {
    notify(error.message);
  }
}

for (const id of ["turns", "captions", "instructions"]) {
  byId(id).addEventListener("change", changeSettings);
}

byId("key-form").onsubmit = (event) => {
  event.preventDefault();
  api.useKey(byId("key").value.trim());
  begin();
};

/** Shows the settings over the page, where there is no room beside it. */
function showSettings(isShown) {
  byId("settings").classList.toggle("open", isShown);
  byId("settings-button").setAttribute("aria-expanded", isShown);
  byId("settings-button").textContent = isShown ? "Close" : "Settings";
}

byId("settings-button").onclick = () => {
  showSettings(byId("settings-button").getAttribute("aria-expanded") !== "true");
};

/** Reads what the server has; a server that wants a key gets the visitor's. */
async function begin() {
  notify("");
  try {
    await voices.load();
  } catch (error) {
    notify(error.status === 401 ? "This server needs an API key." : error.message);
    if (error.status !== 401) return;
    byId("key").placeholder = "Needed";
    showSettings(true);
    byId("key").focus();
  }
}

begin();
watchLoad(api);

window.page = { conversation, player }; // for the browser's console
