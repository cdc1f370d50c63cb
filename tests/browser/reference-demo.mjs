// The chat demo's server (crates/sedge-cli/demo/CONTRACT.md) on the official Node.js server: it is how the page
// and the browser test are checked.
//
//   node reference-demo.mjs --listen 127.0.0.1:3000

import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { Server } from "socket.io";

const { values: options } = parseArgs({ options: { listen: { type: "string", default: "127.0.0.1:3000" } } });

const demo = new URL("../../crates/sedge-cli/demo/", import.meta.url);
const files = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/style.css": ["style.css", "text/css; charset=utf-8"],
  "/chat.js": ["chat.js", "text/javascript; charset=utf-8"],
  "/icon.svg": ["icon.svg", "image/svg+xml"],
};
const headers = {
  "Content-Security-Policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "X-Content-Type-Options": "nosniff",
  "Referrer-Policy": "no-referrer",
  "Cache-Control": "no-cache",
};

const http = createServer((request, response) => {
  const file = files[request.url.split("?")[0]];
  if (!file) return response.writeHead(404).end();
  response.writeHead(200, { ...headers, "Content-Type": file[1] }).end(readFileSync(new URL(file[0], demo)));
});
const io = new Server(http);

const colon = options.listen.lastIndexOf(":");
const host = options.listen.slice(0, colon);
http.listen(Number(options.listen.slice(colon + 1)), host, () => {
  console.log(`listening on http://${host}:${http.address().port}`);
});
process.once("SIGTERM", () => io.close(() => process.exit(0)));

/** The trimmed text if it has 1 to `max` characters, none of them a control character that is not allowed. */
function valid(value, max, controls = /\p{Cc}/u) {
  if (typeof value !== "string") return undefined;
  const text = value.trim();
  const length = [...text].length;
  return length >= 1 && length <= max && !controls.test(text) ? text : undefined;
}

const byName = (a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0);

function membersOf(room) {
  const ids = io.of("/").adapter.rooms.get(`room:${room}`) ?? [];
  return [...ids].map((id) => ({ id, name: io.of("/").sockets.get(id).data.name, worker: 0 })).sort(byName);
}

function allRooms() {
  const rooms = new Map([["lobby", 0]]);
  for (const [room, ids] of io.of("/").adapter.rooms) {
    if (room.startsWith("room:")) rooms.set(room.slice(5), ids.size);
  }
  return [...rooms].map(([name, count]) => ({ name, count })).sort(byName);
}

io.on("connection", (socket) => {
  const { data } = socket;
  const others = () => socket.to(`room:${data.room}`);
  const changed = (room) => {
    io.to(`room:${room}`).emit("people", { room, people: membersOf(room) });
    io.to("greeted").emit("rooms", allRooms());
  };
  const leave = () => {
    const { room, name } = data;
    if (data.typing) others().emit("typing", { id: socket.id, name, on: false });
    others().emit("notice", { kind: "leave", name, room, at: Date.now() });
    data.typing = false;
    data.room = undefined;
    socket.leave(`room:${room}`);
    changed(room);
  };
  const enter = (room) => {
    if (data.room !== undefined && data.room !== room) leave();
    if (data.room === undefined) {
      data.room = room;
      socket.join(["greeted", `room:${room}`]);
      others().emit("notice", { kind: "join", name: data.name, room, at: Date.now() });
    }
    changed(room);
    return { ok: true, room, rooms: allRooms(), people: membersOf(room) };
  };
  const refuse = (error) => ({ ok: false, error });
  /** Registers an event with an acknowledgement. */
  const on = (event, answer) => {
    socket.on(event, (payload, ack) => {
      const result = answer(payload !== null && typeof payload === "object" ? payload : {});
      if (typeof ack === "function") ack(result);
    });
  };

  socket.emit("server", { node: "reference", worker: 0, shard: 0 });

  on("hello", ({ name, room }) => {
    const [goodName, goodRoom] = [valid(name, 32), valid(room, 32)];
    if (goodName === undefined) return refuse("A name has 1 to 32 characters");
    if (goodRoom === undefined) return refuse("A room's name has 1 to 32 characters");
    data.name = goodName;
    return { ...enter(goodRoom), id: socket.id, name: goodName };
  });
  on("join", ({ room }) => {
    const good = valid(room, 32);
    if (data.name === undefined) return refuse("Say hello first");
    return good === undefined ? refuse("A room's name has 1 to 32 characters") : enter(good);
  });
  on("say", ({ text, key }) => {
    const good = valid(text, 2000, /(?![\n\t])\p{Cc}/u);
    if (data.name === undefined) return refuse("Say hello first");
    if (good === undefined) return refuse("A message has 1 to 2000 characters");
    if (typeof key !== "string" || key.length > 64) return refuse("The message has no key");
    const message = { id: randomUUID(), key, from: data.name, fromId: socket.id, text: good, at: Date.now() };
    io.to(`room:${data.room}`).emit("message", message);
    return { ok: true, id: message.id, at: message.at };
  });
  on("typing", ({ on: typing }) => {
    if (data.room === undefined || typeof typing !== "boolean") return;
    data.typing = typing;
    others().emit("typing", { id: socket.id, name: data.name, on: typing });
  });
  socket.on("disconnecting", () => data.room !== undefined && leave());
});
