//! What the public protocol test suites need; `tests/suites/README.md` says why.
//!
//! `protocol_suites [--shards N] [--v4 ADDR] [--v3 ADDR] [--v5 ADDR]`: Engine.IO 4, Engine.IO 3 and Socket.IO,
//! one listener each, with N shards (1). It prints their addresses in the order of the flags.
#![expect(clippy::print_stdout, reason = "whoever starts it waits for the addresses")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sedge::extract::{Ack, Args, Auth};
use sedge::{Cors, Server, Socket, Value};
use sedge_engine::{
    Application, CloseReason, Config, Engine, Handshake, Listening, Message, SendOptions,
    SessionKey, Shard,
};

const PING_INTERVAL: Duration = Duration::from_millis(300);
const PING_TIMEOUT: Duration = Duration::from_millis(200);

type Error = Box<dyn std::error::Error>;
/// A listener, and the server that serves as long as it is there.
type Running = (Listening, Box<dyn std::any::Any>);

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

async fn engine_io(shards: usize, address: SocketAddr, allow_eio3: bool) -> Result<Running, Error> {
    let config = Config::builder()
        .shards(shards)
        .path("/engine.io")
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .cors(Cors::any())
        .allow_eio3(allow_eio3)
        .build()?;
    let engine = Engine::start(config, Echo)?;
    let listening = engine.listen(address).await?;
    Ok((listening, Box::new(engine)))
}

async fn socket_io(shards: usize, address: SocketAddr) -> Result<Running, Error> {
    let io = Server::builder()
        .shards(shards)
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .cors(Cors::any())
        .connect_timeout(Duration::from_secs(1))
        .build()?;
    for name in ["/", "/custom"] {
        io.of(name)?
            .on_connect(async |socket: Socket, Auth(auth): Auth<Value>| socket.emit("auth", &auth));
    }
    io.on("message", async |socket: Socket, args: Args| socket.emit("message-back", &args));
    io.on("message-with-ack", async |args: Args, ack: Ack| ack.send(&args));
    let listening = io.listen(address).await?;
    Ok((listening, Box::new(io)))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let mut shards = 1;
    let mut running = Vec::new();
    while let Some(flag) = args.next() {
        let value = args.next().ok_or("each flag takes a value")?;
        if flag == "--shards" {
            shards = value.parse()?;
            continue;
        }
        let address = value.parse()?;
        let listening = match flag.as_str() {
            "--v4" => engine_io(shards, address, false).await?,
            "--v3" => engine_io(shards, address, true).await?,
            "--v5" => socket_io(shards, address).await?,
            _ => {
                return Err(
                    "usage: protocol_suites [--shards N] [--v4 ADDR] [--v3 ADDR] [--v5 ADDR]"
                        .into(),
                );
            }
        };
        println!("listening on http://{}", listening.0.local_addr());
        running.push(listening);
    }
    std::future::pending().await
}
