// The official clients of all generations in a real browser, against the conformance application
// (../clients/CONTRACT.md). A browser does what they do not do under Node.js: binary payloads over
// polling (EIO 3), and JSONP.
//
//   SEDGE_URL         a running conformance server; without it one is started with SEDGE_SERVER_CMD
//   SEDGE_SERVER_CMD  how to start one (words separated by spaces, or a JSON array); `--listen ADDRESS` is appended
//   SEDGE_REFERENCE   set to 1 instead: the official server (../clients/reference-server.mjs), to check the tests
//   CHROMIUM          the browser's executable, unless it is found in the usual places

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";

import { DEADLINE, launch, serverCommand, startServer } from "./lib/browser.mjs";

const require = createRequire(import.meta.url);
const bundle = (name) => join(dirname(require.resolve(`${name}/package.json`)), "dist/socket.io.js");

const generations = [
  { name: "socket.io-client-v1", protocol: 3, jsonp: true, mangles: true },
  { name: "socket.io-client-v2", protocol: 3, jsonp: true },
  { name: "socket.io-client-v3", protocol: 4, jsonp: true },
  { name: "socket.io-client", protocol: 4, jsonp: false },
];
const modes = {
  polling: { transports: ["polling"] },
  jsonp: { transports: ["polling"], forceJSONP: true },
  websocket: { transports: ["websocket"] },
  upgrade: {},
};

let browser;
let server;
let url = process.env.SEDGE_URL;

before(async () => {
  if (!url) {
    const command = serverCommand("SEDGE_SERVER_CMD", new URL("../clients/reference-server.mjs", import.meta.url));
    assert.ok(command, "set SEDGE_URL or SEDGE_SERVER_CMD");
    server = await startServer(command);
    url = server.url;
  }
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

describe("in a browser", { concurrency: 4 }, () => {
  for (const generation of generations) {
    const { version } = require(`${generation.name}/package.json`);
    for (const [mode, options] of Object.entries(modes)) {
      if (mode === "jsonp" && !generation.jsonp) continue;
      test(`client ${version}, ${mode}`, { timeout: 60_000 }, (t) => talk(t, generation, mode, options));
    }
  }
});

async function talk(t, generation, mode, options) {
  const context = await browser.newContext();
  t.after(() => context.close());
  const page = await context.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));

  // Any page of the server's own, so that no other origin is involved: its answer to a nonsensical request.
  await page.goto(new URL("/socket.io/?EIO=4&transport=none", url).href);
  await page.addScriptTag({ path: bundle(generation.name) });

  const text = generation.mangles && mode !== "websocket" ? "plain, \\n \\ \"" : "grün, 緑, 🌿, \\n \\ \" \u2028 \u2029 \n";
  // The older clients overflow their own stack with more than about 100 kB of binary over JSONP.
  const size = mode === "jsonp" ? 50_000 : 200_000;
  const result = await page.evaluate(inPage, { options, mode, text, size, deadline: DEADLINE });

  const transport = mode === "websocket" || mode === "upgrade" ? "websocket" : "polling";
  assert.equal(result.info.transport, transport);
  assert.equal(result.info.protocol, generation.protocol);
  assert.equal(result.info.id, result.id);
  assert.equal(result.query.j !== undefined, mode === "jsonp");
  if (generation.protocol === 3 && (mode === "polling" || mode === "upgrade")) {
    assert.equal(result.query.b64, undefined, "the client was expected to ask for binary payloads");
  }
  const bytes = Array.from({ length: 256 }, (_, i) => i);
  assert.deepEqual(result.echo, [text, { list: [bytes, [], { inner: [1] }] }, null, 1.5]);
  assert.deepEqual(result.ack, [bytes, text]);
  assert.deepEqual(result.answered, [[7, 8], "answer"]);
  assert.deepEqual(result.order, bytes);
  assert.equal(result.large, size);
  assert.deepEqual(problems, []);
}

/** Runs in the page, where `io` is the client. Binary is returned as arrays of numbers. */
async function inPage({ options, mode, text, size, deadline }) {
  const within = (what, start) =>
    new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(`waited ${deadline} ms for ${what}`)), deadline);
      start(resolve);
    });
  const plain = (value) => {
    if (value instanceof ArrayBuffer) return [...new Uint8Array(value)];
    if (ArrayBuffer.isView(value)) return [...new Uint8Array(value.buffer, value.byteOffset, value.byteLength)];
    if (Array.isArray(value)) return value.map(plain);
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  };
  const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);

  const socket = io(location.origin, options);
  const next = (event) => within(event, (resolve) => socket.once(event, (...values) => resolve(values)));
  const call = (...values) =>
    within(`the acknowledgement of ${values[0]}`, (resolve) => socket.emit(...values, (...answers) => resolve(answers)));

  await next("connect");
  const { engine } = socket.io;
  if (mode === "upgrade" && engine.transport.name !== "websocket") {
    await within("the upgrade", (resolve) => engine.on("upgrade", resolve));
  }
  const [info] = await call("info");
  const [{ query }] = await call("handshake");

  const echoed = next("echo");
  const nested = { list: [bytes.buffer, new ArrayBuffer(0), { inner: Uint8Array.of(1).buffer }] };
  socket.emit("echo", text, nested, null, 1.5);
  const echo = plain(await echoed);
  const ack = plain(await call("ack", bytes.buffer, text));

  socket.on("question", (value, answer) => answer(value, "answer"));
  const answer = next("answered");
  socket.emit("ask-me", Uint8Array.of(7, 8).buffer);
  const answered = plain(await answer);

  const order = [];
  const ordered = within("the numbers", (resolve) => {
    socket.on("number", (n) => order.push(n) === 256 && resolve());
  });
  socket.emit("count", 256);
  await ordered;

  const [large] = await call("ack", new Uint8Array(size).fill(200).buffer);
  const id = socket.id;
  socket.close();
  return { info, query, id, echo, ack, answered, order, large: plain(large).filter((byte) => byte === 200).length };
}
