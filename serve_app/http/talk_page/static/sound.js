// Samples as the API carries them: s16le, mono, 24 kHz.

export const RATE_HZ = 24000;
const AT_ONCE = 0x8000; // bytes that String.fromCharCode takes as arguments

/** Base64 of Int16 samples. */
export function toBase64(samples) {
  const bytes = new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += AT_ONCE) {
    text += String.fromCharCode(...bytes.subarray(i, i + AT_ONCE));
  }
  return btoa(text);
}

/** The Int16 samples in base64. */
export function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Int16Array(bytes.buffer, 0, bytes.length >> 1);
}

/** Float samples from -1 to 1 as Int16. */
export function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.round(Math.max(-1, Math.min(1, x)) * 32767));
}

/** Int16 samples as floats from -1 to 1. */
export function toFloat(samples) {
  return Float32Array.from(samples, (x) => x / 32768);
}

/** The root mean square of samples from -1 to 1. */
export function loudness(samples) {
  let sum = 0;
  for (const x of samples) sum += x * x;
  return samples.length ? Math.sqrt(sum / samples.length) : 0;
}

/** A WAV file (Blob) of pieces of Int16 samples. */
export function wavOf(pieces, rateHz = RATE_HZ) {
  const size = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const head = new DataView(new ArrayBuffer(44));
  const text = (at, letters) => {
    [...letters].forEach((letter, i) => head.setUint8(at + i, letter.charCodeAt(0)));
  };
  text(0, "RIFF");
  head.setUint32(4, 36 + size, true);
  text(8, "WAVEfmt ");
  head.setUint32(16, 16, true); // bytes of this chunk
  head.setUint16(20, 1, true); // PCM
  head.setUint16(22, 1, true); // channels
  head.setUint32(24, rateHz, true);
  head.setUint32(28, 2 * rateHz, true); // bytes a second
  head.setUint16(32, 2, true); // bytes a frame
  head.setUint16(34, 16, true); // bits a sample
  text(36, "data");
  head.setUint32(40, size, true);
  return new Blob([head, ...pieces], { type: "audio/wav" });
}
