// What every generation of the client can rely on, over every transport.

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { connect, manager, serverId, watcher } from "./harness.mjs";
import { modes } from "./generations.mjs";
import { unique } from "./peer.mjs";

const options = { timeout: 30_000 };

/** Over polling binary travels as base64, and 700 kB are what fits into the announced 1 000 000. */
const SIZE = 900_000;
const SIZE_AS_BASE64 = 700_000;

const TEXT = "grün, 緑, 🌿, \u0000, \u2028, \\, \", \u001e, \u007f";

/**
 * Declares the tests. `variant`: `label` for their names, `options` of the manager, `deflate` if the
 * server agrees to compress WebSockets, `binary` if the parser sends everything as binary.
 */
export function core(generation, mode, url, variant = {}) {
  const name = `client ${generation.version}, ${mode}${variant.label ? `, ${variant.label}` : ""}`;
  const managerOptions = variant.options ?? {};
  const open = (t, more) => connect(t, generation, mode, url, { ...managerOptions, ...more });
  const watch = (t) => watcher(t, url, managerOptions);
  const context = { generation, mode, url, variant, managerOptions, open, watch };
  describe(name, { concurrency: true }, () => {
    connecting(context);
    values(context);
    acknowledgements(context);
    namespaces(context);
    rooms(context);
    order(context);
    endings(context);
  });
}

function connecting({ generation, mode, url, variant, managerOptions, open }) {
  test("connects over the transport it was told to use", options, async (t) => {
    const peer = await open(t);
    const info = await peer.call("info");
    assert.equal(info.transport, modes[mode].ends);
    assert.equal(peer.socket.io.engine.transport.name, modes[mode].ends);
    assert.equal(info.protocol, generation.protocol);
    assert.equal(info.nsp, "/");
    assert.equal(info.id, peer.socket.id);
    assert.deepEqual(await peer.next("welcome"), [{ id: info.id, nsp: "/" }]);
    if (generation.protocol === 4) assert.match(info.id, /^[\w-]{20}$/);
    assert.match(peer.socket.io.engine.id, /^[\w-]{20}$/);
    assert.equal(info.id === peer.socket.io.engine.id, generation.protocol === 3);
    if (modes[mode].ends === "websocket") {
      // The clients offer compression; a string or, in generation 1, an object says what was agreed.
      const agreed = JSON.stringify(peer.socket.io.engine.transport.ws.extensions);
      assert.equal(agreed.includes("permessage-deflate"), variant.deflate === true);
    }
  });

  test("the handshake shows query, headers and credentials", options, async (t) => {
    const strange = generation.mangles ? "a&b=c +" : "a&b=c +ü";
    const peer = manager(t, generation, mode, url, {
      ...managerOptions,
      query: { colour: "green", "strange key": strange },
      extraHeaders: { "X-Sedge-Test": "yes" },
    }).socket("/chat", { auth: { token: "t1" } });
    const handshake = await peer.call("handshake");
    assert.deepEqual(handshake.auth, { token: "t1" });
    assert.equal(handshake.query.colour, "green");
    assert.equal(handshake.query["strange key"], strange);
    assert.equal(handshake.query.EIO, String(generation.protocol));
    assert.equal(handshake.query.transport, modes[mode].transports[0]);
    assert.equal(handshake.headers["x-sedge-test"], "yes");
    assert.equal(handshake.headers.host, new URL(url).host);
    assert.equal(handshake.secure, false);
    assert.equal(handshake.xdomain, false);
  });
}

