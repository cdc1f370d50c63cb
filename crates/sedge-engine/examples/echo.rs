//! An Engine.IO server that sends every message back.
//!
//!     cargo run -p sedge-engine --example echo -- 127.0.0.1:3000
//!
//! A second argument `3` allows clients of protocol version 3 too.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use sedge_engine::{
    Application, CloseReason, Config, Engine, Handshake, Message, SendOptions, SessionKey, Shard,
};

struct Echo(Shard);

impl Application for Echo {
    type Command = Infallible;

    fn on_open(&self, _: SessionKey, _: Arc<Handshake>) {}

    fn on_message(&self, session: SessionKey, message: Message<'_>) {
        self.0.send(session, [message], SendOptions::default());
    }

    fn on_close(&self, session: SessionKey, reason: CloseReason) {
        eprintln!("{session:?} closed: {reason}");
    }

    fn on_command(&self, command: Infallible) {
        match command {}
    }

    fn on_timer(&self, _: u64) {}
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let config = Config::builder()
        .path("/engine.io")
        .ping_interval(Duration::from_millis(300))
        .ping_timeout(Duration::from_millis(200))
        .allow_eio3(arguments.next().as_deref() == Some("3"))
        .build()?;
    let engine = Engine::start(config, Echo)?;
    let listening = engine.listen(address.parse()?).await?;
    eprintln!("listening on http://{}", listening.local_addr());
    std::future::pending::<()>().await;
    Ok(())
}
