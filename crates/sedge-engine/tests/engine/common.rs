//! The server under test: an echo server with some commands, and a well-behaved client that must
//! never notice what the test does to the others.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sedge_engine::hooks::ErrorCode;
use sedge_engine::{
    Application, CloseReason, Config, ConfigBuilder, Engine, Handshake, ListenOptions, Listening,
    Message, Metrics, SendOptions, SessionKey, Shard,
};
use sedge_testkit::{DEADLINE, Endpoint, Frame, RawWs, eventually};

pub(crate) const PATH: &str = "/socket.io/";
pub(crate) const V4_POLLING: &str = "/socket.io/?EIO=4&transport=polling";
pub(crate) const V3_POLLING: &str = "/socket.io/?EIO=3&transport=polling";
pub(crate) const V4_WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
pub(crate) const V3_WEBSOCKET: &str = "/socket.io/?EIO=3&transport=websocket";

/// The longest the well-behaved client may have to wait for an answer. The machine is busy with
/// other tests too; a server that is held up by a client takes longer.
const UNNOTICED: Duration = Duration::from_secs(3);

/// Sends every message back, except for the commands.
pub(crate) struct Echo(Shard);

impl Echo {
    fn text(&self, session: SessionKey, text: &str) {
        self.0.send(session, [Message::Text(text)], SendOptions::default());
    }

    fn command(&self, session: SessionKey, command: &str) {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["close"] => self.0.close(session),
            ["count", to] => {
                for number in 0..to.parse().expect("a number") {
                    self.text(session, &u32::to_string(&number));
                }
            }
            ["panic"] => panic!("as asked"),
            ["shard"] => self.text(session, &self.0.index().to_string()),
            ["transport"] => {
                let transport = self.0.transport(session).map_or("none", |t| t.as_str());
                self.text(session, transport);
            }
            // Sends so many messages of so many bytes.
            ["send", count, size] => {
                let text = "x".repeat(size.parse().expect("a size"));
                for _ in 0..count.parse().expect("a count") {
                    self.text(session, &text);
                }
            }
            _ => panic!("unknown command {command}"),
        }
    }
}

impl Application for Echo {
    type Command = Box<dyn FnOnce(&Shard) + Send>;

    fn on_open(&self, session: SessionKey, handshake: Arc<Handshake>) {
        if handshake.query_param("greet").is_some() {
            self.text(session, "welcome");
        }
    }

    fn on_message(&self, session: SessionKey, message: Message<'_>) {
        match message {
            Message::Text(text) if text.starts_with('!') => self.command(session, &text[1..]),
            message => {
                self.0.send(session, [message], SendOptions::default());
            }
        }
    }

    fn on_close(&self, _: SessionKey, _: CloseReason) {}

    fn on_command(&self, command: Self::Command) {
        command(&self.0);
    }

    fn on_timer(&self, timer: u64) {
        assert!(timer != PANIC_TIMER, "as asked");
    }
}

/// A timer at which the application panics.
pub(crate) const PANIC_TIMER: u64 = 13;

/// Runs a future to its end.
pub(crate) fn wait<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

/// An echo server of its own for one test.
pub(crate) struct Server {
    pub(crate) engine: Engine<Echo>,
    pub(crate) listening: Listening,
    bystander: Option<Bystander>,
}

impl Server {
    /// Starts a server with one shard and these options.
    pub(crate) fn start(options: impl FnOnce(ConfigBuilder) -> ConfigBuilder) -> Server {
        Server::listen(options, ListenOptions::new())
    }

    /// Starts a server with these options for its listener too. If that one encrypts, nobody else
    /// is there to watch.
    pub(crate) fn listen(
        options: impl FnOnce(ConfigBuilder) -> ConfigBuilder,
        listen: ListenOptions,
    ) -> Server {
        let config = options(Config::builder().shards(1)).build().expect("valid options");
        let engine = Engine::start(config, Echo).expect("the engine starts");
        let any = "127.0.0.1:0".parse().expect("an address");
        let listening = wait(engine.listen_with(any, listen)).expect("a free port");
        Server { engine, listening, bystander: None }
    }

    /// Lets a well-behaved client watch from now on.
    pub(crate) fn watched(mut self) -> Server {
        self.bystander = Some(Bystander::start(self.at()));
        self
    }

