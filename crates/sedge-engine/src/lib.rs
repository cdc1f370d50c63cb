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
//! // It runs as long as there is a handle on it.
//! let engine = Engine::start(config, Echo)?;
//! let listening = engine.listen("127.0.0.1:3000".parse()?).await?;
//! println!("listening on {}", listening.local_addr());
//! # Ok(())
//! # }
//! ```

// Each group uses only itself and what stands above it. First what has no state: what an application sees of
// the engine, HTTP, byte streams, the configuration.
mod application;
pub mod config;
mod fnv;
mod handshake;
pub mod hooks;
mod http;
pub mod limits;
mod net;
pub mod panics;

// One thread and its sessions.
mod lifeline;
mod shard;
mod tasks;

// That thread together with the application, and how it is reached from elsewhere.
mod worker;

// From a request to its answer.
mod exchange;

// From a connection to its requests.
mod serve;

// The whole, and the other ways into it: connections of another process, requests of another server.
mod engine;

pub use application::{
    Application, CloseReason, Message, SendOptions, Sent, SessionKey, Transport,
};
pub use config::{Config, ConfigBuilder, ConfigError};
pub use engine::inlet::Inlet;
pub use engine::tower::{EngineLayer, EngineService, NotFound};
pub use engine::{Engine, Overloaded, StartError};
pub use handshake::Handshake;
pub use http::body::{BoxError, RequestBody, ResponseBody};
pub use http::client_files::{ClientFiles, ClientFilesError};
pub use http::cors::{Cors, CorsOrigin};
pub use http::peer::PeerAddr;
pub use lifeline::ShardFailure;
pub use net::io::PassedStream;
pub use net::passed::{NotPassed, Passed, Passing, Siblings};
pub use sedge_protocol::cookie::{Cookie, SameSite};
pub use sedge_protocol::request::forwarded::{Header as ForwardedHeader, Proxies};
pub use sedge_protocol::request::network::{Network, NetworkError, Networks};
pub use shard::Shard;
pub use shard::frames::SharedMessage;
pub use shard::metrics::{Counter, Metrics};
pub use worker::listen::{ListenOptions, Listening};

pub use sedge_protocol::engine::Version;
pub use sedge_protocol::sid::SessionId;
