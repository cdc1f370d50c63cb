//! The counters of a server in Prometheus' text format, version 0.0.4.
//!
//! Names follow Prometheus' conventions: base units, `_total` for what only grows. Samples of shards have
//! the label `shard`; sums over it are the reader's.

use std::fmt::Write as _;

use sedge_engine::hooks::ErrorCode;
use sedge_engine::{CloseReason, Metrics as EngineMetrics};

use crate::metrics::{BusMetrics, ServerMetrics, SocketMetrics};

/// The media type of the text that [`ServerMetrics::prometheus`] makes, for `Content-Type`.
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, Copy)]
enum Kind {
    Gauge,
    Counter,
}

/// A metric of which a shard has one sample.
struct Single<M> {
    name: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&M) -> u64,
}

const fn gauge<M>(name: &'static str, help: &'static str, value: fn(&M) -> u64) -> Single<M> {
    Single { name, kind: Kind::Gauge, help, value }
}

const fn counter<M>(name: &'static str, help: &'static str, value: fn(&M) -> u64) -> Single<M> {
    Single { name, kind: Kind::Counter, help, value }
}

static ENGINE: [Single<EngineMetrics>; 11] = [
    gauge("sedge_upgrade_probes", "WebSockets being tested for an upgrade.", |m| m.probes),
    gauge("sedge_polls_waiting", "Polling requests that wait for data.", |m| m.polls_waiting),
    gauge("sedge_outbox_bytes", "Bytes that wait to be sent.", |m| m.outbox_bytes),
    gauge("sedge_answer_bytes", "Bytes of large poll answers being written.", |m| m.answer_bytes),
    counter("sedge_sessions_opened_total", "Sessions opened.", |m| m.opened),
    counter("sedge_messages_received_total", "Engine.IO messages received.", |m| m.messages_in),
    counter("sedge_messages_sent_total", "Engine.IO messages queued to be sent.", |m| {
        m.messages_out
    }),
    counter(
        "sedge_volatile_messages_dropped_total",
        "Volatile messages dropped because the transport was not writable.",
        |m| m.messages_dropped,
    ),
    counter(
        "sedge_received_bytes_total",
        "Bytes received on WebSockets and in POST bodies.",
        |m| m.bytes_in,
    ),
    counter(
        "sedge_sent_bytes_total",
        "Bytes sent on WebSockets and in poll responses, before TLS and HTTP compression.",
        |m| m.bytes_out,
    ),
    counter(
        "sedge_slow_consumers_total",
        "Clients disconnected because they did not take what was sent to them.",
        |m| m.closed[CloseReason::SlowConsumer as usize],
    ),
];

static SOCKETS: [Single<SocketMetrics>; 14] = [
    gauge("sedge_sockets", "Connected sockets, over all namespaces.", |m| m.sockets),
    gauge(
        "sedge_handlers_in_flight",
        "Handlers and middlewares that have begun and wait for something.",
        |m| m.handlers_in_flight,
    ),
    gauge(
        "sedge_events_waiting",
        "Events that wait because their connection has too many handlers under way.",
        |m| m.events_waiting,
    ),
    counter("sedge_sockets_connected_total", "Sockets that have ever connected.", |m| m.connects),
    counter(
        "sedge_sockets_refused_total",
        "Requests to join a namespace that were refused.",
        |m| m.connects_refused,
    ),
    counter("sedge_events_received_total", "Events received.", |m| m.events_in),
    counter(
        "sedge_events_dropped_total",
        "Events not handled because their socket ended while they waited.",
        |m| m.events_dropped,
    ),
    counter(
        "sedge_packets_sent_total",
        "Socket.IO packets handed to the engine; a broadcast counts once for each recipient.",
        |m| m.packets_out,
    ),
    counter("sedge_broadcasts_total", "Broadcasts applied.", |m| m.broadcasts),
    counter(
        "sedge_acknowledgements_received_total",
        "Acknowledgements received that were waited for.",
        |m| m.acks_in,
    ),
    counter(
        "sedge_acknowledgements_ignored_total",
        "Acknowledgements received that nobody waited for.",
        |m| m.acks_ignored,
    ),
    counter(
        "sedge_handler_errors_total",
        "Handlers that failed, panicked, or were not called because of what the client sent.",
        |m| m.handler_errors,
    ),
    counter(
        "sedge_parse_errors_total",
        "Connections closed because of something that is no packet.",
        |m| m.parse_errors,
    ),
    counter(
        "sedge_state_errors_total",
        "Connections closed because of packets in an order that the protocol does not allow.",
        |m| m.state_errors,
    ),
];

