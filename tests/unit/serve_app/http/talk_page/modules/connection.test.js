import assert from "node:assert/strict";
import test from "node:test";
import { Connection } from "../page/connection.js";

class FakeSocket {
  static last = null;
  readyState = 1;
  sent = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeSocket.last = this;
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code) {
    this.onclose({ code });
  }

  gives(event) {
    this.onmessage({ data: JSON.stringify(event) });
  }
}

const error = { type: "error", error: { code: "server_full", message: "no room" } };

async function opened(token = null) {
  const opening = Connection.open("ws://server/v1/realtime?model=m", token, FakeSocket);
  FakeSocket.last.gives({ type: "session.created" });
  return [await opening, FakeSocket.last];
}

function ending(connection) {
  return new Promise((resolve) => {
    connection.addEventListener("closed", ({ detail }) => resolve(detail));
  });
}

test("a token goes into the subprotocols and never into the address", async () => {
  const [, socket] = await opened("ek_secret");
  assert.deepEqual(socket.protocols, ["realtime", "openai-insecure-api-key.ek_secret"]);
  assert.ok(!socket.url.includes("ek_secret"));
});

test("without a token only the protocol itself is offered", async () => {
  const [, socket] = await opened();
  assert.deepEqual(socket.protocols, ["realtime"]);
});

test("a socket that closes before the session begins says why", async () => {
  const opening = Connection.open("ws://server", null, FakeSocket);
  FakeSocket.last.gives(error);
  FakeSocket.last.close(1013);
  await assert.rejects(opening, /no room/);
});

test("a restart of the server is worth another attempt, a refusal is not", async () => {
  for (const [code, comesBack] of [[1012, true], [1006, true], [1008, false], [1000, false]]) {
    const [connection, socket] = await opened();
    const ended = ending(connection);
    socket.close(code);
    assert.equal((await ended).comesBack, comesBack, `code ${code}`);
  }
});

test("one's own close is no loss", async () => {
  const [connection] = await opened();
  const ended = ending(connection);
  connection.close();
  assert.equal((await ended).comesBack, false);
});

test("an error of long ago is not the reason of the end", async () => {
  const [connection, socket] = await opened();
  socket.gives(error);
  socket.gives({ type: "response.created" });
  const ended = ending(connection);
  socket.close(1012);
  assert.equal((await ended).message, "The server restarts.");
});
