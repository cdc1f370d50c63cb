//! What a supervisor and a worker tell one another: JSON, one message in each datagram of their
//! channel. Both are the same program, but not always of the same version; the number in
//! [`PROTOCOL`] says whether they understand one another.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::limits::{
    CONTROL_BYTES_MAX, DEFAULT_BUS_MESSAGE_BYTES_MAX, DEFAULT_BUS_QUEUE_BYTES_MAX,
    DEFAULT_BUS_STALL_TIMEOUT, SESSION_KIND_BYTES_MAX, SESSION_KINDS_MAX,
};

/// The environment variable that makes a process a worker, with its index. Only a supervisor sets it.
pub const WORKER_VARIABLE: &str = "SEDGE_WORKER";

/// Changes whenever a message changes its meaning.
pub(crate) const PROTOCOL: u32 = 2;

/// What a worker needs to know, sent once, first, with two descriptors: the table of interest and
/// the socket on which connections come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) protocol: u32,
    pub(crate) node: u16,
    pub(crate) index: u8,
    pub(crate) workers: u16,
    /// The worker's row in the table of interest.
    pub(crate) row: u16,
    pub(crate) secret: Secret,
    /// Former secrets, whose session ids are still known.
    #[serde(default)]
    pub(crate) previous_secrets: Vec<Secret>,
    /// Where the workers' sockets are.
    pub(crate) directory: PathBuf,
    /// An address of the worker's own to listen on.
    pub(crate) address: Option<SocketAddr>,
    pub(crate) drain: DrainOrder,
    pub(crate) orphan_deadline_ms: u64,
    pub(crate) bus: BusSettings,
}

/// The limits of the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BusSettings {
    pub(crate) message_bytes_max: usize,
    pub(crate) queue_bytes_max: usize,
    pub(crate) stall_timeout_ms: u64,
}

impl Default for BusSettings {
    fn default() -> BusSettings {
        BusSettings {
            message_bytes_max: DEFAULT_BUS_MESSAGE_BYTES_MAX,
            queue_bytes_max: DEFAULT_BUS_QUEUE_BYTES_MAX,
            stall_timeout_ms: DEFAULT_BUS_STALL_TIMEOUT.as_millis() as u64,
        }
    }
}

/// How a worker is to close its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DrainOrder {
    /// From now until all must be closed.
    pub(crate) deadline_ms: u64,
    /// Between two batches.
    pub(crate) interval_ms: u64,
    /// The largest deviation from the interval, in percent of it.
    pub(crate) jitter_percent: u8,
    /// A successor is waiting; otherwise the whole cluster ends.
    pub(crate) replaced: bool,
}

/// From the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ToWorker {
    Welcome(Box<Welcome>),
    /// To be answered by [`ToSupervisor::Alive`] with the same number.
    Heartbeat {
        number: u64,
    },
    Drain(DrainOrder),
    /// Files such as certificates are to be read again.
    Reread,
    /// The worker's metrics are wanted.
    Metrics {
        request: u64,
    },
}

/// From a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ToSupervisor {
    /// The first message, before the welcome is waited for.
    Hello { protocol: u32, pid: u32, version: String },
    /// Connections may come.
    Ready,
    Alive {
        number: u64,
        /// Its load, if it ever says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stats: Option<Stats>,
    },
    /// A part of the metrics text.
    Metrics { request: u64, text: String, last: bool },
    /// The worker ends because of this.
    Failed { text: String },
}

/// What a worker says about its load.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Open connections of clients.
    pub connections: u64,
    /// Sessions opened since the worker started. New sessions are spread by what was assigned and
    /// has not shown up here.
    #[serde(default)]
    pub opened: u64,
    /// Sessions by what carries them, such as `websocket`. At most 16 kinds with names of at most 32
    /// bytes are passed on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sessions: BTreeMap<String, u64>,
}

impl Stats {
    /// Sessions of all kinds.
    pub fn sessions_total(&self) -> u64 {
        self.sessions.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Without what goes beyond the limits.
    pub(crate) fn bounded(mut self) -> Stats {
        self.sessions.retain(|kind, _| kind.len() <= SESSION_KIND_BYTES_MAX);
        while self.sessions.len() > SESSION_KINDS_MAX {
            self.sessions.pop_last();
        }
        self
    }
}

/// Secret bytes, as hexadecimal digits on the wire and as nothing in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Secret(pub(crate) Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl From<Secret> for String {
    fn from(secret: Secret) -> String {
        use fmt::Write as _;
        secret.0.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for Secret {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Secret, &'static str> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some((digit(high)? * 16 + digit(low)?) as u8),
            _ => None,
        });
        pairs.collect::<Option<_>>().map(Secret).ok_or("the secret is not hexadecimal")
    }
}

/// A message that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a message that is none of this protocol: {0}")]
    Json(#[from] serde_json::Error),
    #[error("a message of {0} bytes, more than a channel carries")]
    TooLong(usize),
}

/// The bytes of a message.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, WireError> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > CONTROL_BYTES_MAX {
        return Err(WireError::TooLong(bytes.len()));
    }
    Ok(bytes)
}

/// The message in these bytes.
pub(crate) fn decode<'a, M: Deserialize<'a>>(bytes: &'a [u8]) -> Result<M, WireError> {
    Ok(serde_json::from_slice(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_as_it_was_written() {
        let stats = Stats {
            connections: 3,
            opened: 5,
            sessions: [("websocket".to_owned(), 2)].into_iter().collect(),
        };
        let bytes = encode(&ToSupervisor::Alive { number: 9, stats: Some(stats.clone()) }).unwrap();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(
            text,
            r#"{"kind":"alive","number":9,"stats":{"connections":3,"opened":5,"sessions":{"websocket":2}}}"#
        );
        let read: ToSupervisor = decode(&bytes).unwrap();
        assert!(
            matches!(read, ToSupervisor::Alive { number: 9, stats: Some(found) } if found == stats)
        );
    }

    #[test]
    fn a_secret_passes_the_wire_and_not_the_log() {
        let secret = Secret(vec![0, 0x7f, 0xff]);
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        let bytes = encode(&secret).unwrap();
        assert_eq!(bytes, b"\"007fff\"");
        assert_eq!(decode::<Secret>(&bytes).unwrap(), secret);
        assert!(decode::<Secret>(b"\"007\"").is_err());
        assert!(decode::<Secret>(b"\"0g\"").is_err());
    }

    #[test]
    fn stats_have_bounds() {
        let many = (0..100).map(|n| (format!("kind {n:03}"), 1));
        let long = std::iter::once(("x".repeat(33), 1));
        let stats =
            Stats { connections: 1, opened: 0, sessions: many.chain(long).collect() }.bounded();
        assert_eq!(stats.sessions.len(), SESSION_KINDS_MAX);
        assert!(stats.sessions.contains_key("kind 000"));
    }
}
