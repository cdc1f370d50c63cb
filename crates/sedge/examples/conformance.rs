//! The application that the tests with real clients drive; `tests/clients/CONTRACT.md` describes it.
#![expect(clippy::print_stdout, reason = "whoever starts it waits for the address")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::{Parser as _, ValueEnum};
use sedge::extract::{Ack, Args, Auth, Data, RoomName, State};
use sedge::{
    AckError, ConnectError, DisconnectReason, Handshake, Namespace, Parser, PerMessageDeflate,
    ProtocolVersion, Server, ServerBuilder, Socket, Transport, Value,
};
use serde::Serialize;

#[derive(clap::Parser)]
struct Options {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// How packets are written.
    #[arg(long, value_enum, default_value = "json")]
    parser: ParserName,
    /// Compresses WebSocket messages.
    #[arg(long)]
    deflate: bool,
    #[cfg(feature = "cluster")]
    #[command(flatten)]
    many: many::Many,
}

#[derive(Clone, Copy, ValueEnum)]
enum ParserName {
    Json,
    Msgpack,
}

type Error = Box<dyn std::error::Error>;

#[derive(Serialize)]
struct Welcome<'a> {
    id: &'a str,
    nsp: &'a str,
}

#[derive(Serialize)]
struct Info<'a> {
    id: &'a str,
    nsp: &'a str,
    transport: &'a str,
    protocol: u8,
    worker: u8,
}

/// Which of the processes this is.
struct Place {
    worker: u8,
}

#[derive(Serialize)]
struct HandshakeInfo<'a> {
    auth: Value,
    query: BTreeMap<String, String>,
    headers: BTreeMap<&'a str, &'a str>,
    secure: bool,
    xdomain: bool,
}

#[derive(Serialize)]
struct Survey {
    ok: bool,
    answers: Vec<Value>,
}

#[derive(Serialize)]
struct Disconnected<'a> {
    nsp: &'a str,
    id: &'a str,
    reason: &'a str,
}

#[derive(Serialize)]
struct Refusal {
    code: u16,
    hint: &'static str,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let options = Options::parse();
    #[cfg(feature = "cluster")]
    if let Some(workers) = options.many.workers {
        return many::run(&options, workers).await;
    }
    let io = server(&options, 0).build()?;
    application(&io)?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let listening = io.listen(options.listen).await?;
    println!("listening on http://{}", listening.local_addr());
    terminate.recv().await;
    io.close(END_WITHIN).await;
    Ok(())
}

/// For clients to be closed at the end.
const END_WITHIN: Duration = Duration::from_secs(3);

fn server(options: &Options, worker: u8) -> ServerBuilder {
    let parser = match options.parser {
        ParserName::Json => Parser::Json,
        ParserName::Msgpack => Parser::Msgpack,
    };
    Server::builder()
        .state(Place { worker })
        .parser(parser)
        .allow_eio3(true)
        .ping_interval(Duration::from_secs(1))
        .ping_timeout(Duration::from_secs(6))
        .per_message_deflate(options.deflate.then(PerMessageDeflate::default))
}

/// The same in one process as in each of many.
fn application(io: &Server) -> Result<(), Error> {
    let admin = io.of("/admin")?;
    admin.middleware(async |Auth(auth): Auth<Value>| match auth["token"].as_str() {
        Some("secret") => Ok(()),
        _ => Err(ConnectError::new("not authorized")
            .data(&Refusal { code: 401, hint: "send the right token" })),
    });
    for namespace in [io.root(), &io.of("/chat")?, &admin] {
        connection(namespace)?;
        messages(namespace);
        rooms(namespace);
        broadcasts(namespace);
    }
    control(&io.of("/control")?);
    Ok(())
}

/// Many processes of it on one port.
#[cfg(feature = "cluster")]
mod many {
    use std::net::SocketAddr;
    use std::path::PathBuf;

    use sedge::ListenOptions;
    use sedge_cluster::{Cluster, Worker};

