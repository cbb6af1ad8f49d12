// The behaviours that the SockJS protocol (0.3) asks of a server, by the names they are known by: each URL, header, frame
// and edge, request by request, with no SockJS library. At an endpoint that echoes, and for the user `closer`, whose
// sessions a service ends with 3000 as they begin.
//
// Not here: iframes, htmlfile, jsonp, Hixie-76 and the JSESSIONID cookie, which this server has not; they must be 404.

import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";

import { Queue, check, done, require, stage, unique, within } from "./stage.mjs";

const WebSocket = require("ws");
const HOST = stage.gateways[0];
const OTHER = stage.gateways[1];
const BASE = stage.echo;
const OK = `?token=${stage.tokens.ana}`;
const CLOSING = `?token=${stage.tokens.closer}`;
const PRELUDE = `${"h".repeat(2048)}\n`;
const ALL_HEADERS = { origin: "https://app.example" };

/** A request, answered whole. */
function request(method, path, { body, headers = {}, host = HOST, agent } = {}) {
  const [hostname, port] = host.split(":");
  return within(
    `${method} ${path}`,
    new Promise((resolve, reject) => {
      const asked = http.request({ method, hostname, port, path: BASE + path, headers, agent: agent ?? false }, (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (more) => (text += more));
        response.on("end", () => resolve({ status: response.statusCode, headers: response.headers, body: text }));
        response.on("error", reject);
      });
      asked.on("error", reject);
      asked.end(body);
    }),
  );
}

const GET = (path, more) => request("GET", path, more);
const POST = (path, more) => request("POST", path, more);
const OPTIONS = (path, more) => request("OPTIONS", path, more);

/** A request whose answer goes on: its text comes in pieces. */
function stream(method, path, { host = HOST } = {}) {
  const [hostname, port] = host.split(":");
  return within(
    `${method} ${path}`,
    new Promise((resolve, reject) => {
      const asked = http.request({ method, hostname, port, path: BASE + path, agent: false }, (response) => {
        const it = { status: response.statusCode, headers: response.headers, text: "", over: false, waiting: [] };
        const wake = () => it.waiting.splice(0).forEach((waiting) => waiting());
        response.setEncoding("utf8");
        response.on("data", (more) => {
          it.text += more;
          wake();
        });
        for (const end of ["end", "error", "close"]) {
          response.on(end, () => {
            it.over = true;
            wake();
          });
        }
        /** Takes the next characters, which must be these. */
        it.expect = async (text) => {
          while (it.text.length < text.length && !it.over) {
            await within(JSON.stringify(text.slice(0, 80)), new Promise((woken) => it.waiting.push(woken)));
          }
          assert.equal(it.text.slice(0, text.length), text);
          it.text = it.text.slice(text.length);
        };
        it.ended = async () => {
          while (!it.over) await within("the end of the answer", new Promise((woken) => it.waiting.push(woken)));
          return it.text;
        };
        it.abort = () => asked.destroy();
        resolve(it);
      });
      asked.on("error", reject);
      asked.end();
    }),
  );
}

const session = () => `/000/${unique("s")}`;
const test = (name, body) => check(`SockJS protocol: ${name}`, body);

function verifyCors(answer, origin) {
  assert.equal(answer.headers["access-control-allow-origin"], origin);
  assert.equal(answer.headers["access-control-allow-credentials"], "true");
}

function verifyNotCached(answer) {
  assert.equal(answer.headers["cache-control"], "no-store, no-cache, no-transform, must-revalidate, max-age=0");
  assert.equal(answer.headers.expires, undefined);
  assert.equal(answer.headers["last-modified"], undefined);
}

async function verifyOptions(path, methods) {
  for (const origin of ["https://app.example", "null"]) {
    const answer = await OPTIONS(path, { headers: { origin, "access-control-request-headers": "a, b, c" } });
    assert.equal(answer.status, 204);
    assert.match(answer.headers["cache-control"], /public/);
    assert.match(answer.headers["cache-control"], /max-age=[1-9][0-9]{6}/);
    assert.ok(Number(answer.headers["access-control-max-age"]) > 1_000_000);
    assert.ok(answer.headers.expires);
    assert.equal(answer.headers["access-control-allow-methods"], methods);
    assert.equal(answer.headers["access-control-allow-headers"], "a, b, c");
    assert.equal(answer.body, "");
    verifyCors(answer, origin);
  }
  const plain = await OPTIONS(path, { headers: ALL_HEADERS });
  assert.equal(plain.headers["access-control-allow-headers"], undefined);
}

