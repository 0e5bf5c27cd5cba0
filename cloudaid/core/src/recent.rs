//! How the last runs of an array ended. Where most of them failed in the same way, what has not run most likely will too.

use serde::{Deserialize, Serialize};
use shared::task::{TaskState, Verdict, VerdictKind};

/// How far back is looked.
pub(crate) const SPAN: u32 = 30;
/// So many of these that failed in the same way are most of them: four in five. Where every second element fails, so many
/// come together by chance once in some 8,000 ends; of the last 20 it would be once in 700, and of the last 50 a broken
/// array would go on for twice as long.
const MOST: u32 = 24;
/// So many in a row are enough, so that an array which fails from its first element on is found out early. Where every
/// second one fails, that happens by chance once in 2,000 ends.
const ROW: u32 = 10;

/// How the last runs of an array ended, at most 30 of them. It is a part of what is kept of an array, so that a restart
/// forgets nothing; what went well before the first failure is left out, so that an array that goes well keeps nothing.
///
/// Runs after which an element runs again count too, or all of an array would be tried once before any of it is over. What
/// the infrastructure ended does not, and not what is retried because its task
/// says so of just that end, or with more memory.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Recent {
    /// The oldest first; neighbours differ.
    rows: Vec<Row>,
}

/// Runs that ended in the same way, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    kind: VerdictKind,
    /// As a shell would show it, so that signals differ too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    runs: u32,
}

/// What makes two ends alike.
type How = (VerdictKind, Option<i32>);

/// Why what has not run of an array most likely fails too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Suspicion {
    how: How,
    /// So many runs failed in the same way,
    alike: u32,
    /// of the last so many.
    of: u32,
}

impl Suspicion {
    /// Which runs failed, for people.
    pub(crate) fn describe(&self) -> String {
        let Self { alike, of, .. } = self;
        if alike == of { format!("its last {of} runs") } else { format!("{alike} of its last {of} runs") }
    }
}

impl Row {
    fn how(&self) -> How {
        (self.kind, self.exit_code)
    }

    fn has_failed(&self) -> bool {
        self.kind.state() == TaskState::Failed
    }
}

impl Recent {
    /// One more has ended. `alone`: no other of its array was with a worker that is heard of. If it was tried alone because
    /// most had failed in one way, and did not, all of that is forgotten.
    pub fn add(&mut self, verdict: &Verdict, alone: bool) {
        let how @ (kind, exit_code) = (verdict.kind(), verdict.exit_code());
        // What somebody has stopped says nothing of the others.
        if kind == VerdictKind::Cancelled {
            return;
        }
        if alone && self.suspicion().is_some_and(|suspicion| suspicion.how != how) {
            self.rows.clear();
        }
        match self.rows.last_mut() {
            Some(last) if last.how() == how => last.runs = last.runs.saturating_add(1),
            Some(_) | None => self.rows.push(Row { kind, exit_code, runs: 1 }),
        }
        self.forget_oldest();
    }

    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many ends it knows.
    pub(crate) fn runs(&self) -> u32 {
        sum(self.rows.iter())
    }

    /// Whether most of them are failures that are alike, or enough of them in a row are.
    pub(crate) fn suspicion(&self) -> Option<Suspicion> {
        let last = self.rows.last()?;
        if last.has_failed() && last.runs >= ROW {
            return Some(Suspicion { how: last.how(), alike: last.runs, of: last.runs });
        }
        let alike = |how: How| sum(self.rows.iter().filter(|row| row.how() == how));
        let failures = self.rows.iter().filter(|row| row.has_failed()).map(Row::how);
        let most = failures.map(|how| (how, alike(how))).find(|(_, alike)| *alike >= MOST);
        most.map(|(how, alike)| Suspicion { how, alike, of: self.runs() })
    }

    fn forget_oldest(&mut self) {
        let mut over = self.runs().saturating_sub(SPAN);
        for row in &mut self.rows {
            let gone = over.min(row.runs);
            row.runs -= gone;
            over -= gone;
        }
        let is_first = |row: &Row| row.runs > 0 && row.has_failed();
        let first = self.rows.iter().position(is_first).unwrap_or(self.rows.len());
        self.rows.drain(..first);
    }
}

fn sum<'a>(rows: impl Iterator<Item = &'a Row>) -> u32 {
    rows.fold(0_u32, |sum, row| sum.saturating_add(row.runs))
}

#[cfg(test)]
mod tests {
    use super::*;

    static GOOD: Verdict = Verdict::Success;
    static BAD: Verdict = Verdict::ExitCode { exit_code: 3 };

