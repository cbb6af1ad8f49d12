// Each STOMP library over each transport and version it has, against two gateways: the client under test is at one, its
// partner at the other.

import { Classic, Modern, Webstomp } from "./libraries.mjs";
import { check, done, skip, stage, unique, until } from "./stage.mjs";
import assert from "node:assert/strict";

const SOCKJS = ["websocket", "xhr-streaming", "xhr-polling", "eventsource"];
const KOREAN = "안녕하세요 👋 \u2028 반갑습니다";

const url = (gateway, path = "/ws/chat") => `ws://${stage.gateways[gateway]}${path}`;
const bearer = (user) => ({ Authorization: `Bearer ${stage.tokens[user]}` });

/** Runs every check of one library, version and transport. */
async function suite(Library, version, transport, base, options = {}) {
  const title = `${Library.title}, STOMP ${version}, ${options.title ?? transport}`;
  const open = async (user = "ana", gateway = 0, more = {}) => {
    const session = new Library();
    const where = { url: url(gateway, base), transport, version, headers: bearer(user), options: options.client };
    session.frame = await session.open({ ...where, ...more });
    return session;
  };
  /** A subscription that is there for everybody: its receipt has come. */
  const subscribed = async (session, destination, headers = {}) => {
    const receipt = session.receiptId();
    const subscription = session.subscribe(destination, { ...headers, receipt });
    await session.receipt(receipt);
    return subscription;
  };
  const test = (name, body) => check(`${title}: ${name}`, body);

  await test("CONNECTED says who it is", async () => {
    const session = await open();
    const { headers } = session.frame;
    assert.equal(headers.version, version);
    assert.equal(headers["user-name"], "ana");
    assert.match(headers["heart-beat"], /^\d+,\d+$/);
    assert.ok(headers.session);
    await session.leave();
  });

  await test("a message goes up, and comes down on another node, exactly", async () => {
    const room = unique("room");
    const [ana, ben] = [await open("ana", 0), await open("ben", 1)];
    const heard = [await subscribed(ana, `/topic/${room}`), await subscribed(ben, `/topic/${room}`)];
    const receipt = ana.receiptId();
    ana.send(`/app/room/${room}`, KOREAN, { receipt, "content-type": "text/plain" });
    await ana.receipt(receipt);
    for (const subscription of heard) {
      const message = await subscription.next();
      assert.equal(message.body, KOREAN);
      assert.equal(message.headers.destination, `/topic/${room}`);
      assert.equal(message.headers.subscription, subscription.id);
      assert.ok(message.headers["message-id"]);
    }
    await ana.leave();
    await ben.leave();
  });

  await test("two subscriptions get a frame each, until one ends", async () => {
    const room = unique("room");
    const session = await open();
    const first = await subscribed(session, `/topic/${room}`);
    const second = await subscribed(session, `/sub/${room}`);
    session.send(`/app/room/${room}`, "one");
    assert.deepEqual([(await first.next()).body, (await second.next()).body], ["one", "one"]);
    first.unsubscribe();
    session.send(`/app/room/${room}`, "two");
    assert.equal((await second.next()).body, "two");
    assert.equal(first.length, 0);
    await session.leave();
  });

  await test("a subscription to a service is answered once", async () => {
    const session = await open("ben");
    const answer = await session.subscribe("/app/who").next();
    assert.deepEqual(JSON.parse(answer.body), { user: "ben" });
    await session.leave();
  });

  await test("one's own messages come to /user/queue, and a body with NUL goes up whole", async () => {
    const session = await open();
    const own = await subscribed(session, "/user/queue/hex");
    const body = "a\0b é";
    session.send("/app/hex", body);
    assert.equal(JSON.parse((await own.next()).body), Buffer.from(body).toString("hex"));
    await session.leave();
  });

  await test("ACK counts for the sender, NACK does not", async () => {
    const room = unique("room");
    const session = await open();
    const heard = await subscribed(session, `/topic/${room}`, { ack: "client-individual" });
    const counts = await subscribed(session, "/user/queue/acked");
    session.send(`/app/acked/${room}`, "one");
    session.ack(await heard.next());
    assert.equal((await counts.next()).body, "1");
    session.send(`/app/unacked/${room}`, "two");
    const message = await heard.next();
    if (version !== "1.0") session.nack(message);
    assert.equal((await counts.next()).body, "0");
    await session.leave();
  });

  await test("a transaction is carried out in order, or not at all", async () => {
    const room = unique("room");
    const session = await open();
    const heard = await subscribed(session, `/topic/${room}`);
    const dropped = session.begin();
    session.send(`/app/room/${room}`, "never", { transaction: dropped.id });
    dropped.abort();
    const kept = session.begin();
    session.send(`/app/room/${room}`, "one", { transaction: kept.id });
    session.send(`/app/room/${room}`, "two", { transaction: kept.id });
    kept.commit();
    assert.deepEqual([(await heard.next()).body, (await heard.next()).body], ["one", "two"]);
    await session.leave();
  });

  await test("a frame split over messages arrives whole", async () => {
    const session = await open();
    const own = await subscribed(session, "/user/queue/hex");
    const body = "가".repeat(12_000);
    session.send("/app/hex", body);
    assert.equal(JSON.parse((await own.next()).body), Buffer.from(body).toString("hex"));
    await session.leave();
  });

  await test("what is denied is an ERROR with the receipt, and the end", async () => {
    const session = await open();
    const receipt = session.receiptId();
    session.send("/topic/denied", "x", { receipt });
    const error = await session.errors.next();
    assert.equal(error.headers.message, "nobody may send to this destination");
    assert.equal(error.headers["receipt-id"], receipt);
    const { code } = await session.end();
    if (transport === "websocket") assert.equal(code, 1008);
  });

  await test("a service can end the connection", async () => {
    const session = await open();
    session.send("/app/kick", "");
    assert.equal((await session.end()).code, 4100);
  });

  if (transport === "websocket" && version !== "1.0") {
    await test("a server that falls silent is noticed", async () => {
      const session = await open("ana", 0, { url: `ws://${stage.stalling}${base}`, heartbeat: [1000, 1000] });
      assert.match(session.frame.headers["heart-beat"], /^1000,/);
      const healer = await open("ben", 1);
      try {
        healer.send("/app/stall", "");
        await until("the library closes", () => session.socket.readyState > 1);
      } finally {
        // A socket waits for the other side's close.
        healer.send("/app/heal", "");
      }
      await session.end();
      await healer.leave();
    });
  }

  await test("it leaves in order", async () => {
    const session = await open();
    const { code } = await session.leave();
    assert.ok(code === 1000 || code === 1005, `code ${code}`);
  });
}

