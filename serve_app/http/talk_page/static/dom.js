// Short names for what every part of the page does with its elements.

export const byId = (id) => document.getElementById(id);

/** A new element with properties and children. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** Seconds as text: 0.42 s, 3.1 s. */
export const secondsText = (seconds) => `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;

/** Shows a sentence to the visitor until it is closed or another one comes. */
export function notify(message) {
  const notice = byId("notice");
  notice.firstElementChild.textContent = message;
  notice.hidden = !message;
}

byId("notice").querySelector("button").onclick = () => notify("");
