//! Signs of life, stamped when they arrive. The driver collects them before it looks at any deadline, so a slow store
//! never makes a worker look dead.

use std::collections::BTreeMap;

use cloudaid_core::input::Input;
use parking_lot::Mutex;
use shared::id::{SessionId, WorkerId};
use shared::link::Heartbeat;
use shared::time::BootTime;
use tokio::sync::Notify;

use crate::clock;

/// The latest sign of life of each connection.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    latest: Mutex<BTreeMap<SessionId, Sign>>,
    news: Notify,
}

#[derive(Debug)]
struct Sign {
    worker: WorkerId,
    at: BootTime,
    heartbeat: Option<Heartbeat>,
}

impl Heard {
    /// Something has arrived over this connection, now.
    pub(crate) fn mark(&self, worker: &WorkerId, session: SessionId, heartbeat: Option<Heartbeat>) {
        let at = clock::boot();
        let is_heartbeat = heartbeat.is_some();
        {
            let mut latest = self.latest.lock();
            let entry = latest.entry(session).or_insert_with(|| Sign { worker: worker.clone(), at, heartbeat: None });
            entry.at = at;
            if heartbeat.is_some() {
                entry.heartbeat = heartbeat;
            }
        }
        // Only a heartbeat is worth waking for; everything else comes with an input of its own.
        if is_heartbeat {
            self.news.notify_one();
        }
    }

    /// What has arrived since the last call.
    pub(crate) fn take(&self) -> impl Iterator<Item = Input> {
        let latest = std::mem::take(&mut *self.latest.lock());
        latest.into_iter().map(|(session, Sign { worker, at, heartbeat })| Input::WorkerHeard {
            worker,
            session,
            at,
            heartbeat,
        })
    }

    /// Returns when a heartbeat has arrived.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}