for (const Library of [Modern, Classic, Webstomp]) {
  for (const version of Library.versions) await suite(Library, version, "websocket", "/ws/chat");
}
for (const version of Modern.versions) {
  const client = { forceBinaryWSFrames: true, splitLargeFrames: true };
  await suite(Modern, version, "websocket", "/ws/chat", { title: "binary messages, split", client });
}

await check("@stomp/stompjs 7.5.0: bytes that are no text come back as they went", async () => {
  const session = new Modern();
  await session.open({ url: url(0), transport: "websocket", version: "1.2", headers: bearer("ana") });
  const room = unique("room");
  const receipt = session.receiptId();
  const heard = session.subscribe(`/topic/${room}`, { receipt });
  await session.receipt(receipt);
  const bytes = Uint8Array.from({ length: 256 }, (_, byte) => byte);
  session.send(`/app/room/${room}`, bytes, { "content-type": "application/octet-stream" });
  assert.deepEqual((await heard.next()).binaryBody, bytes);
  await session.leave();
});

for (const Library of [Modern, Classic, Webstomp]) {
  await check(`${Library.title}: a token that has expired is an ERROR`, async () => {
    const session = new Library();
    const version = Library.versions.at(-1);
    const opened = session.open({ url: url(0), transport: "websocket", version, headers: bearer("expired") });
    opened.catch(() => {});
    const error = await session.errors.next();
    assert.equal(error.headers.message, "the credential has expired");
    assert.equal((await session.end()).code, 4003);
  });
}

const info = await fetch(`http://${stage.gateways[0]}${stage.sockjs}/info`);
for (const Library of [Modern, Classic, Webstomp]) {
  for (const transport of SOCKJS) {
    const version = Library.versions.at(-1);
    if (info.ok) await suite(Library, version, transport, stage.sockjs, { title: `SockJS ${transport}` });
    else skip(`${Library.title}, STOMP ${version}, SockJS ${transport}`, "no endpoint of this stage speaks SockJS");
  }
}
done();
