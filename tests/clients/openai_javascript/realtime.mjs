// OpenAI's agents SDK in JavaScript on `/v1/realtime` by WebSocket, with its default names.
// It writes what it heard into the working folder: heard.json, and sounds as raw samples.
import { readFileSync, writeFileSync } from "node:fs";
import { RealtimeAgent, RealtimeSession, tool } from "@openai/agents-realtime";
import { z } from "zod";

const TEXT = "Hello there, how are you?";
const LONG =
  "This answer takes quite a while to be spoken, so that there is time to interrupt it. ".repeat(12);
const SILENCE_S = 5; // semantic turns wait for 4 s at most
const HEADER = 44; // bytes of a WAV file
const url = process.env.OPENAI_BASE_URL.replace("http", "ws") + "/realtime";
const heard = {};

const getWeather = tool({
  name: "get_weather",
  description: "The weather.",
  parameters: z.object({}),
  execute: async () => "rain",
});

// A recording and silence behind it, as raw samples.
function question(bytes) {
  const sound = readFileSync("question.wav").subarray(HEADER);
  const whole = Buffer.concat([sound, Buffer.alloc(48_000 * SILENCE_S)]);
  return whole.subarray(0, bytes ?? whole.length);
}

class Talk {
  static async begin(options = {}) {
    const agent = new RealtimeAgent({ name: "assistant", instructions: "Be brief.", ...options });
    const talk = new Talk();
    talk.session = new RealtimeSession(agent, { transport: "websocket" });
    talk.sound = [];
    talk.events = [];
    talk.session.on("audio", (event) => talk.sound.push(Buffer.from(event.data)));
    talk.session.on("transport_event", (event) => talk.note(event));
    talk.session.on("error", ({ error }) => (talk.error = error));
    await talk.session.connect({ apiKey: process.env.OPENAI_API_KEY, url });
    return talk;
  }

  note(event) {
    this.events.push(event.type);
    this.changed?.();
  }

  // Wait until the server has sent `type` once more.
  async until(type) {
    while (!this.events.includes(type)) {
      await new Promise((resolve) => (this.changed = resolve));
    }
    this.events.splice(this.events.indexOf(type), 1);
  }

  speak(sound) {
    for (let i = 0; i < sound.length; i += 4800) {
      this.session.sendAudio(new Uint8Array(sound.subarray(i, i + 4800)).buffer);
    }
  }

  // The last words of `role` in the history.
  words(role) {
    const items = this.session.history.filter((item) => item.role === role);
    return items.at(-1)?.content.map((part) => part.transcript ?? part.text ?? "").join("") ?? "";
  }
}

async function typed() {
  const talk = await Talk.begin();
  talk.session.sendMessage(TEXT);
  await talk.until("response.done");
  writeFileSync("typed.pcm", Buffer.concat(talk.sound));
  heard["typed"] = talk.words("assistant");
  talk.session.close();
}

async function spoken() {
  const talk = await Talk.begin();
  talk.speak(question());
  await talk.until("response.done");
  writeFileSync("spoken.pcm", Buffer.concat(talk.sound));
  heard["spoken"] = talk.words("assistant");
  await talk.until("conversation.item.input_audio_transcription.completed");
  heard["written"] = talk.words("user");
  talk.session.close();
}

async function called() {
  const talk = await Talk.begin({ tools: [getWeather] });
  talk.session.on("agent_tool_end", (_context, _agent, called, result) => {
    heard["call"] = [called.name, result];
  });
  talk.session.sendMessage("What is the weather?");
  await talk.until("response.done");
  await talk.until("response.done");
  heard["result"] = talk.words("assistant");
  talk.session.close();
}

async function interrupted() {
  const talk = await Talk.begin();
  const stopped = new Promise((resolve) => talk.session.once("audio_interrupted", resolve));
  talk.session.sendMessage(LONG);
  await talk.until("response.output_audio.delta");
  talk.speak(question(96_000));
  await stopped;
  await talk.until("response.done");
  heard["interrupted"] = true;
  talk.session.close();
}

async function reconnected() {
  const talk = await Talk.begin();
  const gone = new Promise((resolve) => talk.session.transport.once("disconnected", resolve));
  await fetch(process.env.RESTART_URL, { method: "POST" });
  await gone;
  const again = await Talk.begin();
  again.session.sendMessage("Are you there?");
  await again.until("response.done");
  heard["after a restart"] = again.words("assistant");
  again.session.close();
}

const calls = { typed, spoken, tool: called, interrupted, reconnected };
const names = process.argv.slice(2);
const WITHIN_S = Number(process.env.WITHIN_S ?? 30); // for each call

async function within(name) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error("late")), 1000 * WITHIN_S));
  await Promise.race([calls[name](), late]);
}

// Those that are named at once, though some may fail; or all of them in turn.
await Promise.all(
  names.map((name) => within(name).catch((error) => (heard[`${name} failed`] = error.message))),
);
if (!names.length) for (const name of Object.keys(calls)) await within(name);
writeFileSync("heard.json", JSON.stringify(heard, null, 1));
process.exit(0);
