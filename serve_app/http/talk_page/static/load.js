// What the server does, for all its clients.

import { byId, secondsText } from "./dom.js";
import { drawLine } from "./drawing.js";

const EVERY_MS = 3000;
const SHOWN = 60; // values: three minutes

/** Asks now and then while the page is seen. */
export function watchLoad(api) {
  const answers = [];
  const ask = async () => {
    if (document.hidden) return;
    const load = await api.load().catch(() => null);
    if (load === null) return;
    answers.push(load.text_answers + load.spoken_answers);
    if (answers.length > SHOWN) answers.shift();
    show(load, answers);
  };
  ask();
  setInterval(ask, EVERY_MS);
}

function show(load, answers) {
  const { text_answers, spoken_answers, first_sound_s, real_time_factor, processors } = load;
  const figure = (value, text) => (value === undefined ? "–" : text(value)); // before the first
  const text = text_answers ? `${text_answers} text, ` : "";
  byId("load-answers").textContent = `${text}${spoken_answers} spoken`;
  byId("load-first").textContent = figure(first_sound_s, secondsText);
  byId("load-factor").textContent = figure(real_time_factor, (x) => x.toFixed(2));
  const busy = Math.round(100 * processors.busy);
  byId("load-machine").textContent = `${busy} % of ${processors.count}`;
  drawLine(byId("load-line"), answers, SHOWN);
}
