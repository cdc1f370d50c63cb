//! What other processes have been asked, and who waits for their answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sedge_adapter::{PeerId, RemoteSocketData, RequestId, Response, ResponseBody};
use sedge_protocol::socketio::{Args, Value};

use crate::error::Overloaded;
use crate::gather::acks::{AckEvent, Acks};
use crate::gather::inquiry::{Answer, Gather};
use crate::gather::responders::Origin;

/// A socket as other shards and nodes see it.
pub(crate) type SocketData = RemoteSocketData<Value>;

/// One process's answer to a server-side emit.
pub(crate) type ServerSideAnswers = Gather<(PeerId, Option<Value>)>;

/// Who waits for the answers of other processes.
#[derive(Clone)]
pub(crate) enum Asker {
    Acks(Arc<Acks>),
    Sockets(Arc<Gather<Vec<SocketData>>>),
    Applied(Arc<Gather<()>>),
    ServerSide(Arc<ServerSideAnswers>),
}

/// The requests under way, by their ids.
pub(crate) struct Requests {
    waiting: Mutex<HashMap<u64, Asker>>,
    max: usize,
    next: AtomicU64,
}

/// A place among the requests; given back when it is dropped.
pub(crate) struct Ticket {
    requests: Arc<Requests>,
    id: RequestId,
}

impl Ticket {
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let asker = self.requests.lock().remove(&self.id.0);
        drop(asker);
    }
}

impl Requests {
    pub(super) fn new(max: usize) -> Arc<Requests> {
        Arc::new(Requests { waiting: Mutex::default(), max, next: AtomicU64::new(1) })
    }

    /// Enters a request, so that answers find who waits for them.
    pub(super) fn enter(self: &Arc<Self>, asker: Asker) -> Result<Ticket, Overloaded> {
        let id = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let mut waiting = self.lock();
        if waiting.len() >= self.max {
            return Err(Overloaded);
        }
        waiting.insert(id.0, asker);
        Ok(Ticket { requests: Arc::clone(self), id })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// A process has left: nobody waits for it any more.
    pub(super) fn left(&self, peer: PeerId) {
        let askers: Vec<Asker> = self.lock().values().cloned().collect();
        for asker in askers {
            match asker {
                Asker::Acks(acks) => acks.left(peer),
                Asker::Sockets(gather) => gather.left(peer),
                Asker::Applied(gather) => gather.left(peer),
                Asker::ServerSide(answers) => answers.left(peer),
            }
        }
    }

    /// An answer has come. Returns whether somebody waits for such an answer.
    pub(super) fn answered(&self, peer: PeerId, response: Response<Value>) -> bool {
        let asker = self.lock().get(&response.request.0).cloned();
        let Some(asker) = asker else { return false };
        let from = Origin::Peer(peer, response.part);
        match (asker, response.body) {
            (Asker::Acks(acks), ResponseBody::ClientCount(count)) => {
                acks.tell(from, AckEvent::Counted(count));
            }
            (Asker::Acks(acks), ResponseBody::Ack(value)) => {
                let args = Args::from_values(value.into_iter().collect());
                acks.tell(from, AckEvent::Acknowledged(args));
            }
            (Asker::Acks(acks), ResponseBody::ClientsLost(count)) => {
                acks.tell(from, AckEvent::Lost(count));
            }
            (Asker::Sockets(gather), ResponseBody::SomeSockets(list)) => {
                gather.tell(from, Answer::Part(list));
            }
            (Asker::Sockets(gather), ResponseBody::Sockets(list)) => gather.answer(from, list),
            (Asker::Applied(gather), ResponseBody::Applied) => gather.answer(from, ()),
            (Asker::ServerSide(answers), ResponseBody::ServerSideEmit(value)) => {
                answers.answer(from, (peer, value));
            }
            (Asker::Acks(acks), ResponseBody::Missing(reason)) => acks.give_up(from, reason),
            (Asker::Sockets(gather), ResponseBody::Missing(reason)) => gather.give_up(from, reason),
            (Asker::Applied(gather), ResponseBody::Missing(reason)) => gather.give_up(from, reason),
            (Asker::ServerSide(answers), ResponseBody::Missing(reason)) => {
                answers.give_up(from, reason);
            }
            _ => return false,
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Asker>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
