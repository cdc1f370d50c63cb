//! The table of options. Flags, environment variables, the keys of a file, the help and
//! `check-config` are all made from it.

/// An option.
#[derive(Debug)]
pub(crate) struct Spec {
    /// The name of the flag and of the key in a file; `SEDGE_` and this in capitals is the
    /// environment variable.
    pub(crate) name: &'static str,
    pub(crate) form: Form,
    /// In the notation of the command line; `None` if nothing is what one gets.
    pub(crate) default: Option<&'static str>,
    /// The heading under which the help has it.
    pub(crate) group: &'static str,
    /// Of the flag that the help shows, which for a switch that is on is the one that turns it off.
    pub(crate) help: &'static str,
}

/// How values are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One value; the text is its name in the help.
    One(&'static str),
    /// Several: repeated flags, a list in a file, separated by commas anywhere.
    List(&'static str),
    /// Yes or no.
    Switch,
    /// One value that has no flag, since other users of the machine can see flags.
    Hidden,
}

impl Spec {
    /// The environment variable.
    pub(crate) fn variable(&self) -> String {
        variable_of(self.name)
    }
}

/// The environment variable of an option.
pub(crate) fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase().replace('-', "_"))
}

/// What all environment variables begin with.
pub(crate) const PREFIX: &str = "SEDGE_";

/// The option that names the file; it cannot stand in the file itself.
pub(crate) const CONFIG: &str = "config";

/// The option of this name.
pub(crate) fn find(name: &str) -> Option<&'static Spec> {
    OPTIONS.iter().find(|spec| spec.name == name)
}

const LISTENING: &str = "Listening";
const PROTOCOL: &str = "Protocol";
const BROWSERS: &str = "Browsers";
const LIMITS: &str = "Limits";
/// What only a cluster has.
pub(crate) const CLUSTER: &str = "Cluster";
const OPERATION: &str = "Operation";

use Form::{Hidden, List, One, Switch};

const fn spec(
    group: &'static str,
    name: &'static str,
    form: Form,
    default: Option<&'static str>,
    help: &'static str,
) -> Spec {
    Spec { name, form, default, group, help }
}

