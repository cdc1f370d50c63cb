//! Why a socket was disconnected, in the official wording.

use std::fmt;

use sedge_engine::CloseReason;

/// Why a socket was disconnected, as `on_disconnect` handlers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The connection broke.
    TransportError,
    /// The client closed the connection: it went away, or lost its network in an orderly way.
    TransportClose,
    /// The engine was told to close the session.
    ForcedClose,
    /// No heartbeat arrived in time.
    PingTimeout,
    /// The client sent something that is no packet.
    ParseError,
    /// The client did not read fast enough, and what waited for it reached the limit. The
    /// official server has neither this reason nor the limit.
    SlowConsumer,
    /// The server is shutting down.
    ServerShuttingDown,
    /// The client broke the order of the protocol (a packet for a namespace it had not joined, a
    /// second CONNECT), or joined no namespace in time.
    ForcedServerClose,
    /// The client left the namespace.
    ClientNamespaceDisconnect,
    /// The server disconnected the socket.
    ServerNamespaceDisconnect,
}

impl DisconnectReason {
    /// The official wording.
    pub fn as_str(self) -> &'static str {
        match self {
            DisconnectReason::TransportError => CloseReason::TransportError.as_str(),
            DisconnectReason::TransportClose => CloseReason::TransportClose.as_str(),
            DisconnectReason::ForcedClose => CloseReason::ForcedClose.as_str(),
            DisconnectReason::PingTimeout => CloseReason::PingTimeout.as_str(),
            DisconnectReason::ParseError => CloseReason::ParseError.as_str(),
            DisconnectReason::SlowConsumer => CloseReason::SlowConsumer.as_str(),
            DisconnectReason::ServerShuttingDown => "server shutting down",
            DisconnectReason::ForcedServerClose => "forced server close",
            DisconnectReason::ClientNamespaceDisconnect => "client namespace disconnect",
            DisconnectReason::ServerNamespaceDisconnect => "server namespace disconnect",
        }
    }
}

impl From<CloseReason> for DisconnectReason {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::TransportError => DisconnectReason::TransportError,
            CloseReason::TransportClose => DisconnectReason::TransportClose,
            CloseReason::ForcedClose => DisconnectReason::ForcedClose,
            CloseReason::PingTimeout => DisconnectReason::PingTimeout,
            CloseReason::ParseError => DisconnectReason::ParseError,
            CloseReason::SlowConsumer => DisconnectReason::SlowConsumer,
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_s_reasons_keep_their_words() {
        for reason in CloseReason::ALL {
            assert_eq!(DisconnectReason::from(reason).as_str(), reason.as_str());
        }
    }

    #[test]
    fn the_words_are_the_official_ones() {
        let words = [
            (DisconnectReason::ServerShuttingDown, "server shutting down"),
            (DisconnectReason::ForcedServerClose, "forced server close"),
            (DisconnectReason::ClientNamespaceDisconnect, "client namespace disconnect"),
            (DisconnectReason::ServerNamespaceDisconnect, "server namespace disconnect"),
            (DisconnectReason::TransportClose, "transport close"),
            (DisconnectReason::PingTimeout, "ping timeout"),
        ];
        for (reason, official) in words {
            assert_eq!(reason.to_string(), official);
        }
    }
}