/// Of a process that has others beside it.
static BUS: [Single<BusMetrics>; 11] = [
    gauge("sedge_bus_peers", "Other processes on the bus.", |m| m.peers),
    gauge("sedge_bus_requests", "Requests that wait for other processes.", |m| m.requests),
    counter("sedge_bus_sent_total", "Messages that other processes get.", |m| m.sent),
    counter(
        "sedge_bus_refused_total",
        "Messages that a process did not get because it does not read.",
        |m| m.refused,
    ),
    counter(
        "sedge_bus_too_long_total",
        "Messages that a process did not get because they are longer than the bus takes.",
        |m| m.too_long,
    ),
    counter(
        "sedge_bus_lost_total",
        "Messages on their way to a process that ended or was cut off.",
        |m| m.lost,
    ),
    counter("sedge_bus_received_total", "Messages from other processes.", |m| m.received),
    counter("sedge_bus_unreadable_total", "Messages that could not be read.", |m| m.unreadable),
    counter(
        "sedge_bus_overflows_total",
        "Messages that a shard did not get because its queue was full.",
        |m| m.overflows,
    ),
    counter("sedge_bus_answers_dropped_total", "Answers that nobody waited for.", |m| {
        m.answers_dropped
    }),
    counter(
        "sedge_bus_requests_refused_total",
        "Requests that did not go to other processes because too many were waiting.",
        |m| m.requests_refused,
    ),
];

impl ServerMetrics {
    /// The counters in Prometheus' text format, with the media type [`PROMETHEUS_CONTENT_TYPE`]. Names
    /// begin with `sedge_`. What is counted by shard has the label `shard`; sums are the reader's.
    ///
    /// ```
    /// # fn main() -> Result<(), sedge::BuildError> {
    /// let io = sedge::Server::new()?;
    /// assert!(io.metrics().prometheus().contains("sedge_sockets{shard=\"0\"} 0\n"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn prometheus(&self) -> String {
        let mut out = Exposition { text: String::with_capacity(8192) };
        out.head("sedge_build_info", Kind::Gauge, "The version of Sedge.");
        let version = env!("CARGO_PKG_VERSION");
        let _ = writeln!(out.text, "sedge_build_info{{version=\"{version}\"}} 1");
        out.labelled(&self.engine);
        for single in &ENGINE {
            out.single(single, &self.engine);
        }
        for single in &SOCKETS {
            out.single(single, &self.shards);
        }
        if let Some(bus) = &self.bus {
            for single in &BUS {
                out.head(single.name, single.kind, single.help);
                let _ = writeln!(out.text, "{} {}", single.name, (single.value)(bus));
            }
        }
        out.text
    }
}

struct Exposition {
    text: String,
}

impl Exposition {
    fn head(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
        };
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn single<M>(&mut self, metric: &Single<M>, shards: &[M]) {
        self.head(metric.name, metric.kind, metric.help);
        for (shard, metrics) in shards.iter().enumerate() {
            let value = (metric.value)(metrics);
            let _ = writeln!(self.text, "{}{{shard=\"{shard}\"}} {value}", metric.name);
        }
    }

