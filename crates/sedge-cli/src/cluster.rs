//! `sedge cluster`: many workers on one port. The supervisor and the workers are processes of this
//! same program; [`sedge_cluster`] runs them, and what one worker serves is [`serve`](crate::serve)'s.

use std::process::ExitCode;
use std::sync::atomic::Ordering;

use sedge_cluster::{Cluster, ClusterBuilder, Listen, WORKER_VARIABLE, Worker};

use sedge_sticky::CookieKey;

use crate::config::settings::{Operation, Settings};
use crate::config::units::{Shards, Workers};
use crate::failure::Failure;
use crate::tls::Certificate;
use crate::{logging, nofile, serve, tasks};

/// Runs the cluster to its end, or one of its workers.
pub(crate) fn run(settings: &Settings) -> Result<ExitCode, Failure> {
    settings.check()?;
    logging::start(settings);
    nofile::raise();
    if std::env::var_os(WORKER_VARIABLE).is_none() {
        // What every worker would stumble over is said once, before there are any.
        settings.tls.as_ref().map(Certificate::load).transpose().map_err(Failure::Tls)?;
        for remark in settings.remarks(Operation::Cluster) {
            tracing::warn!("{remark}");
        }
        serve::tell_of_client(settings);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Start(error.to_string()))?;
    let cluster = supervised(settings);
    let ended = runtime.block_on(cluster.run(async |worker| work(settings, worker).await));
    runtime.shutdown_background();
    Ok(ended?.into())
}

/// The cluster that the settings ask for.
fn supervised(settings: &Settings) -> ClusterBuilder {
    let own = &settings.cluster;
    let scheme = settings.scheme();
    let mut routing = own.routing.clone();
    // A browser that opens another session comes to the worker it knows.
    routing.cookie = settings.cookie().map(|name| CookieKey::SessionId { name: name.to_owned() });
    let mut cluster = Cluster::builder()
        .version(env!("CARGO_PKG_VERSION"))
        .metrics_from(|| logging::prometheus("sedge_cluster_log_lines_lost_total"))
        .node(own.node)
        .routing(routing)
        .activation(true)
        .drain_delay(settings.drain_delay)
        .drain_deadline(settings.drain_deadline)
        .orphan_deadline(own.orphan_deadline)
        .on_serving(move |addresses| {
            serve::announce(scheme, addresses.iter().cloned());
        });
    if let Some(path) = settings.run_dir() {
        cluster = cluster.run_dir(path);
    }
    if !settings.is_activated_only() {
        for address in &settings.listen {
            cluster = cluster.listen(Listen::tcp(*address));
        }
    }
    for path in &own.listen_unix {
        cluster = cluster.listen(Listen::unix(path).mode(own.unix_mode.0));
    }
    if let Workers::Count(count) = own.workers {
        cluster = cluster.workers(count);
    }
    if let Some(secret) = settings.secret() {
        cluster = cluster.secret(secret.as_bytes());
    }
    if let Some(address) = own.admin {
        cluster = cluster.admin(address);
    }
    if let Some(base) = own.worker_ports {
        cluster = cluster.port_per_worker(base);
    }
    cluster
}

/// The life of a worker.
async fn work(settings: &Settings, worker: Worker) -> Result<(), Failure> {
    let mut builder = settings.server().cluster(&worker);
    if let Shards::Count(shards) = settings.shards() {
        builder = builder.shards(shards);
    }
    let made = serve::make(settings, builder, Some(&worker))?;
    let serve::Made { server, options, draining, certificate } = made;
    if let Some(certificate) = certificate {
        worker.reread_by(move || certificate.reread());
    }
    tracing::info!(pid = std::process::id(), "worker starts");
    worker.metrics_from(|| logging::prometheus("sedge_log_lines_lost_total"));
    let mut drains = worker.drains();
    tasks::in_background(async move {
        drains.wait().await;
        draining.store(true, Ordering::Relaxed);
    });
    let served = server.serve_worker(worker, options).await;
    served.map_err(|error| Failure::Ended(error.to_string()))?;
    tracing::info!("worker ends");
    Ok(())
}