/** A session that has said `o`; its polls go to one gateway and its sends to the other. */
async function opened(query = OK) {
  const url = session();
  assert.equal((await POST(`${url}/xhr${query}`)).body, "o\n");
  return {
    url,
    poll: async () => (await POST(`${url}/xhr${query}`, { host: OTHER })).body,
    send: (body, headers) => POST(`${url}/xhr_send${query}`, { body, headers }),
  };
}

/** A poll that the server holds, as another one was told. */
async function waitingPoll(url) {
  const [hostname, port] = HOST.split(":");
  for (;;) {
    const asked = http.request({ method: "POST", hostname, port, path: `${BASE}${url}/xhr${OK}`, agent: false });
    const answer = new Promise((resolve) => {
      asked.on("response", async (response) => resolve(String(Buffer.concat(await response.toArray()))));
      asked.on("error", () => resolve(undefined));
    });
    asked.end();
    const { body } = await POST(`${url}/xhr${OK}`, { host: OTHER });
    if (body === 'c[2010,"Another connection still open"]\n') return { asked, answer };
    // It was here first, and has waited for a heart-beat.
    assert.equal(body, "h\n");
    await within("the other poll's answer", answer);
  }
}

/** A WebSocket whose messages wait. */
async function socket(path, options = {}) {
  const socket = new WebSocket(`ws://${HOST}${BASE}${path}`, options);
  const messages = new Queue("a frame");
  socket.on("message", (data) => messages.push(String(data)));
  const end = new Promise((resolve) => socket.on("close", (code, reason) => resolve({ code, reason: String(reason) })));
  await within("open", new Promise((resolve, reject) => socket.on("open", resolve).on("error", reject)));
  return { socket, next: () => messages.next(), end: () => within("the end", end), send: (text) => socket.send(text) };
}

/** Bytes in, all that comes back. */
function raw(text) {
  const [host, port] = HOST.split(":");
  return within(
    "a raw answer",
    new Promise((resolve, reject) => {
      const connection = net.connect(Number(port), host, () => connection.write(text));
      let all = "";
      connection.setEncoding("latin1");
      connection.on("data", (more) => (all += more)).on("end", () => resolve(all)).on("error", reject);
    }),
  );
}

// The base URL.

await test("BaseUrlGreeting.greeting", async () => {
  for (const path of ["", "/"]) {
    const answer = await GET(path);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["content-type"], "text/plain; charset=UTF-8");
    assert.equal(answer.body, "Welcome to SockJS!\n");
    assert.equal(answer.headers["set-cookie"], undefined);
  }
});

await test("BaseUrlGreeting.notFound", async () => {
  for (const path of ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/"]) assert.equal((await GET(path)).status, 404, path);
});

await test("what this server has not is 404 at once: iframes, htmlfile, jsonp", async () => {
  for (const path of ["/iframe.html", "/iframe-a.html", "/iframe-0.1.2-abc.html", "/000/a/htmlfile?c=x", "/000/a/jsonp?c=x"]) {
    assert.equal((await GET(path)).status, 404, path);
  }
  assert.equal((await POST("/000/a/jsonp_send")).status, 404);
});

await test("InfoTest.basic", async () => {
  const answer = await GET("/info", { headers: ALL_HEADERS });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "application/json; charset=UTF-8");
  verifyNotCached(answer);
  verifyCors(answer, ALL_HEADERS.origin);
  assert.equal(answer.headers["set-cookie"], undefined);
  const info = JSON.parse(answer.body);
  assert.deepEqual([info.websocket, info.cookie_needed, info.origins], [true, false, ["*:*"]]);
  assert.ok(Number.isInteger(info.entropy) && info.entropy >= 0);
});

