// Clients of all generations and transports at once, talking to each other.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generations, modes } from "./lib/generations.mjs";
import { address, connect, watcher } from "./lib/harness.mjs";
import { unique } from "./lib/peer.mjs";

const url = address("SEDGE_URL");
const options = { timeout: 40_000 };
const kinds = Object.values(generations).flatMap((generation) =>
  Object.keys(modes).map((mode) => ({ generation, mode })),
);

test("every kind of client hears every other, each sender in order", options, async (t) => {
  const CLIENTS = 48;
  const MESSAGES = 5;
  const room = unique("crowd");
  const control = await watcher(t, url);
  const peers = await Promise.all(
    Array.from({ length: CLIENTS }, async (_, i) => {
      const { generation, mode } = kinds[i % kinds.length];
      const peer = await connect(t, generation, mode, url);
      await peer.call("join", room);
      return peer;
    }),
  );
  const workers = await Promise.all(peers.map(async (peer) => (await peer.call("info")).worker));
  assert.equal(new Set(workers).size, Number(process.env.SEDGE_WORKERS ?? 1), "the crowd is not on all workers");
  assert.equal((await control.call("members", "/", room)).length, CLIENTS);

  // All at once, half of it binary; nobody waits for anybody.
  const sending = peers.flatMap((peer, from) =>
    Array.from({ length: MESSAGES }, (_, n) => {
      const body = n % 2 ? Buffer.from([from, n]) : `message ${n}`;
      return peer.call("in-room", room, { from, n, body });
    }),
  );
  await Promise.all(sending);

  for (const peer of peers) {
    const heard = Array.from({ length: CLIENTS }, () => []);
    for (const [{ from, n, body }] of await peer.take("cast", CLIENTS * MESSAGES)) {
      assert.deepEqual(body, n % 2 ? Buffer.from([from, n]) : `message ${n}`);
      heard[from].push(n);
    }
    for (const numbers of heard) assert.deepEqual(numbers, [0, 1, 2, 3, 4]);
    assert.deepEqual(peer.waiting("cast"), []);
  }
});

test("clients that come and go leave nothing behind", options, async (t) => {
  const room = unique("door");
  const control = await watcher(t, url);
  await Promise.all(
    kinds.map(async ({ generation, mode }, i) => {
      for (let round = 0; round < 4; round++) {
        const peer = await connect(t, generation, mode, url);
        await peer.call("join", room);
        const { id } = await peer.call("info");
        const seen = await watcher(t, url);
        await seen.call("watch", id);
        if ((i + round) % 2) peer.socket.disconnect();
        else peer.socket.io.engine.close();
        await seen.next("disconnected");
        seen.socket.disconnect();
      }
    }),
  );
  assert.deepEqual(await control.call("members", "/", room), []);
});

test("an acknowledgement is not lost among other traffic", options, async (t) => {
  const peers = await Promise.all(kinds.map(({ generation, mode }) => connect(t, generation, mode, url)));
  await Promise.all(
    peers.map(async (peer, i) => {
      peer.emit("count", 300);
      const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => peer.call("ack", [i, n])));
      assert.deepEqual(
        answers,
        Array.from({ length: 50 }, (_, n) => [i, n]),
      );
      const numbers = (await peer.take("number", 300)).flat();
      assert.deepEqual(
        numbers,
        Array.from({ length: 300 }, (_, n) => n),
      );
    }),
  );
});
