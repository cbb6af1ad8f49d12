// The fallbacks over HTTP/2, by Node's own client: many sessions on one connection, over TLS and in the clear.

import assert from "node:assert/strict";
import http2 from "node:http2";

import { Queue, check, done, stage, unique, within } from "./stage.mjs";

const { HTTP2_HEADER_METHOD, HTTP2_HEADER_PATH, HTTP2_HEADER_STATUS } = http2.constants;
const NATIVE = `${stage.sockjs}/_http`;
const PRELUDE = `${"h".repeat(2048)}\n`;

/** One connection to a gateway. */
function connect(url, options) {
  const connection = http2.connect(url, options);
  connection.on("error", () => {});
  return within(
    `HTTP/2 with ${url}`,
    new Promise((resolve, reject) => connection.on("connect", () => resolve(connection)).on("error", reject)),
  );
}

/** A request whose answer comes in pieces. */
async function ask(connection, method, path, { headers = {}, body } = {}) {
  const stream = connection.request({ [HTTP2_HEADER_METHOD]: method, [HTTP2_HEADER_PATH]: path, ...headers });
  const lines = new Queue(`a line of ${path}`);
  let rest = "";
  let all = "";
  stream.setEncoding("utf8");
  const over = new Promise((resolve, reject) => stream.on("end", resolve).on("error", reject));
  over.catch(() => {});
  stream.on("data", (more) => {
    all += more;
    rest += more;
    const parts = rest.split("\n");
    rest = parts.pop();
    for (const part of parts) if (part.trim()) lines.push(part.trimEnd());
  });
  stream.end(body);
  const answered = await within(
    `${method} ${path}`,
    new Promise((resolve, reject) => stream.on("response", resolve).on("error", reject)),
  );
  return {
    status: answered[HTTP2_HEADER_STATUS],
    headers: answered,
    next: () => lines.next(),
    whole: async () => {
      await within("the end of the answer", over);
      return all;
    },
    abort: () => stream.close(http2.constants.NGHTTP2_CANCEL),
  };
}

const whole = async (...asked) => {
  const answer = await ask(...asked);
  return { status: answer.status, headers: answer.headers, body: await answer.whole() };
};

const authorization = (user) => ({ authorization: `Bearer ${stage.tokens[user]}` });

/** A native session; its requests go over any of `connections`. */
async function session(connections, user = "ana") {
  const opened = await whole(connections[0], "POST", `${NATIVE}/open`, { headers: authorization(user) });
  assert.equal(opened.status, 200, opened.body);
  const path = `${NATIVE}/${JSON.parse(opened.body).session}`;
  const say = async (message) => {
    const sent = await whole(connections.at(-1), "POST", `${path}/send`, { body: JSON.stringify(message) });
    assert.equal(sent.status, 204, sent.body);
  };
  return { path, say };
}

const places = {
  "TLS": stage.secure.gateways.map((host) => [`https://${host}`, { ca: stage.secure.certificate }]),
  "in the clear": stage.gateways.map((host) => [`http://${host}`, {}]),
};

for (const [where, gateways] of Object.entries(places)) {
  const test = (name, body) =>
    check(`HTTP/2, ${where}: ${name}`, async () => {
      const connections = await Promise.all(gateways.map((gateway) => connect(...gateway)));
      try {
        await body(connections);
      } finally {
        for (const connection of connections) connection.destroy();
      }
    });

  for (const [what, unwrap] of [["stream", (line) => line], ["events", (line) => line.replace(/^data: /, "")]]) {
    await test(`${what} down, POST up, at two gateways`, async (connections) => {
      const room = unique("room");
      const { path, say } = await session(connections);
      const down = await ask(connections[1], "GET", `${path}/${what}`);
      assert.equal(down.status, 200);
      const next = async () => JSON.parse(unwrap(await down.next()));
      assert.equal((await next()).type, "welcome");
      await say({ type: "join", id: 1, room });
      assert.equal((await next()).type, "ok");
      for (let number = 0; number < 50; number += 1) await say({ type: "send", to: `room.${room}`, data: number });
      for (let number = 0; number < 50; number += 1) assert.equal((await next()).data, number);
      down.abort();
    });
  }

  await test("long polls", async (connections) => {
    const room = unique("room");
    const { path, say } = await session(connections);
    const waiting = [];
    const next = async () => {
      while (!waiting.length) {
        const { status, body } = await whole(connections[1], "GET", `${path}/poll`);
        assert.equal(status, 200);
        waiting.push(...body.split("\n").filter(Boolean).map((line) => JSON.parse(line)));
      }
      return waiting.shift();
    };
    assert.equal((await next()).type, "welcome");
    await say({ type: "join", id: 1, room });
    assert.equal((await next()).type, "ok");
    for (let number = 0; number < 20; number += 1) {
      await say({ type: "send", to: `room.${room}`, data: number });
      assert.equal((await next()).data, number);
    }
  });

  await test("SockJS: xhr_streaming, xhr, xhr_send", async (connections) => {
    const url = `${stage.echo}/000/${unique("s")}`;
    const query = `?token=${stage.tokens.ana}`;
    const greeting = await whole(connections[0], "POST", `${url}/xhr${query}`);
    assert.deepEqual([greeting.status, greeting.body], [200, "o\n"]);
    const down = await ask(connections[1], "POST", `${url}/xhr_streaming${query}`);
    assert.equal(`${await down.next()}\n`, PRELUDE);
    const sent = await whole(connections[0], "POST", `${url}/xhr_send${query}`, { body: '["a","안녕"]' });
    assert.equal(sent.status, 204);
    const heard = [];
    while (heard.length < 2) heard.push(...JSON.parse((await down.next()).slice(1)));
    assert.deepEqual(heard, ["a", "안녕"]);
    down.abort();
  });

  await test("fifty sessions on one connection hear one message each", async ([one]) => {
    const room = unique("room");
    const sessions = await Promise.all(
      Array.from({ length: 50 }, async () => {
        const { path, say } = await session([one], "ben");
        const down = await ask(one, "GET", `${path}/events`);
        const next = async () => JSON.parse((await down.next()).replace(/^data: /, ""));
        assert.equal((await next()).type, "welcome");
        await say({ type: "join", id: 1, room });
        assert.equal((await next()).type, "ok");
        return { say, next };
      }),
    );
    await sessions[0].say({ type: "send", to: `room.${room}`, data: "all" });
    for (const { next } of sessions) assert.equal((await next()).data, "all");
  });

  await test("what is refused is a status, and the connection goes on", async ([one]) => {
    const huge = await whole(one, "POST", `${stage.sockjs}/000/x/xhr_send`, { body: "x".repeat(300 * 1024) }).catch(
      // The answer may overtake the body, and end it.
      (error) => ({ status: 413, body: String(error) }),
    );
    assert.equal(huge.status, 413);
    assert.equal((await whole(one, "GET", `${NATIVE}/none/poll`)).status, 404);
    assert.equal((await whole(one, "POST", `${NATIVE}/open`, { headers: { authorization: "Bearer x" } })).status, 401);
    assert.equal((await whole(one, "GET", "/ws/other")).status, 400);
    assert.equal((await whole(one, "GET", stage.echo)).body, "Welcome to SockJS!\n");
  });
}
done();