/// All options, in the order of the help.
pub(crate) static OPTIONS: [Spec; 46] = [
    spec(
        LISTENING,
        "listen",
        List("IP:PORT"),
        Some("127.0.0.1:3000"),
        "Listen here; can be repeated. Port 0: a free one. If PORT is set: that one, on all addresses",
    ),
    spec(
        LISTENING,
        "tls-cert",
        One("FILE"),
        None,
        "Serve HTTPS with this certificate chain (PEM); needs --tls-key",
    ),
    spec(LISTENING, "tls-key", One("FILE"), None, "The certificate's private key (PEM)"),
    spec(
        LISTENING,
        "shards",
        One("COUNT"),
        Some("auto"),
        "Threads of a process that serve; auto: one for each processor, in a cluster one",
    ),
    spec(
        LISTENING,
        "trusted-proxy",
        List("NETWORK"),
        None,
        "Believe proxies from there, such as 10.0.0.0/8; can be repeated",
    ),
    spec(
        LISTENING,
        "forwarded",
        One("HEADER"),
        Some("none"),
        "Where trusted proxies name the client: x-forwarded-for, forwarded or none",
    ),
    spec(
        PROTOCOL,
        "path",
        One("PATH"),
        Some("/socket.io"),
        "Answer Socket.IO below this path; clients need the same",
    ),
    spec(
        PROTOCOL,
        "transports",
        List("NAME"),
        Some("polling,websocket"),
        "The transports that are enabled",
    ),
    spec(
        PROTOCOL,
        "allow-eio3",
        Switch,
        Some("false"),
        "Also serve clients of Socket.IO 1 and 2 (Engine.IO 3)",
    ),
    spec(
        PROTOCOL,
        "ping-interval",
        One("DURATION"),
        Some("25s"),
        "From a client's pong to the next ping",
    ),
    spec(
        PROTOCOL,
        "ping-timeout",
        One("DURATION"),
        Some("20s"),
        "Disconnect a client that leaves a ping unanswered so long",
    ),
    spec(
        PROTOCOL,
        "upgrade-timeout",
        One("DURATION"),
        Some("10s"),
        "How long the change from polling to WebSocket may take",
    ),
    spec(
        PROTOCOL,
        "connect-timeout",
        One("DURATION"),
        Some("45s"),
        "Close a connection that has joined no namespace by then",
    ),
    spec(PROTOCOL, "per-message-deflate", One("WHEN"), Some("off"), "Compress WebSocket messages"),
    spec(PROTOCOL, "http-compression", One("WHEN"), Some("on"), "Compress poll responses"),
    spec(
        PROTOCOL,
        "secret",
        Hidden,
        None,
        "What session ids are signed with [default: made up at each start]",
    ),
    spec(
        PROTOCOL,
        "secret-file",
        One("FILE"),
        None,
        "Sign session ids with the secret in this file",
    ),
    spec(
        BROWSERS,
        "client-dir",
        One("DIR"),
        None,
        "Serve the client from here: dist of the npm package socket.io-client",
    ),
    spec(BROWSERS, "demo", Switch, Some("true"), "Do not serve the chat demo at /"),
    spec(
        BROWSERS,
        "cors-origin",
        List("ORIGIN"),
        None,
        "Let pages from there connect by polling; *: all; mirror: all, also with cookies; can be repeated",
    ),
    spec(BROWSERS, "cors-credentials", Switch, Some("false"), "Let those pages send cookies along"),
    spec(
        BROWSERS,
        "cookie",
        One("NAME"),
        None,
        "Set a cookie with the session id, for balancers that need one",
    ),
    spec(
        LIMITS,
        "max-payload",
        One("SIZE"),
        Some("1MB"),
        "The largest message that a client may send",
    ),
    spec(
        LIMITS,
        "outbox-limit",
        One("SIZE"),
        Some("16MiB"),
        "Disconnect a client for whom more has to wait",
    ),
    spec(
        LIMITS,
        "slow-client-timeout",
        One("DURATION"),
        Some("30s"),
        "Disconnect a WebSocket client that takes nothing for so long, up to twice",
    ),
    spec(
        LIMITS,
        "head-timeout",
        One("DURATION"),
        Some("30s"),
        "How long the head of a request may take",
    ),
    spec(
        LIMITS,
        "keep-alive-timeout",
        One("DURATION"),
        Some("75s"),
        "Close a connection without requests after so long; longer than the balancer in front",
    ),
    spec(
        LIMITS,
        "body-timeout",
        One("DURATION"),
        Some("30s"),
        "How long the body of a request or an answer may take before its rate counts",
    ),
    spec(
        LIMITS,
        "transfer-rate",
        One("SIZE"),
        Some("500B"),
        "The least of a body or an answer that a client must send or take in a second",
    ),
    spec(
        CLUSTER,
        "workers",
        One("COUNT"),
        Some("auto"),
        "Worker processes, 1 to 256; auto: one for each processor",
    ),
    spec(CLUSTER, "listen-unix", List("PATH"), None, "Listen on this Unix socket too"),
    spec(
        CLUSTER,
        "unix-mode",
        One("MODE"),
        Some("600"),
        "Who may connect to these sockets, as for chmod; 660: the group too, 666: everybody",
    ),
    spec(
        CLUSTER,
        "method",
        One("METHOD"),
        Some("least-connection"),
        "Who gets a new session: least-connection, round-robin, random or two-choices",
    ),
    spec(
        CLUSTER,
        "address-hash",
        One("HASH"),
        None,
        "Tie clients to workers by address: ip-hash, consistent or rendezvous",
    ),
    spec(
        CLUSTER,
        "proxy-protocol",
        Switch,
        Some("false"),
        "Connections of trusted proxies begin with a PROXY header",
    ),
    spec(
        CLUSTER,
        "worker-ports",
        One("IP:PORT"),
        None,
        "Each worker listens too, on this port plus its index, for a balancer in front",
    ),
    spec(
        CLUSTER,
        "admin",
        One("IP:PORT"),
        None,
        "Serve /health and /metrics of the whole host here",
    ),
    spec(
        CLUSTER,
        "run-dir",
        One("DIR"),
        None,
        "Where the cluster's sockets are [default: a directory for the first port]",
    ),
    spec(CLUSTER, "node", One("NUMBER"), Some("0"), "The number of this host in session ids"),
    spec(
        CLUSTER,
        "orphan-deadline",
        One("DURATION"),
        Some("10m"),
        "How long workers go on serving if the supervisor was killed",
    ),
    spec(OPERATION, "metrics", Switch, Some("true"), "Do not serve counters at /metrics"),
    spec(
        OPERATION,
        "drain-delay",
        One("DURATION"),
        Some("0s"),
        "After a signal, serve on for so long, /health saying 503",
    ),
    spec(
        OPERATION,
        "drain-deadline",
        One("DURATION"),
        Some("7s"),
        "How long closing all connections may take after that",
    ),
    spec(
        OPERATION,
        "log-level",
        One("LEVEL"),
        Some("info"),
        "error, warn, info, debug, trace, off; or info,sedge_engine=debug",
    ),
    spec(OPERATION, "log-format", One("FORMAT"), Some("text"), "text or json"),
    spec(
        OPERATION,
        "node-name",
        One("NAME"),
        None,
        "What the demo calls this machine [default: its host name]",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_make_good_variables() {
        for (index, spec) in OPTIONS.iter().enumerate() {
            assert!(!OPTIONS[..index].iter().any(|other| other.name == spec.name), "{}", spec.name);
            assert!(spec.name.bytes().all(|b| b == b'-' || b.is_ascii_lowercase() || b == b'3'));
            assert_ne!(spec.name, CONFIG);
        }
        assert_eq!(find("ping-interval").unwrap().variable(), "SEDGE_PING_INTERVAL");
    }

    #[test]
    fn every_switch_has_a_default() {
        for spec in OPTIONS.iter().filter(|spec| spec.form == Switch) {
            assert!(matches!(spec.default, Some("true" | "false")), "{}", spec.name);
        }
    }
}
