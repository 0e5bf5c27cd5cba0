//! The connections of workers: what the driver sends goes to the one that it means, or nowhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use shared::error::ApiError;
use shared::id::SessionId;
use shared::link::ToWorker;
use tokio::sync::mpsc;

/// What leaves over a connection.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A message.
    Message(ToWorker),
    /// The connection ends with this refusal.
    Refuse(ApiError),
}

/// All connections.
///
/// The channels are unbounded, but what goes through them is not: a worker is given no more runs than fit on it.
#[derive(Debug, Default)]
pub(crate) struct Links {
    next: AtomicU64,
    open: Mutex<BTreeMap<SessionId, mpsc::UnboundedSender<Outgoing>>>,
}

impl Links {
    /// A new connection. Numbers grow, so the newer of two is the larger.
    pub(crate) fn open(&self) -> (SessionId, mpsc::UnboundedReceiver<Outgoing>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let session = SessionId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        self.open.lock().insert(session, sender);
        (session, receiver)
    }

    /// Sends. A connection that is gone is no error: the next one begins with an inventory.
    pub(crate) fn send(&self, session: SessionId, message: ToWorker) {
        if let Some(link) = self.open.lock().get(&session) {
            let _gone = link.send(Outgoing::Message(message));
        }
    }

    /// Ends a connection and says why.
    pub(crate) fn refuse(&self, session: SessionId, why: ApiError) {
        if let Some(link) = self.open.lock().remove(&session) {
            let _gone = link.send(Outgoing::Refuse(why));
        }
    }

    /// A connection has ended.
    pub(crate) fn forget(&self, session: SessionId) {
        self.open.lock().remove(&session);
    }

    /// Says goodbye to all; containers go on.
    pub(crate) fn close_all(&self, reason: &str) {
        for (_, link) in std::mem::take(&mut *self.open.lock()) {
            let _gone = link.send(Outgoing::Message(ToWorker::Goodbye { reason: reason.to_owned() }));
        }
    }
}
