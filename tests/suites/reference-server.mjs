// The official Node.js server with the application that the protocol test suites need.
//
// It is how the harness itself is checked: a suite that fails here tells about the suite or
// the harness, not about Sedge. README.md beside this file says what the application is. It
// takes the same flags as the Rust example `protocol_suites` and prints the same lines:
//
//   node reference-server.mjs --v4 127.0.0.1:0 --v3 127.0.0.1:0 --v5 127.0.0.1:0
//
// `engine.io` and `socket.io` must be resolvable from here (`npm ci` in this folder).

import { createServer } from "node:http";
import { Server as EngineServer } from "engine.io";
import { Server as SocketServer } from "socket.io";

const OPTIONS = {
  pingInterval: 300,
  pingTimeout: 200,
  maxHttpBufferSize: 1e6,
  cors: { origin: "*" },
};

// An Engine.IO echo server: every message comes back in the form it had, text or binary.
function serveEcho(httpServer, allowEIO3) {
  const engine = new EngineServer({ ...OPTIONS, allowEIO3 });
  engine.attach(httpServer, { path: "/engine.io/" });
  engine.on("connection", (socket) => {
    socket.on("message", (data) => socket.send(data));
  });
}

function serveSocketIo(httpServer) {
  const io = new SocketServer(httpServer, { ...OPTIONS, connectTimeout: 1000 });
  io.on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
    socket.on("message", (...args) => socket.emit("message-back", ...args));
    socket.on("message-with-ack", (...args) => {
      const ack = args.pop();
      ack(...args);
    });
  });
  io.of("/custom").on("connection", (socket) => {
    socket.emit("auth", socket.handshake.auth);
  });
}

const ROLES = {
  "--v4": (httpServer) => serveEcho(httpServer, false),
  "--v3": (httpServer) => serveEcho(httpServer, true),
  "--v5": serveSocketIo,
};

// Flags come in pairs; the lines are printed in the order of the flags.
const args = process.argv.slice(2);
for (let i = 0; i < args.length; i += 2) {
  const attach = ROLES[args[i]];
  const [host, port] = (args[i + 1] ?? "").split(":");
  if (!attach || !port) {
    console.error(`usage: reference-server.mjs [--v4 ADDR] [--v3 ADDR] [--v5 ADDR]`);
    process.exit(2);
  }
  const httpServer = createServer();
  attach(httpServer);
  await new Promise((resolve) => httpServer.listen(Number(port), host, resolve));
  console.log(`listening on http://${host}:${httpServer.address().port}`);
}
