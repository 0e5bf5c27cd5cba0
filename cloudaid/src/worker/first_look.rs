//! What the engine says and has before the first hello, or that it says nothing in time.

use std::time::Duration;

use cloudaid_core::agent::FoundContainer;
use shared::id::{ClusterId, WorkerId};
use tokio::time::timeout;

use super::engine::{self, Survey};
use super::health::FirstAnswer;
use crate::runtime::Runtime;

/// How long it waits for the engine where its journal is gone: what it says without either would be wrong. Shorter than the
/// lease, or the master gives up what runs here.
const BLIND_LIMIT: Duration = Duration::from_secs(20);
/// How long it waits for the engine at least: one that is well answers sooner.
const LEAST_LIMIT: Duration = Duration::from_secs(2);

/// How long an engine is waited for that gives no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// For ever: its master cannot be told that nothing should come.
    Endless,
    /// As long as the master waits, also for one that says that it is not well: nobody else knows what runs here.
    Blind,
    /// So long, and what it says then is an answer.
    Short(Duration),
}

impl Patience {
    /// What ends with the lease, of which so much is left, is not to wait for an engine that hangs: it is stopped as soon as
    /// that answers. None: nothing ends with it.
    pub(super) fn within(lease: Option<Duration>) -> Self {
        let limit = lease.map_or(engine::ANSWER_LIMIT, |left| left.clamp(LEAST_LIMIT, engine::ANSWER_LIMIT));
        Self::Short(limit)
    }
}

/// What there is to begin with.
#[derive(Debug)]
pub(super) struct FirstLook {
    /// What the engine says of itself, or why it says nothing yet.
    pub(super) answer: FirstAnswer,
    /// The containers of this worker; none: there is no answer.
    pub(super) found: Option<Vec<FoundContainer>>,
}

impl FirstLook {
    /// Asks the engine, which is given so much time.
    pub(super) async fn take(runtime: &dyn Runtime, cluster: ClusterId, worker: &WorkerId, patience: Patience) -> Self {
        let take = || Survey::take(runtime, cluster, worker);
        let survey = match patience {
            Patience::Endless => Ok(engine::at_last(take).await),
            Patience::Blind => timeout(BLIND_LIMIT, engine::at_last(take)).await.map_err(|_| engine::hangs()),
            Patience::Short(limit) => engine::within(limit, take()).await,
        };
        match survey {
            Ok(Survey { info, found }) => Self { answer: Ok(info), found: Some(found) },
            Err(error) => Self { answer: Err(error), found: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_ends_soon_is_not_spent_on_an_engine_that_hangs() {
        let within = |seconds: Option<u64>| Patience::within(seconds.map(Duration::from_secs));
        let short = |seconds| Patience::Short(Duration::from_secs(seconds));
        for (left, expected) in [(None, 10), (Some(3600), 10), (Some(7), 7), (Some(1), 2), (Some(0), 2)] {
            assert_eq!(within(left), short(expected), "{left:?}");
        }
    }
}
