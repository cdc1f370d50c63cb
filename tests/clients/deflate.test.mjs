// A server that agrees to permessage-deflate, for every WebSocket implementation of the four generations
// (`ws` 1, 7 and 8 under Node.js).

import { describe } from "node:test";

import { core } from "./lib/core.mjs";
import { generations } from "./lib/generations.mjs";
import { address, needs } from "./lib/harness.mjs";

describe("permessage-deflate", needs("SEDGE_DEFLATE_URL"), () => {
  for (const generation of Object.values(generations)) {
    const variant = { label: "deflate", deflate: true };
    core(generation, "websocket", address("SEDGE_DEFLATE_URL"), variant);
  }
  core(generations[4], "upgrade", address("SEDGE_DEFLATE_URL"), { label: "deflate", deflate: true });
});
