//! What another process holds and may be about to give back: one that was killed has its locks until the kernel has cleared it
//! away, and whoever follows it is there at once.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;

use crate::pause::Pauses;

/// How long it is waited for that.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Tries to take it, again and again for `limit` while the error says that it is held; says once that it waits.
///
/// # Errors
/// What the last try said.
pub(crate) async fn wait<T, E, F>(
    limit: Duration,
    mut take: impl FnMut() -> F,
    is_held: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    E: Display,
    F: Future<Output = Result<T, E>>,
{
    let until = Instant::now() + limit;
    let mut pauses = Pauses::up_to(LONGEST_PAUSE);
    let mut has_said = false;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match take().await {
            Err(error) if is_held(&error) && !left.is_zero() => {
                if !std::mem::replace(&mut has_said, true) {
                    tracing::warn!("{error}; it is waited for, up to {} s", limit.as_secs());
                }
            }
            taken => return taken,
        }
        tokio::time::sleep(pauses.next().min(left)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tried(limit: Duration, held_for: usize) -> (Result<usize, String>, usize) {
        let mut tries = 0;
        let take = || {
            tries += 1;
            std::future::ready(if tries > held_for { Ok(tries) } else { Err("held".to_owned()) })
        };
        let taken = wait(limit, take, |error| error == "held").await;
        (taken, tries)
    }

    #[tokio::test]
    async fn what_is_given_back_in_time_is_taken() {
        assert_eq!(tried(Duration::from_secs(60), 0).await, (Ok(1), 1));
        assert_eq!(tried(Duration::from_secs(60), 2).await, (Ok(3), 3));
    }

    #[tokio::test]
    async fn what_is_kept_is_refused_after_a_few_tries() {
        let begin = Instant::now();
        let (taken, tries) = tried(Duration::from_millis(700), usize::MAX).await;
        assert_eq!(taken, Err("held".to_owned()));
        // However late a busy machine lets it try again, it does once more at the end.
        assert!(begin.elapsed() >= Duration::from_millis(700) && (2..=9).contains(&tries), "{tries} tries");
        // Another error says that waiting does not help.
        let other =
            wait(Duration::from_secs(60), || std::future::ready(Err::<(), _>("broken")), |error| *error == "held");
        assert_eq!(tokio::time::timeout(Duration::from_secs(30), other).await, Ok(Err("broken")));
    }
}
