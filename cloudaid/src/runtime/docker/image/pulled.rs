//! How the last pull of an image went, and for whom else that is an answer.

use std::time::{Duration, Instant};

use shared::pull::PullPolicy;

use crate::runtime::RuntimeError;

/// How long a registry that gave no image is left alone, from the first time to the longest. All that want the image are told
/// meanwhile what it has said: asked by each of them it would only limit its rate the longer.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

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
    /// What is to be remembered of one that was begun at `began` and ended with `result`, after `before`.
    pub(super) fn after(
        before: Option<Self>,
        began: Instant,
        policy: PullPolicy,
        result: &Result<bool, RuntimeError>,
    ) -> Option<Self> {
        let error = match result {
            // Whether it was there or was fetched, only who always wants it anew has to know when.
            Ok(_) => return (policy == PullPolicy::Always).then_some(Self { began, failed: None }),
            // What lasts is told by the registry in no time, and what is wrong with the engine has nothing to do with it.
            Err(error @ RuntimeError::ImageUnavailable(_)) => error.clone(),
            Err(_) => return None,
        };
        let times = before.and_then(|last| last.failed).map_or(0, |failed| failed.times).saturating_add(1);
        let rest = FIRST_REST.saturating_mul(1 << (times - 1).min(10)).min(LONGEST_REST);
        Some(Self { began, failed: Some(Failed { error, times, until: Instant::now() + rest }) })
    }

    /// Whether the registry is left alone.
    pub(super) fn rests(&self) -> bool {
        self.failed.as_ref().is_some_and(|failed| Instant::now() < failed.until)
    }

    /// What it is an answer to whoever wanted the image at `wanted_at`; none: they have to see for themselves.
    pub(super) fn stands_for(&self, wanted_at: Instant, policy: PullPolicy) -> Option<Result<bool, RuntimeError>> {
        match &self.failed {
            // Never: it asks no registry.
            Some(failed) if policy != PullPolicy::Never && (self.rests() || self.began >= wanted_at) => {
                Some(Err(failed.error.clone()))
            }
            Some(_) => None,
            // Somebody else has begun a pull since this one was wanted, and it is as good.
            None => (policy == PullPolicy::Always && self.began >= wanted_at).then_some(Ok(false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unavailable() -> Result<bool, RuntimeError> {
        Err(RuntimeError::ImageUnavailable("too many requests".to_owned()))
    }

    #[test]
    fn a_registry_that_gives_nothing_is_asked_less_and_less() {
        let mut last = None;
        let rests: Vec<u64> = (0..8)
            .map(|_| {
                let now = Instant::now();
                last = LastPull::after(last.take(), now, PullPolicy::Missing, &unavailable());
                let failed = last.as_ref().and_then(|last| last.failed.as_ref()).expect("it failed");
                (failed.until - now).as_millis().div_ceil(1000) as u64
            })
            .collect();
        for (rest, expected) in rests.iter().zip([1, 2, 4, 8, 16, 30, 30, 30]) {
            assert!((expected..=expected + 1).contains(rest), "{rests:?}");
        }
        let told = |policy| last.as_ref().and_then(|last| last.stands_for(Instant::now(), policy));
        assert_eq!(told(PullPolicy::Missing), Some(unavailable()));
        assert_eq!(told(PullPolicy::Always), Some(unavailable()));
        assert_eq!(told(PullPolicy::Never), None);
        assert!(LastPull::after(last, Instant::now(), PullPolicy::Missing, &Ok(true)).is_none(), "and then it is well");
    }

    #[test]
    fn who_wanted_it_before_the_pull_began_has_its_answer() {
        let before = Instant::now();
        let last = LastPull::after(None, Instant::now(), PullPolicy::Always, &Ok(true)).expect("it is remembered");
        assert_eq!(last.stands_for(before, PullPolicy::Always), Some(Ok(false)));
        assert_eq!(last.stands_for(Instant::now() + FIRST_REST, PullPolicy::Always), None);
        assert_eq!(last.stands_for(before, PullPolicy::Missing), None, "it looks whether it is there");
        let denied = Err(RuntimeError::ImageNotFound("denied".to_owned()));
        assert!(LastPull::after(None, before, PullPolicy::Missing, &denied).is_none(), "another may be let in");
    }
}