    #[derive(clap::Args)]
    pub(super) struct Many {
        /// Runs as a cluster of so many workers.
        #[arg(long)]
        pub(super) workers: Option<u16>,
        /// Lets each worker listen itself as well, on this address with its index added to the port.
        #[arg(long, requires = "workers")]
        worker_ports: Option<SocketAddr>,
        /// Where the processes' own sockets are; a temporary directory unless it is given.
        #[arg(long, requires = "workers")]
        run_dir: Option<PathBuf>,
    }

    pub(super) async fn run(options: &super::Options, workers: u16) -> Result<(), super::Error> {
        let mut cluster = Cluster::builder()
            .listen(options.listen)
            .workers(workers)
            .drain_deadline(super::END_WITHIN)
            .on_serving(|addresses| println!("listening on http://{}", addresses.join(" ")));
        if let Some(base) = options.many.worker_ports {
            cluster = cluster.port_per_worker(base);
        }
        let temporary = format!("sedge-conformance-{}", std::process::id());
        let temporary = std::env::temp_dir().join(temporary);
        cluster = cluster.run_dir(options.many.run_dir.as_ref().unwrap_or(&temporary));
        let ended = cluster.run(async |worker| work(options, worker).await).await;
        // Only a supervisor that was not told another place has made it.
        let _ = std::fs::remove_dir_all(temporary);
        match ended?.code() {
            0 => Ok(()),
            code => std::process::exit(code),
        }
    }

    async fn work(options: &super::Options, worker: Worker) -> Result<(), super::Error> {
        let io = super::server(options, worker.index()).cluster(&worker).build()?;
        super::application(&io)?;
        io.serve_worker(worker, ListenOptions::new()).await?;
        Ok(())
    }
}

/// Welcome, farewell, and what the server knows of a client.
fn connection(namespace: &Namespace) -> Result<(), Error> {
    let watchers = namespace.server().of("/control")?;
    namespace.on_connect(async |socket: Socket| {
        let nsp = socket.namespace().name();
        socket.emit("welcome", &Welcome { id: socket.id().as_str(), nsp })
    });
    namespace.on_disconnect(async move |socket: Socket, reason: DisconnectReason| {
        let (nsp, id) = (socket.namespace().name(), socket.id().as_str());
        let notice = Disconnected { nsp, id, reason: reason.as_str() };
        watchers.to(format!("watch:{id}")).emit("disconnected", &notice)
    });
    namespace.on(
        "info",
        async |socket: Socket,
               transport: Transport,
               version: ProtocolVersion,
               State(place): State<Place>,
               cb: Ack| {
            let (id, nsp) = (socket.id().as_str(), socket.namespace().name());
            let (transport, protocol) = (transport.as_str(), version.number());
            cb.send(&Info { id, nsp, transport, protocol, worker: place.worker })
        },
    );
    namespace.on(
        "handshake",
        async |handshake: Arc<Handshake>, Auth(auth): Auth<Value>, cb: Ack| {
            cb.send(&HandshakeInfo {
                auth,
                query: handshake.query().collect(),
                headers: handshake.headers().collect(),
                secure: handshake.secure(),
                xdomain: handshake.xdomain(),
            })
        },
    );
    namespace.on("kick", async |socket: Socket, Data(close): Data<bool>| socket.disconnect(close));
    Ok(())
}

/// Events and acknowledgements of one socket.
fn messages(namespace: &Namespace) {
    namespace.on("echo", async |socket: Socket, values: Args| socket.emit("echo", &values));
    namespace.on("ack", async |values: Args, cb: Ack| cb.send(&values));
    namespace.on("ask-me", async |socket: Socket, Data(value): Data<Value>| {
        match socket.emit_with_ack::<Args>("question", &value).await {
            Ok(answers) => Ok(socket.emit("answered", &answers)?),
            Err(error) => Err(error),
        }
    });
    namespace.on(
        "ask-me-timeout",
        async |socket: Socket, Data((ms, value)): Data<(u64, Value)>| {
            let asked = socket.timeout(Duration::from_millis(ms));
            match asked.emit_with_ack::<Args>("question", &value).await {
                Ok(answers) => socket.emit("answered", &answers),
                Err(AckError::Timeout) => socket.emit("unanswered", &()),
                Err(_) => Ok(()),
            }
        },
    );
    namespace.on("count", async |socket: Socket, Data(n): Data<u32>| {
        (0..n).try_for_each(|i| socket.emit("number", &i))
    });
    namespace.on("ticks", async |socket: Socket, Data(n): Data<u32>| {
        (0..n).try_for_each(|i| socket.volatile().emit("tick", &i))?;
        socket.emit("ticked", &n)
    });
}