function values({ generation, mode, variant, open }) {
  const echoes = (what, ...list) =>
    test(`echoes ${what}`, options, async (t) => {
      const peer = await open(t);
      peer.emit("echo", ...list);
      assert.deepEqual(await peer.next("echo"), list);
      assert.deepEqual(await peer.callAll("ack", ...list), list);
    });

  // The clients' msgpack library cannot write integers from 2^64 on.
  const large = variant.binary ? 2 ** 60 : 1e21;
  echoes("no argument");
  echoes("every kind of value", 0, -1, 1.5, 2 ** 53 - 1, large, true, false, null, "", TEXT, [], {}, [[], [null]]);
  echoes("nested objects", { a: { b: [{ c: [1, { d: "e" }] }] }, "": 1, "ключ": "значение" });
  echoes("what looks like a placeholder of an attachment", { _placeholder: false, num: 0 });
  echoes("one byte", Buffer.from([255]));
  echoes("a kilobyte", Buffer.alloc(1024, 7));
  echoes("every byte", Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
  echoes("several buffers, nested", Buffer.from([1]), "between", {
    list: [Buffer.from("two"), { three: Buffer.from([0, 0, 0]) }, null],
    text: TEXT,
    last: Buffer.from([30, 10, 13]),
  });
  const textSize = mode === "polling" && variant.binary ? SIZE_AS_BASE64 : SIZE;
  echoes(`${textSize} bytes of ASCII`, "a".repeat(textSize));
  // Generation 1 encodes text twice over polling: at full size this would be more than a megabyte.
  const wideSize = mode === "polling" && generation.mangles ? textSize / 2 : textSize;
  echoes(`${wideSize} bytes in characters of three`, "緑".repeat(Math.floor(wideSize / 3)));
  const binarySize = mode === "polling" ? SIZE_AS_BASE64 : SIZE;
  echoes(`a buffer of ${binarySize} bytes`, Buffer.alloc(binarySize, "sedge"));
}

function acknowledgements({ mode, open }) {
  test("the client answers a question of the server", options, async (t) => {
    const peer = await open(t);
    peer.emit("ask-me", { deep: [1, Buffer.from("q")] });
    const { value, answer } = await peer.next("question");
    assert.deepEqual(value, { deep: [1, Buffer.from("q")] });
    answer("yes", { because: [Buffer.from([1, 2, 3]), TEXT] }, Buffer.from([4]));
    assert.deepEqual(await peer.next("answered"), [
      "yes",
      { because: [Buffer.from([1, 2, 3]), TEXT] },
      Buffer.from([4]),
    ]);
  });

  test("an answer in time, and none", options, async (t) => {
    const peer = await open(t);
    peer.emit("ask-me-timeout", 8000, "quick");
    (await peer.next("question")).answer(42);
    assert.deepEqual(await peer.next("answered"), [42]);

    peer.emit("ask-me-timeout", 50, "slow");
    const { answer } = await peer.next("question");
    assert.deepEqual(await peer.next("unanswered"), []);
    answer("too late");
    // The late answer is dropped: what comes next is the answer to the next question.
    peer.emit("ask-me", "another");
    (await peer.next("question")).answer("in time");
    assert.deepEqual(await peer.next("answered"), ["in time"]);
  });

  // Of one transport: it is much work, and the order of packets is the same on all.
  if (mode === "websocket") {
    test("more questions at once than handlers may be under way", options, async (t) => {
      const peer = await open(t);
      const count = 1100;
      for (let i = 0; i < count; i++) peer.emit("ask-me", i);
      for (let i = 0; i < count; i++) {
        const { value, answer } = await peer.next("question");
        answer(value);
      }
      const answers = [];
      for (let i = 0; i < count; i++) answers.push((await peer.next("answered"))[0]);
      assert.deepEqual(answers.sort((a, b) => a - b), Array.from({ length: count }, (_, i) => i));
    });
  }

  test("many acknowledgements at once go to the right callers", options, async (t) => {
    const peer = await open(t);
    const numbers = Array.from({ length: 200 }, (_, i) => i);
    assert.deepEqual(await Promise.all(numbers.map((i) => peer.call("ack", i))), numbers);
  });
}

function namespaces({ generation, mode, url, open, managerOptions, watch }) {
  const unconnected = (t, nsp, auth) =>
    manager(t, generation, mode, url, managerOptions).socket(nsp, { auth });

  test("a namespace has its own id and events", options, async (t) => {
    const peer = await open(t, { nsp: "/chat" });
    const { id, nsp } = await peer.call("info");
    assert.equal(nsp, "/chat");
    assert.deepEqual(await peer.next("welcome"), [{ id, nsp: "/chat" }]);
    if (generation.knowsItsId) assert.equal(id, peer.socket.id);
    if (generation.protocol === 3) assert.equal(id, `/chat#${peer.socket.io.engine.id}`);
    peer.emit("echo", "here", Buffer.from("too"));
    assert.deepEqual(await peer.next("echo"), ["here", Buffer.from("too")]);
  });

  test("a middleware refuses, with message and data", options, async (t) => {
    const data = { code: 401, hint: "send the right token" };
    const refused = generation.protocol === 3 ? { data } : { message: "not authorized", data };
    assert.deepEqual(await unconnected(t, "/admin").next("refused"), refused);
    assert.deepEqual(await unconnected(t, "/admin", { token: "wrong" }).next("refused"), refused);
  });

  test("a middleware lets in who knows the secret", options, async (t) => {
    const peer = await open(t, { nsp: "/admin", auth: { token: "secret" } });
    assert.deepEqual((await peer.call("handshake")).auth, { token: "secret" });
  });

  test("an unknown namespace is refused", options, async (t) => {
    const { message, data } = await unconnected(t, "/nowhere").next("refused");
    assert.equal(message ?? data?.message, "Invalid namespace");
  });

  test("several namespaces share one connection", options, async (t) => {
    const control = await watch(t);
    const one = manager(t, generation, mode, url, managerOptions);
    const peers = [one.socket("/"), one.socket("/chat"), one.socket("/admin", { auth: { token: "secret" } })];
    const refused = one.socket("/nowhere");
    await refused.next("refused");
    for (const peer of peers) await peer.next("connect");
    const [root, chat, admin] = peers;
    for (const peer of peers) assert.equal(peer.socket.io.engine, root.socket.io.engine);
    if (mode === "upgrade") await root.upgraded();

    peers.forEach((peer, i) => peer.emit("echo", i, Buffer.from([i])));
    for (const [i, peer] of peers.entries()) {
      assert.deepEqual(await peer.next("echo"), [i, Buffer.from([i])]);
      assert.deepEqual(peer.waiting("echo"), []);
    }

    // Leaving one namespace leaves the others alone.
    const { id } = await chat.call("info");
    await control.call("watch", id);
    chat.socket.disconnect();
    const [seen] = await control.next("disconnected");
    assert.deepEqual(seen, { nsp: "/chat", id, reason: "client namespace disconnect" });
    assert.equal(await root.call("ack", "still"), "still");
    assert.equal(await admin.call("ack", "here"), "here");

    // And it can be entered again over the same connection.
    chat.socket.connect();
    await chat.next("connect"); // the first one was taken above
    assert.equal(await chat.call("ack", "back"), "back");
  });
}

function rooms({ open, watch }) {
  test("broadcasts reach exactly the members", options, async (t) => {
    const control = await watch(t);
    const [a, b, c] = await Promise.all([open(t), open(t), open(t)]);
    const everyone = [a, b, c];
    const [red, blue, meeting] = [unique("red"), unique("blue"), unique("meeting")];
    const ids = await Promise.all(everyone.map(serverId));
    for (const peer of everyone) await peer.call("join", meeting);
    for (const peer of [a, b]) await peer.call("join", red);
    for (const peer of [b, c]) await peer.call("join", blue);
    assert.deepEqual(await b.call("rooms"), [blue, ids[1], meeting, red].sort());
    assert.deepEqual(await control.call("members", "/", red), [ids[0], ids[1]].sort());

    /** Broadcasts, then one to all three: whatever came before that one is what the first had brought. */
    const got = async (...command) => {
      await a.call(...command);
      await a.call("in-room", meeting, "end");
      return Promise.all(
        everyone.map(async (peer) => {
          const before = [];
          for (;;) {
            const [value] = await peer.next("cast");
            if (value === "end") return before;
            before.push(value);
          }
        }),
      );
    };
    assert.deepEqual(await got("to-room", red, 1), [[], [1], []]);
    assert.deepEqual(await got("to-room", blue, 2), [[], [2], [2]]);
    assert.deepEqual(await got("in-room", red, 3), [[3], [3], []]);
    assert.deepEqual(await got("in-rooms", [red, blue], 4), [[4], [4], [4]]);
    assert.deepEqual(await got("except", meeting, blue, 5), [[5], [], []]);
    assert.deepEqual(await got("in-room", unique("nobody"), 6), [[], [], []]);
    const binary = { buffers: [Buffer.from("one"), Buffer.alloc(70_000, 2)] };
    assert.deepEqual(await got("in-room", red, binary), [[binary], [binary], []]);

    await b.call("leave", red);
    assert.deepEqual(await got("in-room", red, 7), [[7], [], []]);
    a.socket.disconnect();
    await control.call("watch", ids[1]);
    b.socket.disconnect();
    await control.next("disconnected");
    assert.deepEqual(await control.call("members", "/", blue), [ids[2]]);
  });

  // In `/admin`, where no other test listens for broadcasts; other runs of this one may, so there is a tag.
  test("broadcasts to a whole namespace stay in it", options, async (t) => {
    const admin = { nsp: "/admin", auth: { token: "secret" } };
    const [a, b, elsewhere] = await Promise.all([open(t, admin), open(t, admin), open(t)]);
    const tag = unique("all");
    await a.call("all", `${tag} everybody`);
    await a.call("others", `${tag} others`);
    await a.call("all", `${tag} end`);
    const tagged = async (peer) => {
      const list = [];
      while (list.at(-1) !== "end") {
        const [value] = await peer.next("cast");
        if (value.startsWith(tag)) list.push(value.slice(tag.length + 1));
      }
      return list;
    };
    assert.deepEqual(await tagged(a), ["everybody", "end"]);
    assert.deepEqual(await tagged(b), ["everybody", "others", "end"]);
    await elsewhere.call("in-room", await serverId(elsewhere), `${tag} end`);
    assert.deepEqual(await tagged(elsewhere), ["end"]);
  });

  test("a socket's id is a room of its own", options, async (t) => {
    const [a, b] = await Promise.all([open(t, { nsp: "/chat" }), open(t, { nsp: "/chat" })]);
    await a.call("whisper", await serverId(b), { secret: Buffer.from("s") });
    assert.deepEqual(await b.next("whisper"), [{ secret: Buffer.from("s") }]);
    await b.call("whisper", await serverId(a), "back");
    assert.deepEqual(await a.next("whisper"), ["back"]);
  });

  test("a question to a room gathers the answers", options, async (t) => {
    const peers = await Promise.all([open(t), open(t), open(t)]);
    const room = unique("survey");
    for (const peer of peers) await peer.call("join", room);
    const all = peers[0].call("survey", room, "how many?", 8000);
    for (const [i, peer] of peers.entries()) (await peer.next("question")).answer(i);
    const { ok, answers } = await all;
    assert.equal(ok, true);
    assert.deepEqual(answers.sort(), [0, 1, 2]);

    const some = peers[0].call("survey", room, "and now?", 4000);
    (await peers[1].next("question")).answer("one");
    assert.deepEqual(await some, { ok: false, answers: ["one"] });
  });
}

function order({ generation, mode, url, open, managerOptions }) {
  const numbers = Array.from({ length: 1000 }, (_, i) => i);

  test("1000 messages each way keep their order", options, async (t) => {
    const peer = await open(t);
    peer.emit("count", 1000);
    for (const i of numbers) peer.emit("echo", i);
    assert.deepEqual((await peer.take("number", 1000)).flat(), numbers);
    assert.deepEqual((await peer.take("echo", 1000)).flat(), numbers);
  });

  test("messages sent from the start, through an upgrade, keep their order", options, async (t) => {
    const peer = manager(t, generation, mode, url, managerOptions).socket();
    // Not waiting for anything: the first go out before the probe, the rest around the switch.
    for (const i of numbers) {
      peer.emit("echo", i, i % 100 === 0 ? Buffer.from([i / 100]) : null);
      if (i % 20 === 0) await new Promise(setImmediate);
      if (i % 250 === 0) peer.emit("count", 250);
    }
    const echoed = await peer.take("echo", 1000);
    assert.deepEqual(
      echoed.map(([i]) => i),
      numbers,
    );
    for (const i of [0, 100, 900]) assert.deepEqual(echoed[i][1], Buffer.from([i / 100]));
    assert.deepEqual((await peer.take("number", 1000)).flat(), [0, 1, 2, 3].flatMap(() => numbers.slice(0, 250)));
    if (mode === "upgrade") {
      await peer.upgraded();
      assert.equal((await peer.call("info")).transport, "websocket");
    }
  });

  test("volatile messages may be missing, but are in order, and the rest arrives", options, async (t) => {
    const peer = await open(t);
    let arrived = 0;
    // One round would do but for a server that still writes its last answer when it is asked for the next.
    for (let round = 0; round < 20 && arrived === 0; round++) {
      peer.emit("ticks", 50);
      assert.deepEqual(await peer.next("ticked"), [50]);
      const ticks = peer.waiting("tick").flat();
      assert.deepEqual(ticks, [...new Set(ticks)].sort((x, y) => x - y));
      assert.ok(ticks.every((i) => i >= 0 && i < 50));
      arrived += ticks.length;
    }
    assert.notEqual(arrived, 0, "a volatile message never arrives");
  });
}

function endings({ open, watch }) {
  /** A client whose end is watched: `{peer, id, seen}`, `seen()` being the reason that the server saw. */
  const watched = async (t, more) => {
    const [control, peer] = await Promise.all([watch(t), open(t, more)]);
    const id = await serverId(peer);
    await control.call("watch", id);
    return { control, peer, id, seen: async () => (await control.next("disconnected"))[0].reason };
  };

  test("the server disconnects a socket", options, async (t) => {
    for (const close of [false, true]) {
      const { peer, seen } = await watched(t, { nsp: "/chat" });
      peer.emit("kick", close);
      assert.equal(await peer.next("disconnect"), "io server disconnect");
      assert.equal(await seen(), "server namespace disconnect");
    }
  });

  test("the server disconnects a room", options, async (t) => {
    const { control, peer, id, seen } = await watched(t);
    const room = unique("doomed");
    await peer.call("join", room);
    assert.deepEqual(await control.call("members", "/", room), [id]);
    await control.call("disconnect-room", "/", room, true);
    assert.equal(await peer.next("disconnect"), "io server disconnect");
    assert.equal(await seen(), "server namespace disconnect");
    assert.deepEqual(await control.call("members", "/", room), []);
  });

  test("the client disconnects", options, async (t) => {
    const { peer, seen } = await watched(t);
    peer.socket.disconnect();
    assert.equal(await peer.next("disconnect"), "io client disconnect");
    assert.equal(await seen(), "client namespace disconnect");
  });

  test("a lost connection is made again, with a new session", options, async (t) => {
    const { peer, id, seen } = await watched(t, { reconnection: true, reconnectionDelay: 20 });
    const engine = peer.socket.io.engine.id;
    peer.socket.io.engine.close();
    // An error if a heartbeat was being written to it just then.
    assert.match(await seen(), /^transport (close|error)$/);
    assert.equal(await peer.next("disconnect"), "forced close");
    await peer.next("connect");
    assert.notEqual(await serverId(peer), id);
    assert.notEqual(peer.socket.io.engine.id, engine);
    assert.equal(await peer.call("ack", "again"), "again");
  });
}
