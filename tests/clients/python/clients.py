"""One face for the two clients of python-socketio, the threaded and the asyncio one.

Every event is queued from the moment the client exists, so that a test can ask for it later; every wait has a
deadline. See ../CONTRACT.md for the application at the other end.
"""

import asyncio
import queue
import threading

import engineio.payload
import socketio

# Over polling the client refuses more than 16 packets in one answer unless told otherwise. Servers put
# as many into it as are waiting.
engineio.payload.Payload.max_decode_packets = 5000

#: Longest wait for one thing, in seconds.
DEADLINE = 10


class Recorder:
    """Queues what arrives, by event name; answers questions with what the test has prepared."""

    def __init__(self):
        self._queues = {}
        self._lock = threading.Lock()
        self.answer = None

    def queue(self, event):
        with self._lock:
            return self._queues.setdefault(event, queue.Queue())

    def put(self, event, *values):
        self.queue(event).put(values)
        return self.answer if event == "question" else None

    def next(self, event):
        """The arguments of the next event of that name, as a tuple."""
        try:
            return self.queue(event).get(timeout=DEADLINE)
        except queue.Empty:
            raise AssertionError(f'waited {DEADLINE} s for "{event}"') from None

    def take(self, event, count):
        return [self.next(event) for _ in range(count)]


OPTIONS = {
    "handle_sigint": False,
    "reconnection_delay": 0.1,
    "reconnection_delay_max": 0.3,
}


class ThreadedClient(Recorder):
    """`socketio.Client`: requests and websocket-client below."""

    def __init__(self, namespaces=("/",), **options):
        super().__init__()
        self.sio = socketio.Client(**OPTIONS | options)
        for nsp in namespaces:
            for event in ("connect", "disconnect", "connect_error"):
                self.sio.on(event, self._handler(event), namespace=nsp)
            self.sio.on("*", self.put, namespace=nsp)

    def _handler(self, event):
        return lambda *values: self.put(event, *values)

    def connect(self, url, **options):
        self.sio.connect(url, wait_timeout=DEADLINE, **options)

    def emit(self, event, *values, namespace="/"):
        self.sio.emit(event, values, namespace=namespace)

    def call(self, event, *values, namespace="/"):
        return self.sio.call(event, values, namespace=namespace, timeout=DEADLINE)

    def sid(self, namespace="/"):
        return self.sio.get_sid(namespace)

    def transport(self):
        return self.sio.transport()

    def close(self):
        self.sio.shutdown()


class AsyncClient(Recorder):
    """`socketio.AsyncClient` on an event loop of its own, in a thread; aiohttp below."""

    def __init__(self, namespaces=("/",), **options):
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.sio = self._run(self._make(namespaces, options))

    async def _make(self, namespaces, options):
        sio = socketio.AsyncClient(**OPTIONS | options)
        for nsp in namespaces:
            for event in ("connect", "disconnect", "connect_error"):
                sio.on(event, self._handler(event), namespace=nsp)
            sio.on("*", self._async_put, namespace=nsp)
        return sio

    def _handler(self, event):
        async def handler(*values):
            self.put(event, *values)

        return handler

    async def _async_put(self, event, *values):
        return self.put(event, *values)

    def _run(self, coroutine, timeout=2 * DEADLINE):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    def connect(self, url, **options):
        self._run(self.sio.connect(url, wait_timeout=DEADLINE, **options))

    def emit(self, event, *values, namespace="/"):
        self._run(self.sio.emit(event, values, namespace=namespace))

    def call(self, event, *values, namespace="/"):
        return self._run(self.sio.call(event, values, namespace=namespace, timeout=DEADLINE))

    def sid(self, namespace="/"):
        return self.sio.get_sid(namespace)

    def transport(self):
        return self.sio.transport()

    def close(self):
        if self._loop.is_closed():
            return
        self._run(self.sio.shutdown())
        # aiohttp's session and the client's tasks want one more turn of the loop each.
        self._run(self._finish())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    async def _finish(self):
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        session = getattr(self.sio.eio, "http", None)
        if session is not None and not session.closed:
            await session.close()


#: How a client may be told to connect, and the transport it must end with.
MODES = {
    "polling": (["polling"], "polling"),
    "websocket": (["websocket"], "websocket"),
    "upgrade": (None, "websocket"),
}

KINDS = {"threaded": ThreadedClient, "asyncio": AsyncClient}
