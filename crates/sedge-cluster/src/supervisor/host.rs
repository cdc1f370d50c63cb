//! What the admin address says of the whole host.

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::slot::{Request, Slot};
use super::state::{Supervisor, count};
use crate::admin::Host;
use crate::limits::METRICS_TIMEOUT;
use crate::metrics::{Families, Text};
use crate::wire::command::{ClusterState, Status, WorkerState};

impl Host for Supervisor {
    fn health(&self) -> (bool, String) {
        let state = self.state();
        let ready = self.slots.iter().filter(|slot| slot.state() == WorkerState::Ready).count();
        let health = serde_json::json!({
            "status": state,
            "workers": self.slots.len(),
            "ready": ready,
        });
        (state == ClusterState::Serving, format!("{health}\n"))
    }

    async fn metrics(&self) -> String {
        // All are asked before the first answer is waited for.
        let asked: Vec<_> = self.slots.iter().map(|slot| (slot.index, ask(slot))).collect();
        let deadline = tokio::time::Instant::now() + METRICS_TIMEOUT;
        let mut families = Families::default();
        for (worker, answer) in asked {
            let Some(answer) = answer else { continue };
            match timeout(deadline.saturating_duration_since(tokio::time::Instant::now()), answer)
                .await
            {
                Ok(Ok(text)) => families.add(&text, worker),
                _ => count(&self.counters.metrics_missing),
            }
        }
        let mut text = self.own_metrics();
        text.push_str(&families.text());
        text
    }
}

/// Asks a worker for its metrics, if it is one that should answer.
fn ask(slot: &Slot) -> Option<oneshot::Receiver<String>> {
    if !matches!(slot.state(), WorkerState::Ready | WorkerState::Suspect | WorkerState::Draining) {
        return None;
    }
    let (sender, answer) = oneshot::channel();
    // If it does not fit, the answer fails at once, and counts as missing.
    slot.ask(Request::Metrics(sender));
    Some(answer)
}

impl Supervisor {
    fn own_metrics(&self) -> String {
        let status = self.status();
        let mut text = Text::default();
        text.head("sedge_cluster_info", "gauge", "The version of the supervisor's program.");
        let version = status.version.replace(['"', '\\', '\n'], "_");
        text.sample("sedge_cluster_info", &format!("version=\"{version}\""), 1);
        self.connection_metrics(&mut text);
        self.routing_metrics(&mut text);
        worker_metrics(&mut text, &status);
        for more in &self.settings.metrics {
            text.0.push_str(&more());
        }
        text.0
    }

    fn connection_metrics(&self, text: &mut Text) {
        let counters = &self.counters;
        let undecided = self.undecided.len();
        let help = "Connections of which not enough has come to pass them on.";
        text.single("sedge_cluster_connections_undecided", "gauge", help, undecided);
        let help = "Connections accepted.";
        let accepted = counters.accepted.get();
        text.single("sedge_cluster_connections_accepted_total", "counter", help, accepted);
        let help = "Connections passed to workers.";
        let passed = counters.passed.get();
        text.single("sedge_cluster_connections_passed_total", "counter", help, passed);
        let name = "sedge_cluster_connections_refused_total";
        text.head(name, "counter", "Connections that were not passed, by what happened to them.");
        let outcomes = [
            ("timed_out", &counters.timed_out),
            ("displaced", &counters.displaced),
            ("unavailable", &counters.unavailable),
            ("dropped", &counters.dropped),
        ];
        for (outcome, counter) in outcomes {
            text.sample(name, &format!("outcome=\"{outcome}\""), counter.get());
        }
        let help = "Failures to accept, usually for want of file descriptors.";
        let errors = counters.accept_errors.get();
        text.single("sedge_cluster_accept_errors_total", "counter", help, errors);
        let help = "Workers that did not answer with their metrics in time.";
        let missing = counters.metrics_missing.get();
        text.single("sedge_cluster_metrics_missing_total", "counter", help, missing);
    }

    fn routing_metrics(&self, text: &mut Text) {
        let counters = self.router.borrow().counters();
        let name = "sedge_cluster_routed_total";
        text.head(name, "counter", "Connections by what tied them to their worker.");
        let reasons = [
            ("sid", counters.by_sid),
            ("learned", counters.learned),
            ("cookie", counters.cookie),
            ("hash", counters.hash),
            ("method", counters.method),
            ("none", counters.no_target),
        ];
        for (reason, value) in reasons {
            text.sample(name, &format!("by=\"{reason}\""), value);
        }
        let help = "Connections with a session id that led nowhere.";
        text.single("sedge_cluster_lost_sids_total", "counter", help, counters.lost_sids);
    }
}

fn worker_metrics(text: &mut Text, status: &Status) {
    type Value = fn(&crate::wire::command::WorkerStatus) -> f64;
    let families: [(&str, &str, &str, Value); 7] = [
        ("sedge_worker_up", "gauge", "Whether the worker takes new sessions.", |worker| {
            f64::from(worker.state == WorkerState::Ready)
        }),
        ("sedge_worker_restarts_total", "counter", "How often it was started again.", |worker| {
            worker.restarts as f64
        }),
        ("sedge_worker_uptime_seconds", "gauge", "Since its process started.", |worker| {
            worker.uptime_seconds
        }),
        ("sedge_worker_connections", "gauge", "Open connections, as last reported.", |worker| {
            worker.connections as f64
        }),
        ("sedge_worker_sessions", "gauge", "Sessions, as last reported.", |worker| {
            worker.sessions.values().sum::<u64>() as f64
        }),
        ("sedge_worker_cpu_seconds_total", "counter", "Processor time used.", |worker| {
            worker.cpu_seconds
        }),
        ("sedge_worker_memory_bytes", "gauge", "Resident memory.", |worker| {
            worker.memory_bytes as f64
        }),
    ];
    for (name, kind, help, value) in families {
        text.head(name, kind, help);
        for worker in &status.workers {
            text.sample(name, &format!("worker=\"{}\"", worker.index), value(worker));
        }
    }
}
