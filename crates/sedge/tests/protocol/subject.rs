//! The servers: Engine.IO alone, in both of its versions, and Socket.IO on top of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sedge::extract::{Ack, Args, Auth};
use sedge::{Server, Socket, Value};
use sedge_engine::{
    Application, CloseReason, Config, Engine, Handshake, Message, Metrics, SendOptions, SessionKey,
    Shard,
};
use sedge_testkit::{DEADLINE, Form, Frame, HttpResponse, Packet, RawHttp, RawWs, eventually};
use tokio::runtime::Runtime;

/// How many shards there are: one, and enough for requests that go astray.
const SHARDS: [usize; 2] = [1, 3];

/// An Engine.IO application that sends every message back.
struct Echo(Shard);

impl Application for Echo {
    type Command = Infallible;

    fn on_open(&self, _: SessionKey, _: Arc<Handshake>) {}

    fn on_message(&self, session: SessionKey, message: Message<'_>) {
        self.0.send(session, [message], SendOptions::default());
    }

    fn on_close(&self, _: SessionKey, _: CloseReason) {}

    fn on_command(&self, command: Infallible) {
        match command {}
    }

    fn on_timer(&self, _: u64) {}
}

/// How long a client may be silent.
#[derive(Clone, Copy)]
pub(crate) struct Heartbeat {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
}

/// Nobody is asked for a sign of life during a test.
pub(crate) const SLOW: Heartbeat =
    Heartbeat { interval: Duration::from_mins(1), timeout: Duration::from_mins(1) };
/// As the public suites want it.
pub(crate) const FAST: Heartbeat =
    Heartbeat { interval: Duration::from_millis(300), timeout: Duration::from_millis(200) };

/// A server, and how its clients talk.
pub(crate) struct Subject {
    /// For messages of a failed test.
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) heartbeat: Heartbeat,
    /// The engine's path.
    pub(crate) path: &'static str,
    /// The forms in which its polling clients write, one for each way there is.
    pub(crate) forms: &'static [Form],
    /// A message that is answered, and its answer.
    pub(crate) question: [&'static str; 2],
    running: Running,
}

enum Running {
    Engine { engine: Engine<Echo>, runtime: Runtime },
    Server { io: Server, runtime: Runtime },
}

pub(crate) const V4: &[Form] = &[Form::V4];
pub(crate) const V3: &[Form] = &[Form::V3Text, Form::V3Binary];

/// Runs a test at Engine.IO alone, in both versions.
pub(crate) fn engine_io(heartbeat: Heartbeat, test: impl Fn(&Subject) + Sync) {
    run(&[Subject::engine], heartbeat, &test);
}

/// Runs a test at Socket.IO, in both versions of what is beneath it.
pub(crate) fn socket_io(heartbeat: Heartbeat, test: impl Fn(&Subject) + Sync) {
    run(&[Subject::server], heartbeat, &test);
}

/// Runs a test at all of them.
pub(crate) fn all(heartbeat: Heartbeat, test: impl Fn(&Subject) + Sync) {
    run(&[Subject::engine, Subject::server], heartbeat, &test);
}

