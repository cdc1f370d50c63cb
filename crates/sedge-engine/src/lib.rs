//! An Engine.IO server (protocol versions 3 and 4) that runs on shards.
//!
//! A shard is a thread with an event loop of its own. A connection belongs to exactly one shard, and
//! only that thread touches its state, so nothing is locked. What the sessions are for is the business
//! of an [`Application`], of which there is one value per shard; this crate does not know what a
//! Socket.IO namespace is.
//!
//! ```no_run
//! use std::sync::Arc;
//! use sedge_engine::{Application, CloseReason, Config, Engine, Handshake, Message, SendOptions,
//!     SessionKey, Shard};
//!
//! /// Sends every message back.
//! struct Echo(Shard);
//!
//! impl Application for Echo {
//!     type Command = std::convert::Infallible;
//!
//!     fn on_open(&self, session: SessionKey, handshake: Arc<Handshake>) {
//!         println!("{session:?} opened by {:?}", handshake.address());
//!     }
//!
//!     fn on_message(&self, session: SessionKey, message: Message<'_>) {
//!         self.0.send(session, [message], SendOptions::default());
//!     }
//!
//!     fn on_close(&self, session: SessionKey, reason: CloseReason) {
//!         println!("{session:?} closed: {reason}");
//!     }
//!
//!     fn on_command(&self, command: Self::Command) {
//!         match command {}
//!     }
//!
//!     fn on_timer(&self, _: u64) {}
//! }
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::builder().path("/engine.io").build()?;
//! let engine = Engine::start(config, Echo)?;
//! let listening = engine.listen("127.0.0.1:3000".parse()?).await?;
//! println!("listening on {}", listening.local_addr());
//! # Ok(())
//! # }
//! ```

mod application;
mod client_files;
pub mod config;
mod engine;
mod frames;
mod handshake;
pub mod hooks;
mod http;
mod io;
pub mod limits;
mod listener;
mod metrics;
mod native;
mod outbox;
mod passing;
mod random;
mod shard;
mod tasks;
mod timed_io;
mod tower;
mod wheel;

pub use application::{
    Application, CloseReason, Message, SendOptions, Sent, SessionKey, Transport,
};
pub use client_files::{ClientFiles, ClientFilesError};
pub use config::{Config, ConfigBuilder, ConfigError};
pub use engine::{Engine, Overloaded, StartError};
pub use frames::SharedMessage;
pub use handshake::Handshake;
pub use http::body::{BoxError, RequestBody, ResponseBody};
pub use http::cookie::{Cookie, SameSite};
pub use http::cors::{Cors, CorsOrigin};
pub use listener::{ListenOptions, Listening};
pub use metrics::Metrics;
pub use passing::{Inlet, NotPassed, Passed, PassedStream, Passing, Siblings};
pub use shard::Shard;
pub use tower::{EngineLayer, EngineService, NotFound, PeerAddr};

pub use sedge_protocol::engine::Version;
pub use sedge_protocol::sid::SessionId;
