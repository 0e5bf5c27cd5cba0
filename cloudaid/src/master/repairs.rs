//! What workers answered to an inquiry, for whoever asked.

use cloudaid_core::event::Findings;
use shared::id::{Fence, WorkerId};
use tokio::sync::broadcast;

/// Answers that may wait to be looked at. Who falls behind misses some, and waits for the deadline.
const CAPACITY: usize = 4096;

/// One worker was compared.
#[derive(Debug, Clone)]
pub(crate) struct Reconciled {
    pub(crate) worker: WorkerId,
    /// Of the inquiry; a later one answers an earlier one too.
    pub(crate) horizon: Fence,
    pub(crate) findings: Findings,
}

/// Everybody who asked.
#[derive(Debug)]
pub(crate) struct Repairs(broadcast::Sender<Reconciled>);

impl Default for Repairs {
    fn default() -> Self {
        Self(broadcast::Sender::new(CAPACITY))
    }
}

impl Repairs {
    /// All answers from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Reconciled> {
        self.0.subscribe()
    }

    /// An answer has come.
    pub(crate) fn tell(&self, reconciled: Reconciled) {
        // Nobody may have asked: the answer of an earlier inquiry was late.
        let _nobody = self.0.send(reconciled);
    }
}
