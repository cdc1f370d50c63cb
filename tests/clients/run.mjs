// Starts the servers that the tests need and runs the tests. See CONTRACT.md, section 5.
//
//   node run.mjs [--reference] [--python] [test files, or the folder of Python tests]

import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { workersOf } from "./lib/processes.mjs";
import { commandWords, startServer } from "./lib/server.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    reference: { type: "boolean", default: false },
    python: { type: "boolean", default: false },
  },
});

const reference = JSON.stringify([process.execPath, `${here}reference-server.mjs`]);
const command = flags.reference ? reference : process.env.SEDGE_SERVER_CMD;
if (!command) {
  console.error("SEDGE_SERVER_CMD is not set; `node run.mjs --reference` runs against the official server");
  process.exit(2);
}

/** Which server each variable names, by its flags. */
const variants = { SEDGE_URL: [] };
variants.SEDGE_MSGPACK_URL = ["--parser", "msgpack"];
if (!flags.python) variants.SEDGE_DEFLATE_URL = ["--deflate"];

const servers = [];
let code = 1;
try {
  const words = commandWords(command);
  const env = { ...process.env, SEDGE_SERVER_CMD: command };
  const workers = workersOf(words);
  if (workers) env.SEDGE_WORKERS = workers;
  for (const [variable, variant] of Object.entries(variants)) {
    const server = await startServer(words, 0, variant);
    servers.push(server);
    env[variable] = server.url;
  }
  const tests = positionals.length ? positionals : readdirSync(here).filter((name) => name.endsWith(".test.mjs"));
  const [program, ...args] = flags.python
    ? [process.env.PYTHON ?? "python3", "-m", "unittest", "discover", "-s", positionals[0] ?? "python", "-v"]
    : [process.execPath, "--test", "--test-concurrency=2", ...tests];
  const child = spawn(program, args, { cwd: here, env, stdio: "inherit" });
  code = await new Promise((resolve, reject) => child.once("error", reject).once("exit", resolve));
} finally {
  for (const server of servers) {
    const ended = await server.stop("SIGTERM");
    if (ended !== 0) {
      console.error(`a server ended with code ${ended}`);
      code ||= 1;
    }
  }
}
process.exit(code ?? 1);
