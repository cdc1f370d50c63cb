//! Events that other processes have sent to this one: they concern no socket.

use std::rc::Rc;
use std::sync::Arc;

use sedge_adapter::MissingReason;
use sedge_protocol::socketio::Args;

use super::local::LocalShard;
use crate::core::Namespace;
use crate::core::stage::{Context, ServerSideDetails};
use crate::error::HandlerErrorKind;
use crate::hub::answers::ServerSideAnswer;

/// An event from another process.
pub(crate) struct ServerSideCall {
    pub(crate) namespace: Namespace,
    pub(crate) event: Arc<str>,
    pub(crate) args: Args<'static>,
    /// Set if the other process wants an answer.
    pub(crate) answer: Option<Arc<ServerSideAnswer>>,
}

impl LocalShard {
    /// Calls the listeners of an event. If nobody answers, the other process is told so when the last of
    /// them has ended.
    pub(super) fn server_side(self: &Rc<Self>, call: &ServerSideCall) {
        let ServerSideCall { namespace, event, args, answer } = call;
        let table = self.state.borrow_mut().make_namespace(namespace.clone()).table();
        let refuse = |reason| {
            if let Some(answer) = answer {
                answer.refuse(reason);
            }
        };
        let listeners = table.server_side(event);
        if listeners.is_empty() {
            return refuse(MissingReason::NoListener);
        }
        if self.server_side_in_flight.get() >= self.core.options.limits.server_side_in_flight {
            refuse(MissingReason::Overloaded);
            let words = "too many handlers of events from other processes wait".to_owned();
            return self.report(namespace, event, HandlerErrorKind::Failed(words));
        }
        let details = ServerSideDetails { name: event, args, answer: answer.as_ref() };
        let context = Context { subject: namespace, details };
        for listener in listeners {
            self.run(&**listener, &context, event);
        }
    }
}
