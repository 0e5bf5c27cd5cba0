//! Everything that can happen to the cluster.

use std::sync::Arc;

use shared::id::{TaskId, UserName};
use shared::task::TaskSpec;

use crate::record::IdempotencyKey;

/// A validated submission. The id was made outside, where randomness is allowed.
#[derive(Debug, Clone, PartialEq)]
pub struct Submission {
    /// Its id, unless an earlier submission has the same key.
    pub id: TaskId,
    /// Whose it is.
    pub user: UserName,
    /// What runs.
    pub spec: Arc<TaskSpec>,
    /// Elements, 1 or more.
    pub count: u32,
    /// The client's idempotency key.
    pub key: Option<IdempotencyKey>,
}
