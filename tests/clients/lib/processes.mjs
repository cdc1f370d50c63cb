// A cluster's processes, as a test that ends it by force has to know them: a supervisor that is killed
// leaves its workers serving, and its run directory behind.

import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** How many workers a command starts; nothing if it starts one process. */
export function workersOf(words) {
  const at = words.indexOf("--workers");
  return at < 0 ? undefined : words[at + 1];
}

/** A run directory of its own: its path must be short, for the sockets in it. */
export function runDirectory() {
  const path = mkdtempSync(join(tmpdir(), "sedge-test-"));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** The processes that a process has started itself and that still run. Linux only, as clusters are. */
function children(pid) {
  const tasks = `/proc/${pid}/task`;
  try {
    const lists = readdirSync(tasks).map((task) => readFileSync(`${tasks}/${task}/children`, "utf8"));
    return lists.join(" ").split(" ").filter(Boolean).map(Number);
  } catch {
    return []; // It is gone, or this is another system.
  }
}

/** Kills a process and what it has started, it itself first: otherwise it would start others. */
export function killAll(child) {
  const workers = children(child.pid);
  child.kill("SIGKILL");
  for (const pid of workers) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // It has ended by itself.
    }
  }
}
