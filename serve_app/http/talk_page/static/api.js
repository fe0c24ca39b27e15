// The HTTP side of the server, under OpenAI's names.

const BASE = new URL("v1/", document.baseURI);

/** The server refused; the message is its own. `status` is 0 where it did not answer at all. */
export class ApiError extends Error {
  constructor(message, status, retryAfterS = null) {
    super(message);
    this.status = status;
    this.retryAfterS = retryAfterS;
  }
}

/** All calls of one visitor. The key is kept in memory alone. */
export class Api {
  #key = null;

  useKey(key) {
    this.#key = key || null;
  }

  /** The name of the model that is served first. */
  async model() {
    const { data } = await this.#json("models");
    return data[0].id;
  }

  /** The voices, configured ones first: `{id, name}`. */
  async voices() {
    return (await this.#json("audio/voices")).data;
  }

  /** Makes a voice of a recording (Blob). */
  async createVoice(name, recording) {
    const body = form({ name, consent: "given on the page", audio_sample: recording });
    return this.#json("audio/voices", { method: "POST", body });
  }

  async deleteVoice(id) {
    return this.#json(`audio/voices/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  /** Pieces of s16le sound (Uint8Array), as they are made. */
  async *speech(fields, signal) {
    const body = JSON.stringify({ ...fields, response_format: "pcm" });
    const headers = { "Content-Type": "application/json" };
    const answer = await this.#ask("audio/speech", { method: "POST", body, headers, signal });
    yield* chunksOf(answer.body);
  }

  /** The transcript of a recording (File): pieces of text as they are written, or one file. */
  async *transcript(file, { task, ...fields }, signal) {
    const stream = ["json", "text"].includes(fields.response_format);
    const body = form({ file, stream, ...fields });
    const answer = await this.#ask(`audio/${task}`, { method: "POST", body, signal });
    if (!stream) yield await answer.text();
    else for await (const event of eventsOf(answer.body)) if (event.delta) yield event.delta;
  }

  /** What the server does at the moment. */
  async load() {
    return this.#json("load");
  }

  /** A token for a socket, in place of the key; null where no key is needed. */
  async socketToken() {
    if (this.#key === null) return null;
    const headers = { "Content-Type": "application/json" };
    const secret = await this.#json("realtime/client_secrets", {
      method: "POST",
      headers,
      body: "{}",
    });
    return secret.value;
  }

  /** The address of the socket. */
  socketUrl(model) {
    const url = new URL("realtime", BASE);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("model", model);
    return url.href;
  }

  async #json(path, options) {
    return (await this.#ask(path, options)).json();
  }

  async #ask(path, options = {}) {
    const headers = { ...options.headers };
    if (this.#key !== null) headers.Authorization = `Bearer ${this.#key}`;
    const answer = await fetch(new URL(path, BASE), { ...options, headers }).catch((error) => {
      if (error.name === "AbortError") throw error;
      throw new ApiError("The server does not answer.", 0);
    });
    if (!answer.ok) throw await errorOf(answer);
    return answer;
  }
}

async function errorOf(answer) {
  const body = await answer.json().catch(() => ({}));
  const message = body.error?.message ?? `The server answered ${answer.status}.`;
  return new ApiError(message, answer.status, Number(answer.headers.get("Retry-After")) || null);
}

function form(fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) {
    if (value !== null && value !== undefined && value !== "") body.append(name, value);
  }
  return body;
}

async function* chunksOf(stream) {
  const reader = stream.getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) yield part.value;
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function* eventsOf(stream) {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of chunksOf(stream)) {
    const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const event = JSON.parse(line.slice(6));
      if (event.error) throw new ApiError(event.error.message, 500);
      yield event;
    }
  }
}
