//! How the last pull of an image went, and for whom else that is an answer.

use std::time::{Duration, Instant};

use crate::runtime::RuntimeError;

/// How long a registry that gave no image is left alone, from the first time to the longest. All that want the image are told
/// meanwhile what it has said: asked by each of them it would only limit its rate the longer.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// Longer than whoever has heard of it waits before they ask again: a failure after that is the first one again.
const MEMORY: Duration = Duration::from_secs(2 * 60);

/// The last pull of an image.
#[derive(Debug)]
pub(super) struct LastPull {
    began: Instant,
    /// None: it went well.
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: RuntimeError,
    /// How often in a row.
    times: u32,
    until: Instant,
}

impl LastPull {
    /// What is to be remembered of one that was begun at `began` and failed with `error`, if it did, after `before`.
    pub(super) fn after(before: Option<Self>, began: Instant, error: Option<&RuntimeError>) -> Option<Self> {
        let error = match error {
            None => return Some(Self { began, failed: None }),
            Some(error @ RuntimeError::ImageUnavailable(_)) => error.clone(),
            // What lasts the registry says in no time, and of what is wrong with the engine it knows nothing.
            Some(_) => return before,
        };
        let times = before.and_then(|last| last.failed).map_or(0, |failed| failed.times).saturating_add(1);
        let rest = FIRST_REST.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_REST);
        Some(Self { began, failed: Some(Failed { error, times, until: Instant::now() + rest }) })
    }

    /// How often it has failed in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failed.as_ref().map_or(0, |failed| failed.times)
    }

    /// Whether it has failed, and the next failure would be one more.
    pub(super) fn failed_lately(&self) -> bool {
        self.failed.as_ref().is_some_and(|failed| Instant::now() < failed.until + MEMORY)
    }

    /// Whether it went well, and was begun since `wanted_at`.
    pub(super) fn is_good_since(&self, wanted_at: Instant) -> bool {
        self.failed.is_none() && self.began >= wanted_at
    }

    /// What it has failed with, where that is an answer to whoever wanted the image at `wanted_at` too.
    pub(super) fn refusal(&self, wanted_at: Instant) -> Option<RuntimeError> {
        let failed = self.failed.as_ref()?;
        (self.began >= wanted_at || Instant::now() < failed.until).then(|| failed.error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> RuntimeError {
        RuntimeError::ImageUnavailable("too many requests".to_owned())
    }

    #[test]
    fn a_registry_that_gives_nothing_is_asked_less_and_less() {
        let mut last = None;
        let mut rests = Vec::new();
        for _ in 0..8 {
            let now = Instant::now();
            last = LastPull::after(last.take(), now, Some(&unavailable()));
            let failed = last.as_ref().and_then(|last| last.failed.as_ref()).expect("it failed");
            rests.push((failed.until - now).as_secs());
            assert_eq!(last.as_ref().map(LastPull::failures), u32::try_from(rests.len()).ok());
        }
        assert_eq!(rests, [1, 2, 4, 8, 16, 30, 30, 30]);
        let last = last.expect("it failed");
        assert_eq!(last.refusal(Instant::now()), Some(unavailable()));
        assert!(last.failed_lately());
        let denied = RuntimeError::ImageNotFound("denied".to_owned());
        let last = LastPull::after(Some(last), Instant::now(), Some(&denied)).expect("it is remembered");
        assert_eq!(last.refusal(Instant::now()), Some(unavailable()), "what is said to one is not said to all");
        let last = LastPull::after(Some(last), Instant::now(), None).expect("it is remembered");
        assert_eq!((last.refusal(Instant::now()), last.failed_lately()), (None, false));
    }

    #[test]
    fn who_wanted_it_before_the_pull_began_has_its_answer() {
        let before = Instant::now();
        let later = before + Duration::from_secs(3600);
        let good = LastPull::after(None, Instant::now(), None).expect("it is remembered");
        assert!(good.is_good_since(before) && !good.is_good_since(later));
        let failed = Failed { error: unavailable(), times: 1, until: before };
        let bad = LastPull { began: Instant::now(), failed: Some(failed) };
        assert_eq!(bad.refusal(before), Some(unavailable()), "its rest is over, and it is as good as another pull");
        assert_eq!(bad.refusal(later), None);
    }
}
