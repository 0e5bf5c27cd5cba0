//! How many of something there are in each state.

use serde::{Deserialize, Serialize};

use crate::task::TaskState;

macro_rules! by_state {
    ($(#[$doc:meta])* $name:ident of $number:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[allow(missing_docs, reason = "named as the states")]
        pub struct $name {
            pub queued: $number,
            pub pending: $number,
            pub running: $number,
            pub completed: $number,
            pub failed: $number,
            pub cancelled: $number,
        }

        impl $name {
            /// The count of a state.
            pub fn of(&mut self, state: TaskState) -> &mut $number {
                match state {
                    TaskState::Queued => &mut self.queued,
                    TaskState::Pending => &mut self.pending,
                    TaskState::Running => &mut self.running,
                    TaskState::Completed => &mut self.completed,
                    TaskState::Failed => &mut self.failed,
                    TaskState::Cancelled => &mut self.cancelled,
                }
            }
        }
    };
}

by_state! {
    /// How many elements are in each state.
    Tally of u32
}

by_state! {
    /// Elements by state.
    TaskCounts of u64
}

impl Tally {
    /// The state that stands for all elements: see [`TaskView::state`](super::TaskView::state).
    #[must_use]
    pub fn summary(&self) -> TaskState {
        if self.running > 0 {
            TaskState::Running
        } else if self.pending > 0 {
            TaskState::Pending
        } else if self.queued > 0 {
            TaskState::Queued
        } else if self.failed > 0 {
            TaskState::Failed
        } else if self.cancelled > 0 {
            TaskState::Cancelled
        } else {
            TaskState::Completed
        }
    }
}
