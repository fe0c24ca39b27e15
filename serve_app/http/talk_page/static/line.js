// A connection that is opened again when it is lost, and greeted each time.

const ATTEMPTS = 4;
const FIRST_DELAY_MS = 500;

/**
 * Events: `event` with one of the server's; `lost` with `{message, comesBack}`; after a loss that
 * comes back either `back` or `failed` with a message.
 */
export class Line extends EventTarget {
  #open; // () => Promise<Connection>
  #greeting; // () => the events with which each connection begins
  #connection = null;
  #isWanted = false;

  constructor(open, greeting) {
    super();
    this.#open = open;
    this.#greeting = greeting;
  }

  get isOpen() {
    return this.#connection !== null;
  }

  /** Throws an Error whose message says why there is no connection. */
  async connect() {
    this.#isWanted = true;
    const connection = await this.#open();
    if (!this.#isWanted) return connection.close(); // closed in the meantime
    this.#connection = connection;
    const isCurrent = () => connection === this.#connection;
    const on = (type, act) =>
      connection.addEventListener(type, ({ detail }) => isCurrent() && act(detail));
    on("event", (event) => this.#tell("event", event));
    on("closed", (ending) => this.#lost(ending));
    for (const event of this.#greeting()) connection.send(event);
  }

  send(type, fields = {}) {
    this.#connection?.send({ type, ...fields });
  }

  close() {
    this.#isWanted = false;
    const connection = this.#connection;
    this.#connection = null;
    connection?.close();
  }

  async #lost(ending) {
    this.#connection = null;
    this.#tell("lost", ending);
    if (!ending.comesBack) return;
    for (let attempt = 0, message = ""; this.#isWanted; attempt++) {
      if (attempt === ATTEMPTS) return this.#tell("failed", message);
      await new Promise((resolve) => setTimeout(resolve, FIRST_DELAY_MS * 2 ** attempt));
      if (!this.#isWanted) return;
      try {
        await this.connect();
        return this.#tell("back");
      } catch (error) {
        message = error.message;
      }
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
