//! Sets of array indices as ranges: an array of a million untouched elements costs like one, also where only every
//! tenth index is in it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A set of `u32` indices, kept as sorted, disjoint, non-adjacent ranges.
///
/// All of them stand on one lattice, the indices `offset + n * step`, and ranges are ranges of `n`: the even numbers of
/// 0 to 98 are one range too. Two sets are equal if they hold the same indices, whatever their lattices.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct RangeSet {
    lattice: Lattice,
    /// Of `n`, half-open.
    ranges: Vec<(u32, u32)>,
}

/// The indices that a set can hold as ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lattice {
    /// 1 or more.
    step: u32,
    /// Less than `step`.
    offset: u32,
}

impl Default for Lattice {
    fn default() -> Self {
        Self { step: 1, offset: 0 }
    }
}

impl Lattice {
    fn slot(self, index: u32) -> Option<u32> {
        let above = index.checked_sub(self.offset)?;
        above.is_multiple_of(self.step).then(|| above / self.step)
    }

    fn index(self, slot: u32) -> u32 {
        self.offset + slot * self.step
    }
}

/// Indices in an even distance from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The smallest.
    pub first: u32,
    /// The largest.
    pub last: u32,
    /// Between two neighbours; 1 where there is only one index.
    pub step: u32,
}

impl fmt::Display for Run {
    /// `7`, `0-99`, `0-98:2`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last > self.first {
            write!(f, "-{}", self.last)?;
        }
        if self.step > 1 { write!(f, ":{}", self.step) } else { Ok(()) }
    }
}

impl RangeSet {
    /// `0..count`.
    #[must_use]
    pub fn first(count: u32) -> Self {
        let ranges = if count == 0 { Vec::new() } else { vec![(0, count)] };
        Self { lattice: Lattice::default(), ranges }
    }

    /// `first`, `first + step`, and so on, up to `last` at most. A `step` of 0 counts as 1; nothing if `last` is smaller
    /// than `first`. `last` must be less than `u32::MAX`.
    #[must_use]
    pub fn progression(first: u32, last: u32, step: u32) -> Self {
        let step = step.max(1);
        let Some(distance) = last.checked_sub(first) else { return Self::default() };
        let lattice = Lattice { step, offset: first % step };
        let start = first / step;
        Self { lattice, ranges: vec![(start, start + distance / step + 1)] }
    }

    /// An empty set that holds as ranges what this one does.
    #[must_use]
    pub fn emptied(&self) -> Self {
        Self { lattice: self.lattice, ranges: Vec::new() }
    }

