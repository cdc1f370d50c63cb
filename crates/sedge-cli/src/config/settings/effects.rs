//! What is not wrong, but is said at the start: options that have no effect in the chosen mode, or another one
//! than one may think.

use super::{MIRROR, Settings};
use crate::config::options::{CLUSTER, OPTIONS, Spec};
use crate::config::units::Workers;
use sedge::Transport;
use sedge_sticky::forwarded::Header;

/// How the command serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// With many processes.
    Cluster,
    /// With this one.
    Alone,
}

impl Settings {
    /// What whoever wrote the configuration should know about it, for the log.
    pub(crate) fn remarks(&self, operation: Operation) -> Vec<String> {
        let mut remarks = self.remarks.clone();
        for spec in &OPTIONS {
            let Some(name) = self.name_if_set(spec) else { continue };
            if let Some(reason) = self.without_effect(spec, operation) {
                remarks.push(format!("{name} has no effect: {reason}"));
            } else if let Some(words) = self.other_effect(spec) {
                remarks.push(format!("{name}: {words}"));
            }
        }
        if operation == Operation::Alone && self.activated {
            remarks.push(
                "LISTEN_FDS is set, but `sedge serve` takes no sockets of a service manager; \
                 without `serve` it does"
                    .to_owned(),
            );
        }
        remarks.extend(self.out_of_reach(operation, std::process::id()));
        remarks
    }

    /// The name of an option at its source, if it was set to something else than its default.
    fn name_if_set(&self, spec: &Spec) -> Option<String> {
        let set = self.effective.iter().find(|effective| effective.spec.name == spec.name)?;
        let default = spec.default.map(|text| text.replace(['"', ' '], ""));
        let value = set.value.replace(['"', ' ', '[', ']'], "");
        (default.as_deref() != Some(&*value)).then(|| set.source.name(spec.name))
    }

    /// Why an option that is set has no effect, if it has none.
    fn without_effect(&self, spec: &Spec, operation: Operation) -> Option<&'static str> {
        let (cluster, server) = (&self.cluster, &self.server);
        let lacks = |transport| !server.transports.contains(&transport);
        let one_worker = cluster.workers == Workers::Count(1);
        let routing = &cluster.routing;
        let reasons: &[(bool, &'static str)] = match spec.name {
            _ if operation == Operation::Alone && spec.group == CLUSTER => {
                &[(true, "`sedge serve` is one process; without `serve` it has one")]
            }
            "method" | "address-hash" => {
                &[(one_worker, "with one worker there is nothing to choose")]
            }
            "trusted-proxy" => &[
                (
                    routing.forwarded == Header::None && !routing.proxy_protocol,
                    "nothing says where proxies name the client; forwarded or proxy-protocol would",
                ),
                (
                    routing.forwarded == Header::None && operation == Operation::Alone,
                    "nothing says where proxies name the client; forwarded would",
                ),
            ],
            "unix-mode" => &[(cluster.listen_unix.is_empty(), "there is no listen-unix")],
            "node-name" => &[(!self.demo, "only the demo shows it, and it is off")],
            "upgrade-timeout" => &[(
                lacks(Transport::Polling) || lacks(Transport::WebSocket),
                "with one transport there are no upgrades",
            )],
            "per-message-deflate" => &[(lacks(Transport::WebSocket), "there are no WebSockets")],
            "http-compression" | "body-timeout" | "transfer-rate" => {
                &[(lacks(Transport::Polling), "there is no polling")]
            }
            "cors-origin" | "cors-credentials" => &[(
                lacks(Transport::Polling) && self.client_dir.is_none(),
                "browsers let every page open a WebSocket, and there is no polling",
            )],
            _ => &[],
        };
        reasons.iter().find(|(holds, _)| *holds).map(|(_, reason)| *reason)
    }

