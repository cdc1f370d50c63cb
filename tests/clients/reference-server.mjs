// The conformance application (CONTRACT.md) on the official Node.js server. It is the oracle: a test that
// fails here is a wrong test.

import { createServer } from "node:http";
import { parseArgs } from "node:util";

import { Server } from "socket.io";
import * as msgpackParser from "socket.io-msgpack-parser";

const { values: options } = parseArgs({
  options: {
    listen: { type: "string", default: "127.0.0.1:0" },
    parser: { type: "string", default: "json" },
    deflate: { type: "boolean", default: false },
  },
});

const http = createServer((_, response) => response.writeHead(404).end());
const io = new Server(http, {
  allowEIO3: true,
  pingInterval: 1000,
  pingTimeout: 6000,
  perMessageDeflate: options.deflate ? { threshold: 1024 } : false,
  ...(options.parser === "msgpack" ? { parser: msgpackParser.default ?? msgpackParser } : {}),
});

io.of("/admin").use((socket, next) => {
  if (socket.handshake.auth.token === "secret") return next();
  const error = new Error("not authorized");
  error.data = { code: 401, hint: "send the right token" };
  next(error);
});

for (const name of ["/", "/chat", "/admin"]) {
  io.of(name).on("connection", (socket) => serve(io.of(name), socket));
}
io.of("/control").on("connection", control);

const colon = options.listen.lastIndexOf(":");
const host = options.listen.slice(0, colon);
http.listen(Number(options.listen.slice(colon + 1)), host, () => {
  console.log(`listening on http://${host}:${http.address().port}`);
});
process.once("SIGTERM", () => io.close(() => process.exit(0)));

/** Section 3 of the contract. */
function serve(nsp, socket) {
  socket.emit("welcome", { id: socket.id, nsp: nsp.name });
  socket.on("disconnect", (reason) => {
    io.of("/control").to(`watch:${socket.id}`).emit("disconnected", { nsp: nsp.name, id: socket.id, reason });
  });

  socket.on("echo", (...values) => socket.emit("echo", ...values));
  socket.on("ack", (...values) => values.pop()(...values));
  socket.on("ask-me", (value) => {
    socket.emit("question", value, (...answers) => socket.emit("answered", ...answers));
  });
  socket.on("ask-me-timeout", (ms, value) => {
    socket.timeout(ms).emit("question", value, (error, ...answers) => {
      if (error) socket.emit("unanswered");
      else socket.emit("answered", ...answers);
    });
  });

  socket.on("info", (cb) =>
    cb({
      id: socket.id,
      nsp: nsp.name,
      transport: socket.conn.transport.name,
      protocol: socket.conn.protocol,
      worker: 0,
    }),
  );
  socket.on("handshake", (cb) => {
    const { auth, query, headers, secure, xdomain } = socket.handshake;
    cb({ auth, query, headers, secure, xdomain });
  });

  socket.on("join", (room, cb) => (socket.join(room), cb()));
  socket.on("leave", (room, cb) => (socket.leave(room), cb()));
  socket.on("rooms", (cb) => cb([...socket.rooms].sort()));

  socket.on("to-room", (room, value, cb) => (socket.to(room).emit("cast", value), cb()));
  socket.on("in-room", (room, value, cb) => (nsp.in(room).emit("cast", value), cb()));
  socket.on("in-rooms", (rooms, value, cb) => (nsp.in(rooms).emit("cast", value), cb()));
  socket.on("except", (room, but, value, cb) => (nsp.in(room).except(but).emit("cast", value), cb()));
  socket.on("others", (value, cb) => (socket.broadcast.emit("cast", value), cb()));
  socket.on("all", (value, cb) => (nsp.emit("cast", value), cb()));
  socket.on("whisper", (id, value, cb) => (nsp.to(id).emit("whisper", value), cb()));
  socket.on("survey", (room, value, ms, cb) => {
    nsp
      .in(room)
      .timeout(ms)
      .emit("question", value, (error, answers) => cb({ ok: !error, answers }));
  });

  socket.on("count", (n) => {
    for (let i = 0; i < n; i++) socket.emit("number", i);
  });
  socket.on("ticks", (n) => {
    for (let i = 0; i < n; i++) socket.volatile.emit("tick", i);
    socket.emit("ticked", n);
  });
  socket.on("kick", (close) => socket.disconnect(close));
}

/** Section 4 of the contract. */
function control(socket) {
  socket.on("watch", (id, cb) => (socket.join(`watch:${id}`), cb()));
  socket.on("members", async (name, room, cb) => {
    const sockets = await io.of(name).in(room).fetchSockets();
    cb(sockets.map((one) => one.id).sort());
  });
  socket.on("disconnect-room", (name, room, close, cb) => {
    io.of(name).in(room).disconnectSockets(close);
    cb();
  });
}