    /// How many indices are in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|(start, end)| end - start).sum()
    }

    /// Whether no index is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether `index` is in the set.
    #[must_use]
    pub fn contains(&self, index: u32) -> bool {
        let Some(slot) = self.lattice.slot(index) else { return false };
        let after = self.ranges.partition_point(|(start, _)| *start <= slot);
        after > 0 && slot < self.ranges[after - 1].1
    }

    /// The smallest index.
    #[must_use]
    pub fn first_index(&self) -> Option<u32> {
        self.ranges.first().map(|(start, _)| self.lattice.index(*start))
    }

    /// The largest index.
    #[must_use]
    pub fn last_index(&self) -> Option<u32> {
        self.ranges.last().map(|(_, end)| self.lattice.index(end - 1))
    }

    /// Takes out the smallest index.
    pub fn pop_first(&mut self) -> Option<u32> {
        let index = self.first_index()?;
        self.remove(index);
        Some(index)
    }

    /// Puts `index` in. Returns whether it was new. One that is off the lattice makes every index a range of its own.
    pub fn insert(&mut self, index: u32) -> bool {
        let slot = match self.lattice.slot(index) {
            Some(slot) => slot,
            None => {
                *self = self.iter().collect();
                index
            }
        };
        let ranges = &mut self.ranges;
        let at = ranges.partition_point(|(start, _)| *start <= slot);
        if at > 0 && slot < ranges[at - 1].1 {
            return false;
        }
        let joins_left = at > 0 && ranges[at - 1].1 == slot;
        let joins_right = at < ranges.len() && slot.checked_add(1) == Some(ranges[at].0);
        match (joins_left, joins_right) {
            (true, true) => {
                ranges[at - 1].1 = ranges[at].1;
                ranges.remove(at);
            }
            (true, false) => ranges[at - 1].1 += 1,
            (false, true) => ranges[at].0 = slot,
            (false, false) => ranges.insert(at, (slot, slot + 1)),
        }
        true
    }

    /// Takes `index` out. Returns whether it was in.
    pub fn remove(&mut self, index: u32) -> bool {
        let Some(slot) = self.lattice.slot(index) else { return false };
        let ranges = &mut self.ranges;
        let after = ranges.partition_point(|(start, _)| *start <= slot);
        if after == 0 || slot >= ranges[after - 1].1 {
            return false;
        }
        let at = after - 1;
        let (start, end) = ranges[at];
        match (start == slot, slot + 1 == end) {
            (true, true) => {
                ranges.remove(at);
            }
            (true, false) => ranges[at].0 += 1,
            (false, true) => ranges[at].1 -= 1,
            (false, false) => {
                ranges[at].1 = slot;
                ranges.insert(after, (slot + 1, end));
            }
        }
        true
    }

    /// The indices from `first` to `last`, both included.
    #[must_use]
    pub fn within(&self, first: u32, last: u32) -> Self {
        let Lattice { step, offset } = self.lattice;
        let Some(above) = last.checked_sub(offset) else { return self.emptied() };
        let (low, high) = (first.saturating_sub(offset).div_ceil(step), above / step + 1);
        let cut = |(start, end): &(u32, u32)| (low.max(*start), high.min(*end));
        let ranges = self.ranges.iter().map(cut).filter(|(start, end)| start < end).collect();
        Self { lattice: self.lattice, ranges }
    }

    /// The smallest index from `first` to `last`, both included.
    #[must_use]
    pub fn next_within(&self, first: u32, last: u32) -> Option<u32> {
        let least = first.saturating_sub(self.lattice.offset).div_ceil(self.lattice.step);
        let at = self.ranges.partition_point(|(_, end)| *end <= least);
        let (start, _) = self.ranges.get(at)?;
        Some(self.lattice.index(least.max(*start))).filter(|index| *index <= last)
    }

    /// The ranges, ascending.
    pub fn runs(&self) -> impl Iterator<Item = Run> + '_ {
        let step = |length: u32| if length > 1 { self.lattice.step } else { 1 };
        self.ranges.iter().map(move |(start, end)| Run {
            first: self.lattice.index(*start),
            last: self.lattice.index(end - 1),
            step: step(end - start),
        })
    }

    /// The indices, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.ranges.iter().flat_map(|(start, end)| *start..*end).map(|slot| self.lattice.index(slot))
    }
}

impl PartialEq for RangeSet {
    fn eq(&self, other: &Self) -> bool {
        let alike = self.lattice == other.lattice;
        if alike { self.ranges == other.ranges } else { self.len() == other.len() && self.iter().eq(other.iter()) }
    }
}

impl Eq for RangeSet {}

impl fmt::Display for RangeSet {
    /// `0-9,12,20-30:2`; nothing if it is empty.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, run) in self.runs().enumerate() {
            if place > 0 {
                f.write_str(",")?;
            }
            run.fmt(f)?;
        }
        Ok(())
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

/// As it is stored: the bare ranges where every index is on the lattice.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Dense(Vec<(u32, u32)>),
    Spaced { step: u32, offset: u32, ranges: Vec<(u32, u32)> },
}

impl From<RangeSet> for Form {
    fn from(set: RangeSet) -> Self {
        let RangeSet { lattice: Lattice { step, offset }, ranges } = set;
        if step == 1 { Self::Dense(ranges) } else { Self::Spaced { step, offset, ranges } }
    }
}

