// Three STOMP libraries behind one face: `open`, then `subscribe`, `send`, `ack`, `nack`, `begin`, `receipt`, `leave`.
// Each is used as its own documentation shows it.

import { Queue, deferred, require, within } from "./stage.mjs";

const WebSocket = require("ws");
const SockJS = require("sockjs-client");
const { Client } = require("@stomp/stompjs");
const Stomp = require("stompjs");
const webstomp = require("webstomp-client");

/** The socket of a transport, watched for its end. */
function socketOf({ transport, url, protocols }, session) {
  const socket =
    transport === "websocket"
      ? new WebSocket(url, protocols)
      : new SockJS(url.replace("ws://", "http://"), null, { transports: [transport] });
  // Its end tells of every error.
  socket.addEventListener("error", () => {});
  socket.addEventListener("close", ({ code, reason }) => session.ended.resolve({ code, reason: String(reason) }));
  session.socket = socket;
  return socket;
}

class Session {
  connected = deferred();
  ended = deferred();
  errors = new Queue("an ERROR frame");
  #receipts = new Map();
  #last = 0;

  /** A fresh receipt id; `receipt(id)` waits for it. */
  receiptId() {
    this.#last += 1;
    const id = `r-${this.#last}`;
    this.#receipts.set(id, deferred());
    return id;
  }

  onReceipt(frame) {
    this.#receipts.get(frame.headers["receipt-id"])?.resolve(frame);
  }

  receipt(id) {
    return within(`RECEIPT ${id}`, this.#receipts.get(id).promise);
  }

  end() {
    return within("the end of the connection", this.ended.promise);
  }
}

/** `@stomp/stompjs`: the one that is maintained. */
export class Modern extends Session {
  static title = "@stomp/stompjs 7.5.0";
  static versions = ["1.0", "1.1", "1.2"];
  static canNul = true;

  open({ headers, version, heartbeat = [0, 0], options = {}, ...where }) {
    this.version = version;
    const protocols = ["v12.stomp", "v11.stomp", "v10.stomp"];
    this.client = new Client({
      webSocketFactory: () => socketOf({ protocols, ...where }, this),
      stompVersions: { versions: [version], protocolVersions: () => protocols, supportedVersions: () => version },
      connectHeaders: headers,
      reconnectDelay: 0,
      heartbeatOutgoing: heartbeat[0],
      heartbeatIncoming: heartbeat[1],
      onConnect: (frame) => this.connected.resolve(frame),
      onStompError: (frame) => this.errors.push(frame),
      ...options,
    });
    this.client.activate();
    return within("CONNECTED", this.connected.promise);
  }

  subscribe(destination, headers = {}) {
    const queue = new Queue(`a MESSAGE of ${destination}`);
    const subscription = this.client.subscribe(destination, (message) => queue.push(message), headers);
    return Object.assign(queue, { id: subscription.id, unsubscribe: (more) => subscription.unsubscribe(more) });
  }

  send(destination, body, headers = {}) {
    this.#watch(headers);
    const content = body instanceof Uint8Array ? { binaryBody: body } : { body };
    this.client.publish({ destination, headers, ...content });
  }

  ack(message) {
    message.ack();
  }

  nack(message) {
    message.nack();
  }

  begin() {
    return this.client.begin();
  }

  #watch({ receipt }) {
    if (receipt) this.client.watchForReceipt(receipt, (frame) => this.onReceipt(frame));
  }

  receiptId() {
    const receipt = super.receiptId();
    this.#watch({ receipt });
    return receipt;
  }

  /** Its `deactivate` waits for the RECEIPT of its DISCONNECT. */
  async leave() {
    await within("the end of deactivate", this.client.deactivate());
    return this.end();
  }
}

/** What the two old libraries have in common: one grew out of the other. */
class Old extends Session {
  static canNul = false;

  open({ headers, version, heartbeat = [0, 0], ...where }) {
    this.version = version;
    const protocols = this.protocols(version);
    this.client = this.make(socketOf({ protocols, ...where }, this), protocols);
    this.client.debug = () => {};
    this.client.heartbeat = { outgoing: heartbeat[0], incoming: heartbeat[1] };
    this.client.onreceipt = (frame) => this.onReceipt(frame);
    this.client.connect(
      { ...headers },
      (frame) => this.connected.resolve(frame),
      (error) => {
        if (error?.command === "ERROR") this.errors.push(error);
        else this.connected.reject(new Error(`not connected: ${error?.code ?? error}`));
      },
    );
    return within("CONNECTED", this.connected.promise);
  }

  subscribe(destination, headers = {}) {
    const queue = new Queue(`a MESSAGE of ${destination}`);
    // `stompjs` writes into the headers it is given.
    const { id } = this.client.subscribe(destination, (message) => queue.push(message), { ...headers });
    return Object.assign(queue, { id, unsubscribe: () => this.client.unsubscribe(id) });
  }

  ack(message) {
    message.ack();
  }

  nack(message) {
    message.nack();
  }

  begin() {
    return this.client.begin(`tx-${Math.random()}`);
  }

  /** They send DISCONNECT and close at once. */
  async leave() {
    // Both drop the handler that we watch the end by, if it is theirs: ours is a listener.
    this.client.disconnect(() => {});
    return this.end();
  }
}

/** `stompjs` 2.3.3: what most articles use. */
export class Classic extends Old {
  static title = "stompjs 2.3.3";
  static versions = ["1.0", "1.1"];

  protocols() {
    return ["v10.stomp", "v11.stomp"];
  }

  make(socket) {
    Stomp.VERSIONS.supportedVersions = () => this.version;
    return Stomp.over(socket);
  }

  send(destination, body, headers = {}) {
    this.client.send(destination, headers, body);
  }
}

/** `webstomp-client` 1.2.6: takes its version from the sub-protocol. */
export class Webstomp extends Old {
  static title = "webstomp-client 1.2.6";
  static versions = ["1.0", "1.1", "1.2"];

  protocols(version) {
    return [`v${version.replace(".", "")}.stomp`];
  }

  make(socket, protocols) {
    return webstomp.over(socket, { protocols, debug: false });
  }

  send(destination, body, headers = {}) {
    this.client.send(destination, body, headers);
  }
}
