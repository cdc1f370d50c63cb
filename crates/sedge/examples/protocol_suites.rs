//! What the public protocol test suites need; `tests/suites/README.md` says why.
//!
//! `protocol_suites [--v4 ADDR] [--v3 ADDR] [--v5 ADDR]`: Engine.IO 4, Engine.IO 3 and Socket.IO, one
//! listener each. It prints their addresses in the order of the flags.
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

async fn engine_io(address: SocketAddr, allow_eio3: bool) -> Result<Listening, Error> {
    // The suites send requests of one session on several connections at once and rely on the order in
    // which they were opened, as with the official server's single thread.
    let config = Config::builder()
        .shards(1)
        .path("/engine.io")
        .ping_interval(PING_INTERVAL)
        .ping_timeout(PING_TIMEOUT)
        .cors(Cors::any())
        .allow_eio3(allow_eio3)
        .build()?;
    Ok(Engine::start(config, Echo)?.listen(address).await?)
}

async fn socket_io(address: SocketAddr) -> Result<Listening, Error> {
    let io = Server::builder()
        .shards(1)
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
    Ok(io.listen(address).await?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    while let Some(flag) = args.next() {
        let address = args.next().ok_or("each flag takes an address")?.parse()?;
        let listening = match flag.as_str() {
            "--v4" => engine_io(address, false).await?,
            "--v3" => engine_io(address, true).await?,
            "--v5" => socket_io(address).await?,
            _ => return Err("usage: protocol_suites [--v4 ADDR] [--v3 ADDR] [--v5 ADDR]".into()),
        };
        println!("listening on http://{}", listening.local_addr());
    }
    std::future::pending().await
}