await test("InfoTest.entropy", async () => {
  const entropies = [JSON.parse((await GET("/info")).body).entropy, JSON.parse((await GET("/info")).body).entropy];
  assert.notEqual(entropies[0], entropies[1]);
});

await test("InfoTest.options, null origin", () => verifyOptions("/info", "OPTIONS, GET"));

// Sessions.

await test("SessionURLs.anyValue", async () => {
  const names = [`/${unique("a")}/a`, "/_/_", "/1/1", "/abcdefgh_i-j%20/abcdefg_i-j%20"];
  for (const [place, name] of names.entries()) {
    const answer = await POST(`${name}${place}x${process.pid}/xhr${OK}`);
    assert.equal(answer.status, 200, name);
    assert.equal(answer.body, "o\n");
  }
});

await test("SessionURLs.invalidPaths", async () => {
  for (const path of ["//", "/a./a", "/a/a.", "/./.", "/", "///"]) {
    assert.equal((await GET(`${path}/xhr${OK}`)).status, 404, path);
    assert.equal((await POST(`${path}/xhr${OK}`)).status, 404, path);
  }
});

await test("SessionURLs.ignoringServerId", async () => {
  const name = unique("s");
  assert.equal((await POST(`/000/${name}/xhr${OK}`)).body, "o\n");
  assert.equal((await POST(`/000/${name}/xhr_send${OK}`, { body: '["a"]' })).status, 204);
  assert.equal((await POST(`/999/${name}/xhr${OK}`)).body, 'a["a"]\n');
});

await test("Protocol.simpleSession", async () => {
  const { url, poll, send } = await opened();
  const sent = await send('["a"]');
  assert.deepEqual([sent.status, sent.body], [204, ""]);
  assert.equal(await poll(), 'a["a"]\n');
  assert.equal((await POST(`/000/bad-session/xhr_send${OK}`, { body: '["a"]' })).status, 404);
  const { answer } = await waitingPoll(url);
  assert.equal((await send('["b"]')).status, 204);
  let frame = await within("the poll's answer", answer);
  if (frame === "h\n") frame = await poll();
  assert.equal(frame, 'a["b"]\n');
});

await test("Protocol.closeSession", async () => {
  const { poll } = await opened(CLOSING);
  assert.equal(await poll(), 'c[3000,"Go away!"]\n');
  assert.equal(await poll(), 'c[3000,"Go away!"]\n');
});

// WebSocket.

await test("WebsocketHttpErrors.httpMethod", async () => {
  assert.equal((await GET("/0/0/websocket")).status, 400);
});

await test("WebsocketHttpErrors.invalidConnectionHeader", async () => {
  const answer = await GET("/0/0/websocket", { headers: { upgrade: "WebSocket", connection: "close" } });
  assert.equal(answer.status, 400);
});

await test("WebsocketHttpErrors.invalidMethod", async () => {
  for (const path of ["/0/0/websocket", "/websocket"]) {
    const answer = await POST(path);
    assert.deepEqual([answer.status, answer.headers.allow], [405, "GET"]);
  }
});

await test("WebsocketHybi10.transport", async () => {
  const client = await socket(`${session()}/websocket${OK}`);
  assert.equal(await client.next(), "o");
  client.send('["a"]');
  assert.equal(await client.next(), 'a["a"]');
  client.socket.close();
});

await test("WebsocketHybi10.close", async () => {
  const client = await socket(`${session()}/websocket${CLOSING}`);
  assert.equal(await client.next(), "o");
  assert.equal(await client.next(), 'c[3000,"Go away!"]');
  assert.deepEqual(await client.end(), { code: 3000, reason: "Go away!" });
});

await test("WebsocketHybi10.empty_frame", async () => {
  const client = await socket(`${session()}/websocket${OK}`);
  assert.equal(await client.next(), "o");
  client.send("");
  client.send("[]");
  client.send('["a"]');
  assert.equal(await client.next(), 'a["a"]');
  client.socket.close();
});

