// The microphone, in pieces of 40 ms at 24 kHz, and why there may be none.

/** Somebody has to do something before there is a microphone; the message says what. */
export class NoMicrophone extends Error {}

const REASONS = {
  NotAllowedError:
    "The browser does not give this page the microphone. Allow it beside the address, then press " +
    "Talk again. You can type in the meantime.",
  NotFoundError: "This device has no microphone. You can type instead.",
  NotReadableError: "Another program is using the microphone. Close it, then press Talk again.",
};

/** Events: `piece` with a `detail` of `samples` (Int16) and their `level`; `ended`. */
export class Microphone extends EventTarget {
  #context = null;
  #stream = null;

  get isOpen() {
    return this.#stream !== null;
  }

  /**
   * Asks for the microphone; call it inside a click or a key.
   *
   * Throws NoMicrophone.
   */
  async open({ echoCancellation = true } = {}) {
    if (!window.isSecureContext || !navigator.mediaDevices) throw new NoMicrophone(insecure());
    const clean = echoCancellation;
    const audio = { echoCancellation, noiseSuppression: clean, autoGainControl: clean };
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new NoMicrophone(REASONS[error.name] ?? `There is no microphone: ${error.message}`);
    }
    await this.#listen();
  }

  close() {
    this.#stream?.getTracks().forEach((track) => track.stop());
    this.#context?.close();
    this.#stream = this.#context = null;
  }

  async #listen() {
    // Firefox refuses a microphone in a context of another rate than the device's.
    this.#context = new AudioContext({ latencyHint: "interactive" });
    await this.#context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
    if (this.#context === null) return; // closed in the meantime
    const node = new AudioWorkletNode(this.#context, "capture", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => {
      if (this.isOpen) this.dispatchEvent(new CustomEvent("piece", { detail: data }));
    };
    this.#context.createMediaStreamSource(this.#stream).connect(node);
    this.#stream.getAudioTracks()[0].onended = () => {
      this.close();
      this.dispatchEvent(new CustomEvent("ended"));
    };
    await this.#context.resume();
  }
}

function insecure() {
  const port = location.port || "80";
  return (
    "Browsers give the microphone only to https pages and to localhost. Put TLS in front of the " +
    `server, or run "ssh -L ${port}:127.0.0.1:${port} ${location.hostname}" and open ` +
    `http://localhost:${port}. Typing and files work here too.`
  );
}
