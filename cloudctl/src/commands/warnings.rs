//! Warnings about many tasks, told once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::render::Terminal;

/// Different warnings that are told; of more than that only the number is.
const KINDS: usize = 20;

/// What was said already, and how often it could have been said since.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    again: BTreeMap<String, u64>,
    others: u64,
}

impl Warnings {
    /// Tells of a warning about one task, if it is the first of its kind.
    pub(super) fn about(&mut self, task: &str, warning: &str, terminal: &Terminal) {
        if self.is_first(warning) {
            terminal.warn(format!("{task}: {warning}"));
        }
    }

    /// Tells how many more there were.
    pub(super) fn done(self, terminal: &Terminal) {
        for line in self.summary() {
            terminal.warn(line);
        }
    }

    fn is_first(&mut self, warning: &str) -> bool {
        let kinds = self.again.len();
        match self.again.entry(warning.to_owned()) {
            Entry::Occupied(mut again) => *again.get_mut() += 1,
            Entry::Vacant(_) if kinds >= KINDS => self.others += 1,
            Entry::Vacant(first) => {
                first.insert(0);
                return true;
            }
        }
        false
    }

    fn summary(self) -> Vec<String> {
        let more = |count| if count == 1 { "1 more task".to_owned() } else { format!("{count} more tasks") };
        let again = self.again.into_iter().filter(|(_, count)| *count > 0);
        let again = again.map(|(warning, count)| format!("{}: {warning}", more(count)));
        let others = (self.others > 0).then(|| format!("{}: other warnings", more(self.others)));
        again.chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_once_and_then_counted() {
        let mut warnings = Warnings::default();
        let told: Vec<_> = ["a", "b", "a", "a"].into_iter().filter(|text| warnings.is_first(text)).collect();
        assert_eq!(told, ["a", "b"]);
        assert_eq!(warnings.summary(), ["2 more tasks: a"]);
    }

    #[test]
    fn kinds_without_end_are_not_all_told() {
        let mut warnings = Warnings::default();
        let told = (0..KINDS + 1).filter(|kind| warnings.is_first(&kind.to_string())).count();
        assert_eq!(told, KINDS);
        assert_eq!(warnings.summary(), ["1 more task: other warnings"]);
    }
}