    /// The metrics of which a shard has several samples, told apart by another label.
    fn labelled(&mut self, shards: &[EngineMetrics]) {
        self.family(
            ("sedge_connections", Kind::Gauge, "Open TCP connections.", "transport"),
            shards,
            |m| {
                [
                    ("http", m.connections_http),
                    ("websocket", m.connections_websocket),
                    ("tunnel", m.tunnels),
                ]
            },
        );
        self.family(
            ("sedge_sessions", Kind::Gauge, "Open Engine.IO sessions.", "transport"),
            shards,
            |m| [("polling", m.sessions_polling), ("websocket", m.sessions_websocket)],
        );
        self.family(
            ("sedge_upgrades_total", Kind::Counter, "Upgrades to WebSocket.", "result"),
            shards,
            |m| [("success", m.upgrades), ("failure", m.upgrades_failed)],
        );
        self.family(
            ("sedge_sessions_closed_total", Kind::Counter, "Sessions ended.", "reason"),
            shards,
            |m| pairs(CloseReason::ALL.map(CloseReason::as_str), m.closed),
        );
        self.family(
            ("sedge_requests_refused_total", Kind::Counter, "Refused requests.", "code"),
            shards,
            |m| pairs(ErrorCode::ALL.map(code), m.refused),
        );
    }

    fn family<const N: usize>(
        &mut self,
        (name, kind, help, label): (&str, Kind, &str, &str),
        shards: &[EngineMetrics],
        samples: fn(&EngineMetrics) -> [(&'static str, u64); N],
    ) {
        self.head(name, kind, help);
        for (shard, metrics) in shards.iter().enumerate() {
            for (value_of_label, value) in samples(metrics) {
                let labels = format!("shard=\"{shard}\",{label}=\"{value_of_label}\"");
                let _ = writeln!(self.text, "{name}{{{labels}}} {value}");
            }
        }
    }
}

/// The code that a refused client is told, as a label.
fn code(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::TransportUnknown => "transport_unknown",
        ErrorCode::SessionIdUnknown => "session_id_unknown",
        ErrorCode::BadHandshakeMethod => "bad_handshake_method",
        ErrorCode::BadRequest => "bad_request",
        ErrorCode::Forbidden => "forbidden",
        ErrorCode::UnsupportedProtocolVersion => "unsupported_protocol_version",
    }
}

fn pairs<const N: usize>(labels: [&'static str; N], values: [u64; N]) -> [(&'static str, u64); N] {
    std::array::from_fn(|index| (labels[index], values[index]))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    fn some_text() -> String {
        crate::Server::builder().shards(2).build().unwrap().metrics().prometheus()
    }

    #[test]
    fn every_family_has_help_type_and_a_sample_per_shard() {
        let text = some_text();
        let mut seen = HashSet::new();
        let mut lines = text.lines().peekable();
        while let Some(help) = lines.next() {
            let name = help.strip_prefix("# HELP ").unwrap().split(' ').next().unwrap();
            assert!(seen.insert(name), "{name} twice");
            let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            let mut samples = 0;
            while let Some(sample) = lines.next_if(|line| !line.starts_with('#')) {
                let (series, value) = sample.rsplit_once(' ').unwrap();
                assert!(
                    series.starts_with(&format!("{name}{{")) && series.ends_with("\"}"),
                    "{sample}"
                );
                assert!(value.parse::<u64>().is_ok(), "{sample}");
                samples += 1;
            }
            assert!(samples >= 2 || name == "sedge_build_info", "{name} has {samples} samples");
        }
        assert!(seen.len() > 25 && text.ends_with('\n'));
    }

    #[test]
    fn labels_tell_the_samples_of_a_shard_apart() {
        let text = some_text();
        for line in [
            "sedge_connections{shard=\"0\",transport=\"http\"} 0",
            "sedge_sessions{shard=\"1\",transport=\"websocket\"} 0",
            "sedge_upgrades_total{shard=\"0\",result=\"failure\"} 0",
            "sedge_sessions_closed_total{shard=\"0\",reason=\"ping timeout\"} 0",
            "sedge_requests_refused_total{shard=\"1\",code=\"session_id_unknown\"} 0",
            "sedge_sockets{shard=\"1\"} 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
    }
}
