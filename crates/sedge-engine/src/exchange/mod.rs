//! Requests for the engine's path, from head to answer: [`routing`] finds the session and whether the request
//! is allowed, [`polling`], [`posting`] and [`upgrade`] carry it out, [`siblings`] has another worker do so. All of it runs
//! on the shard that owns the session.

pub(crate) mod answers;
pub(crate) mod handling;
pub(crate) mod order;
pub(crate) mod polling;
pub(crate) mod posting;
pub(crate) mod routing;
pub(crate) mod siblings;
pub(crate) mod upgrade;