await test("WebsocketHybi10.reuseSessionId", async () => {
  const url = session();
  const [one, two] = [await socket(`${url}/websocket${OK}`), await socket(`${url}/websocket${OK}`)];
  for (const client of [one, two]) assert.equal(await client.next(), "o");
  one.send('["a"]');
  assert.equal(await one.next(), 'a["a"]');
  two.send('["b"]');
  assert.equal(await two.next(), 'a["b"]');
  one.socket.close();
  two.socket.close();
  const again = await socket(`${url}/websocket${OK}`);
  assert.equal(await again.next(), "o");
  again.send('["a"]');
  assert.equal(await again.next(), 'a["a"]');
  again.socket.close();
});

await test("WebsocketHybi10.broken_json", async () => {
  const client = await socket(`${session()}/websocket${OK}`);
  assert.equal(await client.next(), "o");
  client.send('["a');
  assert.notEqual((await client.end()).code, 1000);
});

await test("WebsocketHybi10.firefox_602_connection_header", async () => {
  const client = await socket(`${session()}/websocket${OK}`, { headers: { connection: "keep-alive, Upgrade" } });
  assert.equal(await client.next(), "o");
  client.socket.close();
});

await test("RawWebsocket.transport, close", async () => {
  const client = await socket(`/websocket${OK}`);
  client.send("Hello world!\uffff");
  assert.equal(await client.next(), "Hello world!\uffff");
  client.socket.close();
  const closing = await socket(`/websocket${CLOSING}`);
  assert.deepEqual(await closing.end(), { code: 3000, reason: "Go away!" });
});

// xhr.

await test("XhrPolling.options", async () => {
  for (const what of ["xhr", "xhr_send"]) await verifyOptions(`/abc/abc/${what}`, "OPTIONS, POST");
});

await test("XhrPolling.transport", async () => {
  const url = session();
  const greeting = await POST(`${url}/xhr${OK}`, { headers: ALL_HEADERS });
  assert.deepEqual([greeting.status, greeting.body], [200, "o\n"]);
  assert.equal(greeting.headers["content-type"], "application/javascript; charset=UTF-8");
  verifyCors(greeting, ALL_HEADERS.origin);
  verifyNotCached(greeting);
  const sent = await POST(`${url}/xhr_send${OK}`, { body: '["x"]', headers: ALL_HEADERS });
  assert.deepEqual([sent.status, sent.body], [204, ""]);
  assert.equal(sent.headers["content-type"], "text/plain; charset=UTF-8");
  verifyCors(sent, ALL_HEADERS.origin);
  verifyNotCached(sent);
  assert.equal((await POST(`${url}/xhr${OK}`)).body, 'a["x"]\n');
});

await test("XhrPolling.invalid_session", async () => {
  const answer = await POST(`${session()}/xhr_send${OK}`, { body: '["x"]' });
  assert.equal(answer.status, 404);
  assert.equal(answer.headers["set-cookie"], undefined);
});

await test("XhrPolling.invalid_json", async () => {
  const { poll, send } = await opened();
  const broken = await send('["x');
  assert.deepEqual([broken.status, broken.body], [500, "Broken JSON encoding."]);
  const nothing = await send("");
  assert.deepEqual([nothing.status, nothing.body], [500, "Payload expected."]);
  assert.equal((await send('["a"]')).status, 204);
  assert.equal(await poll(), 'a["a"]\n');
});

await test("XhrPolling.content_types", async () => {
  const { poll, send } = await opened();
  const kinds = ["text/plain", "T", "application/json", "application/xml", "", "application/json; charset=utf-8", "text/xml; charset=utf-8", "text/xml"];
  for (const kind of kinds) {
    const sent = await send('["a"]', { "content-type": kind });
    assert.deepEqual([sent.status, sent.body], [204, ""], kind);
  }
  let heard = [];
  while (heard.length < kinds.length) heard = heard.concat(JSON.parse((await poll()).slice(1)));
  assert.deepEqual(heard, kinds.map(() => "a"));
});

await test("XhrPolling.request_headers_cors", async () => {
  for (const [asked, told] of [["a, b, c", "a, b, c"], [undefined, undefined]]) {
    const headers = { ...ALL_HEADERS, ...(asked && { "access-control-request-headers": asked }) };
    const answer = await OPTIONS(`${session()}/xhr`, { headers });
    verifyCors(answer, ALL_HEADERS.origin);
    assert.equal(answer.headers["access-control-allow-headers"], told);
  }
});

