// The socket: JSON events in both directions, and why it ended.

const OPENS_WITHIN_MS = 10_000;

const ENDINGS = {
  1008: "The server refused the connection. Is the key right?",
  1012: "The server restarts.",
  1013: "The server is full. Try again in a moment.",
};
const COMES_BACK = [1001, 1006, 1011, 1012];

/** Events: `event` with the server's event as `detail`; `closed` with `{message, comesBack}`. */
export class Connection extends EventTarget {
  #socket;
  #isWanted = true;
  #lastError = null;

  /** Opens the socket; resolves to the connection after the server's first event. */
  static async open(url, token, Socket = WebSocket) {
    const connection = new Connection();
    await connection.#open(url, token, Socket);
    return connection;
  }

  send(event) {
    if (this.#socket.readyState === 1) this.#socket.send(JSON.stringify(event));
  }

  close() {
    this.#isWanted = false;
    this.#socket.close(1000);
  }

  #open(url, token, Socket) {
    const protocols = ["realtime"];
    if (token) protocols.push(`openai-insecure-api-key.${token}`);
    this.#socket = new Socket(url, protocols);
    this.#socket.onmessage = ({ data }) => this.#take(JSON.parse(data));
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => this.close(), OPENS_WITHIN_MS);
      const settle = (act) => (value) => {
        clearTimeout(late);
        act(value);
      };
      this.#socket.onclose = ({ code }) => {
        const ending = this.#ending(code);
        this.#tell("closed", ending);
        settle(reject)(new Error(ending.message));
      };
      this.addEventListener("event", ({ detail }) => {
        if (detail.type === "session.created") settle(resolve)();
      });
    });
  }

  #take(event) {
    this.#lastError = event.type === "error" ? event.error.message : null;
    this.#tell("event", event);
  }

  #ending(code) {
    const message = this.#lastError ?? ENDINGS[code] ?? "The connection to the server broke off.";
    return { message, comesBack: this.#isWanted && COMES_BACK.includes(code) };
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
