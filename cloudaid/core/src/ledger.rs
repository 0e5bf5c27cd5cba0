//! What is reserved on each worker, derived from the live runs and never counted up and down.

use std::collections::BTreeMap;

use shared::id::{ElementId, WorkerId};
use shared::resources::Resources;

/// An index of the live runs by worker. The runs themselves stand in their tasks; the invariant
/// `conservation` ([`crate::invariant::check`]) compares the two.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ledger {
    by_worker: BTreeMap<WorkerId, BTreeMap<ElementId, Resources>>,
}

impl Ledger {
    /// A run was given to a worker.
    pub(crate) fn reserve(&mut self, worker: &WorkerId, element: ElementId, resources: Resources) {
        match self.by_worker.get_mut(worker) {
            Some(runs) => {
                runs.insert(element, resources);
            }
            None => {
                self.by_worker.insert(worker.clone(), BTreeMap::from([(element, resources)]));
            }
        }
    }

    /// A run is over.
    pub(crate) fn release(&mut self, worker: &WorkerId, element: ElementId) {
        if let Some(runs) = self.by_worker.get_mut(worker) {
            runs.remove(&element);
            if runs.is_empty() {
                self.by_worker.remove(worker);
            }
        }
    }

    /// What is reserved on a worker: the sum over its live runs.
    pub(crate) fn reserved(&self, worker: &WorkerId) -> Resources {
        self.runs(worker).map(|(_, resources)| *resources).sum()
    }

    /// The live runs of a worker.
    pub(crate) fn runs(&self, worker: &WorkerId) -> impl Iterator<Item = (&ElementId, &Resources)> {
        self.by_worker.get(worker).into_iter().flatten()
    }

    /// How many runs are live, over all workers.
    pub(crate) fn live(&self) -> usize {
        self.by_worker.values().map(BTreeMap::len).sum()
    }
}