    /// Where the server listens.
    pub(crate) fn at(&self) -> Endpoint {
        self.listening.local_addr().into()
    }

    /// What all shards have counted.
    pub(crate) fn metrics(&self) -> Metrics {
        let mut sum = Metrics::default();
        for shard in self.engine.metrics() {
            sum.merge(&shard);
        }
        sum
    }

    /// Waits until the counters and gauges are as wanted.
    #[track_caller]
    pub(crate) fn await_metrics(&self, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
        let reached = eventually(DEADLINE, || wanted(&self.metrics()));
        assert!(reached, "{:#?}", self.metrics());
        self.metrics()
    }

    /// Checks, after all clients of the test are gone, that nothing is left of them and that the
    /// well-behaved client noticed nothing; then ends the server. Returns what was counted.
    #[track_caller]
    pub(crate) fn settle(mut self) -> Counted {
        let left = u64::from(self.bystander.is_some());
        let metrics = self.await_metrics(|m| m.sessions() == left);
        if let Some(bystander) = self.bystander.take() {
            bystander.finish();
        }
        self.await_metrics(|m| {
            m.sessions() == 0
                && m.connections_http == 0
                && m.connections_websocket == 0
                && m.tunnels == 0
                && m.probes == 0
                && m.polls_waiting == 0
                && m.outbox_bytes == 0
                && m.answer_bytes == 0
        });
        let start = Instant::now();
        wait(self.engine.close(DEADLINE));
        assert!(start.elapsed() < DEADLINE, "an idle engine ends at once");
        Counted(metrics)
    }
}

/// What a server has counted.
pub(crate) struct Counted(Metrics);

impl std::ops::Deref for Counted {
    type Target = Metrics;

    fn deref(&self) -> &Metrics {
        &self.0
    }
}

impl Counted {
    /// Expects that exactly these sessions ended for a reason that the application is told.
    #[track_caller]
    pub(crate) fn closed(&self, expected: &[(CloseReason, u64)]) -> &Counted {
        for (reason, count) in CloseReason::ALL.iter().zip(self.0.closed) {
            let wanted = expected.iter().find(|(r, _)| r == reason).map_or(0, |(_, n)| *n);
            assert_eq!(count, wanted, "{reason}");
        }
        self
    }

    /// Expects that exactly these requests were refused.
    #[track_caller]
    pub(crate) fn refused(&self, expected: &[(ErrorCode, u64)]) -> &Counted {
        for (code, count) in ErrorCode::ALL.iter().zip(self.0.refused) {
            let wanted = expected.iter().find(|(c, _)| c == code).map_or(0, |(_, n)| *n);
            assert_eq!(count, wanted, "{code}");
        }
        self
    }
}

/// A client that talks to the server all the time and expects prompt answers.
struct Bystander {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Bystander {
    fn start(at: Endpoint) -> Bystander {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut ws = RawWs::connect(at, V4_WEBSOCKET);
            assert!(matches!(ws.receive(), Frame::Text(open) if open.starts_with("0{")));
            ready.send(()).expect("the test waits");
            let mut number = 0;
            while !stopped.load(Ordering::Relaxed) {
                number += 1;
                let text = format!("4still here {number}");
                let asked = Instant::now();
                ws.send(&text);
                while ws.receive() != Frame::Text(text.clone()) {
                    // Only pings may come in between.
                    ws.send("3");
                }
                let took = asked.elapsed();
                assert!(took < UNNOTICED, "an innocent client waited {took:?}");
                std::thread::park_timeout(Duration::from_millis(20));
            }
            ws.close();
        });
        is_ready.recv().expect("the first client is served");
        Bystander { stop, thread }
    }

    #[track_caller]
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        assert!(self.thread.join().is_ok(), "the well-behaved client was disturbed");
    }
}

/// Opens a WebSocket session and returns it with its id.
pub(crate) fn open_websocket(at: impl Into<Endpoint>, target: &str) -> (RawWs, String) {
    let mut ws = RawWs::connect(at, target);
    let Frame::Text(open) = ws.receive() else { panic!("no OPEN packet") };
    assert!(open.starts_with("0{"), "{open}");
    let sid = open.split('"').nth(3).expect("OPEN names the session first").to_owned();
    (ws, sid)
}
