//! A shard at work: its sessions together with the application they are for, and the way to its siblings.
//! [`websocket`] reads, [`driver`] does once per turn what the turn has left to do, [`tunnel`] carries what a
//! sibling serves, over a [`relay`].

pub(crate) mod command;
pub(crate) mod driver;
pub(crate) mod listen;
pub(crate) mod relay;
pub(crate) mod tunnel;
pub(crate) mod websocket;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::application::Application;
use crate::shard::Shard;
use command::ShardHandle;
use relay::Relays;

/// One shard from within: its state, its application, and the way to its siblings.
pub(crate) struct Worker<A: Application> {
    pub(crate) shard: Shard,
    pub(crate) app: A,
    pub(crate) shards: Arc<[ShardHandle<A>]>,
    /// No new sessions are taken; see [`Engine::refuse_sessions`].
    pub(crate) refusing: Arc<AtomicBool>,
    /// What siblings serve in connections that stay here.
    pub(crate) relays: Relays,
}
