// The server goes away and comes back at the same address: clients reconnect by themselves.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generations, modes } from "./lib/generations.mjs";
import { connect, needs, serverId } from "./lib/harness.mjs";
import { commandWords, freePort, startServer } from "./lib/server.mjs";

const everyKind = Object.values(generations).flatMap((generation) =>
  Object.keys(modes).map((mode) => ({ generation, mode })),
);

for (const signal of ["SIGTERM", "SIGKILL"]) {
  const options = { timeout: 60_000, ...needs("SEDGE_SERVER_CMD") };
  test(`every client comes back after ${signal}`, options, async (t) => {
    const words = commandWords(process.env.SEDGE_SERVER_CMD);
    const port = await freePort();
    let server = await startServer(words, port);
    t.after(() => server.stop("SIGKILL"));

    const clients = await Promise.all(
      everyKind.map(async ({ generation, mode }) => {
        const peer = await connect(t, generation, mode, server.url, {
          reconnection: true,
          reconnectionDelay: 50,
          reconnectionDelayMax: 200,
        });
        return { peer, mode, before: await serverId(peer) };
      }),
    );

    const code = await server.stop(signal);
    if (signal === "SIGTERM") assert.equal(code, 0);
    for (const { peer, mode } of clients) {
      // A polling client may learn of it by a failed request. What it must not see is a DISCONNECT packet:
      // "io server disconnect" would keep it from reconnecting.
      const reason = await peer.next("disconnect");
      if (mode === "polling") assert.match(reason, /^transport (close|error)$/);
      else assert.equal(reason, "transport close");
      peer.emit("echo", "sent while the server was away");
    }

    server = await startServer(words, port);
    for (const { peer, mode, before } of clients) {
      await peer.next("connect");
      assert.deepEqual(await peer.next("echo"), ["sent while the server was away"]);
      if (mode === "upgrade") await peer.upgraded();
      assert.equal((await peer.call("info")).transport, modes[mode].ends);
      assert.notEqual(await serverId(peer), before);
    }
  });
}
