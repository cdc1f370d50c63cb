// The current client with the msgpack parser: every packet is one binary message.

import { describe } from "node:test";

import * as parser from "socket.io-msgpack-parser";

import { core } from "./lib/core.mjs";
import { generations, modes } from "./lib/generations.mjs";
import { address, needs } from "./lib/harness.mjs";

describe("msgpack", needs("SEDGE_MSGPACK_URL"), () => {
  for (const mode of Object.keys(modes)) {
    core(generations[4], mode, address("SEDGE_MSGPACK_URL"), {
      label: "msgpack",
      binary: true,
      options: { parser: parser.default ?? parser },
    });
  }
});