/// How a server is started: by its number of shards, its heartbeat, and the forms of its polling clients.
type Start = fn(usize, Heartbeat, &'static [Form]) -> Subject;

/// Runs a test at servers of all kinds, beside one another, since heartbeats take their time.
fn run(starts: &[Start], heartbeat: Heartbeat, test: &(impl Fn(&Subject) + Sync)) {
    std::thread::scope(|scope| {
        for start in starts {
            for shards in SHARDS {
                for forms in [V4, V3] {
                    scope.spawn(move || test(&start(shards, heartbeat, forms)));
                }
            }
        }
    });
}

fn name(of: &str, shards: usize, forms: &[Form]) -> String {
    let version = if forms == V4 { 4 } else { 3 };
    format!("{of}, EIO={version}, {shards} shards")
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

impl Subject {
    fn engine(shards: usize, heartbeat: Heartbeat, forms: &'static [Form]) -> Subject {
        let config = Config::builder()
            .shards(shards)
            .path("/engine.io")
            .ping_interval(heartbeat.interval)
            .ping_timeout(heartbeat.timeout)
            .allow_eio3(forms == V3)
            .build();
        let runtime = runtime();
        let engine = Engine::start(config.expect("valid options"), Echo).expect("it starts");
        let any = "127.0.0.1:0".parse().expect("an address");
        let listening = runtime.block_on(engine.listen(any)).expect("a free port");
        Subject {
            name: name("Engine.IO", shards, forms),
            address: listening.local_addr(),
            heartbeat,
            path: "/engine.io/",
            forms,
            question: ["4hello", "4hello"],
            running: Running::Engine { engine, runtime },
        }
    }

    fn server(shards: usize, heartbeat: Heartbeat, forms: &'static [Form]) -> Subject {
        let io = Server::builder()
            .shards(shards)
            .ping_interval(heartbeat.interval)
            .ping_timeout(heartbeat.timeout)
            .connect_timeout(Duration::from_secs(1))
            .allow_eio3(forms == V3)
            .build()
            .expect("valid options");
        for name in ["/", "/custom"] {
            let namespace = io.of(name).expect("a valid name");
            namespace.on_connect(async |socket: Socket, Auth(auth): Auth<Value>| {
                socket.emit("auth", &auth)
            });
        }
        io.on("message", async |socket: Socket, args: Args| socket.emit("message-back", &args));
        io.on("message-with-ack", async |args: Args, ack: Ack| ack.send(&args));
        let runtime = runtime();
        let any = "127.0.0.1:0".parse().expect("an address");
        let listening = runtime.block_on(io.listen(any)).expect("a free port");
        Subject {
            name: name("Socket.IO", shards, forms),
            address: listening.local_addr(),
            heartbeat,
            path: "/socket.io/",
            forms,
            // It is answered whether the client has joined a namespace or not.
            question: ["40/random,", r#"44/random,{"message":"Invalid namespace"}"#],
            running: Running::Server { io, runtime },
        }
    }

    pub(crate) fn version(&self) -> u8 {
        if self.forms == V4 { 4 } else { 3 }
    }

    /// The target of a request with this query.
    pub(crate) fn target(&self, query: &str) -> String {
        format!("{}?{query}", self.path)
    }

    /// One request on a connection of its own.
    pub(crate) fn request(&self, method: &str, target: &str, body: &[u8]) -> HttpResponse {
        RawHttp::connect(self.address).request(method, target, &[], body)
    }

    /// A WebSocket with its session's OPEN packet read.
    pub(crate) fn websocket(&self) -> RawWs {
        let query = format!("EIO={}&transport=websocket", self.version());
        let mut ws = RawWs::connect(self.address, &self.target(&query));
        let Frame::Text(open) = ws.receive() else { panic!("{}: no OPEN", self.name) };
        assert!(open.starts_with("0{"), "{}: {open}", self.name);
        ws
    }

    /// A session by polling.
    pub(crate) fn polling(&self, form: Form) -> Polling<'_> {
        let target = self.target(form.query());
        let response = self.request("GET", &target, b"");
        let packets = decode(form, &response);
        let Some(Packet::Text(open)) = packets.first() else { panic!("{}: no OPEN", self.name) };
        let open = open.strip_prefix('0').expect("an OPEN packet").to_owned();
        let sid = open.split('"').nth(3).expect("OPEN names the session first").to_owned();
        let session =
            Polling { subject: self, form, target: format!("{target}&sid={sid}"), sid, open };
        if matches!(self.running, Running::Server { .. }) && self.version() == 3 {
            // Clients of this version are in the root namespace without asking.
            session.expect(&["40".into(), r#"42["auth",{}]"#.into()]);
        }
        session
    }

    /// What all shards have counted.
    pub(crate) fn metrics(&self) -> Metrics {
        let shards = match &self.running {
            Running::Engine { engine, .. } => engine.metrics(),
            Running::Server { io, .. } => io.metrics().engine,
        };
        let mut sum = Metrics::default();
        for shard in shards {
            sum.merge(&shard);
        }
        sum
    }

    /// Waits until the gauges are as wanted.
    #[track_caller]
    pub(crate) fn await_metrics(&self, wanted: impl Fn(&Metrics) -> bool) {
        let reached = eventually(DEADLINE, || wanted(&self.metrics()));
        assert!(reached, "{}: {:#?}", self.name, self.metrics());
    }

    /// Expects that a WebSocket is refused.
    pub(crate) fn expect_refused(&self, target: &str) {
        let response = RawWs::refused(self.address, target, &RawWs::handshake());
        assert_eq!(response.status, 400, "{}: {target}", self.name);
    }

    /// Expects that the question is answered.
    pub(crate) fn expect_answer(&self, ws: &mut RawWs) {
        let [question, answer] = self.question;
        ws.send(question);
        assert_eq!(ws.receive(), Frame::Text(answer.to_owned()), "{}", self.name);
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        match &self.running {
            Running::Engine { engine, runtime } => runtime.block_on(engine.close(Duration::ZERO)),
            Running::Server { io, runtime } => runtime.block_on(io.close(Duration::ZERO)),
        }
    }
}

/// A session by polling. Every request has a connection of its own.
pub(crate) struct Polling<'a> {
    pub(crate) subject: &'a Subject,
    pub(crate) form: Form,
    pub(crate) target: String,
    pub(crate) sid: String,
    /// What OPEN said, as JSON.
    pub(crate) open: String,
}

impl Polling<'_> {
    pub(crate) fn get(&self) -> HttpResponse {
        self.subject.request("GET", &self.target, b"")
    }

    pub(crate) fn post(&self, body: &[u8]) -> HttpResponse {
        let headers = [("content-type", self.form.content_type())];
        RawHttp::connect(self.subject.address).request("POST", &self.target, &headers, body)
    }

    /// Sends packets and expects that they are taken.
    pub(crate) fn send(&self, packets: &[Packet]) {
        self.post(&self.form.encode(packets)).expect(200, "ok");
    }

    /// Expects these packets in one answer.
    #[track_caller]
    pub(crate) fn expect(&self, packets: &[Packet]) {
        assert_eq!(decode(self.form, &self.get()), packets, "{}", self.subject.name);
    }

    /// Begins a GET and waits until it waits.
    pub(crate) fn waiting_get(&self) -> RawHttp {
        let mut http = RawHttp::connect(self.subject.address);
        http.send("GET", &self.target, &[], b"");
        self.subject.await_metrics(|metrics| metrics.polls_waiting == 1);
        http
    }

    /// Expects that the session is gone.
    #[track_caller]
    pub(crate) fn expect_gone(&self) {
        assert_eq!(self.get().status, 400, "{}", self.subject.name);
    }
}

/// Expects that the server closes this WebSocket; what it says before is not looked at.
pub(crate) fn expect_closed(mut ws: RawWs) {
    while ws.receive() != Frame::Closed {}
}

/// The packets of an answer.
#[track_caller]
pub(crate) fn decode(form: Form, response: &HttpResponse) -> Vec<Packet> {
    assert_eq!(response.status, 200, "{response:?}");
    form.decode(response.header("content-type").unwrap_or_default(), &response.body)
}
