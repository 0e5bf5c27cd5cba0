//! Every submission that was acknowledged exists, and one idempotency key makes one task.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudaid_core::testkit::Saved;
use shared::id::TaskId;
use shared::ranges::RangeSet;

use crate::sim::Check;

/// What clients were told.
#[derive(Debug, Default)]
pub(crate) struct Submissions {
    acknowledged: BTreeMap<TaskId, RangeSet>,
    keys: BTreeMap<Arc<str>, TaskId>,
}

impl Submissions {
    pub(crate) fn acknowledged(&mut self, saved: &Saved, id: TaskId, key: Option<Arc<str>>) -> Check {
        let (record, _) = saved.tasks.get(&id).ok_or_else(|| format!("{id} was acknowledged and is not durable"))?;
        self.acknowledged.insert(id, record.indices());
        match key.map(|key| (self.keys.insert(Arc::clone(&key), id), key)) {
            Some((Some(other), key)) if other != id => Err(format!("`{key}` was answered with {other} and with {id}")),
            _ => Ok(()),
        }
    }

    /// At each start of the master, and at the end.
    pub(crate) fn check_all(&self, saved: &Saved) -> Check {
        match self.acknowledged.keys().find(|id| !saved.tasks.contains_key(id)) {
            Some(id) => Err(format!("{id} was acknowledged and is gone")),
            None => Ok(()),
        }
    }

    /// Tasks that clients know, with the indices of their elements.
    pub(crate) fn known(&self) -> Vec<(TaskId, RangeSet)> {
        self.acknowledged.iter().map(|(id, indices)| (*id, indices.clone())).collect()
    }
}
