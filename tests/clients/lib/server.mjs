// Starting and stopping a server process of the conformance application.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

import { withDeadline } from "./peer.mjs";
import { killAll, runDirectory, workersOf } from "./processes.mjs";

/** `SEDGE_SERVER_CMD` as a list of words. */
export function commandWords(command) {
  return command.trimStart().startsWith("[") ? JSON.parse(command) : command.split(" ").filter(Boolean);
}

/** A port that was free a moment ago, for a server that must come back at the same address. */
export async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

/**
 * The first of so many ports in a row that were free a moment ago. They lie below those that systems give to
 * connections, so that none of them is taken by chance.
 */
export async function freePorts(count) {
  for (;;) {
    const base = 15_000 + Math.floor(Math.random() * 15_000);
    const probes = Array.from({ length: count }, (_, i) => createServer().listen(base + i, "127.0.0.1"));
    const free = await Promise.all(
      probes.map((probe) => once(probe, "listening").then(() => true, () => false)),
    );
    await Promise.all(probes.map((probe) => probe.listening && once(probe.close(), "close")));
    if (free.every(Boolean)) return base;
  }
}

/**
 * Starts the command with `--listen` and resolves when the server says where it listens:
 * `{url, stop(signal)}`. `stop` resolves with the exit code (null after a signal). SIGKILL goes to all
 * processes of a cluster, every other signal to the one that is to tell them.
 */
export async function startServer(words, port = 0, flags = []) {
  const [program, ...args] = words;
  const directory = workersOf(words) ? runDirectory() : undefined;
  if (directory) args.push("--run-dir", directory.path);
  const child = spawn(program, [...args, "--listen", `127.0.0.1:${port}`, ...flags], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  exited.then(() => directory?.remove());
  const stop = async (signal = "SIGTERM") => {
    if (signal === "SIGKILL") killAll(child);
    else child.kill(signal);
    return withDeadline(`the server to end after ${signal}`, (resolve) => exited.then(resolve)).catch(
      (error) => {
        killAll(child);
        throw error;
      },
    );
  };
  try {
    const url = await withDeadline("the server's address", (resolve, reject) => {
      child.once("error", reject);
      exited.then((code) => reject(new Error(`the server ended at once, with code ${code}`)));
      // The lines are read to the end, so that a talkative server never blocks on a full pipe.
      createInterface({ input: child.stdout }).on("line", (line) => {
        const found = /^listening on (http:\S+)/.exec(line);
        if (found) resolve(found[1]);
      });
    });
    return { url, stop };
  } catch (error) {
    killAll(child);
    throw error;
  }
}
