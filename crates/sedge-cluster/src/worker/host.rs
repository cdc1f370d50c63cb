//! A worker asks its supervisor for the metrics of the whole host, so that whoever scrapes the shared port gets
//! all of them, whichever worker it comes to.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use super::duty::Duty;
use crate::limits::{COMMAND_TIMEOUT, HOST_METRICS_BYTES_MAX, HOST_METRICS_FRESH};
use crate::local;
use crate::metrics::Families;
use crate::run_dir::control_path;
use crate::wire::command::{Answer, Command};

/// The metrics of all workers of a host and of its supervisor, from
/// [`Worker::host_metrics`](crate::Worker::host_metrics). Cheap to clone; needs a tokio runtime with I/O and time.
#[derive(Clone, Debug)]
pub struct HostMetrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    index: u8,
    duty: Arc<Duty>,
    /// Who comes while it is being asked for waits for the same answer.
    last: Mutex<Option<(Instant, Arc<str>)>>,
}

impl HostMetrics {
    pub(super) fn new(index: u8, duty: Arc<Duty>) -> HostMetrics {
        HostMetrics(Arc::new(Inner { index, duty, last: Mutex::default() }))
    }

    /// The metrics in Prometheus' text format, those of workers with the label `worker`: what the
    /// supervisor says on its admin address, not older than a second. Without a supervisor they are this
    /// worker's alone.
    pub async fn text(&self) -> Arc<str> {
        let mut last = self.0.last.lock().await;
        if let Some((at, text)) = &*last
            && at.elapsed() < HOST_METRICS_FRESH
        {
            return Arc::clone(text);
        }
        let text: Arc<str> = match within(COMMAND_TIMEOUT, self.ask()).await {
            Ok(text) => text.into(),
            Err(error) => {
                tracing::debug!(%error, "the supervisor does not say the metrics of the host");
                self.own().into()
            }
        };
        *last = Some((Instant::now(), Arc::clone(&text)));
        text
    }

    async fn ask(&self) -> io::Result<String> {
        let mut stream = UnixStream::connect(control_path(&self.0.duty.run_dir)).await?;
        local::check_peer(&stream)?;
        let mut line = serde_json::to_vec(&Command::Metrics)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        let mut answer = String::new();
        BufReader::new(stream).take(HOST_METRICS_BYTES_MAX).read_line(&mut answer).await?;
        match serde_json::from_str(&answer)? {
            Answer::Metrics { text } => Ok(text),
            _ => Err(io::Error::other("another answer than was asked for")),
        }
    }

    /// What this worker knows itself.
    fn own(&self) -> String {
        let mut families = Families::default();
        families.add(&self.0.duty.own_metrics(), self.0.index);
        families.text()
    }
}

async fn within<T>(patience: Duration, done: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(patience, done).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
}
