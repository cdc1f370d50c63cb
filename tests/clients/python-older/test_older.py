"""Older releases of python-socketio, each in an environment of its own: one for Engine.IO 3, and one whose msgpack
packets leave the acknowledgement id 0 out. Which one this is, the installed version says.

    python3 -m pip install -r requirements-4.6.1.txt    # or requirements-5.11.2.txt
    SEDGE_URL=... SEDGE_MSGPACK_URL=... python3 -m unittest -v

See ../CONTRACT.md for the application at the other end, and for the variables.
"""

import os
import queue
import unittest
import uuid
from importlib.metadata import version

import engineio.payload
import socketio

#: Whether it is the one for Engine.IO 3.
OLD = version("python-socketio").startswith("4.")

# Over polling the client refuses more than 16 packets in one answer unless told otherwise.
engineio.payload.Payload.max_decode_packets = 5000

#: Longest wait for one thing, in seconds.
DEADLINE = 10

#: How a client may be told to connect, and the transport it must end with.
MODES = {
    "polling": (["polling"], "polling"),
    "websocket": (["websocket"], "websocket"),
    "upgrade": (None, "websocket"),
}


class Client:
    """A connected client that queues what arrives, and answers questions."""

    def __init__(self, url, mode, namespace, **options):
        self.namespace = namespace
        self.queues = {name: queue.Queue() for name in ("welcome", "echo", "cast", "answered", "disconnect")}
        self.sio = socketio.Client(reconnection=False, **options)
        for name, arrived in self.queues.items():
            self.sio.on(name, lambda *values, arrived=arrived: arrived.put(values), namespace=namespace)
        self.sio.on("question", lambda value: (value, "answer"), namespace=namespace)
        self.sio.connect(url, namespaces=[namespace], transports=MODES[mode][0])

    def next(self, event):
        try:
            return self.queues[event].get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f'waited {DEADLINE} s for "{event}"') from None

    def emit(self, event, *values):
        self.sio.emit(event, values, namespace=self.namespace)

    def call(self, event, *values):
        return self.sio.call(event, values, namespace=self.namespace, timeout=DEADLINE)


class Cases:
    """The tests; a class for each mode and parser is made below."""

    mode = None
    variable = None
    options = {}

    def open(self, namespace="/"):
        url = os.environ.get(self.variable)
        if not url:
            self.skipTest(f"{self.variable} is not set")
        client = Client(url, self.mode, namespace, **self.options)
        self.addCleanup(client.sio.disconnect)
        client.next("welcome")
        return client

    def test_connects_over_the_transport_it_was_told_to_use(self):
        info = self.open().call("info")
        self.assertEqual(info["transport"], MODES[self.mode][1])
        self.assertEqual(info["protocol"], 3 if OLD else 4)

    def test_values_come_back_unchanged(self):
        client = self.open("/chat")
        for values in [(0, -1, 1.5, None, "", [], {}), ("grün, 緑, 🌿",), (b"\xff", {"deep": [bytes(1000)]})]:
            client.emit("echo", *values)
            self.assertEqual(client.next("echo"), values)
            self.assertEqual(client.call("ack", *values), values if len(values) > 1 else values[0])

    def test_it_answers_the_first_question_and_all_others(self):
        client = self.open()
        for n in range(3):
            client.emit("ask-me", n)
            self.assertEqual(client.next("answered"), (n, "answer"))

    def test_it_answers_many_questions_at_once(self):
        client = self.open()
        for n in range(1100):
            client.emit("ask-me", n)
        answers = sorted(client.next("answered")[0] for _ in range(1100))
        self.assertEqual(answers, list(range(1100)))

    def test_it_answers_what_a_room_is_asked(self):
        asking, asked = self.open(), self.open()
        room = f"asked-{uuid.uuid4()}"
        asked.call("join", room)
        survey = asking.call("survey", room, "all?", 1000 * DEADLINE)
        self.assertEqual(survey, {"ok": True, "answers": ["all?"]})

    def test_rooms(self):
        sender, member = self.open(), self.open()
        room = f"room-{uuid.uuid4()}"
        member.call("join", room)
        sender.call("to-room", room, {"text": "hello", "data": b"\1\2"})
        self.assertEqual(member.next("cast"), ({"text": "hello", "data": b"\1\2"},))

    def test_the_server_disconnects(self):
        client = self.open()
        client.emit("kick", True)
        client.next("disconnect")


PARSERS = {"Json": ("SEDGE_URL", {})}
if not OLD:
    PARSERS["Msgpack"] = ("SEDGE_MSGPACK_URL", {"serializer": "msgpack"})

for _mode in MODES:
    for _parser, (_variable, _options) in PARSERS.items():
        _name = f"{_mode.capitalize()}{_parser}"
        _given = {"mode": _mode, "variable": _variable, "options": _options, "__module__": __name__}
        globals()[_name] = type(_name, (Cases, unittest.TestCase), _given)

if __name__ == "__main__":
    unittest.main()
