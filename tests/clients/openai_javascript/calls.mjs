// Every call of OpenAI's JavaScript client, with nothing changed but its address and its key.
// The argument names the package. It writes what it heard into the working folder: sounds as files
// of their formats, and the rest into heard.json.
import { createReadStream, readFileSync, writeFileSync } from "node:fs";

const { OpenAI } = await import(process.argv[2]);

const TEXT = "Hello there, how are you?";
const TOOL = {
  type: "function",
  function: { name: "get_weather", parameters: { type: "object", properties: {} } },
};
const client = new OpenAI();
const heard = {};

async function all(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

async function models() {
  heard["models"] = (await all(client.models.list())).map((model) => model.id);
  heard["model"] = (await client.models.retrieve("gpt-4o-mini-tts")).id;
}

async function speech() {
  const said = { model: "gpt-4o-mini-tts", voice: "alloy", input: TEXT };
  const whole = await client.audio.speech.create(said);
  writeFileSync("whole.mp3", Buffer.from(await whole.arrayBuffer()));
  for (const response_format of ["mp3", "opus", "aac", "flac", "wav", "pcm"]) {
    const raw = await client.audio.speech.create({ ...said, response_format });
    const pieces = await all(raw.body);
    writeFileSync(`streamed.${response_format}`, Buffer.concat(pieces));
    const sse = { ...said, response_format, stream_format: "sse" };
    const lines = (await (await client.audio.speech.create(sse)).text()).split("\n");
    const events = lines.filter((l) => l.startsWith("data: ")).map((l) => JSON.parse(l.slice(6)));
    heard[`done of ${response_format}`] = events.pop();
    const sound = events.map((event) => Buffer.from(event.audio, "base64"));
    writeFileSync(`sse.${response_format}`, Buffer.concat(sound));
  }
  const quick = { ...said, voice: { id: "ben" }, response_format: "wav", speed: 2 };
  const answer = await client.audio.speech.create({ ...quick, instructions: "Whisper." });
  writeFileSync("quick.wav", Buffer.from(await answer.arrayBuffer()));
}

async function transcripts() {
  const file = () => createReadStream("question.wav");
  const transcribe = (options) => client.audio.transcriptions.create({ file: file(), ...options });
  const translate = (options) => client.audio.translations.create({ file: file(), ...options });
  heard["json"] = (await transcribe({ model: "whisper-1" })).text;
  for (const response_format of ["text", "srt", "vtt"]) {
    heard[response_format] = await transcribe({ model: "whisper-1", response_format });
  }
  heard["verbose_json"] = await transcribe({
    model: "whisper-1",
    response_format: "verbose_json",
    language: "en",
    timestamp_granularities: ["segment"],
  });
  const events = await transcribe({ model: "gpt-4o-mini-transcribe", stream: true });
  heard["events"] = await all(events);
  const chunking_strategy = { type: "server_vad", silence_duration_ms: 300 };
  const cut = { model: "gpt-4o-transcribe", chunking_strategy, prompt: "names", temperature: 0 };
  heard["cut"] = (await transcribe(cut)).text;
  heard["translation"] = (await translate({ model: "whisper-1" })).text;
  heard["verbose translation"] = await translate({
    model: "whisper-1",
    response_format: "verbose_json",
  });
}

async function voices() {
  if (!client.audio.voices) return; // version 6 has none
  const audio_sample = createReadStream("sample.wav");
  const voice = await client.audio.voices.create({ name: "zoé", audio_sample, consent: "cons_1" });
  heard["voice"] = voice;
  for (const [by, asked] of [["name", voice.name], ["id", { id: voice.id }]]) {
    const said = { model: "tts-1", voice: asked, input: TEXT, response_format: "wav" };
    const answer = await client.audio.speech.create(said);
    writeFileSync(`voice-by-${by}.wav`, Buffer.from(await answer.arrayBuffer()));
  }
  heard["deleted"] = await client.audio.voices.delete(voice.id);
}

async function chats() {
  const create = (options) => client.chat.completions.create(options);
  const asked = { model: "gpt-4o-audio-preview", messages: [{ role: "user", content: TEXT }] };
  const aloud = { ...asked, modalities: ["text", "audio"] };
  heard["chat"] = (await create(asked)).choices[0].message.content;
  const usage = { stream: true, stream_options: { include_usage: true } };
  const chunks = await all(await create({ ...asked, ...usage }));
  heard["usage of a streamed chat"] = chunks.pop().usage;
  heard["streamed chat"] = chunks.map((c) => c.choices[0].delta.content ?? "").join("");

  const wav = await create({ ...aloud, audio: { voice: "alloy", format: "wav" } });
  const whole = wav.choices[0].message.audio;
  writeFileSync("chat.wav", Buffer.from(whole.data, "base64"));
  heard["transcript of a chat"] = whole.transcript;

  const pcm = { ...aloud, audio: { voice: "alloy", format: "pcm16" }, stream: true };
  const deltas = (await all(await create(pcm))).map((c) => c.choices[0].delta.audio ?? {});
  const sound = deltas.map((audio) => Buffer.from(audio.data ?? "", "base64"));
  writeFileSync("chat.pcm", Buffer.concat(sound));
  heard["transcript of a streamed chat"] = deltas.map((a) => a.transcript ?? "").join("");

  const data = readFileSync("question.wav").toString("base64");
  const question = { type: "input_audio", input_audio: { data, format: "wav" } };
  const answers = [];
  for (const id of [whole.id, deltas.find((audio) => audio.id).id]) {
    const next = { role: "user", content: [question, { type: "text", text: "And?" }] };
    const messages = [...asked.messages, { role: "assistant", audio: { id } }, next];
    const answer = await create({ model: "gpt-audio", messages });
    answers.push(answer.choices[0].message.content);
  }
  heard["answers to turns"] = answers;

  const { finish_reason, message } = (await create({ ...asked, tools: [TOOL] })).choices[0];
  heard["tool"] = [finish_reason, message.tool_calls[0].function.name];
  const streamed = await all(await create({ ...asked, tools: [TOOL], stream: true }));
  const calls = streamed.flatMap((chunk) => chunk.choices[0].delta.tool_calls ?? []);
  heard["streamed tool"] = calls.map((call) => call.function.name);
  const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "rain" };
  const messages = [...asked.messages, message, result];
  const answer = await create({ ...asked, messages, tools: [TOOL] });
  heard["answer to a result"] = answer.choices[0].message.content;
  const json_schema = { name: "said", schema: { type: "object" } };
  const response_format = { type: "json_schema", json_schema };
  const json = await create({ ...asked, response_format });
  heard["json of a chat"] = JSON.parse(json.choices[0].message.content);
}

