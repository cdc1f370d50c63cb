// Generation 3 of the official client, over every transport.

import { address } from "./lib/harness.mjs";
import { core } from "./lib/core.mjs";
import { generations, modes } from "./lib/generations.mjs";

for (const mode of Object.keys(modes)) core(generations[3], mode, address("SEDGE_URL"));