    /// After these, of which none was alone.
    fn after<'a>(ends: impl IntoIterator<Item = &'a Verdict>) -> Recent {
        let mut recent = Recent::default();
        ends.into_iter().for_each(|verdict| recent.add(verdict, false));
        recent
    }

    fn words(recent: &Recent) -> Option<String> {
        recent.suspicion().map(|suspicion| suspicion.describe())
    }

    /// One that goes well after so many that fail, again and again.
    fn now_and_then(failures: usize, ends: usize) -> impl Iterator<Item = &'static Verdict> {
        (1..=ends).map(move |n| if n.is_multiple_of(failures + 1) { &GOOD } else { &BAD })
    }

    #[test]
    fn ten_in_a_row_are_enough_at_the_beginning_and_later() {
        assert_eq!(words(&after([&BAD; 9])), None);
        assert_eq!(words(&after([&BAD; 10])), Some("its last 10 runs".to_owned()));
        assert_eq!(words(&after([&GOOD; 500].into_iter().chain([&BAD; 10]))), Some("its last 10 runs".to_owned()));
        assert_eq!(words(&after([&GOOD; 500])), None, "what goes well is never suspicious");
    }

    #[test]
    fn most_of_the_last_are_enough_though_one_goes_well_now_and_then() {
        assert_eq!(words(&after(now_and_then(9, 25))), None);
        assert_eq!(words(&after(now_and_then(9, 26))), Some("24 of its last 26 runs".to_owned()));
        assert_eq!(words(&after(now_and_then(9, 1000))), Some("27 of its last 30 runs".to_owned()));
        assert_eq!(words(&after(now_and_then(4, 30))), Some("24 of its last 30 runs".to_owned()));
        for ends in 1..200 {
            assert_eq!(words(&after(now_and_then(3, ends))), None, "three in four are not most: {ends}");
        }
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let some = || now_and_then(8, 18);
        let good = |count: usize| std::iter::repeat_n(&GOOD, count);
        assert!(words(&after(some().chain(good(5)).chain([&BAD; 8]))).is_none(), "23 of the last 30");
        assert!(words(&after(some().chain(good(4)).chain([&BAD; 8]))).is_some(), "24 of the last 30");
    }

    #[test]
    fn only_the_same_kind_with_the_same_code_is_alike() {
        let other = Verdict::ExitCode { exit_code: 4 };
        let signal = |signal| Verdict::Signal { signal, by_hand: false };
        let (ninth, eleventh) = (signal(9), signal(11));
        let oom = Verdict::oom(1);
        for (one, two) in [(&BAD, &other), (&ninth, &eleventh), (&ninth, &oom)] {
            assert_eq!(words(&after((0..100).map(|n| if n % 2 == 0 { one } else { two }))), None, "{one} and {two}");
        }
        let larger = Verdict::Oom {
            limit_bytes: 2,
            peak_bytes: Some(7),
            exit_code: None,
            killed_process: Some("another".to_owned()),
            killed_process_bytes: Some(1),
        };
        let ends = (0..10).map(|n| if n % 2 == 0 { &oom } else { &larger });
        assert_eq!(words(&after(ends)), Some("its last 10 runs".to_owned()));
    }

    #[test]
    fn one_that_was_tried_alone_and_does_not_fail_alike_ends_it() {
        for row in [after([&BAD; 30]), after(now_and_then(9, 60))] {
            let tried = |verdict: &Verdict, alone| {
                let mut recent = row.clone();
                recent.add(verdict, alone);
                recent
            };
            assert_eq!(tried(&GOOD, true), Recent::default());
            let other = Verdict::ExitCode { exit_code: 4 };
            assert_eq!(tried(&other, true), after([&other]), "it counts anew");
            assert!(words(&tried(&BAD, true)).is_some());
            assert!(words(&tried(&GOOD, false)).is_some(), "one of those that were there already");
            assert_eq!(tried(&Verdict::Cancelled, true), row, "it was stopped");
        }
    }

    #[test]
    fn it_stays_small_and_is_nothing_where_all_goes_well() {
        assert!(after([&GOOD; 1000]).is_empty());
        let codes: Vec<_> = (0..1000).map(|n| Verdict::ExitCode { exit_code: 1 + n % 200 }).collect();
        let recent = after(&codes);
        assert_eq!((recent.runs(), recent.rows.len()), (30, 30));
        assert!(after(codes.iter().chain([&GOOD; 30])).is_empty());
    }
}
