// A client socket that forgets nothing: every event of the contract is queued from the moment the socket
// exists, so a test can ask for it later and no event slips by between two lines. Every wait has a deadline.

import { randomUUID } from "node:crypto";

/** Longest wait for one event, in milliseconds. */
export const DEADLINE = 10_000;

const EVENTS = [
  "welcome",
  "echo",
  "answered",
  "unanswered",
  "cast",
  "whisper",
  "number",
  "tick",
  "ticked",
  "disconnected",
];

/** Arguments arrive as the client's own binary type; tests compare Buffers. */
function plain(value) {
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

export function withDeadline(what, start, ms = DEADLINE) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
    const settle = (then) => (value) => {
      clearTimeout(timer);
      then(value);
    };
    start(settle(resolve), settle(reject));
  });
}

/** A name that no other test uses. */
export const unique = (what) => `${what}-${randomUUID()}`;

/** A queue with one kind of waiter: whoever wants the next thing. */
class Inbox {
  constructor(name) {
    this.name = name;
    this.items = [];
    this.waiters = [];
  }

  push(item) {
    const waiter = this.waiters.shift();
    if (waiter) waiter(item);
    else this.items.push(item);
  }

  next(ms) {
    if (this.items.length > 0) return Promise.resolve(this.items.shift());
    return withDeadline(`"${this.name}"`, (resolve) => this.waiters.push(resolve), ms);
  }
}

export class Peer {
  constructor(generation, socket) {
    this.generation = generation;
    this.socket = socket;
    this.inboxes = new Map();
    for (const event of EVENTS) {
      socket.on(event, (...values) => this.inbox(event).push(values.map(plain)));
    }
    socket.on("question", (value, answer) => this.inbox("question").push({ value: plain(value), answer }));
    socket.on("connect", () => this.inbox("connect").push(socket.id));
    socket.on("disconnect", (reason) => this.inbox("disconnect").push(reason));
    socket.on(generation.refusal, (argument) => {
      this.inbox("refused").push(generation.read(argument));
    });
  }

  inbox(event) {
    if (!this.inboxes.has(event)) this.inboxes.set(event, new Inbox(event));
    return this.inboxes.get(event);
  }

  emit(...values) {
    this.socket.emit(...values);
  }

  /** The arguments of the next event of that name, in order of arrival. */
  next(event, ms) {
    return this.inbox(event).next(ms);
  }

  async take(event, count) {
    const taken = [];
    while (taken.length < count) taken.push(await this.next(event));
    return taken;
  }

  /** What has come and was not taken. */
  waiting(event) {
    return this.inbox(event).items.splice(0);
  }

  /** Emits with an acknowledgement; resolves with the list of its arguments. */
  callAll(...values) {
    return withDeadline(`the acknowledgement of "${values[0]}"`, (resolve) => {
      this.socket.emit(...values, (...answers) => resolve(answers.map(plain)));
    });
  }

  /** The same, with the first argument only. */
  async call(...values) {
    return (await this.callAll(...values))[0];
  }

  /** Resolves when the connection has become a WebSocket. */
  upgraded() {
    const { engine } = this.socket.io;
    if (engine.transport.name === "websocket" && !engine.upgrading) return Promise.resolve();
    return withDeadline("the upgrade", (resolve) => engine.on("upgrade", resolve));
  }
}
