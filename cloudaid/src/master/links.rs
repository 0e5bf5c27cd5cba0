//! The connections of workers: what the driver sends goes to the one that it means, or nowhere.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use shared::error::ApiError;
use shared::id::SessionId;
use shared::link::ToWorker;
use shared::view::LinkView;
use tokio::sync::mpsc;

pub(crate) mod dialed;

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
    open: Mutex<BTreeMap<SessionId, Link>>,
    /// Why there are none any more; set under the lock of `open`.
    closed: OnceLock<String>,
}

/// One connection.
#[derive(Debug)]
struct Link {
    sender: mpsc::UnboundedSender<Outgoing>,
    sent: u64,
    left: Arc<AtomicU64>,
}

impl Link {
    /// A connection that is gone is no error.
    fn send(&mut self, outgoing: Outgoing) {
        self.sent += 1;
        let _gone = self.sender.send(outgoing);
    }

    fn say_goodbye(&mut self, reason: &str) {
        self.send(Outgoing::Message(ToWorker::Goodbye { reason: reason.to_owned() }));
    }
}

/// What leaves over one connection, in its order.
#[derive(Debug)]
pub(crate) struct Outbox {
    receiver: mpsc::UnboundedReceiver<Outgoing>,
    left: Arc<AtomicU64>,
}

impl Outbox {
    /// What leaves next; none when the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Outgoing> {
        let next = self.receiver.recv().await;
        self.left.fetch_add(1, Ordering::Relaxed);
        next
    }
}

impl Links {
    /// A new connection. Numbers grow, so the newer of two is the larger. After the goodbye to all it is told the same, and ends.
    pub(crate) fn open(&self) -> (SessionId, Outbox) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let session = SessionId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let left = Arc::<AtomicU64>::default();
        let mut link = Link { sender, sent: 0, left: Arc::clone(&left) };
        let mut open = self.open.lock();
        match self.closed.get() {
            Some(reason) => link.say_goodbye(reason),
            None => drop(open.insert(session, link)),
        }
        (session, Outbox { receiver, left })
    }

    /// Sends. A connection that is gone is no error: the next one begins with an inventory.
    pub(crate) fn send(&self, session: SessionId, message: ToWorker) {
        if let Some(link) = self.open.lock().get_mut(&session) {
            link.send(Outgoing::Message(message));
        }
    }

    /// Says that a heartbeat has arrived, to who numbers them; but nothing is said before the welcome.
    pub(crate) fn heard(&self, session: SessionId, number: u64) {
        if let Some(link) = self.open.lock().get_mut(&session).filter(|link| number > 0 && link.sent > 0) {
            link.send(Outgoing::Message(ToWorker::Heard { number }));
        }
    }

    /// Ends a connection and says why.
    pub(crate) fn refuse(&self, session: SessionId, why: ApiError) {
        if let Some(mut link) = self.open.lock().remove(&session) {
            link.send(Outgoing::Refuse(why));
        }
    }

    /// A connection has ended.
    pub(crate) fn forget(&self, session: SessionId) {
        self.open.lock().remove(&session);
    }

    /// Says goodbye to all; containers go on.
    pub(crate) fn close_all(&self, reason: &str) {
        let mut open = self.open.lock();
        let reason = self.closed.get_or_init(|| reason.to_owned());
        for (_, mut link) in std::mem::take(&mut *open) {
            link.say_goodbye(reason);
        }
    }

    /// Says of each connection what it has sent, and adds those that the core does not know (yet, or any more).
    pub(crate) fn fill_in(&self, views: &mut Vec<LinkView>) {
        for (session, link) in &*self.open.lock() {
            let waiting = link.sent.saturating_sub(link.left.load(Ordering::Relaxed));
            match views.iter_mut().find(|view| view.session == session.0) {
                Some(view) => (view.sent, view.waiting) = (link.sent, waiting),
                None => views.push(LinkView {
                    session: session.0,
                    worker_id: None,
                    sent: link.sent,
                    waiting,
                    reports_through: 0,
                    reports_ahead: 0,
                }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_heartbeat_is_answered_before_the_welcome() {
        let links = Links::default();
        let (session, mut outbox) = links.open();
        links.heard(session, 1);
        links.send(session, ToWorker::Ack { through: 1 });
        links.heard(session, 0);
        links.heard(session, 2);
        let mut sent = Vec::new();
        while let Ok(Outgoing::Message(message)) = outbox.receiver.try_recv() {
            sent.push(message);
        }
        assert_eq!(sent, [ToWorker::Ack { through: 1 }, ToWorker::Heard { number: 2 }]);
    }
    #[tokio::test]
    async fn who_comes_after_the_goodbye_is_told_it_too_and_has_no_connection() {
        let links = Links::default();
        let (_, mut early) = links.open();
        links.close_all("the end");
        let (session, mut late) = links.open();
        links.send(session, ToWorker::Ack { through: 1 });
        for outbox in [&mut early, &mut late] {
            let goodbye = ToWorker::Goodbye { reason: "the end".to_owned() };
            assert!(matches!(outbox.next().await, Some(Outgoing::Message(message)) if message == goodbye));
            assert!(outbox.next().await.is_none(), "and that was all");
        }
    }
}
