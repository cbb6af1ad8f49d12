// What every program here needs: the stage it plays on, the libraries, checks with a line each, and queues to wait on.

import { createRequire } from "node:module";

const env = process.env;

/** Where to connect, and with which tokens. */
export const stage = JSON.parse(env.CLIENTS_STAGE);

/** Libraries are installed elsewhere than this file. */
export const require = createRequire(`${env.CLIENTS_NODE}/`);

const PATIENCE_MS = 15_000;
let count = 0;
let failed = 0;

/** Rejects unless `promise` settles in time. */
export function within(what, promise, patience = PATIENCE_MS) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${patience} ms`)), patience);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export async function check(name, body) {
  count += 1;
  try {
    await within("the end of the check", body(), 4 * PATIENCE_MS);
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED ${name}: ${String(error?.stack ?? error).split("\n").slice(0, 4).join(" | ")}`);
  }
}

export function skip(name, why) {
  count += 1;
  console.log(`skipped ${name}: ${why}`);
}

export function done() {
  console.log(`done ${count}`);
  process.exit(0);
}

/** Waits for a condition. */
export async function until(what, holds) {
  const deadline = Date.now() + PATIENCE_MS;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error(`${what}: not within ${PATIENCE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What came and was not taken yet. */
export class Queue {
  #items = [];
  #waiting = [];

  constructor(what) {
    this.what = what;
  }

  push(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }

  next() {
    if (this.#items.length) return Promise.resolve(this.#items.shift());
    return within(this.what, new Promise((resolve) => this.#waiting.push(resolve)));
  }

  get length() {
    return this.#items.length;
  }
}

/** A promise, and the means to settle it. */
export function deferred() {
  const it = {};
  it.promise = new Promise((resolve, reject) => Object.assign(it, { resolve, reject }));
  it.promise.catch(() => {});
  return it;
}

let names = 0;

/** A name that no other check uses. */
export function unique(base) {
  names += 1;
  return `${base}-${process.pid}-${names}`;
}

process.on("unhandledRejection", (error) => {
  console.log(`FAILED unhandled: ${error?.stack ?? error}`);
  process.exit(1);
});
