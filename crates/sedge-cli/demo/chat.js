// The chat demo: one page on the official Socket.IO client. What it says to the server and hears from it is in
// CONTRACT.md. Whatever comes from elsewhere reaches the page as text nodes only.
"use strict";

(() => {
  const MESSAGES_KEPT = 500; // per room, in this page's memory and on screen
  const ANSWER_TIMEOUT = 8000; // ms until an unanswered message counts as not sent
  const TYPING_REPEAT = 3000; // ms after which "still typing" is said again
  const TYPING_IDLE = 4000; // ms without a key until we say that we stopped
  const TYPING_FORGET = 7000; // ms until we stop believing in somebody's typing
  const GROUP = 5 * 60_000; // ms within which messages of one person are drawn as one block
  const LIMITS = { name: 32, text: 2000 };

  const $ = (id) => document.getElementById(id);

  /** What this page knows. The socket id and the transport are asked of the socket itself. */
  const state = {
    name: "",
    room: "lobby",
    joined: false, // the server has answered our hello on this connection
    rooms: [],
    people: [],
    history: new Map(), // room -> entries shown, oldest first
    seen: new Set(), // keys of messages shown, so that one sent twice is shown once
    own: new Set(), // keys of messages written here
    outbox: [], // written here and not yet confirmed: {key, room, text, at, sending, error}
    typing: new Map(), // socket id -> {name, timer}
    connects: 0,
    attempt: 0,
    refused: false, // the server ended the connection: the client will not try again by itself
  };

  const socket = io({ autoConnect: false, reconnectionDelay: 500, reconnectionDelayMax: 4000 });

  // ---- Elements ----

  function element(tag, properties = {}, ...children) {
    const made = document.createElement(tag);
    for (const [key, value] of Object.entries(properties)) {
      if (key in made) made[key] = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  /** A colour out of eight that a name keeps. */
  function hue(name) {
    let hash = 0;
    for (const character of name) hash = (hash * 31 + character.codePointAt(0)) >>> 0;
    return `hue-${hash % 8}`;
  }

  const initial = (name) => ([...name][0] ?? "?").toUpperCase();

  const avatar = (name) =>
    element("span", { className: `avatar ${hue(name)}`, ariaHidden: "true" }, initial(name));

  function time(at) {
    const date = new Date(at);
    const stamp = element("time", { title: date.toLocaleString() });
    stamp.dateTime = date.toISOString();
    stamp.textContent = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    return stamp;
  }

  // ---- The connection ----

  function connectionState() {
    if (socket.connected) return "connected";
    if (!navigator.onLine || state.refused) return "offline";
    return state.connects === 0 && state.attempt === 0 ? "connecting" : "reconnecting";
  }

  function renderConnection() {
    const now = connectionState();
    const transport = socket.connected ? (socket.io.engine?.transport?.name ?? "") : "";
    const words = {
      connected: "connected",
      connecting: "connecting",
      reconnecting: `reconnecting (${Math.max(1, state.attempt)})`,
      offline: state.refused ? "closed by the server" : "offline",
    }[now];
    document.body.dataset.state = now;
    $("state-text").textContent = now === "connected" ? transport : now;
    $("pill").title = words;
    $("detail-state").textContent = words;
    $("transport").textContent = transport || "none";
    $("transport").dataset.transport = transport;
    $("socket-id").textContent = socket.id ?? "none";
    if (!socket.connected) $("node").textContent = $("served-by").textContent = "none";
    $("reconnects").textContent = String(Math.max(0, state.connects - 1));
    for (const step of $("track").children) step.classList.toggle("now", step.dataset.transport === transport);
    $("banner").hidden = now === "connected" || now === "connecting";
    $("banner-text").textContent = {
      reconnecting: `Reconnecting, attempt ${Math.max(1, state.attempt)}. What you write now is sent afterwards.`,
      offline: state.refused
        ? "The server has closed this connection."
        : "You are offline. What you write is sent when you are back.",
    }[now] ?? "";
    $("drop").disabled = !socket.connected;
  }

  socket.on("connect", () => {
    state.connects += 1;
    state.attempt = 0;
    state.refused = false;
    socket.io.engine.on("upgrade", renderConnection);
    renderConnection();
    sayHello();
  });

  socket.on("disconnect", (reason) => {
    state.joined = false;
    state.refused = reason === "io server disconnect";
    for (const id of [...state.typing.keys()]) setTyping(id, "", false);
    for (const item of state.outbox) item.sending = false;
    renderConnection();
    renderOutbox();
  });

  socket.on("connect_error", renderConnection);
  socket.io.on("reconnect_attempt", (attempt) => {
    state.attempt = attempt;
    renderConnection();
  });
  addEventListener("offline", renderConnection);
  addEventListener("online", () => {
    renderConnection();
    reconnectNow();
  });

  /** Does not wait for the client's next attempt. */
  function reconnectNow() {
    if (socket.connected || document.body.dataset.view !== "chat") return;
    state.refused = false;
    socket.disconnect().connect();
    renderConnection();
  }

  socket.on("server", ({ node, worker, shard }) => {
    $("node").textContent = node;
    $("served-by").textContent = `worker ${worker}, shard ${shard}`;
  });

  // ---- Coming in, changing rooms ----

  /** Sends an event and calls back with the answer; without an answer in time, or without connection, with `undefined`. */
  function ask(event, payload, then) {
    socket.timeout(ANSWER_TIMEOUT).emit(event, payload, (error, answer) => then(error ? undefined : answer));
  }

  function sayHello() {
    ask("hello", { name: state.name, room: state.room }, (answer) => {
      if (!answer) return void (socket.connected && sayHello());
      if (!answer.ok) return backToWelcome(answer.error);
      state.name = answer.name;
      const back = state.joined === false && state.connects > 1;
      entered(answer);
      if (back) show({ kind: "notice", text: "You are connected again", at: Date.now() });
    });
  }

  function changeRoom(name) {
    const room = name.trim();
    if (!room || room === state.room) return;
    stopTyping();
    if (!state.joined) {
      state.room = room; // the next hello goes there
      state.people = [];
      return render();
    }
    ask("join", { room }, (answer) => {
      if (answer?.ok) entered(answer);
      else if (answer) show({ kind: "notice", text: answer.error, at: Date.now() });
    });
  }

  function entered({ room, rooms, people }) {
    for (const id of [...state.typing.keys()]) setTyping(id, "", false);
    Object.assign(state, { room, rooms, people, joined: true });
    sessionStorage.setItem("sedge-chat", JSON.stringify({ name: state.name, room }));
    history.replaceState(null, "", `#${encodeURIComponent(room)}`);
    document.body.dataset.view = "chat";
    render();
    flush();
  }

  function backToWelcome(error = "") {
    sessionStorage.removeItem("sedge-chat");
    socket.disconnect();
    Object.assign(state, { joined: false, connects: 0, attempt: 0, refused: false, people: [] });
    document.body.dataset.view = "welcome";
    $("enter-error").textContent = error;
    $("enter-error").hidden = error === "";
    $("name").focus();
  }

  function comeIn(name, room) {
    Object.assign(state, { name, room });
    document.body.dataset.view = "chat";
    render();
    socket.connect();
    $("text").focus();
  }

  socket.on("rooms", (rooms) => {
    state.rooms = rooms;
    renderRooms();
  });

  socket.on("people", ({ room, people }) => {
    if (room !== state.room) return;
    state.people = people;
    renderPeople();
  });

  socket.on("notice", ({ kind, name, room, at }) => {
    if (room !== state.room) return;
    show({ kind: "notice", text: `${name} ${kind === "join" ? "came in" : "left"}`, at });
  });

  // ---- Messages ----

  function write(text) {
    const key = crypto.randomUUID?.() ?? Array.from(crypto.getRandomValues(new Uint32Array(4))).join("-");
    const item = { key, room: state.room, text, at: Date.now(), sending: false, error: "" };
    state.own.add(key);
    state.outbox.push(item);
    flush();
    renderOutbox();
    scrollDown();
  }

  /** Sends what waits, in the order in which it was written. */
  function flush() {
    if (!state.joined) return;
    for (const item of state.outbox) {
      if (item.sending || item.error || item.room !== state.room) continue;
      item.sending = true;
      ask("say", { text: item.text, key: item.key }, (answer) => {
        item.sending = false;
        if (answer?.ok) state.outbox = state.outbox.filter((other) => other !== item);
        else if (answer) item.error = answer.error;
        // No answer: it stays, and goes out again, at once if the connection still stands.
        else flush();
        renderOutbox();
      });
    }
  }

  socket.on("message", ({ key, from, text, at }) => {
    if (state.seen.has(key)) return;
    state.seen.add(key);
    if (state.seen.size > 4 * MESSAGES_KEPT) state.seen.delete(state.seen.values().next().value);
    const mine = state.own.has(key);
    if (mine) {
      state.outbox = state.outbox.filter((item) => item.key !== key);
      renderOutbox();
    }
    show({ kind: "message", from, text, at, mine });
    if (!mine && document.hidden) document.title = `● ${state.room} | Sedge chat`;
  });

  /** Appends an entry to the present room. */
  function show(entry) {
    const entries = entriesOf(state.room);
    const atEnd = isAtEnd();
    const previous = entries.at(-1);
    entries.push(entry);
    $("messages").append(draw(entry, previous));
    if (entries.length > MESSAGES_KEPT) {
      entries.shift();
      $("messages").firstElementChild.remove();
    }
    $("empty").hidden = true;
    if (atEnd || entry.mine) scrollDown();
    else if (entry.kind === "message") $("newer").hidden = false;
  }

  function entriesOf(room) {
    if (!state.history.has(room)) state.history.set(room, []);
    return state.history.get(room);
  }

  function draw(entry, previous) {
    if (entry.kind === "notice") {
      return element("li", { className: "notice" }, `${entry.text}, `, time(entry.at));
    }
    const follows =
      previous?.kind === "message" && previous.from === entry.from && previous.mine === entry.mine && entry.at - previous.at < GROUP;
    const item = element("li", { className: "message" });
    item.classList.toggle("mine", entry.mine);
    item.classList.toggle("follows", follows);
    item.append(
      avatar(entry.from),
      element("div", { className: "who" }, element("b", {}, entry.from), time(entry.at)),
      element("div", { className: "bubble", dir: "auto", title: new Date(entry.at).toLocaleString() }, entry.text),
    );
    return item;
  }

  function renderMessages() {
    const entries = entriesOf(state.room);
    $("messages").replaceChildren(...entries.map((entry, i) => draw(entry, entries[i - 1])));
    $("empty").hidden = entries.length > 0;
    $("newer").hidden = true;
    scrollDown();
  }

  function renderOutbox() {
    const waiting = state.outbox.filter((item) => item.room === state.room);
    $("outbox").replaceChildren(...waiting.map(drawWaiting));
    if (waiting.length > 0) $("empty").hidden = true;
  }

  function drawWaiting(item, index, items) {
    const who = element("div", { className: "who" }, item.error ? `Not sent: ${item.error} ` : "Pending");
    if (item.error) {
      const discard = element("button", { type: "button" }, "Discard");
      discard.addEventListener("click", () => {
        state.outbox = state.outbox.filter((other) => other !== item);
        renderOutbox();
      });
      who.append(discard);
    }
    const bubble = element("div", { className: "bubble", dir: "auto" }, item.text);
    const drawn = element("li", { className: "message mine pending" }, who, bubble);
    drawn.classList.toggle("failed", item.error !== "");
    // "Pending" is said once for a row of them.
    drawn.classList.toggle("follows", index > 0 && item.error === "" && items[index - 1].error === "");
    return drawn;
  }

  const isAtEnd = () => $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 80;

  function scrollDown() {
    $("scroll").scrollTop = $("scroll").scrollHeight;
    $("newer").hidden = true;
  }

  // ---- Typing ----

  let typingSaidAt = 0;
  let typingIdle;

  function startTyping() {
    clearTimeout(typingIdle);
    typingIdle = setTimeout(stopTyping, TYPING_IDLE);
    if (!state.joined || Date.now() - typingSaidAt < TYPING_REPEAT) return;
    typingSaidAt = Date.now();
    socket.emit("typing", { on: true });
  }

  function stopTyping() {
    clearTimeout(typingIdle);
    if (typingSaidAt && state.joined) socket.emit("typing", { on: false });
    typingSaidAt = 0;
  }

  function setTyping(id, name, on) {
    clearTimeout(state.typing.get(id)?.timer);
    state.typing.delete(id);
    if (on) state.typing.set(id, { name, timer: setTimeout(() => setTyping(id, name, false), TYPING_FORGET) });
    const names = [...state.typing.values()].map((one) => one.name);
    $("typing").textContent =
      names.length === 0 ? ""
      : names.length === 1 ? `${names[0]} is typing…`
      : names.length === 2 ? `${names[0]} and ${names[1]} are typing…`
      : `${names.length} people are typing…`;
  }

  socket.on("typing", ({ id, name, on }) => setTyping(id, name, on));

  // ---- Lists ----

  function renderRooms() {
    const rooms = state.rooms.some(({ name }) => name === state.room)
      ? state.rooms
      : [...state.rooms, { name: state.room, count: 0 }];
    $("rooms").replaceChildren(
      ...rooms.map(({ name, count }) => {
        const button = element(
          "button",
          { type: "button", className: "room" },
          element("span", { className: "grow ellipsis" }, element("span", { className: "hash", ariaHidden: "true" }, "# "), name),
          element("span", { className: "count", ariaLabel: `${count} here` }, String(count)),
        );
        button.dataset.room = name;
        if (name === state.room) button.setAttribute("aria-current", "true");
        button.addEventListener("click", () => {
          closePanels();
          changeRoom(name);
        });
        return element("li", {}, button);
      }),
    );
  }

  function renderPeople() {
    $("people").replaceChildren(
      ...state.people.map(({ id, name, worker }) => {
        const person = element("li", {}, avatar(name), element("span", { className: "grow ellipsis" }, name));
        const tags = [id === socket.id ? "you" : "", worker === undefined ? "" : `worker ${worker}`].filter(Boolean);
        person.append(element("span", { className: "tag" }, tags.join(", ")));
        person.dataset.name = name;
        return person;
      }),
    );
    for (const id of ["people-count", "people-count-short"]) $(id).textContent = String(state.people.length);
  }

  function render() {
    $("room-name").textContent = state.room;
    $("text").placeholder = `Message #${state.room}`;
    $("my-name").textContent = state.name;
    $("my-avatar").className = `avatar ${hue(state.name)}`;
    $("my-avatar").textContent = initial(state.name);
    resetTitle();
    renderConnection();
    renderRooms();
    renderPeople();
    renderMessages();
    renderOutbox();
  }

  const resetTitle = () => {
    document.title = document.body.dataset.view === "chat" ? `${state.room} | Sedge chat` : "Sedge chat";
  };

  // ---- Controls ----

  $("enter").addEventListener("submit", (event) => {
    event.preventDefault();
    const [name, room] = [$("name").value.trim(), $("first-room").value.trim()];
    if (name && room) comeIn(name, room);
  });

  $("create").addEventListener("submit", (event) => {
    event.preventDefault();
    changeRoom($("new-room").value);
    $("new-room").value = "";
    closePanels();
    $("text").focus();
  });

  function send() {
    const text = $("text").value.trim().slice(0, LIMITS.text);
    if (!text) return;
    stopTyping();
    $("text").value = "";
    fitComposer();
    write(text);
  }

  function fitComposer() {
    $("text").style.height = "auto";
    $("text").style.height = `${$("text").scrollHeight + 2}px`;
  }

  $("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
    $("text").focus();
  });
  $("text").addEventListener("keydown", (event) => {
    // Not while an input method composes a character: there, Enter accepts it.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  $("text").addEventListener("input", () => {
    fitComposer();
    if ($("text").value) startTyping();
    else stopTyping();
  });
  $("text").addEventListener("blur", stopTyping);
  $("scroll").addEventListener("scroll", () => isAtEnd() && ($("newer").hidden = true));
  $("newer").addEventListener("click", scrollDown);
  $("leave").addEventListener("click", () => backToWelcome());
  $("reconnect").addEventListener("click", reconnectNow);
  $("drop").addEventListener("click", () => socket.io.engine.close());
  document.addEventListener("visibilitychange", resetTitle);

  // On narrow screens the lists are drawers.
  const openers = [...document.querySelectorAll("[data-open]")];
  function openPanel(id) {
    for (const opener of openers) {
      const open = opener.dataset.open === id;
      opener.setAttribute("aria-expanded", String(open));
      $(opener.dataset.open).classList.toggle("open", open);
    }
  }
  const closePanels = () => openPanel("");
  for (const opener of openers) {
    opener.addEventListener("click", () => {
      openPanel(opener.dataset.open);
      $(opener.dataset.open).querySelector("[data-close]").focus();
    });
  }
  for (const closer of document.querySelectorAll("[data-close]")) closer.addEventListener("click", closePanels);
  addEventListener("keydown", (event) => event.key === "Escape" && closePanels());

  // ---- Start ----

  function roomOfAddress() {
    try {
      return decodeURIComponent(location.hash.slice(1)).trim().slice(0, LIMITS.name);
    } catch {
      return ""; // not ours: a lone % for example
    }
  }

  addEventListener("hashchange", () => {
    const room = roomOfAddress();
    if (document.body.dataset.view === "chat" && room) changeRoom(room);
  });

  const saved = JSON.parse(sessionStorage.getItem("sedge-chat") ?? "null");
  const room = roomOfAddress() || saved?.room || "lobby";
  $("first-room").value = room;
  renderConnection();
  if (saved?.name) comeIn(saved.name, room);
})();
