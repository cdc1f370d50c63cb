// A reverse proxy as clusters often have in front: it knows nothing of sessions, and sends every single request
// and every upgrade to a backend drawn by lot, over connections that it keeps and uses for anybody.

import { once } from "node:events";
import { Agent, createServer, request } from "node:http";

/** Headers that concern one connection only. */
function forwarded(headers) {
  const { connection, "keep-alive": _, ...rest } = headers;
  return rest;
}

/**
 * Starts the proxy. `seen` counts: answers by status, upgrades, requests on a connection that was used before, and
 * for each session id the backends that got something of it.
 */
export async function startProxy(ports) {
  const agent = new Agent({ keepAlive: true });
  const seen = { statuses: new Map(), upgrades: 0, reused: 0, failures: [], backends: new Map() };
  const upgraded = new Set();

  /** The request to a backend, with everything but its answer and its body taken care of. */
  const passOn = (incoming, more) => {
    const port = ports[Math.floor(Math.random() * ports.length)];
    const sid = new URL(incoming.url, "http://proxy").searchParams.get("sid");
    if (sid) seen.backends.set(sid, (seen.backends.get(sid) ?? new Set()).add(port));
    const headers = { ...forwarded(incoming.headers), ...more };
    const outgoing = request({ agent, host: "127.0.0.1", port, method: incoming.method, path: incoming.url, headers });
    outgoing.once("socket", () => (seen.reused += outgoing.reusedSocket ? 1 : 0));
    return outgoing;
  };
  const count = (status) => seen.statuses.set(status, (seen.statuses.get(status) ?? 0) + 1);

  const server = createServer((incoming, answer) => {
    const outgoing = passOn(incoming);
    outgoing.once("response", (response) => {
      count(response.statusCode);
      answer.writeHead(response.statusCode, forwarded(response.headers));
      response.pipe(answer);
    });
    outgoing.once("error", (error) => {
      // Who has gone away is no failure of a backend.
      if (!answer.destroyed) seen.failures.push(`${incoming.method} ${incoming.url}: ${error.message}`);
      answer.destroy();
    });
    answer.once("close", () => answer.writableFinished || outgoing.destroy());
    incoming.pipe(outgoing);
  });

  server.on("upgrade", (incoming, near, head) => {
    const outgoing = passOn(incoming, { connection: "Upgrade" });
    near.on("error", () => near.destroy());
    outgoing.once("upgrade", (response, far, first) => {
      seen.upgrades += 1;
      upgraded.add(near).add(far);
      far.on("error", () => near.destroy());
      far.once("close", () => near.destroy());
      near.once("close", () => far.destroy());
      const lines = Object.entries(response.headers).map(([name, value]) => `${name}: ${value}\r\n`);
      near.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join("")}\r\n`);
      near.write(first);
      far.write(head);
      near.pipe(far).pipe(near);
    });
    outgoing.once("response", (response) => {
      count(response.statusCode);
      near.end(`HTTP/1.1 ${response.statusCode} No\r\nConnection: close\r\n\r\n`);
      response.resume();
    });
    outgoing.once("error", (error) => {
      seen.failures.push(`upgrade ${incoming.url}: ${error.message}`);
      near.destroy();
    });
    outgoing.end();
  });

  await once(server.listen(0, "127.0.0.1"), "listening");
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    seen,
    async stop() {
      agent.destroy();
      for (const socket of upgraded) socket.destroy();
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