fn rooms(namespace: &Namespace) {
    namespace.on("join", async |socket: Socket, Data(room): Data<RoomName>, cb: Ack| {
        socket.join(room)?;
        Ok::<_, Error>(cb.send(&())?)
    });
    namespace.on("leave", async |socket: Socket, Data(room): Data<RoomName>, cb: Ack| {
        socket.leave(room)?;
        Ok::<_, Error>(cb.send(&())?)
    });
    namespace.on("rooms", async |socket: Socket, cb: Ack| {
        let mut rooms = socket.rooms().await;
        rooms.sort();
        cb.send(&rooms.iter().map(|room| &**room).collect::<Vec<&str>>())
    });
}

fn broadcasts(namespace: &Namespace) {
    type OneRoom = Data<(RoomName, Value)>;
    namespace.on("to-room", async |socket: Socket, Data((room, value)): OneRoom, cb: Ack| {
        socket.to(room).emit("cast", &value)?;
        cb.send(&())
    });
    namespace.on("in-room", async |nsp: Namespace, Data((room, value)): OneRoom, cb: Ack| {
        nsp.in_(room).emit("cast", &value)?;
        cb.send(&())
    });
    namespace.on(
        "in-rooms",
        async |nsp: Namespace, Data((rooms, value)): Data<(Vec<RoomName>, Value)>, cb: Ack| {
            nsp.in_(rooms).emit("cast", &value)?;
            cb.send(&())
        },
    );
    namespace.on(
        "except",
        async |nsp: Namespace,
               Data((room, but, value)): Data<(RoomName, RoomName, Value)>,
               cb: Ack| {
            nsp.in_(room).except(but).emit("cast", &value)?;
            cb.send(&())
        },
    );
    namespace.on("others", async |socket: Socket, Data(value): Data<Value>, cb: Ack| {
        socket.broadcast().emit("cast", &value)?;
        cb.send(&())
    });
    namespace.on("all", async |nsp: Namespace, Data(value): Data<Value>, cb: Ack| {
        nsp.emit("cast", &value)?;
        cb.send(&())
    });
    namespace.on("whisper", async |nsp: Namespace, Data((id, value)): OneRoom, cb: Ack| {
        nsp.to(id).emit("whisper", &value)?;
        cb.send(&())
    });
    namespace.on(
        "survey",
        async |nsp: Namespace, Data((room, value, ms)): Data<(RoomName, Value, u64)>, cb: Ack| {
            let asked = nsp.in_(room).timeout(Duration::from_millis(ms));
            let result = asked.emit_with_ack::<Value>("question", &value).await;
            let (ok, answers) = match result {
                Ok(answers) => (true, answers),
                Err(partial) => (false, partial.responses),
            };
            cb.send(&Survey { ok, answers })
        },
    );
}

/// The server's side, for the tests to see.
fn control(namespace: &Namespace) {
    namespace.on("watch", async |socket: Socket, Data(id): Data<String>, cb: Ack| {
        socket.join(format!("watch:{id}"))?;
        Ok::<_, Error>(cb.send(&())?)
    });
    namespace.on(
        "members",
        async |io: Server, Data((name, room)): Data<(String, String)>, cb: Ack| {
            let sockets = io.of(&name)?.in_(room).fetch_sockets().await?;
            let mut ids: Vec<&str> = sockets.iter().map(sedge::RemoteSocket::id).collect();
            ids.sort_unstable();
            Ok::<_, Error>(cb.send(&ids)?)
        },
    );
    namespace.on(
        "disconnect-room",
        async |io: Server, Data((name, room, close)): Data<(String, String, bool)>, cb: Ack| {
            io.of(&name)?.in_(room).disconnect_sockets(close).await?;
            Ok::<_, Error>(cb.send(&())?)
        },
    );
}