impl TryFrom<Form> for RangeSet {
    type Error = &'static str;
    fn try_from(form: Form) -> Result<Self, Self::Error> {
        let (step, offset, ranges) = match form {
            Form::Dense(ranges) => (1, 0, ranges),
            Form::Spaced { step, offset, ranges } => (step, offset, ranges),
        };
        let sorted =
            ranges.iter().all(|(start, end)| start < end) && ranges.windows(2).all(|pair| pair[0].1 < pair[1].0);
        let last = ranges.last().map_or(Some(0), |(_, end)| (end - 1).checked_mul(step)?.checked_add(offset));
        if step == 0 || offset >= step || !sorted || last.is_none() {
            return Err("these are no ranges of indices");
        }
        Ok(Self { lattice: Lattice { step, offset }, ranges })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_set(
            start in (0u32..9, 0u32..24, 1u32..5),
            steps in prop::collection::vec((any::<bool>(), 0u32..24), 0..80),
        ) {
            let (first, last, step) = start;
            let mut ranges = RangeSet::progression(first, last, step);
            let mut model: BTreeSet<u32> = (first..=last).step_by(step as usize).collect();
            for (put, index) in steps {
                if put {
                    prop_assert_eq!(ranges.insert(index), model.insert(index));
                } else {
                    prop_assert_eq!(ranges.remove(index), model.remove(&index));
                }
                prop_assert_eq!(ranges.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(ranges.len() as usize, model.len());
                prop_assert_eq!(ranges.first_index(), model.first().copied());
                prop_assert_eq!(ranges.last_index(), model.last().copied());
                prop_assert!((0..25).all(|i| ranges.contains(i) == model.contains(&i)));
                prop_assert_eq!(&ranges, &model.iter().copied().collect::<RangeSet>());
                let runs: Vec<_> = ranges.runs().collect();
                prop_assert!(runs.windows(2).all(|pair| pair[0].last < pair[1].first), "{:?}", runs);
                let all: Vec<_> = runs.iter().flat_map(|run| (run.first..=run.last).step_by(run.step as usize)).collect();
                prop_assert_eq!(all, model.iter().copied().collect::<Vec<_>>());
                let inner = model.iter().copied().filter(|i| (5..=17).contains(i)).collect::<RangeSet>();
                prop_assert_eq!(ranges.next_within(5, 17), inner.first_index());
                prop_assert_eq!(ranges.within(5, 17), inner);
                let text = serde_json::to_string(&ranges).expect("json");
                prop_assert_eq!(&serde_json::from_str::<RangeSet>(&text).expect("reads back"), &ranges);
            }
        }
    }

    #[test]
    fn a_million_untouched_elements_are_one_range() {
        for (mut set, second) in [(RangeSet::first(1_000_000), 1), (RangeSet::progression(0, 9_999_999, 10), 10)] {
            assert_eq!(set.len(), 1_000_000);
            assert_eq!(set.pop_first(), Some(0));
            assert_eq!(set.runs().count(), 1);
            assert_eq!(set.first_index(), Some(second));
        }
    }

    #[test]
    fn what_was_taken_out_can_be_put_into_a_set_alike() {
        let mut waiting = RangeSet::progression(3, 1_000_003, 10);
        let mut ended = waiting.emptied();
        for _ in 0..1000 {
            ended.insert(waiting.pop_first().expect("one more"));
        }
        assert_eq!((ended.to_string().as_str(), waiting.to_string().as_str()), ("3-9993:10", "10003-1000003:10"));
    }

    #[test]
    fn sets_are_written_as_people_write_them() {
        let set = |indices: &[u32]| indices.iter().copied().collect::<RangeSet>().to_string();
        assert_eq!(set(&[]), "");
        assert_eq!(set(&[7]), "7");
        assert_eq!(set(&[0, 1, 2, 5, 9, 10]), "0-2,5,9-10");
        assert_eq!(RangeSet::progression(0, 99, 2).to_string(), "0-98:2");
        assert_eq!(RangeSet::progression(4, 4, 9).to_string(), "4");
    }

    #[test]
    fn dense_sets_are_stored_as_bare_ranges_and_nonsense_is_refused() {
        assert_eq!(serde_json::to_string(&RangeSet::first(3)).expect("json"), "[[0,3]]");
        for bad in [
            "[[3,3]]",
            "[[5,6],[1,2]]",
            "[[0,2],[2,3]]",
            r#"{"step":0,"offset":0,"ranges":[]}"#,
            r#"{"step":2,"offset":2,"ranges":[]}"#,
            r#"{"step":9,"offset":0,"ranges":[[0,4000000000]]}"#,
        ] {
            assert!(serde_json::from_str::<RangeSet>(bad).is_err(), "{bad}");
        }
    }
}
