// The chat demo in a real browser: two people, two pages. lib/pages.mjs says what it wants to be told.

import assert from "node:assert/strict";
import { test } from "node:test";

import { DEADLINE, freePort, startServer } from "./lib/browser.mjs";
import { command, enter, enterOn, hears, newPage, say, screenshot, sees, texts, unique, url, write } from "./lib/pages.mjs";

const options = { timeout: 60_000 };

test("two people talk", options, async (t) => {
  const room = unique("talk");
  const ada = await enter(t, "Ada", room, { colorScheme: "light" });
  const grace = await enter(t, "Grace", room, { colorScheme: "dark" });

  // Who is there, and the notice of who came.
  await sees(ada, "#people-count", "2");
  assert.deepEqual(await texts(ada, "#people li .grow"), ["Ada", "Grace"]);
  assert.deepEqual(await texts(grace, "#people li .grow"), ["Ada", "Grace"]);
  await sees(ada, "#messages .notice", /^Grace came in/);

  // Both ways, and in the same order for both.
  await say(ada, "Hello Grace");
  await hears(grace, "Hello Grace");
  await say(grace, "Hello Ada\nin two lines, grün und 緑");
  await hears(ada, "Hello Ada\nin two lines, grün und 緑");
  // One hears the other before answering: what is said at the same moment on two workers has no order.
  for (let i = 0; i < 10; i++) {
    const [speaks, listens] = i % 2 ? [ada, grace] : [grace, ada];
    await say(speaks, `number ${i}`);
    await hears(listens, `number ${i}`);
  }
  for (const page of [ada, grace]) {
    await hears(page, "number 9");
    const numbers = (await texts(page, "#messages .bubble")).filter((text) => text.startsWith("number"));
    assert.deepEqual(
      numbers,
      Array.from({ length: 10 }, (_, i) => `number ${i}`),
    );
  }
  assert.equal(await grace.locator("#messages .message:not(.mine) .who b").first().textContent(), "Ada");
  assert.match(await grace.locator("#messages time").last().getAttribute("datetime"), /^\d{4}-\d\d-\d\dT/);

  // Markup stays text.
  const markup = `<img src=x onerror="document.title='owned'"><script>document.title='owned'</script>&lt;`;
  await say(ada, markup);
  await hears(grace, markup);
  assert.equal(await grace.locator("#messages img, #messages script").count(), 0);
  assert.notEqual(await grace.title(), "owned");

  await screenshot(ada, "talk-light");
  await screenshot(grace, "talk-dark");
});

test("typing is shown, and that it stopped", options, async (t) => {
  const room = unique("typing");
  const ada = await enter(t, "Ada", room);
  const grace = await enter(t, "Grace", room);
  await ada.locator("#text").pressSequentially("I am wri");
  await sees(grace, "#typing", "Ada is typing…");
  await ada.fill("#text", "");
  await sees(grace, "#typing", "");
  await ada.fill("#text", "again");
  await sees(grace, "#typing", "Ada is typing…");
  await ada.press("#text", "Enter");
  await hears(grace, "again");
  await sees(grace, "#typing", "");
  await sees(ada, "#typing", "");
});

test("rooms are separate, counted, and can be changed", options, async (t) => {
  const [first, second] = [unique("first"), unique("second")];
  const ada = await enter(t, "Ada", first);
  const grace = await enter(t, "Grace", first);
  await say(ada, "in the first room");
  await hears(grace, "in the first room");

  await grace.fill("#new-room", second);
  await grace.press("#new-room", "Enter");
  await sees(grace, "#room-name", second);
  await sees(grace, "#people-count", "1");
  await sees(ada, "#messages .notice", /^Grace left/);
  await sees(ada, "#people-count", "1");
  for (const [room, count] of [
    [first, "1"],
    [second, "1"],
    ["lobby", /^\d+$/],
  ]) {
    await sees(ada, `#rooms [data-room="${room}"] .count`, count);
  }

  // What is said here is not heard there: the next message that Grace gets is the one of her own room.
  await say(ada, "nobody hears this");
  await ada.click(`#rooms [data-room="${second}"]`);
  await sees(ada, "#room-name", second);
  await sees(grace, "#people-count", "2");
  await say(ada, "here I am");
  await hears(grace, "here I am");
  assert.deepEqual(await texts(grace, "#messages .bubble"), ["here I am"]);

  // The first room is empty now and disappears from the list; what was said there is still on Ada's page.
  await ada.locator(`#rooms [data-room="${first}"]`).waitFor({ state: "detached", timeout: DEADLINE });
  await ada.evaluate((room) => (location.hash = room), first);
  await sees(ada, "#room-name", first);
  await hears(ada, "nobody hears this");
});