async function errors() {
  const once = client.withOptions({ maxRetries: 0 });
  const limited = once.withOptions({ apiKey: process.env.LIMITED_KEY });
  const wrong = once.withOptions({ apiKey: "sk-wrong" });
  const said = { model: "tts-1", voice: "alloy", input: TEXT };
  const say = async (options, by = once) =>
    (await by.audio.speech.create({ ...said, ...options })).arrayBuffer();
  const breaking = [{ role: "user", content: "break off" }];
  const chat = { model: "gpt-audio", messages: breaking };
  const noSound = new File([Buffer.from("no sound")], "a.wav");
  const listen = (options) =>
    once.audio.transcriptions.create({ model: "whisper-1", ...options });
  const noWords = {
    file: createReadStream("question.wav"),
    response_format: "verbose_json",
    timestamp_granularities: ["word"],
  };
  await say({}, limited);
  const faults = {
    "no such model": () => say({ model: "gpt-5" }),
    "too long": () => say({ input: "x".repeat(4097) }),
    "no such voice": () => say({ voice: "nobody" }),
    "wrong key": () => wrong.models.list(),
    "over its limit": () => say({}, limited),
    "no recording": () => listen({ file: noSound }),
    "no words": () => listen(noWords),
    "breaks off": () => say({ input: "break off" }),
    "breaks off as events": () => say({ input: "break off", stream_format: "sse" }),
    "chat breaks off": async () => all(await once.chat.completions.create({ ...chat, stream: true })),
    "whole chat fails": () => once.chat.completions.create(chat),
  };
  for (const [fault, cause] of Object.entries(faults)) {
    heard[fault] = await cause().then(() => null, (e) => [e.constructor.name, e.code ?? null]);
  }
}

for (const part of [models, speech, transcripts, voices, chats, errors]) await part();
writeFileSync("heard.json", JSON.stringify(heard, null, 1));
