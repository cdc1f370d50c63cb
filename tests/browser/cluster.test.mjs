// The chat demo on a cluster: people on different workers talk, and a worker that is killed is missed by nobody for
// long. lib/pages.mjs says what these tests want to be told; without a command that has `--workers 2` they are skipped.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "node:test";

import { workersOf } from "../clients/lib/processes.mjs";
import { startServer } from "./lib/browser.mjs";
import { command, enter, hears, say, screenshot, sees, texts, unique, url, waitFor } from "./lib/pages.mjs";

const options = {
  timeout: 90_000,
  skip: command && workersOf(command) === "2" ? false : "SEDGE_DEMO_CMD starts no cluster of two workers",
};

/** More pages than these are never needed, and mostly two are enough: new sessions go to the worker with the fewest. */
const NAMES = ["Ada", "Barbara", "Donald", "Edsger", "Frances", "Grace", "Ken", "Radia"];

test("two pages on different workers chat", options, async (t) => {
  const room = unique("apart");
  const people = await onBothWorkers(t, room, url);
  await agree(people);
  const [one, other] = apart(people);

  await say(one.page, `${one.name} says hello from worker ${one.worker}`);
  await hears(other.page, `${one.name} says hello from worker ${one.worker}`);
  await other.page.locator("#text").pressSequentially("I am wri");
  await sees(one.page, "#typing", `${other.name} is typing…`);
  await other.page.fill("#text", "");
  await sees(one.page, "#typing", "");
  await say(other.page, "and hello back");
  await hears(one.page, "and hello back");
  await screenshot(one.page, "workers-one");
  await screenshot(other.page, "workers-other");

  // One leaves the room: the other worker's people hear of it.
  await other.page.click(`#rooms [data-room="lobby"]`);
  await sees(other.page, "#room-name", "lobby");
  await sees(one.page, "#messages .notice", new RegExp(`^${other.name} left`));
  await agree(people.filter((person) => person !== other));
});

test("a worker is killed: its people come back, the others keep talking", options, async (t) => {
  const server = await startServer(command);
  t.after(() => server.stop("SIGKILL"));
  const room = unique("killed");
  const people = await onBothWorkers(t, room, server.url);
  await agree(people);
  const [stays, falls] = apart(people);
  const ids = await Promise.all(people.map(({ page }) => page.textContent("#socket-id")));
  const killed = falls.worker;
  const unharmed = people.filter(({ worker }) => worker !== killed);
  const fallen = people.filter(({ worker }) => worker === killed);

  // Its people cannot come back at once, so that everybody can be seen to miss them.
  for (const { page } of fallen) await page.route("**/socket.io/**", (route) => route.abort());
  const before = workers(server)[killed];
  process.kill(before.pid, "SIGKILL");
  for (const { page } of fallen) {
    await sees(page, "#state-text", "reconnecting");
    await sees(page, "#banner-text", /^Reconnecting, attempt \d+/);
    await sees(page, "#served-by", "none");
  }
  await agree(unharmed);
  await say(stays.page, "who is still here?");
  await screenshot(falls.page, "worker-killed-falls");
  await screenshot(stays.page, "worker-killed-stays");

  for (const { page } of fallen) await page.unroute("**/socket.io/**");
  for (const { page } of fallen) {
    await sees(page, "#reconnects", "1");
    await sees(page, "#transport", "websocket");
    await sees(page, "#messages .notice", /^You are connected again/);
  }
  for (const person of fallen) person.worker = await workerOf(person.page);
  await agree(people);
  await say(falls.page, "here I am again");
  await hears(stays.page, "here I am again");
  await say(stays.page, "welcome back");
  await hears(falls.page, "welcome back");
  await screenshot(falls.page, "worker-killed-back");

  // To the others nothing has happened.
  for (const { page, name } of unharmed) {
    assert.equal(await page.textContent("#reconnects"), "0");
    assert.equal(await page.textContent("#socket-id"), ids[people.findIndex((person) => person.name === name)]);
  }

  // There is another one in its place, and it serves.
  const replaced = () => workers(server)[killed];
  await waitFor(stays.page, "the worker to be replaced", () => replaced().state === "ready");
  assert.equal(replaced().restarts, 1);
  assert.notEqual(replaced().pid, before.pid);
  await agree(await onBothWorkers(t, unique("new"), server.url));
});

/** The workers as `sedge status` shows them. */
function workers(server) {
  const status = execFileSync(command[0], ["status", "--json", "--run-dir", server.directory], { encoding: "utf8" });
  return JSON.parse(status).workers;
}

/** Opens pages until each of the two workers serves one: `{page, name, worker}` of all of them. */
async function onBothWorkers(t, room, address) {
  const people = [];
  for (const name of NAMES) {
    const page = await enter(t, name, room, {}, address);
    await sees(page, "#transport", "websocket");
    people.push({ page, name, worker: await workerOf(page) });
    if (new Set(people.map(({ worker }) => worker)).size === 2) return people;
  }
  throw new Error(`one worker serves all of ${NAMES.length} pages`);
}

/** The worker that a page says serves it. */
async function workerOf(page) {
  await sees(page, "#served-by", /^worker \d+, shard \d+$/);
  return Number(/\d+/.exec(await page.textContent("#served-by"))[0]);
}

/** One of the people of worker 0 and one of those of worker 1, the one who came first in front. */
function apart(people) {
  return [people[0], people.find(({ worker }) => worker !== people[0].worker)];
}

/** Waits until the page of each of these people lists exactly them, each with the right worker. */
async function agree(people) {
  const expected = people.map(({ name, worker }) => `${name}: worker ${worker}`).sort();
  for (const { page, name } of people) {
    let listed = [];
    await waitFor(page, () => `${name}'s page to list ${expected}; it lists ${listed}`, async () => {
      const [names, tags] = await Promise.all([texts(page, "#people li .grow"), texts(page, "#people li .tag")]);
      listed = names.map((person, i) => `${person}: ${tags[i]?.replace("you, ", "")}`).sort();
      return JSON.stringify(listed) === JSON.stringify(expected);
    });
    await sees(page, "#people-count", String(people.length));
  }
}
