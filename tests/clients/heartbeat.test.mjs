// An idle connection stays open: the heartbeat goes back and forth. In EIO 4 the server pings, in EIO 3 the
// client; the engine of every generation emits "pong" for a completed round.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { generations, modes } from "./lib/generations.mjs";
import { address, connect } from "./lib/harness.mjs";
import { withDeadline } from "./lib/peer.mjs";

const url = address("SEDGE_URL");

describe("heartbeat", { concurrency: true }, () => {
  for (const generation of Object.values(generations)) {
    for (const mode of Object.keys(modes)) {
      test(`client ${generation.version}, ${mode}`, { timeout: 30_000 }, async (t) => {
        const peer = await connect(t, generation, mode, url);
        await withDeadline("three heartbeats", (resolve) => {
          let left = 3;
          peer.socket.io.engine.on("pong", () => --left === 0 && resolve());
        });
        assert.equal(await peer.call("ack", "alive"), "alive");
        assert.deepEqual(peer.waiting("disconnect"), []);
      });
    }
  }
});
