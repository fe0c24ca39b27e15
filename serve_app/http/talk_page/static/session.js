// What the page asks of a session, as the fields of `session.update` and of items.

const PCM = { type: "audio/pcm", rate: 24000 };
const TURN_DETECTION = {
  semantic: { type: "semantic_vad", eagerness: "auto" },
  quick: { type: "server_vad", silence_duration_ms: 500 },
  hold: null,
};

/**
 * The session of `settings`: `turns` (semantic, quick or hold), `voice` (null on a server that does
 * not speak), `instructions`, `captions` (whether the visitor's words are written down), `model`.
 */
export function sessionOf({ turns, voice, instructions, captions, model }) {
  const input = {
    format: PCM,
    turn_detection: TURN_DETECTION[turns],
    transcription: captions ? { model } : null,
  };
  const audio = voice === null ? { input } : { input, output: { format: PCM, voice } };
  const output_modalities = [voice === null ? "text" : "audio"];
  return { type: "realtime", output_modalities, instructions, audio };
}

/** A turn as an item of text; null where nothing of it is known. */
export function itemOf(turn) {
  const text = turn.heardText.trim();
  if (!text) return null;
  const type = turn.role === "user" ? "input_text" : "output_text";
  return { id: turn.id, type: "message", role: turn.role, content: [{ type, text }] };
}

/** A new id of an item: a page without https has no `crypto.randomUUID`. */
export function newItemId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return `item_${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}`;
}