await test("XhrPolling.sending_empty_frame", async () => {
  const { poll, send } = await opened();
  assert.equal((await send("[]")).status, 204);
  assert.equal((await send('["a"]')).status, 204);
  assert.equal(await poll(), 'a["a"]\n');
});

await test("XhrStreaming.options", () => verifyOptions("/abc/abc/xhr_streaming", "OPTIONS, POST"));

await test("XhrStreaming.transport", async () => {
  const url = session();
  const answer = await stream("POST", `${url}/xhr_streaming${OK}`);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "application/javascript; charset=UTF-8");
  verifyCors(answer, "*");
  verifyNotCached(answer);
  await answer.expect(PRELUDE);
  await answer.expect("o\n");
  assert.equal((await POST(`${url}/xhr_send${OK}`, { body: '["x"]', host: OTHER })).status, 204);
  await answer.expect('a["x"]\n');
  answer.abort();
});

/** Sends about 140 KiB: the answer must end by itself, with nothing lost between it and the next. */
async function responseLimit(method, what, begin, wrap) {
  const url = session();
  const answer = await stream(method, `${url}/${what}${OK}`);
  await answer.expect(begin);
  await answer.expect(wrap("o"));
  const message = "x".repeat(16 * 1024);
  for (let number = 0; number < 9; number += 1) {
    assert.equal((await POST(`${url}/xhr_send${OK}`, { body: JSON.stringify([message]) })).status, 204);
  }
  const text = await answer.ended();
  const next = await stream(method, `${url}/${what}${OK}`, { host: OTHER });
  await next.expect(begin);
  let all = text;
  for (let seen = text.split(message).length - 1; seen < 9; seen = all.split(message).length - 1) {
    await next.expect("");
    if (!next.text) await within("more", new Promise((woken) => next.waiting.push(woken)));
    all += next.text;
    next.text = "";
  }
  assert.ok(text.length > 120 * 1024, `${text.length}`);
  next.abort();
}

await test("XhrStreaming.response_limit", () => responseLimit("POST", "xhr_streaming", PRELUDE, (frame) => `${frame}\n`));

await test("EventSource.transport", async () => {
  const url = session();
  const answer = await stream("GET", `${url}/eventsource${OK}`);
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["content-type"], "text/event-stream; charset=UTF-8");
  verifyNotCached(answer);
  await answer.expect("\r\n");
  await answer.expect("data: o\r\n\r\n");
  assert.equal((await POST(`${url}/xhr_send${OK}`, { body: '["x"]' })).status, 204);
  await answer.expect('data: a["x"]\r\n\r\n');
  // Line ends and NUL travel escaped.
  assert.equal((await POST(`${url}/xhr_send${OK}`, { body: '["  \\u0000\\n\\r "]' })).status, 204);
  await answer.expect('data: a["  \\u0000\\n\\r "]\r\n\r\n');
  answer.abort();
});

await test("EventSource.response_limit", () => responseLimit("GET", "eventsource", "\r\n", (frame) => `data: ${frame}\r\n\r\n`));

// Characters.

await test("JSONEncoding.xhr_server_encodes", async () => {
  // What a server must escape, wherever a browser might drop or change it.
  const ranges = [[0, 0x1f], [0x200c, 0x200f], [0x2028, 0x202f], [0x2060, 0x206f], [0xfff0, 0xffff]];
  const points = ranges.flatMap(([from, to]) => Array.from({ length: to - from + 1 }, (_, place) => from + place));
  const { poll, send } = await opened();
  assert.equal((await send(JSON.stringify([String.fromCharCode(...points)]))).status, 204);
  const frame = await poll();
  assert.equal(JSON.parse(frame.slice(1))[0], String.fromCharCode(...points));
  for (const point of points.filter((point) => point > 0x1f)) {
    assert.ok(frame.includes(`\\u${point.toString(16).padStart(4, "0")}`), `U+${point.toString(16)}`);
  }
});

