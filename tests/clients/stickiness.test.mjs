// No stickiness is needed: behind a proxy that sends every request of every session to a worker drawn by lot, over
// connections that it shares among all, no client notices anything.

import assert from "node:assert/strict";
import { test } from "node:test";

import { generations, modes } from "./lib/generations.mjs";
import { connect } from "./lib/harness.mjs";
import { workersOf } from "./lib/processes.mjs";
import { startProxy } from "./lib/proxy.mjs";
import { commandWords, freePorts, startServer } from "./lib/server.mjs";

const words = commandWords(process.env.SEDGE_SERVER_CMD ?? "");
const workers = Number(workersOf(words) ?? 0);
const skip = workers > 1 ? false : "SEDGE_SERVER_CMD starts no cluster";
const kinds = Object.values(generations).flatMap((generation) =>
  Object.keys(modes).map((mode) => ({ generation, mode })),
);

const EACH = 4; // clients of each kind
const MESSAGES = 25;

test("clients behind a proxy that knows no sessions", { skip, timeout: 60_000 }, async (t) => {
  const base = await freePorts(workers);
  const server = await startServer(words, 0, ["--worker-ports", `127.0.0.1:${base}`]);
  t.after(() => server.stop("SIGKILL"));
  const proxy = await startProxy(Array.from({ length: workers }, (_, index) => base + index));
  t.after(() => proxy.stop());

  const clients = await Promise.all(
    kinds.flatMap((kind) => Array.from({ length: EACH }, () => kind)).map(async ({ generation, mode }) => {
      const peer = await connect(t, generation, mode, proxy.url);
      return { peer, generation, mode };
    }),
  );

  // All of them talk at once: one by one, so that polling makes many requests, and then in one go.
  await Promise.all(clients.map(({ peer }) => talk(peer)));

  // Everybody hears one another, whichever worker serves whom.
  await Promise.all(clients.map(({ peer }) => peer.call("join", "everybody")));
  await clients[0].peer.call("in-room", "everybody", "hello");
  for (const { peer, generation, mode } of clients) {
    assert.deepEqual(await peer.next("cast"), ["hello"]);
    const info = await peer.call("info");
    assert.equal(info.transport, modes[mode].ends, `client ${generation.version}`);
    assert.deepEqual(peer.waiting("disconnect"), []);
    assert.deepEqual(peer.waiting("refused"), []);
  }

  // The proxy did what it is for, and no backend has refused anything.
  const { statuses, upgrades, reused, failures, backends } = proxy.seen;
  assert.deepEqual(failures, []);
  assert.deepEqual([...statuses.keys()], [200]);
  assert.equal(upgrades, clients.filter(({ mode }) => modes[mode].ends === "websocket").length);
  const scattered = [...backends.values()].filter((ports) => ports.size > 1).length;
  const polling = clients.filter(({ mode }) => mode === "polling").length;
  assert.ok(scattered >= polling, `only ${scattered} sessions were sent to several workers`);
  assert.ok(reused > statuses.get(200) / 2, `only ${reused} of ${statuses.get(200)} requests shared connections`);
});

async function talk(peer) {
  for (let i = 0; i < MESSAGES; i++) assert.equal(await peer.call("ack", i), i);
  for (let i = 0; i < MESSAGES; i++) peer.emit("echo", i, Buffer.from([i]));
  for (let i = 0; i < MESSAGES; i++) assert.deepEqual(await peer.next("echo"), [i, Buffer.from([i])]);
}
