//! The life of the server: start, run until a signal comes, drain, end.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sedge::{ListenOptions, Listening, Server, ServerBuilder};
use sedge_cluster::Worker;
use sedge_cluster::signals::{Signal, Signals};

use crate::client_files::ADVICE;
use crate::config::settings::{Operation, Settings};
use crate::demo::Place;
use crate::failure::Failure;
use crate::http::{Routes, Site};
use crate::tls::Certificate;
use crate::{demo, logging, nofile, tasks};

/// Serves until a signal ends it.
pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    settings.check()?;
    logging::start(settings);
    for remark in settings.remarks(Operation::Alone) {
        tracing::warn!("{remark}");
    }
    // This thread only waits; the connections are served by the shards' own threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Start(error.to_string()))?;
    let served = runtime.block_on(serve(settings));
    // Whatever the first thread still does may not keep the process from ending.
    runtime.shutdown_background();
    served
}

async fn serve(settings: &Settings) -> Result<ExitCode, Failure> {
    // From here on no signal is lost, however early it comes.
    let mut signals = Signals::new().map_err(|error| Failure::Start(error.to_string()))?;
    nofile::raise();
    let running = start(settings).await?;
    let certificate = running.certificate.clone();
    let first = tokio::select! {
        first = told_to_end(&mut signals, certificate.as_deref()) => first,
        failure = running.server.failed() => return Err(Failure::Ended(failure.to_string())),
    };
    tracing::info!(signal = first.name(), "ending: clients are being closed");
    tokio::select! {
        clean = running.drain(settings) => {
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        second = told_to_end(&mut signals, certificate.as_deref()) => {
            tracing::warn!(signal = second.name(), "ended at once, by a second signal");
            Ok(ExitCode::from(second.exit_status()))
        }
    }
}

/// Waits for a signal that ends the server.
async fn told_to_end(signals: &mut Signals, certificate: Option<&Certificate>) -> Signal {
    loop {
        let signal = signals.next().await;
        if signal != Signal::Hangup {
            return signal;
        }
        let name = signal.name();
        if let Some(certificate) = certificate {
            tracing::info!(signal = name, "settings and program stay until a restart");
            certificate.reread();
        } else {
            tracing::info!(
                signal = name,
                "there is no certificate to read; settings and program stay until a restart"
            );
        }
    }
}

/// A server that listens.
struct Running {
    server: Server,
    listening: Vec<Listening>,
    draining: Arc<AtomicBool>,
    certificate: Option<Arc<Certificate>>,
}

async fn start(settings: &Settings) -> Result<Running, Failure> {
    let Made { server, options, draining, certificate } = make(settings, settings.server(), None)?;
    let mut listening = Vec::with_capacity(settings.listen.len());
    for address in &settings.listen {
        let opened = server.listen_with(*address, options.clone()).await;
        listening.push(opened.map_err(|error| Failure::Listen(*address, error))?);
    }
    tell(settings, &server);
    announce(settings.scheme(), listening.iter().map(|open| open.local_addr().to_string()));
    Ok(Running { server, listening, draining, certificate })
}

/// A server that does not listen yet.
pub(crate) struct Made {
    pub(crate) server: Server,
    /// What its listeners do besides Socket.IO.
    pub(crate) options: ListenOptions,
    /// To be set when the end begins.
    pub(crate) draining: Arc<AtomicBool>,
    /// What its listeners use, if they speak TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
}

/// Makes a server, of this worker if it is one's, with everything the command adds to the library's.
pub(crate) fn make(
    settings: &Settings,
    mut builder: ServerBuilder,
    worker: Option<&Worker>,
) -> Result<Made, Failure> {
    let certificate = settings.tls.as_ref().map(Certificate::load).transpose();
    let certificate = certificate.map_err(Failure::Tls)?;
    if settings.demo {
        let node = settings.node_name.clone().unwrap_or_else(host_name);
        let (worker, workers) = worker.map_or((0, 1), |worker| (worker.index(), worker.count()));
        builder = demo::prepare(builder, Place { node, worker, workers });
    }
    let server = builder.build().map_err(|error| Failure::Start(error.to_string()))?;
    if settings.demo {
        demo::install(&server);
    }
    let draining = Arc::new(AtomicBool::new(false));
    let routes = Routes::new(Site {
        server: server.clone(),
        host: worker.map(Worker::host_metrics),
        demo: settings.demo,
        metrics: settings.metrics,
        client_found: settings.client_dir.is_some(),
        draining: Arc::clone(&draining),
    });
    let mut options = ListenOptions::new().fallback(routes);
    if let Some(certificate) = &certificate {
        options = options.tls(certificate.server_config().map_err(Failure::Tls)?);
    }
    Ok(Made { server, options, draining, certificate })
}

/// What whoever reads the log wants to know about this start.
fn tell(settings: &Settings, server: &Server) {
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, shards = server.shard_count(), path = settings.path, "sedge starts");
    tell_of_client(settings);
}

/// Whether browsers get the official client, and what to do if not.
pub(crate) fn tell_of_client(settings: &Settings) {
    match &settings.client_dir {
        Some(dir) => tracing::info!(dir = %dir.display(), "the official client is served"),
        None if settings.demo => {
            tracing::warn!("the demo needs the official client, which was not found: {ADVICE}");
        }
        None => tracing::info!("the official client is not served; --client-dir would do so"),
    }
    if settings.demo && settings.path.trim_end_matches('/') != "/socket.io" {
        tracing::warn!("the demo's page looks for /socket.io and will not find it");
    }
}

/// A line for each address, for whoever waits for the server, on standard output: their form is a promise.
pub(crate) fn announce(scheme: &str, addresses: impl IntoIterator<Item = String>) {
    let mut lines = String::new();
    for address in addresses {
        let _ = match address.strip_prefix("unix:") {
            Some(path) => writeln!(lines, "listening on {path}, {scheme}"),
            None => writeln!(lines, "listening on {scheme}://{address}"),
        };
    }
    // Nobody may be reading, which is no fault, and must not keep this thread from serving.
    let said = tasks::thread("sedge-announce", move || {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    });
    if let Err(error) = said {
        tracing::warn!(%error, "standard output cannot be told where this listens");
    }
}

impl Running {
    /// Ends in order. Returns whether everything was closed in time.
    async fn drain(self, settings: &Settings) -> bool {
        self.draining.store(true, Ordering::Relaxed);
        if settings.drain_delay > Duration::ZERO {
            let delay = settings.drain_delay;
            tracing::info!(?delay, "/health says 503 from now on; still serving");
            tokio::time::sleep(delay).await;
        }
        for listening in &self.listening {
            listening.close();
        }
        let (deadline, begin) = (settings.drain_deadline, Instant::now());
        let sockets = self.server.socket_count();
        tracing::info!(sockets, ?deadline, "no longer listening; server shutting down");
        self.server.close(deadline).await;
        let took = begin.elapsed();
        let clean = took < deadline;
        if clean {
            tracing::info!(?took, "ended: all connections are closed");
        } else {
            tracing::warn!(?took, "ended: the deadline passed, the last connections were cut off");
        }
        clean
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
