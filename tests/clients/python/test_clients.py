"""python-socketio, threaded and asyncio, over every transport, against the server at SEDGE_URL.

    python3 -m pip install -r requirements.txt
    SEDGE_URL=http://127.0.0.1:3000 python3 -m unittest -v

See ../CONTRACT.md for the application at the other end, and for the variables.
"""

import contextlib
import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import tempfile
import unittest
import uuid

import socketio.exceptions

from clients import DEADLINE, KINDS, MODES


def unique(what):
    """A name that no other test uses."""
    return f"{what}-{uuid.uuid4()}"


class Cases:
    """The tests; a class for each kind of client and mode is made below."""

    kind = None
    mode = None

    def setUp(self):
        self.url = os.environ.get("SEDGE_URL")
        if not self.url:
            self.fail("SEDGE_URL is not set: see ../CONTRACT.md")

    def client(self, namespaces=("/",), **options):
        client = KINDS[self.kind](namespaces, **options)
        self.addCleanup(client.close)
        return client

    def open(self, namespace="/", auth=None, url=None, **options):
        """A connected client in a connection of its own."""
        client = self.client((namespace,), **options)
        client.connect(
            url or self.url, namespaces=[namespace], auth=auth, transports=MODES[self.mode][0]
        )
        client.next("connect")
        return client

    def watcher(self, sid):
        """A client that hears of the end of that socket."""
        control = self.open("/control")
        control.call("watch", sid, namespace="/control")
        return control

    def test_connects_over_the_transport_it_was_told_to_use(self):
        client = self.open()
        info = client.call("info")
        self.assertEqual(info["transport"], MODES[self.mode][1])
        self.assertEqual(client.transport(), MODES[self.mode][1])
        self.assertEqual(info["protocol"], 4)
        self.assertEqual(info["id"], client.sid())
        self.assertEqual(client.next("welcome"), ({"id": info["id"], "nsp": "/"},))

    def test_handshake(self):
        client = self.client(("/chat",))
        client.connect(
            self.url + "?colour=green",
            headers={"X-Sedge-Test": "yes"},
            auth={"token": "t1"},
            namespaces=["/chat"],
            transports=MODES[self.mode][0],
        )
        handshake = client.call("handshake", namespace="/chat")
        self.assertEqual(handshake["auth"], {"token": "t1"})
        self.assertEqual(handshake["query"]["colour"], "green")
        self.assertEqual(handshake["query"]["EIO"], "4")
        self.assertEqual(handshake["headers"]["x-sedge-test"], "yes")

    def test_values_come_back_unchanged(self):
        client = self.open()
        cases = [
            (),
            (0, -1, 1.5, 2**53 - 1, True, False, None, "", [], {}, [[], [None]]),
            ("grün, 緑, 🌿, \u2028, \\, \", \u001e",),
            ({"a": {"b": [{"c": [1, {"d": "e"}]}]}, "ключ": "значение"},),
            (b"\xff",),
            (bytes(1024),),
            (b"\x01", "between", {"list": [b"two", {"three": b"\0\0\0"}], "last": bytes(range(256))}),
        ]
        for values in cases:
            with self.subTest(values=values):
                client.emit("echo", *values)
                self.assertEqual(client.next("echo"), values)

    def test_large_values_come_back_unchanged(self):
        client = self.open()
        # Over polling binary travels as base64: this much fits into the announced 1 000 000 bytes.
        size = 700_000 if self.mode == "polling" else 900_000
        # And json.dumps writes six characters for each that is not ASCII.
        for value in ("a" * 900_000, "緑" * 150_000, b"sedge" * (size // 5)):
            client.emit("echo", value)
            self.assertEqual(client.next("echo"), (value,))
            self.assertEqual(client.call("ack", value), value)

    def test_acknowledgements_both_ways(self):
        client = self.open()
        self.assertEqual(client.call("ack", 1), 1)
        self.assertEqual(client.call("ack", "two", b"three"), ("two", b"three"))
        client.answer = ("yes", {"because": [b"\1\2", "grün"]})
        client.emit("ask-me", {"deep": [b"q"]})
        self.assertEqual(client.next("question"), ({"deep": [b"q"]},))
        self.assertEqual(client.next("answered"), ("yes", {"because": [b"\1\2", "grün"]}))

    def test_a_namespace_has_its_own_id(self):
        client = self.open("/chat")
        info = client.call("info", namespace="/chat")
        self.assertEqual(info["nsp"], "/chat")
        self.assertEqual(info["id"], client.sid("/chat"))

    def test_a_middleware_refuses_or_lets_in(self):
        client = self.client(("/admin",))
        with self.assertRaises(socketio.exceptions.ConnectionError):
            client.connect(self.url, namespaces=["/admin"], transports=MODES[self.mode][0])
        self.assertEqual(
            client.next("connect_error"),
            (
                {
                    "message": "not authorized",
                    "data": {"code": 401, "hint": "send the right token"},
                },
            ),
        )
        admin = self.open("/admin", auth={"token": "secret"})
        self.assertEqual(admin.call("ack", "in", namespace="/admin"), "in")

    def test_an_unknown_namespace_is_refused(self):
        client = self.client(("/nowhere",))
        with self.assertRaises(socketio.exceptions.ConnectionError):
            client.connect(self.url, namespaces=["/nowhere"], transports=MODES[self.mode][0])
        self.assertEqual(client.next("connect_error")[0]["message"], "Invalid namespace")

    def test_several_namespaces_share_one_connection(self):
        names = ["/", "/chat", "/admin"]
        client = self.client(names)
        client.connect(
            self.url, namespaces=names, auth={"token": "secret"}, transports=MODES[self.mode][0]
        )
        for name in names:
            self.assertEqual(client.call("info", namespace=name)["nsp"], name)
        self.assertEqual(len({client.sid(name) for name in names}), 3)

    def test_rooms(self):
        a, b, c = (self.open() for _ in range(3))
        red, meeting = unique("red"), unique("meeting")
        for client in (a, b, c):
            client.call("join", meeting)
        for client in (a, b):
            client.call("join", red)

        def got(*command):
            """Broadcasts, then one to all three: what came before that one is what the first had brought."""
            a.call(*command)
            a.call("in-room", meeting, "end")
            return [list(iter(lambda client=client: client.next("cast")[0], "end")) for client in (a, b, c)]

        self.assertEqual(got("to-room", red, 1), [[], [1], []])
        self.assertEqual(got("in-room", red, b"2"), [[b"2"], [b"2"], []])
        self.assertEqual(got("in-rooms", [red, meeting], 3), [[3], [3], [3]])
        self.assertEqual(got("except", meeting, red, 4), [[], [], [4]])
        b.call("leave", red)
        self.assertEqual(got("in-room", red, 5), [[5], [], []])
        a.call("whisper", c.sid(), b"secret")
        self.assertEqual(c.next("whisper"), (b"secret",))

    def test_a_thousand_messages_each_way_keep_their_order(self):
        client = self.open()
        client.emit("count", 1000)
        for i in range(1000):
            client.emit("echo", i)
        expected = [(i,) for i in range(1000)]
        self.assertEqual(client.take("number", 1000), expected)
        self.assertEqual(client.take("echo", 1000), expected)

    def test_the_server_disconnects(self):
        for close in (False, True):
            client = self.open("/chat", reconnection=False)
            control = self.watcher(client.sid("/chat"))
            client.emit("kick", close, namespace="/chat")
            (seen,) = control.next("disconnected")
            self.assertEqual(seen["reason"], "server namespace disconnect")
            client.next("disconnect")

    def test_the_client_disconnects(self):
        client = self.open(reconnection=False)
        control = self.watcher(client.sid())
        client.close()
        (seen,) = control.next("disconnected")
        self.assertIn(seen["reason"], ("client namespace disconnect", "transport close"))

    def test_reconnects_after_a_restart(self):
        words = os.environ.get("SEDGE_SERVER_CMD")
        if not words:
            self.skipTest("SEDGE_SERVER_CMD is not set")
        words = json.loads(words) if words.lstrip().startswith("[") else shlex.split(words)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        server = Server(words, port)
        self.addCleanup(server.kill)
        client = self.open(url=server.url)
        before = client.sid()
        server.kill()
        client.next("disconnect")
        server = Server(words, port)
        self.addCleanup(server.kill)
        client.next("connect")
        self.assertNotEqual(client.sid(), before)
        self.assertEqual(client.call("ack", "again"), "again")


class Server:
    """A server, of one process or many, listening when the constructor returns."""

    def __init__(self, words, port):
        words = [*words, "--listen", f"127.0.0.1:{port}"]
        self.directory = None
        if "--workers" in words:
            self.directory = tempfile.TemporaryDirectory(prefix="sedge-test-", ignore_cleanup_errors=True)
            words += ["--run-dir", self.directory.name]
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.url = line.split()[-1]
                return
        raise AssertionError(f"the server ended at once, with code {self.process.wait(DEADLINE)}")

    def kill(self):
        """Kills all of its processes. A supervisor goes first: it would replace its workers."""
        workers = [] if self.process.returncode is not None else self.workers()
        self.process.kill()
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(DEADLINE)
        self.process.stdout.close()
        if self.directory:
            self.directory.cleanup()

    def workers(self):
        """The processes that the server has started itself."""
        lists = pathlib.Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for path in lists for pid in path.read_text().split()]


for _kind in KINDS:
    for _mode in MODES:
        _name = f"{_kind.capitalize()}{_mode.capitalize()}"
        globals()[_name] = type(
            _name, (Cases, unittest.TestCase), {"kind": _kind, "mode": _mode, "__module__": __name__}
        )

if __name__ == "__main__":
    unittest.main()