test("the transport becomes a WebSocket, and the page says who serves it", options, async (t) => {
  const page = await newPage(t);
  const seen = [];
  page.on("websocket", (socket) => seen.push(socket.url()));
  await enterOn(page, "Ada", unique("transport"));
  await sees(page, "#transport", "websocket");
  await sees(page, "#state-text", "websocket");
  await sees(page, "#detail-state", "connected");
  assert.match(await page.textContent("#socket-id"), /^[\w-]{20}$/);
  assert.match(await page.textContent("#served-by"), /^worker \d+, shard \d+$/);
  assert.notEqual(await page.textContent("#node"), "none");
  assert.equal(seen.length, 1);
  // The address has a session id: the WebSocket took over a session that polling had begun.
  assert.match(seen[0], /transport=websocket&sid=[\w-]{20}$/);
});

test("a dropped connection is made again, in the same room, under the same name", options, async (t) => {
  const room = unique("drop");
  const ada = await enter(t, "Ada", room);
  const grace = await enter(t, "Grace", room);
  await sees(ada, "#transport", "websocket");
  const id = await ada.textContent("#socket-id");
  await ada.click("#drop");
  await sees(ada, "#reconnects", "1");
  await sees(ada, "#transport", "websocket");
  await sees(ada, "#people-count", "2");
  assert.notEqual(await ada.textContent("#socket-id"), id);
  await say(ada, "back again");
  await hears(grace, "back again");
  // A person who comes back is there once.
  assert.deepEqual(await texts(grace, "#people li .grow"), ["Ada", "Grace"]);
});

test("a reloaded page comes back by itself", options, async (t) => {
  const room = unique("reload");
  const page = await enter(t, "Ada", room);
  // A session left behind in the middle of its upgrade would be noticed by the ping timeout only.
  await sees(page, "#transport", "websocket");
  await page.reload();
  await sees(page, "#room-name", room);
  await sees(page, "#people-count", "1");
  assert.equal(await page.textContent("#my-name"), "Ada");
});

test("an empty name and an endless message are not sent", options, async (t) => {
  const page = await newPage(t);
  await page.goto(url);
  await page.fill("#name", "   ");
  await page.click("#enter button");
  assert.equal(await page.getAttribute("body", "data-view"), "welcome");
  await enterOn(page, "Ada", unique("limits"));
  await page.fill("#text", "a".repeat(1999) + "bcd");
  await page.press("#text", "Enter");
  await hears(page, "a".repeat(1999) + "b");
});

test("the page fits a phone", options, async (t) => {
  const room = unique("phone");
  const phone = { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true };
  const page = await enter(t, "Linus", room, phone);
  await say(page, "a".repeat(300));
  await hears(page, "a".repeat(300));
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `the page is ${overflow} pixels too wide`);
  for (const selector of ["#text", "#composer button", "#room-name", "#pill"]) {
    assert.ok(await page.locator(selector).isVisible(), `${selector} is not visible`);
  }
  await screenshot(page, "phone");
  // The lists are drawers.
  assert.equal(await page.locator("#people").isVisible(), false);
  await page.click("[data-open=people-panel]");
  await page.locator("#people li").waitFor({ timeout: DEADLINE });
  await screenshot(page, "phone-people");
  await page.keyboard.press("Escape");
  await page.locator("#people").waitFor({ state: "hidden", timeout: DEADLINE });
  await page.click("[data-open=rooms-panel]");
  await page.click(`#rooms [data-room="lobby"]`);
  await sees(page, "#room-name", "lobby");
});

test(
  "while the server is away, the page says so and keeps what is written",
  { ...options, skip: command ? false : "SEDGE_DEMO_CMD is not set" },
  async (t) => {
    const port = await freePort();
    let server = await startServer(command, port);
    t.after(() => server.stop());
    const room = unique("away");
    const ada = await enter(t, "Ada", room, {}, server.url);
    const grace = await enter(t, "Grace", room, {}, server.url);
    await say(ada, "before");
    await hears(grace, "before");

    await server.stop("SIGKILL");
    await sees(ada, "#state-text", "reconnecting");
    await sees(ada, "#banner-text", /^Reconnecting, attempt \d+/);
    await sees(ada, "#transport", "none");
    for (const text of ["one", "two", "three"]) await write(ada, text);
    assert.deepEqual(await texts(ada, "#outbox .bubble"), ["one", "two", "three"]);
    await screenshot(ada, "reconnecting");

    server = await startServer(command, port);
    for (const page of [ada, grace]) {
      await sees(page, "#transport", "websocket");
      await sees(page, "#room-name", room);
      assert.equal(await page.locator("#banner").isVisible(), false);
    }
    await sees(ada, "#people-count", "2");
    // Pending messages arrive once each, in order. Who was there later than they were sent does not see them: Grace
    // may be, so she is not asked; but what is said now reaches her.
    await hears(ada, "three");
    assert.deepEqual(await texts(ada, "#messages .bubble"), ["before", "one", "two", "three"]);
    assert.equal(await ada.locator("#outbox li").count(), 0);
    await say(ada, "after");
    await hears(grace, "after");
  },
);
