// Opening client sockets for a test and closing them when it ends.

import { Peer } from "./peer.mjs";
import { generations, modes } from "./generations.mjs";

/** The address in an environment variable, or nothing. */
export function address(variable) {
  const url = process.env[variable];
  if (!url && variable === "SEDGE_URL") {
    throw new Error("SEDGE_URL is not set: see CONTRACT.md, or use `node run.mjs`");
  }
  return url;
}

/** A `describe`/`test` option: skip, saying why, unless the variable is set. */
export const needs = (variable) => (process.env[variable] ? {} : { skip: `${variable} is not set` });

/** A manager, that is one connection. `t` is the test: when it ends, so does the connection. */
export function manager(t, generation, mode, url, options = {}) {
  const made = new generation.Manager(url, {
    reconnection: false,
    transports: modes[mode].transports,
    ...options,
  });
  const sockets = [];
  t.after(() => {
    made.reconnection(false);
    for (const socket of sockets) socket.disconnect();
    // The engine is closed too if the socket had no chance to: an attempt that never succeeded.
    if (made.engine && made.engine.readyState !== "closed") made.engine.close();
  });
  return {
    generation,
    made,
    /** A socket in a namespace, not yet connected. */
    socket(nsp = "/", { auth } = {}) {
      const socket = made.socket(nsp, auth ? generation.auth(auth) : {});
      sockets.push(socket);
      return new Peer(generation, socket);
    },
  };
}

/**
 * A connected client in its own connection. `with.nsp`, `with.auth`; everything else in it is the
 * manager's. In mode `upgrade` the connection is a WebSocket when this resolves.
 */
export async function connect(t, generation, mode, url, { nsp, auth, ...options } = {}) {
  const peer = manager(t, generation, mode, url, options).socket(nsp, { auth });
  await peer.next("connect");
  if (mode === "upgrade") await peer.upgraded();
  return peer;
}

/** A socket that sees the server's side. */
export function watcher(t, url, options) {
  return connect(t, generations[4], "websocket", url, { nsp: "/control", ...options });
}

/** The id that the server knows this socket by. */
export const serverId = async (peer) => (await peer.call("info")).id;