    /// What an option does that one may not think of.
    fn other_effect(&self, spec: &Spec) -> Option<&'static str> {
        let cluster = &self.cluster;
        let mirrors = self.server.cors_origins.iter().any(|origin| origin == MIRROR);
        let (holds, words) = match spec.name {
            "method" => {
                (cluster.weighted, "all workers weigh the same, so weighted is round-robin")
            }
            "proxy-protocol" => (
                cluster.worker_ports.is_some(),
                "connections to worker-ports must not begin with a PROXY header",
            ),
            "cors-credentials" => (
                mirrors,
                "with cors-origin mirror, every page of the web can act as a user whose browser \
                 sends cookies here; name the origins if that matters",
            ),
            _ => return None,
        };
        holds.then_some(words)
    }

    /// Whether nobody outside of this container can reach the server: the first process of a system is
    /// the one in a container.
    fn out_of_reach(&self, operation: Operation, pid: u32) -> Option<String> {
        let cluster = &self.cluster;
        let elsewhere = operation == Operation::Cluster
            && (self.is_activated_only()
                || !cluster.listen_unix.is_empty()
                || cluster.worker_ports.is_some_and(|at| !at.ip().is_loopback()));
        let loopback = self.listen.iter().all(|address| address.ip().is_loopback());
        (pid == 1 && loopback && !elsewhere).then(|| {
            let listen = self.listen.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!(
                "this is the first process of a container, and only the container itself reaches \
                 {listen}; set PORT, or --listen 0.0.0.0:3000"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Layer, Typed, file};

    fn from(text: &str) -> Settings {
        let given: Layer = file::parse("s.toml", text).unwrap();
        Settings::read(Typed { given, ..Typed::default() }).map_err(|problems| problems.0).unwrap()
    }

    /// What is said of the options in `text`, without their names.
    fn said(text: &str, operation: Operation) -> Vec<String> {
        from(text).remarks(operation)
    }

    #[test]
    fn what_has_no_effect_is_said_with_its_place_and_the_reason() {
        use Operation::{Alone, Cluster};
        let table = [
            (Cluster, "workers = 1\nmethod = 'random'", "s.toml:2: method has no effect: with one"),
            (Cluster, "workers = 1\naddress-hash = 'ip-hash'", "s.toml:2: address-hash has no"),
            (Cluster, "trusted-proxy = '10.0.0.0/8'", "trusted-proxy has no effect: nothing says"),
            (
                Cluster,
                "trusted-proxy = '::1'\nproxy-protocol = true\nworker-ports = '127.0.0.1:4000'",
                "s.toml:2: proxy-protocol: connections to worker-ports must not begin",
            ),
            (Cluster, "unix-mode = '660'", "unix-mode has no effect: there is no listen-unix"),
            (Cluster, "method = 'weighted'", "s.toml:1: method: all workers weigh the same, so"),
            (Alone, "demo = false\nnode-name = 'a'", "node-name has no effect: only the demo"),
            (
                Alone,
                "transports = ['polling']\nupgrade-timeout = '1s'",
                "upgrade-timeout has no effect: with one transport",
            ),
            (
                Cluster,
                "transports = ['polling']\nper-message-deflate = 'on'",
                "per-message-deflate has no effect: there are no WebSockets",
            ),
            (
                Cluster,
                "transports = ['websocket']\nhttp-compression = 'off'",
                "http-compression has no effect: there is no polling",
            ),
            (
                Alone,
                "transports = ['websocket']\nbody-timeout = '1s'",
                "body-timeout has no effect: there is no polling",
            ),
            (
                Alone,
                "transports = ['websocket']\ncors-origin = '*'",
                "cors-origin has no effect: browsers let every page",
            ),
            (
                Alone,
                "cors-origin = 'mirror'\ncors-credentials = true",
                "s.toml:2: cors-credentials: with cors-origin mirror, every page",
            ),
        ];
        for (operation, text, words) in table {
            let remarks = said(text, operation);
            assert!(remarks.len() == 1 && remarks[0].contains(words), "{text}: {remarks:?}");
        }
    }

    #[test]
    fn what_has_an_effect_is_not_remarked_on() {
        let table = [
            (Operation::Cluster, ""),
            (Operation::Alone, ""),
            (Operation::Cluster, "method = 'random'\nworkers = 4\nrun-dir = '/run/x'\nnode = 3"),
            (Operation::Cluster, "trusted-proxy = '10.0.0.0/8'\nforwarded = 'forwarded'"),
            (Operation::Alone, "trusted-proxy = '10.0.0.0/8'\nforwarded = 'x-forwarded-for'"),
            (Operation::Cluster, "trusted-proxy = '10.0.0.0/8'\nproxy-protocol = true"),
            (Operation::Cluster, "listen-unix = '/run/a'\nunix-mode = '666'"),
            (Operation::Alone, "node-name = 'a'\ncors-origin = 'mirror'\nupgrade-timeout = '1s'"),
            // To say what is the default anyway is not worth a word.
            (Operation::Alone, "workers = 'auto'\nproxy-protocol = false\nunix-mode = '600'"),
        ];
        for (operation, text) in table {
            assert_eq!(said(text, operation), [""; 0], "{text}");
        }
    }

    #[test]
    fn one_process_has_no_use_for_any_option_of_a_cluster() {
        let value = |spec: &Spec| match spec.name {
            "workers" | "node" => "3",
            "method" => "random",
            "address-hash" => "ip-hash",
            "proxy-protocol" => "true",
            "worker-ports" | "admin" => "127.0.0.1:4000",
            "orphan-deadline" => "1m",
            "unix-mode" => "660",
            _ => "/some/path",
        };
        let options: Vec<&Spec> = OPTIONS.iter().filter(|spec| spec.group == CLUSTER).collect();
        let lines = options.iter().map(|spec| format!("{} = '{}'\n", spec.name, value(spec)));
        // PROXY headers are only taken from proxies that are trusted.
        let trusted = "forwarded = 'forwarded'\ntrusted-proxy = '10.0.0.0/8'\n".to_owned();
        let remarks = said(&lines.chain([trusted]).collect::<String>(), Operation::Alone);
        assert_eq!(remarks.len(), options.len(), "{remarks:#?}");
        for (remark, spec) in remarks.iter().zip(options) {
            let words = format!("{} has no effect: `sedge serve` is one process", spec.name);
            assert!(remark.contains(&words), "{remark}");
        }
    }

    #[test]
    fn the_first_process_of_a_container_should_not_listen_to_itself_alone() {
        let reached = |text, operation| from(text).out_of_reach(operation, 1).is_none();
        assert!(!reached("", Operation::Alone) && !reached("", Operation::Cluster));
        assert!(reached("listen = ['127.0.0.1:1', '0.0.0.0:2']", Operation::Alone));
        assert!(reached("listen-unix = '/run/a'", Operation::Cluster));
        assert!(!reached("worker-ports = '127.0.0.1:4000'", Operation::Cluster));
        assert!(from("").out_of_reach(Operation::Cluster, 2).is_none());
    }
}
