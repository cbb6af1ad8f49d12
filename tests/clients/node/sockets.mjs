// Plain WebSocket libraries, dialects `json` and `bare`.

import { Queue, check, deferred, done, require, stage, unique, within } from "./stage.mjs";
import assert from "node:assert/strict";

const libraries = { "ws 8.18.3": require("ws"), "undici 7.16.0": require("undici").WebSocket };

class Socket {
  messages = new Queue("a message");
  ended = deferred();
  #last = 0;

  constructor(WebSocket, gateway, path, protocols) {
    this.socket = new WebSocket(`ws://${stage.gateways[gateway]}${path}`, protocols);
    this.socket.binaryType = "arraybuffer";
    this.socket.addEventListener("message", ({ data }) => this.messages.push(data));
    this.open = new Promise((resolve) => this.socket.addEventListener("open", resolve));
    this.socket.addEventListener("error", () => {});
    this.socket.addEventListener("close", ({ code, reason }) => this.ended.resolve({ code, reason }));
  }

  opened() {
    return within("open", this.open);
  }

  async next() {
    return JSON.parse(await this.messages.next());
  }

  /** Says something, and waits for its answer; what comes in between stays. */
  async ask(message) {
    this.#last += 1;
    const id = this.#last;
    this.socket.send(JSON.stringify({ ...message, id }));
    const passed = [];
    for (;;) {
      const answer = await this.next();
      if (answer.id === id && answer.type !== "message") {
        for (const one of passed) this.messages.push(JSON.stringify(one));
        return answer;
      }
      passed.push(answer);
    }
  }

  async leave() {
    this.socket.close(1000);
    assert.equal((await within("the end", this.ended.promise)).code, 1000);
  }
}

for (const [title, WebSocket] of Object.entries(libraries)) {
  const test = (name, body) => check(`${title}: ${name}`, body);
  const welcomed = async (user, gateway) => {
    const socket = new Socket(WebSocket, gateway, "/ws/chat", ["holdfast.v1.json"]);
    await socket.opened();
    assert.equal(socket.socket.protocol, "holdfast.v1.json");
    const welcome = await socket.ask({ type: "auth", token: stage.tokens[user] });
    assert.deepEqual([welcome.type, welcome.user], ["welcome", user]);
    return socket;
  };

  await test("json: a room, over two nodes", async () => {
    const room = unique("room");
    const [ana, ben] = [await welcomed("ana", 0), await welcomed("ben", 1)];
    for (const socket of [ana, ben]) assert.equal((await socket.ask({ type: "join", room })).type, "ok");
    const data = { text: "안녕 👋", nul: "a\0b" };
    assert.equal((await ana.ask({ type: "send", to: `room.${room}`, data })).type, "ok");
    for (const socket of [ana, ben]) {
      const message = await socket.next();
      assert.deepEqual([message.type, message.room, message.data], ["message", room, data]);
    }
    await ana.leave();
    await ben.leave();
  });

  await test("json: requests, errors, ping", async () => {
    const socket = await welcomed("ana", 0);
    const reply = await socket.ask({ type: "request", to: "who", data: null });
    assert.deepEqual([reply.type, reply.data], ["reply", { user: "ana" }]);
    const error = await socket.ask({ type: "request", to: "fail", data: null });
    assert.deepEqual([error.code, error.status, error.message], ["service", 418, "no tea here"]);
    assert.equal((await socket.ask({ type: "ping" })).type, "pong");
    assert.equal((await socket.ask({ type: "nonsense" })).code, "unknown_type");
    await socket.leave();
  });

  await test("json: an ack counts, a service's close arrives", async () => {
    const room = unique("room");
    const socket = await welcomed("ana", 0);
    await socket.ask({ type: "join", room });
    await socket.ask({ type: "send", to: `acked.${room}`, data: "one" });
    const message = await socket.next();
    assert.equal(message.ack, true);
    socket.socket.send(JSON.stringify({ type: "ack", ids: [message.id] }));
    assert.equal((await socket.next()).data, 1);
    // Without an id: the end may come before an `ok` would.
    socket.socket.send(JSON.stringify({ type: "send", to: "kick", data: null }));
    const { code, reason } = await within("the end", socket.ended.promise);
    assert.deepEqual([code, reason], [4100, "out"]);
  });

  await test("json: a wrong credential, and a binary message", async () => {
    const expired = new Socket(WebSocket, 0, "/ws/chat", ["holdfast.v1.json"]);
    await expired.opened();
    expired.socket.send(JSON.stringify({ type: "auth", id: 1, token: stage.tokens.expired }));
    assert.equal((await within("the end", expired.ended.promise)).code, 4003);
    const binary = await welcomed("ana", 0);
    binary.socket.send(new Uint8Array([1, 2, 3]));
    assert.equal((await within("the end", binary.ended.promise)).code, 1003);
  });

  await test("json: a large message goes up in pieces of any size, one too large is 1009", async () => {
    const room = unique("room");
    const socket = await welcomed("ana", 0);
    await socket.ask({ type: "join", room });
    const data = "가".repeat(20_000);
    await socket.ask({ type: "send", to: `room.${room}`, data });
    assert.equal((await socket.next()).data, data);
    socket.socket.send("x".repeat(70_000));
    assert.equal((await within("the end", socket.ended.promise)).code, 1009);
  });

  await test("bare: the payload and nothing else, text and binary", async () => {
    const room = unique("room");
    const path = `/ws/chat?room=${room}&token=${stage.tokens.ana}`;
    const bare = new Socket(WebSocket, 1, path, ["holdfast.v1.bare"]);
    const sender = await welcomed("ben", 0);
    await bare.opened();
    await sender.ask({ type: "join", room });
    // `?room=` is joined after the upgrade: until then nothing comes.
    let heard;
    const waiting = bare.messages.next().then((data) => (heard = data));
    while (heard === undefined) {
      await sender.ask({ type: "send", to: `room.${room}`, data: { n: 1 } });
      await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 50))]);
    }
    assert.equal(heard, '{"n":1}');
    await bare.leave();
    await sender.leave();
  });
}
done();
