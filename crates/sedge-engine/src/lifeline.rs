//! What ties the shards of an engine together: they run as long as there are handles on the engine, and as long
//! as all of them do.

use std::future::Future;

use thiserror::Error;
use tokio::sync::watch;

use crate::panics;

/// A shard of an engine has panicked, and so the whole engine has ended: a server of which a part does not
/// answer is worse than none, which is noticed and replaced.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("shard {shard} has ended: its {part} panicked: {words}")]
pub struct ShardFailure {
    /// The shard's number.
    pub shard: usize,
    /// The part of it in which the panic was.
    pub part: &'static str,
    /// The words of the panic, or `?` if it had none.
    pub words: String,
}

impl ShardFailure {
    pub(crate) fn new(shard: usize, part: &'static str, words: String) -> ShardFailure {
        ShardFailure { shard, part, words }
    }
}

/// Held by every shard and by the engine's handles.
#[derive(Clone)]
pub(crate) struct Lifeline(watch::Sender<Life>);

enum Life {
    Runs,
    /// The last handle is gone.
    Released,
    Failed(ShardFailure),
}

impl Lifeline {
    pub(crate) fn new() -> Lifeline {
        Lifeline(watch::Sender::new(Life::Runs))
    }

    /// Nobody needs the shards any more.
    pub(crate) fn release(&self) {
        self.end(Life::Released);
    }

    /// A shard has failed. All end.
    pub(crate) fn fail(&self, failure: ShardFailure) {
        let words = failure.to_string();
        self.end(Life::Failed(failure));
        // What panicked may have been whoever takes the log.
        let _ = panics::catch(|| tracing::error!("the engine ends: {words}"));
    }

    fn end(&self, how: Life) {
        self.0.send_if_modified(|life| {
            let ends = matches!(life, Life::Runs);
            if ends {
                *life = how;
            }
            ends
        });
    }

    /// Waits until the shards have to end, one way or the other.
    pub(crate) async fn cut(&self) {
        // This is a sender itself, so the channel cannot be closed.
        let _ = self.0.subscribe().wait_for(|life| !matches!(life, Life::Runs)).await;
    }

    /// Waits until a shard has failed, for ever if the engine ends in another way.
    pub(crate) fn failed(&self) -> impl Future<Output = ShardFailure> + Send + use<> {
        let mut life = self.0.subscribe();
        async move {
            if let Ok(life) = life.wait_for(|life| matches!(life, Life::Failed(_))).await
                && let Life::Failed(failure) = &*life
            {
                return failure.clone();
            }
            std::future::pending().await
        }
    }
}
