//! What each worker proves itself with, as it is committed: kept by the driver, asked at every call without asking it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use cloudaid_core::admission::{Admission, Proof};
use parking_lot::RwLock;
use shared::id::WorkerId;
use tokio::sync::watch;

/// All workers of the cluster, by name.
#[derive(Debug, Default)]
pub struct Admissions {
    workers: RwLock<BTreeMap<WorkerId, Admission>>,
    changes: watch::Sender<()>,
}

impl Admissions {
    /// What a worker proves itself with now; none: it is no more.
    pub(crate) fn set(&self, worker: &WorkerId, admission: Option<Admission>) {
        let mut workers = self.workers.write();
        match admission {
            Some(admission) => workers.insert(worker.clone(), admission),
            None => workers.remove(worker),
        };
        self.changes.send_replace(());
    }

    /// Changes whenever they have changed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Whether a worker may be served who has proved this.
    #[must_use]
    pub fn is_proved(&self, worker: &WorkerId, proof: Proof) -> bool {
        self.workers.read().get(worker).is_some_and(|admission| admission.is_proved_by(proof))
    }

    /// Where a worker of the first generation is dialled.
    #[must_use]
    pub fn address(&self, worker: &WorkerId) -> Option<SocketAddr> {
        match self.workers.read().get(worker) {
            Some(Admission::Dialed(address)) => Some(*address),
            Some(Admission::None | Admission::Certificate(_)) | None => None,
        }
    }

    /// All workers of the first generation, each with where it is dialled.
    #[must_use]
    pub fn dialed(&self) -> Vec<(WorkerId, SocketAddr)> {
        let workers = self.workers.read();
        let dialed = workers.iter().filter_map(|(worker, admission)| match admission {
            Admission::Dialed(address) => Some((worker.clone(), *address)),
            Admission::None | Admission::Certificate(_) => None,
        });
        dialed.collect()
    }

    /// Whether any worker of the first generation is registered at this address, whatever its port.
    #[must_use]
    pub fn is_known(&self, address: IpAddr) -> bool {
        let workers = self.workers.read();
        workers.values().any(|admission| matches!(admission, Admission::Dialed(at) if at.ip() == address))
    }
}
