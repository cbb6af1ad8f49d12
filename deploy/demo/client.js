// A client of dialect json in about a hundred lines: authenticate, join, send, ask, and come back after a close.
// Nothing here knows the demo; docs/protocol.md has the whole protocol.
'use strict';

/** Close codes after which a client stays away, and those that want a new token first. */
const STAY_AWAY = new Set([1000, 1002, 1003, 1007, 1008, 1009, 4000, 4001]);
const NEW_TOKEN = new Set([4003, 4401, 4408]);

const REQUEST_TIMEOUT_MS = 6000;
const BACKOFF_MS_MIN = 500;
const BACKOFF_MS_MAX = 15000;

class HoldfastClient {
  /**
   * @param {string} url where the gateway listens, e.g. ws://127.0.0.1:8080/ws/demo
   * @param {string} token
   * @param {{welcome?: Function, message?: Function, gap?: Function, state?: Function}} on
   */
  constructor(url, token, on) {
    this.url = url;
    this.token = token;
    this.on = on;
    this.pending = new Map();
    this.lastId = 0;
    this.backoff = BACKOFF_MS_MIN;
    this.notBefore = 0;
    this.connect();
  }

  connect() {
    this.tell('connecting');
    this.socket = new WebSocket(this.url, 'holdfast.v1.json');
    this.socket.onopen = () => this.ask({ type: 'auth', token: this.token }).catch(() => {});
    this.socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    this.socket.onclose = (event) => this.closed(event);
  }

  receive(frame) {
    if (frame.type === 'welcome') {
      this.backoff = BACKOFF_MS_MIN;
      this.settle(frame);
      this.tell('online', `connection ${frame.connection}`);
      this.on.welcome?.(frame);
    } else if (frame.type === 'message') {
      this.on.message?.(frame);
    } else if (frame.type === 'gap') {
      this.on.gap?.(frame);
    } else if (frame.type === 'goaway') {
      this.notBefore = Date.now() + frame.retry_after;
      this.tell('leaving', 'this gateway is about to restart');
    } else {
      this.settle(frame);
    }
  }

  settle(frame) {
    const waiting = this.pending.get(frame.id);
    if (!waiting) return;
    this.pending.delete(frame.id);
    clearTimeout(waiting.timer);
    if (frame.type === 'error') waiting.reject(new Error(`${frame.code}: ${frame.message}`));
    else waiting.resolve(frame);
  }

  /** Sends a message with an id and resolves with what answers it. */
  ask(message) {
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) {
        reject(new Error('not connected'));
        return;
      }
      const id = ++this.lastId;
      const timer = setTimeout(() => this.settle({ id, type: 'error', code: 'timeout', message: 'no answer' }), REQUEST_TIMEOUT_MS);
      this.pending.set(id, { resolve, reject, timer });
      this.socket.send(JSON.stringify({ ...message, id }));
    });
  }

  join(room) { return this.ask({ type: 'join', room }); }
  send(to, data) { return this.ask({ type: 'send', to, data }); }
  async request(to, data) { return (await this.ask({ type: 'request', to, data })).data; }

  closed(event) {
    for (const id of [...this.pending.keys()]) this.settle({ id, type: 'error', code: 'closed', message: 'the connection closed' });
    const why = `${event.code}${event.reason ? ` ${event.reason}` : ''}`;
    if (STAY_AWAY.has(event.code)) return this.tell('closed', why);
    if (NEW_TOKEN.has(event.code)) return this.tell('closed', `${why}; reload the page for a new token`);
    // Jitter, so that the clients of a lost gateway do not all come back in one instant.
    const wait = Math.max(this.backoff * (0.5 + Math.random()), this.notBefore - Date.now());
    this.backoff = Math.min(this.backoff * 2, BACKOFF_MS_MAX);
    this.tell('waiting', `${why}; again in ${(wait / 1000).toFixed(1)} s`);
    setTimeout(() => this.connect(), wait);
  }

  tell(state, detail = '') { this.on.state?.(state, detail); }
}
