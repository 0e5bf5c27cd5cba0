//! The call that a piece of work is done for, so that what it changes is noted with who wanted it, in the same commit.
//!
//! It goes along with the work and not through every signature. Work that is spawned off is done for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cloudaid_core::audit::{AuditNote, Outcome};
use parking_lot::Mutex;

tokio::task_local! {
    static CALL: Arc<Call>;
}

/// A call of the API.
#[derive(Debug)]
pub struct Call {
    note: Mutex<AuditNote>,
    /// Whether calls of its kind change things.
    changes: bool,
    noted: AtomicBool,
}

impl Call {
    /// A call that is to be noted as `note` says. Of those that change nothing only what is asked for is noted.
    #[must_use]
    pub fn new(note: AuditNote, changes: bool) -> Arc<Self> {
        Arc::new(Self { note: Mutex::new(note), changes, noted: AtomicBool::new(false) })
    }

    /// Does `work` for this call.
    pub async fn scope<F: Future>(self: &Arc<Self>, work: F) -> F::Output {
        CALL.scope(Arc::clone(self), work).await
    }

    /// The call that is being worked for.
    #[must_use]
    pub fn current() -> Option<Arc<Self>> {
        CALL.try_with(Arc::clone).ok()
    }

    /// Says what the call is about, where its path does not.
    pub fn about(object: &str) {
        if let Some(call) = Self::current() {
            object.clone_into(&mut call.note.lock().object);
        }
    }

    /// Whether calls of its kind change things.
    #[must_use]
    pub fn changes(&self) -> bool {
        self.changes
    }

    /// Whether it has to be noted, and was not yet.
    #[must_use]
    pub fn is_to_be_noted(&self) -> bool {
        self.changes && !self.noted.load(Ordering::Relaxed)
    }

    /// Its changes are made, and noted, after it has returned.
    pub fn is_noted_later(&self) {
        self.noted.store(true, Ordering::Relaxed);
    }

    /// What to note of it once its outcome is known.
    #[must_use]
    pub fn ended(&self, outcome: Outcome) -> AuditNote {
        AuditNote { outcome: Some(outcome), ..self.note.lock().clone() }
    }

    /// What to note with the first change that is made for it.
    pub(crate) fn first_note() -> Option<AuditNote> {
        let call = Self::current()?;
        let is_first = call.changes && !call.noted.swap(true, Ordering::Relaxed);
        is_first.then(|| call.note.lock().clone())
    }

    /// What to note with each of the changes that are made for it.
    pub(crate) fn each_note() -> Option<AuditNote> {
        let call = Self::current().filter(|call| call.changes)?;
        call.noted.store(true, Ordering::Relaxed);
        let note = call.note.lock().clone();
        Some(note)
    }
}
