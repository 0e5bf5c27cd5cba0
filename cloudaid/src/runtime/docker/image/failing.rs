//! What kept the pulls that are tried again, for people to look at meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use shared::pull::{PullFailure, PullProgress, Pulling};

use crate::runtime::RuntimeError;

/// Longer than whoever wants an image waits before they ask again: what nobody has asked for since then nobody wants.
const WANTED: Duration = Duration::from_secs(75);

/// The images that could not be had when they were asked for last, by the keys of their names.
#[derive(Debug, Default)]
pub(super) struct Failing(Mutex<BTreeMap<String, Failed>>);

#[derive(Debug)]
struct Failed {
    /// As the task names it that has asked last.
    image: String,
    failure: PullFailure,
    asked_at: Instant,
}

impl Failing {
    /// What `image` was asked for with came to this. `tries`: pulls of it that have failed, one after the other.
    pub(super) fn ended(&self, key: &str, image: &str, error: Option<&RuntimeError>, tries: u32) {
        let mut failing = self.0.lock();
        failing.retain(|_, failed| failed.asked_at.elapsed() < WANTED);
        match error {
            Some(RuntimeError::ImageUnavailable(message)) => {
                let failure = PullFailure::new(message, tries);
                failing.insert(key.to_owned(), Failed { image: image.to_owned(), failure, asked_at: Instant::now() });
            }
            // It is there, or not tried again for its registry's sake.
            Some(_) | None => drop(failing.remove(key)),
        }
    }

    /// What the pulls of an image have failed with that is being pulled again.
    pub(super) fn failure(&self, key: &str) -> Option<PullFailure> {
        self.0.lock().get(key).map(|failed| failed.failure.clone())
    }

    /// Those that wait for their next pull, without the ones under way.
    pub(super) fn waiting(&self, is_under_way: impl Fn(&str) -> bool) -> Vec<Pulling> {
        let failing = self.0.lock();
        let waiting =
            failing.iter().filter(|(key, failed)| failed.asked_at.elapsed() < WANTED && !is_under_way(key.as_str()));
        let shown = |(_, failed): (&String, &Failed)| Pulling {
            image: failed.image.clone(),
            progress: PullProgress { failure: Some(failed.failure.clone()), ..PullProgress::default() },
        };
        waiting.map(shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> RuntimeError {
        RuntimeError::ImageUnavailable("toomanyrequests".to_owned())
    }

    #[test]
    fn what_a_registry_has_said_is_shown_until_it_gives_the_image_or_refuses_it() {
        let failing = Failing::default();
        for end in [None, Some(RuntimeError::ImageNotFound("denied".to_owned()))] {
            failing.ended("docker.io/library/a:1", "a:1", Some(&busy()), 3);
            let failure = Some(PullFailure { message: "toomanyrequests".to_owned(), tries: 3 });
            assert_eq!(failing.failure("docker.io/library/a:1"), failure);
            let shown = failing.waiting(|_| false);
            let [Pulling { image, progress }] = &shown[..] else { panic!("{shown:?}") };
            assert_eq!((image.as_str(), &progress.failure), ("a:1", &failure));
            assert_eq!(failing.waiting(|key| key == "docker.io/library/a:1"), [], "it is being pulled again");
            failing.ended("docker.io/library/a:1", "a:1", end.as_ref(), 3);
            assert_eq!((failing.failure("docker.io/library/a:1"), failing.waiting(|_| false)), (None, Vec::new()));
        }
    }

    #[test]
    fn what_nobody_asks_for_any_more_is_not_shown() {
        let failing = Failing::default();
        failing.ended("a", "a", Some(&busy()), 1);
        let long_ago = Instant::now().checked_sub(WANTED).expect("the machine was on for longer");
        failing.0.lock().get_mut("a").expect("it failed").asked_at = long_ago;
        assert_eq!(failing.waiting(|_| false), []);
        failing.ended("b", "b", Some(&busy()), 1);
        assert_eq!(failing.failure("a"), None, "it is forgotten with the next one");
    }
}
