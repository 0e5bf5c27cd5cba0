//! What a task asks of the labels of its worker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ApiError;
use crate::submit::invalid;

pub use wish::{InvalidLabelWish, LabelWish};

mod wish;

/// The most wishes of a task.
pub const WISH_LIMIT: usize = 16;

/// Wishes that a worker has to meet all of, in an order of their own, so that equal ones are equal however they were
/// written. Where there is none, any worker will do. In JSON a list of texts, see [`LabelWish`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WorkerSelector(BTreeSet<LabelWish>);

impl WorkerSelector {
    /// What a submission asks for.
    ///
    /// # Errors
    /// [`crate::error::ErrorCode::InvalidArgument`]: there are too many, one is there twice, or no worker could meet them.
    pub fn new(wishes: Vec<LabelWish>) -> Result<Self, ApiError> {
        if wishes.len() > WISH_LIMIT {
            let message = format!("worker_labels: {} are too many", wishes.len());
            return Err(invalid(message, format!("give at most {WISH_LIMIT}")));
        }
        let mut all = BTreeSet::new();
        for wish in wishes {
            if let Some(other) = all.iter().find(|other: &&LabelWish| other.contradicts(&wish)) {
                let message = format!("worker_labels: `{other}` and `{wish}` contradict each other");
                return Err(invalid(message, "leave out one of them: no worker can meet both"));
            }
            if all.contains(&wish) {
                return Err(invalid(format!("worker_labels: `{wish}` is there twice"), "keep one of them"));
            }
            all.insert(wish);
        }
        Ok(Self(all))
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a worker with these labels will do.
    #[must_use]
    pub fn is_met_by(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|wish| wish.is_met_by(labels))
    }

    /// Each wish, by the name of its label.
    pub fn wishes(&self) -> impl Iterator<Item = &LabelWish> {
        self.0.iter()
    }
}

impl fmt::Display for WorkerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(texts: &[&str]) -> Result<WorkerSelector, String> {
        let wishes = texts.iter().map(|text| text.parse().expect(text)).collect();
        WorkerSelector::new(wishes).map_err(|error| format!("{} ({})", error.message, error.hint))
    }

    #[test]
    fn the_order_in_which_it_is_written_does_not_matter() {
        let one = selector(&["zone!=b", "disk=ssd", "gpu"]).expect("wishes");
        assert_eq!(one, selector(&["gpu", "zone!=b", "disk=ssd"]).expect("wishes"));
        assert_eq!(one.to_string(), "disk=ssd, gpu, zone!=b");
        let json = serde_json::to_string(&one).expect("json");
        assert_eq!(json, r#"["disk=ssd","gpu","zone!=b"]"#);
        assert_eq!(serde_json::from_str::<WorkerSelector>(&json).expect("wishes"), one);
    }

    #[test]
    fn all_of_it_must_be_met() {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let wanted = selector(&["disk=ssd", "gpu", "zone!=b"]).expect("wishes");
        assert!(wanted.is_met_by(&labels(&[("disk", "ssd"), ("gpu", ""), ("other", "x")])));
        assert!(wanted.is_met_by(&labels(&[("disk", "ssd"), ("gpu", "h"), ("zone", "a")])));
        for lacking in [
            &[("disk", "ssd")][..],
            &[("disk", "hdd"), ("gpu", "")],
            &[("disk", "ssd"), ("gpu", ""), ("zone", "b")],
            &[],
        ] {
            assert!(!wanted.is_met_by(&labels(lacking)), "{lacking:?}");
        }
        assert!(WorkerSelector::default().is_met_by(&labels(&[])));
    }

    #[test]
    fn what_no_worker_could_meet_is_refused_and_so_is_what_is_there_twice() {
        let refusals: [(&[&str], &str); 5] = [
            (&["a=1", "a=2"], "`a=1` and `a=2` contradict each other"),
            (&["a=1", "b", "a!=1"], "`a=1` and `a!=1` contradict each other"),
            (&["a!=1", "a=1"], "`a!=1` and `a=1` contradict each other"),
            (&["a", "b", "a"], "`a` is there twice"),
            (&["a!=1", "a!=1"], "`a!=1` is there twice"),
        ];
        for (bad, why) in refusals {
            let refused = selector(bad).expect_err(why);
            assert!(refused.starts_with("worker_labels: ") && refused.contains(why), "{bad:?}: {refused}");
        }
        for good in [&["a", "a=1"][..], &["a=1", "a!=2"], &["a!=1", "a!=2", "a"], &["a=1", "b=1"], &[]] {
            assert!(selector(good).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let names: Vec<_> = (0..=WISH_LIMIT).map(|number| format!("n{number}")).collect();
        let texts: Vec<_> = names.iter().map(String::as_str).collect();
        assert!(selector(&texts[..WISH_LIMIT]).is_ok());
        assert!(selector(&texts).expect_err("one too many").contains("give at most 16"));
    }
}
