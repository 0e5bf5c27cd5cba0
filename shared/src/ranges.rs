//! Sets of array indices as ranges: an array of a million untouched elements costs like one.

use serde::{Deserialize, Serialize};

/// A set of `u32` indices, kept as sorted, disjoint, non-adjacent half-open ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RangeSet(Vec<(u32, u32)>);

impl RangeSet {
    /// `0..count`.
    #[must_use]
    pub fn first(count: u32) -> Self {
        if count == 0 { Self::default() } else { Self(vec![(0, count)]) }
    }

    /// How many indices are in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether no index is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `index` is in the set.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= index);
        after > 0 && index < self.0[after - 1].1
    }

    /// The smallest index.
    #[must_use]
    pub fn first_index(&self) -> Option<u32> {
        self.0.first().map(|(start, _)| *start)
    }

    /// Takes out the smallest index.
    pub fn pop_first(&mut self) -> Option<u32> {
        let index = self.first_index()?;
        self.remove(index);
        Some(index)
    }

    /// Puts `index` in. Returns whether it was new.
    pub fn insert(&mut self, index: u32) -> bool {
        let at = self.0.partition_point(|(start, _)| *start <= index);
        if at > 0 && index < self.0[at - 1].1 {
            return false;
        }
        let joins_left = at > 0 && self.0[at - 1].1 == index;
        let joins_right = at < self.0.len() && index.checked_add(1) == Some(self.0[at].0);
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[at - 1].1 = self.0[at].1;
                self.0.remove(at);
            }
            (true, false) => self.0[at - 1].1 += 1,
            (false, true) => self.0[at].0 = index,
            (false, false) => self.0.insert(at, (index, index + 1)),
        }
        true
    }

    /// Takes `index` out. Returns whether it was in.
    pub fn remove(&mut self, index: u32) -> bool {
        let after = self.0.partition_point(|(start, _)| *start <= index);
        if after == 0 || index >= self.0[after - 1].1 {
            return false;
        }
        let at = after - 1;
        let (start, end) = self.0[at];
        match (start == index, index + 1 == end) {
            (true, true) => {
                self.0.remove(at);
            }
            (true, false) => self.0[at].0 += 1,
            (false, true) => self.0[at].1 -= 1,
            (false, false) => {
                self.0[at].1 = index;
                self.0.insert(after, (index + 1, end));
            }
        }
        true
    }

    /// The ranges, ascending, each as (first, one past the last).
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().copied()
    }

    /// The indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().flat_map(|(start, end)| *start..*end)
    }
}

impl FromIterator<u32> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u32>>(indices: I) -> Self {
        let mut set = Self::default();
        for index in indices {
            set.insert(index);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 0u32..24), 0..80)) {
            let mut ranges = RangeSet::default();
            let mut model = BTreeSet::new();
            for (put, index) in steps {
                if put {
                    prop_assert_eq!(ranges.insert(index), model.insert(index));
                } else {
                    prop_assert_eq!(ranges.remove(index), model.remove(&index));
                }
                prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.len() as usize, model.len());
                let bounds: Vec<_> = ranges.ranges().collect();
                prop_assert!(bounds.windows(2).all(|pair| pair[0].1 < pair[1].0), "{:?}", bounds);
                prop_assert!((0..25).all(|i| ranges.contains(i) == model.contains(&i)));
            }
        }
    }

    #[test]
    fn a_million_untouched_elements_are_one_range() {
        let mut set = RangeSet::first(1_000_000);
        assert_eq!(set.pop_first(), Some(0));
        assert_eq!(set.ranges().collect::<Vec<_>>(), [(1, 1_000_000)]);
    }
}
