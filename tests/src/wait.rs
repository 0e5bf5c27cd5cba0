//! Waiting for a condition, with a deadline. Tests never sleep for a time that ought to be enough.

use std::future::Future;
use std::time::{Duration, Instant};

/// What a test gives a cluster before it calls it broken. Far above what anything takes, because CI machines are slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks until `probe` finds something, and returns it.
///
/// # Panics
/// When the deadline passes.
pub async fn eventually<T, F, Fut>(deadline: Duration, what: &str, mut probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}
