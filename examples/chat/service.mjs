// The chat's back end: what is sent to /app/sendMessage goes to everybody at /topic/messages.

import { connect, headers } from "@nats-io/transport-node";

const bus = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222" });
const text = headers();
text.set("Content-Type", "text/plain");

// One of several such services gets each message: they share a queue group.
const sendMessage = bus.subscribe("hf.up.default.sendMessage", { queue: "chat" });
await bus.flush();
console.log("chat service is ready");
for await (const message of sendMessage) {
  console.log(`${message.headers.get("Hf-User")}: ${message.string()}`); // verified by the gateway
  bus.publish("hf.send.room.messages", message.data, { headers: text });
}
