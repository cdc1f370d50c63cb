// Pages of the chat demo, and what tests do on them. Importing this launches the browser, and a demo server unless one
// is named:
//
//   SEDGE_DEMO_URL      the running demo; without it one is started with SEDGE_DEMO_CMD
//   SEDGE_DEMO_CMD      how to start a demo server (words separated by spaces, or a JSON array); `--listen ADDRESS` is
//                       appended, and it says `listening on http://…` when it is ready. The test of a server
//                       that goes away needs it and is skipped without it.
//   SEDGE_REFERENCE     set to 1 instead: the demo on the official server (reference-demo.mjs), to check the tests
//   CHROMIUM            the browser's executable, unless it is found in the usual places
//   SEDGE_SCREENSHOTS   a folder for screenshots; none are taken without it

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { after, before } from "node:test";

import { DEADLINE, launch, serverCommand, startServer } from "./browser.mjs";

/** How to start a demo server, if that was said. */
export const command = serverCommand("SEDGE_DEMO_CMD", new URL("../reference-demo.mjs", import.meta.url));

/** Where the demo is. */
export let url = process.env.SEDGE_DEMO_URL;

let browser;
let shared;

before(async () => {
  if (!url) {
    assert.ok(command, "set SEDGE_DEMO_URL or SEDGE_DEMO_CMD");
    shared = await startServer(command);
    url = shared.url;
  }
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await shared?.stop();
});

export async function newPage(t, context = {}) {
  const made = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...context });
  t.after(() => made.close());
  const page = await made.newPage();
  page.setDefaultTimeout(DEADLINE);
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  // A server that is away is reported by the browser, too; a violated security policy is a defect of ours.
  page.on("console", (message) => /security policy/i.test(message.text()) && problems.push(message.text()));
  t.after(() => assert.deepEqual(problems, []));
  return page;
}

export async function enterOn(page, name, room, address = url) {
  await page.goto(address);
  await page.fill("#name", name);
  await page.fill("#first-room", room);
  await page.click("#enter button");
  await page.locator(`#people li[data-name="${name}"]`).first().waitFor({ state: "attached" });
}

export async function enter(t, name, room, context, address) {
  const page = await newPage(t, context);
  await enterOn(page, name, room, address);
  return page;
}

export async function write(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
}

/** Writes a message and waits until the server has it. */
export async function say(page, text) {
  await write(page, text);
  await page.locator("#outbox li").first().waitFor({ state: "detached" });
}

/** Waits until a message with exactly this text is shown. */
export async function hears(page, text) {
  await waitFor(page, `the message ${JSON.stringify(text.slice(0, 40))}`, async () =>
    (await texts(page, "#messages .bubble")).includes(text),
  );
}

/** Waits until an element has this text (or one of several elements does, with a pattern). */
export async function sees(page, selector, expected) {
  let last = [];
  await waitFor(page, () => `${selector} to be ${expected}, last seen: ${JSON.stringify(last)}`, async () => {
    last = await texts(page, selector);
    return last.some((text) => (expected instanceof RegExp ? expected.test(text) : text === expected));
  });
}

export const texts = (page, selector) => page.locator(selector).allTextContents();

/** Looks again at every frame that the page draws, until the deadline. */
export async function waitFor(page, what, condition) {
  const end = Date.now() + DEADLINE;
  while (!(await condition())) {
    if (Date.now() > end) {
      throw new Error(`waited ${DEADLINE} ms for ${typeof what === "function" ? what() : what}`);
    }
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(resolve)));
  }
}

export async function screenshot(page, name) {
  const folder = process.env.SEDGE_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  // Animations are brought to their end first.
  await page.screenshot({ path: join(folder, `${name}.png`), animations: "disabled" });
}

export function unique(what) {
  return `${what}-${Math.random().toString(36).slice(2, 10)}`;
}
