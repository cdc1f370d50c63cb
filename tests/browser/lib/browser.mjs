// The browser of the tests, and server processes.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { killAll, runDirectory, workersOf } from "../../clients/lib/processes.mjs";

/** Longest wait for one thing, in milliseconds. */
export const DEADLINE = 15_000;

export function launch() {
  const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  const executablePath = process.env.CHROMIUM ?? places.find(existsSync);
  assert.ok(executablePath, "no Chromium found; set CHROMIUM to its path");
  return chromium.launch({
    executablePath,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/**
 * The command that starts a server, as a list of words: from the environment (words separated by spaces, or a JSON array), or
 * with SEDGE_REFERENCE=1 the given script. Otherwise nothing: a reference is never taken by accident.
 */
export function serverCommand(variable, reference) {
  const text = process.env[variable];
  if (text) return text.trimStart().startsWith("[") ? JSON.parse(text) : text.split(" ").filter(Boolean);
  return process.env.SEDGE_REFERENCE === "1" ? [process.execPath, fileURLToPath(reference)] : undefined;
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
 * Starts a server; resolves with `{url, stop(signal), directory}` when it says where it listens. A cluster gets a run
 * directory of its own, and is killed with all its processes.
 */
export async function startServer([program, ...args], port = 0) {
  const directory = workersOf(args) ? runDirectory() : undefined;
  if (directory) args.push("--run-dir", directory.path);
  const child = spawn(program, [...args, "--listen", `127.0.0.1:${port}`], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  exited.then(() => directory?.remove());
  const stop = async (signal = "SIGTERM") => {
    const late = setTimeout(() => killAll(child), DEADLINE);
    if (signal === "SIGKILL") killAll(child);
    else child.kill(signal);
    await exited;
    clearTimeout(late);
  };
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => {
      killAll(child);
      reject(new Error(`the server did not say where it listens within ${DEADLINE} ms`));
    }, DEADLINE);
    child.once("error", reject);
    exited.then((code) => reject(new Error(`the server ended at once, with code ${code}`)));
    createInterface({ input: child.stdout }).on("line", (line) => {
      const found = /listening on (http:\S+)/.exec(line);
      if (!found) return;
      clearTimeout(late);
      resolve(found[1]);
    });
  });
  return { url, stop, directory: directory?.path };
}
