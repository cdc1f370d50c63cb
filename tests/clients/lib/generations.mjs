// The generations of the official client, and all they differ in as far as a test is concerned.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/**
 * - `protocol`: the Engine.IO version it speaks.
 * - `auth(object)`: socket options that carry the credentials; generations 1 and 2 know only a query.
 * - `refusal`: the event that says a namespace refused, and `read` turns its argument into
 *   `{message, data}`: EIO 3 clients get the bare data if there is any, else the bare message.
 * - `knowsItsId`: `socket.id` is the id that the server uses; generation 1 leaves out the namespace's prefix.
 * - `mangles`: over polling, this client encodes text as UTF-8 twice, and expects that of the server. The official
 *   server passes it on as it is: the client's own echo is right, other clients see two characters
 *   for an "ü", and an "ü" of others is an error to it. So generation 1 is tested with ASCII and its own echo.
 */
const differences = {
  1: { package: "socket.io-client-v1", protocol: 3, knowsItsId: false, mangles: true },
  2: { package: "socket.io-client-v2", protocol: 3, knowsItsId: true },
  3: { package: "socket.io-client-v3", protocol: 4, knowsItsId: true },
  4: { package: "socket.io-client", protocol: 4, knowsItsId: true },
};

const eio3 = {
  auth: (object) => ({ query: new URLSearchParams(object).toString() }),
  refusal: "error",
  read: (argument) => (typeof argument === "string" ? { message: argument } : { data: argument }),
};

const eio4 = {
  auth: (object) => ({ auth: object }),
  refusal: "connect_error",
  read: (error) => ({ message: error.message, data: error.data }),
};

export const generations = Object.fromEntries(
  Object.entries(differences).map(([number, own]) => {
    const library = require(own.package);
    const { version } = require(`${own.package}/package.json`);
    const shared = own.protocol === 3 ? eio3 : eio4;
    return [number, { ...shared, ...own, number: Number(number), version, Manager: library.Manager }];
  }),
);

/** How a client may be told to connect. `upgrade` is the default: polling, then WebSocket. */
export const modes = {
  polling: { transports: ["polling"], ends: "polling" },
  websocket: { transports: ["websocket"], ends: "websocket" },
  upgrade: { transports: ["polling", "websocket"], ends: "websocket" },
};
