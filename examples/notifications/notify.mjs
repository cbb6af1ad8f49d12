// Notifies a user, or everybody: node notify.mjs 123 "your order has shipped"; node notify.mjs all "maintenance".

import { connect, headers } from "@nats-io/transport-node";

const [user, message] = process.argv.slice(2);
const bus = await connect({ servers: process.env.NATS_URL ?? "nats://127.0.0.1:4222" });
const subject = user === "all" ? "hf.send.all" : `hf.send.user.${user}`;
const body = JSON.stringify({ type: "alarm", message });
const patience = headers();
patience.set("Hf-Timeout", "2000"); // how long slow gateways may take to say how many they reached
const receipt = (await bus.request(subject, body, { timeout: 3000, headers: patience })).json();
console.log(
  receipt.offline
    ? `${user} is not connected: a push service may take over`
    : `reached ${receipt.matched} connections`,
);
await bus.close();