await test("JSONEncoding.xhr_server_decodes", async () => {
  // What clients escape, surrogate pairs among it.
  const text = "\ud800\udc00 \ud83d\ude00 \u0000\u001f \u00ad \u0600 \u17b4 \u200c \u2028 \ufeff \ufff0 \uffff 한글";
  const escaped = [...Array(text.length).keys()].map((at) => `\\u${text.charCodeAt(at).toString(16).padStart(4, "0")}`);
  const { poll, send } = await opened();
  assert.equal((await send(`["${escaped.join("")}"]`)).status, 204);
  assert.equal(JSON.parse((await poll()).slice(1))[0], text);
});

// The end of sessions.

await test("HandlingClose.close_frame", async () => {
  const url = session();
  for (const begin of [PRELUDE + "o\n", PRELUDE]) {
    const answer = await stream("POST", `${url}/xhr_streaming${CLOSING}`);
    await answer.expect(begin);
    await answer.expect('c[3000,"Go away!"]\n');
    assert.equal(await answer.ended(), "");
  }
});

await test("HandlingClose.close_request", async () => {
  const url = session();
  const first = await stream("POST", `${url}/xhr_streaming${OK}`);
  await first.expect(PRELUDE + "o\n");
  const second = await stream("POST", `${url}/xhr_streaming${OK}`, { host: OTHER });
  await second.expect(PRELUDE + 'c[2010,"Another connection still open"]\n');
  assert.equal(await second.ended(), "");
  first.abort();
});

/** A receiver that the network takes away ends its session: told so once, then there is another. */
async function aborted(first, url) {
  first.abort();
  for (;;) {
    const { body } = await POST(`${url}/xhr${OK}`, { host: OTHER });
    // Not noticed yet.
    if (body === 'c[2010,"Another connection still open"]\n') continue;
    assert.equal(body, 'c[1002,"Connection interrupted"]\n');
    return;
  }
}

await test("HandlingClose.abort_xhr_streaming", async () => {
  const url = session();
  const first = await stream("POST", `${url}/xhr_streaming${OK}`);
  await first.expect(PRELUDE + "o\n");
  await aborted(first, url);
});

await test("HandlingClose.abort_xhr_polling", async () => {
  const { url } = await opened();
  const { asked } = await waitingPoll(url);
  await aborted({ abort: () => asked.destroy() }, url);
});

// HTTP itself.

await test("Http10.synchronous", async () => {
  const answer = await raw(`GET ${BASE} HTTP/1.0\r\nHost: localhost\r\n\r\n`);
  assert.match(answer, /^HTTP\/1\.[01] 200 /);
  assert.match(answer, /content-length: 19\r\n/i);
  assert.ok(answer.endsWith("\r\n\r\nWelcome to SockJS!\n"));
});

await test("Http10.streaming", async () => {
  const name = unique("s");
  const [host, port] = HOST.split(":");
  const connection = net.connect(Number(port), host);
  let all = "";
  connection.setEncoding("latin1");
  connection.on("data", (more) => (all += more));
  connection.write(`POST ${BASE}/000/${name}/xhr_streaming${OK} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n`);
  await within("the greeting", new Promise((resolve) => connection.on("data", () => all.endsWith("o\n") && resolve())));
  assert.match(all, /^HTTP\/1\.[01] 200 /);
  assert.doesNotMatch(all, /transfer-encoding/i);
  assert.ok(all.endsWith(`\r\n\r\n${PRELUDE}o\n`));
  connection.destroy();
});

await test("Http11.synchronous", async () => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  for (let time = 0; time < 3; time += 1) {
    const answer = await GET("", { agent });
    assert.equal(answer.body, "Welcome to SockJS!\n");
    assert.equal(answer.headers["content-length"], "19");
  }
  agent.destroy();
});

await test("Http11.streaming", async () => {
  const answer = await stream("POST", `${session()}/xhr_streaming${OK}`);
  assert.equal(answer.headers["transfer-encoding"], "chunked");
  await answer.expect(PRELUDE + "o\n");
  answer.abort();
});
done();
