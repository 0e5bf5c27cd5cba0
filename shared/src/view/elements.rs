//! Elements of an array that look alike.

use serde::{Deserialize, Serialize};

use crate::id::WorkerId;
use crate::ranges::RangeSet;
use crate::task::{TaskState, Verdict};

/// The most ranges of indices that are written out for one group.
const RUNS_LIMIT: usize = 1000;

/// Elements in the same state, at the same worker, with the same end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ElementGroupView {
    /// Their indices: `0-9,12,20-30:2`. Of very many ranges the first 1,000, and `...`.
    pub elements: String,
    /// How many they are.
    pub count: u32,
    /// The smallest index.
    pub first: u32,
    /// Where they stand.
    pub state: TaskState,
    /// How they ended. Of very many failed elements only the kind is known, and this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Who has them, while somebody has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
}

impl ElementGroupView {
    /// The group of these elements, of which there is at least one.
    #[must_use]
    pub fn of(indices: &RangeSet, state: TaskState, verdict: Option<Verdict>, worker_id: Option<WorkerId>) -> Self {
        let mut runs: Vec<_> = indices.runs().take(RUNS_LIMIT + 1).map(|run| run.to_string()).collect();
        if runs.len() > RUNS_LIMIT {
            runs.truncate(RUNS_LIMIT);
            runs.push("...".to_owned());
        }
        let first = indices.first_index().unwrap_or(0);
        Self { elements: runs.join(","), count: indices.len(), first, state, verdict, worker_id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_ranges_are_cut() {
        let group = |indices: RangeSet| ElementGroupView::of(&indices, TaskState::Failed, None, None);
        assert_eq!(group([3, 4, 9].into_iter().collect()).elements, "3-4,9");
        let odd = group((0..5000).filter(|index| index % 3 == 1).collect());
        assert!(odd.elements.ends_with(",2998,..."), "{}", &odd.elements[odd.elements.len() - 20..]);
        assert_eq!((odd.count, odd.first), (1667, 1));
    }
}
