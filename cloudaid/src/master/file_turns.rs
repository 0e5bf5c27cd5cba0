//! Turns for those who change what is known of the files of a task: what one reads stays so until its change is durable, so
//! that nothing is counted twice.

use shared::id::TaskId;
use tokio::sync::{Mutex, MutexGuard};

/// More than there are changes at a time; tasks that share one only wait for each other.
const TURNS: usize = 64;

/// One turn at a time for each task.
#[derive(Debug)]
pub(crate) struct FileTurns([Mutex<()>; TURNS]);

impl Default for FileTurns {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl FileTurns {
    /// Waits for the turn. It ends when it is dropped.
    pub(crate) async fn take(&self, task: TaskId) -> MutexGuard<'_, ()> {
        // The low bits of an id are random.
        let number = usize::try_from(task.0.0 % TURNS as u128).unwrap_or_default();
        self.0[number].lock().await
    }
}
