//! One submission: each of its elements is in exactly one place, and what is counted is what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudaid_core::record::{Change, ClusterRecord, Progress, TaskRecord};
use shared::id::ElementId;
use shared::ranges::RangeSet;
use shared::task::{AttemptState, TaskState, VerdictKind};
use shared::view::Tally;

use super::Found;
use super::element::Element;

/// What has been seen of a submission.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) record: Arc<TaskRecord>,
    progress: Progress,
    /// The one whose changes come now: each has all of them in a row.
    element: Option<Element>,
    /// Elements whose last run is not over.
    live: BTreeMap<u32, AttemptState>,
    /// By the results that there are.
    ended: BTreeMap<VerdictKind, RangeSet>,
    /// The last run of each element that waits for another.
    requeued: BTreeMap<u32, u32>,
}

impl Submission {
    pub(super) fn new(record: Arc<TaskRecord>) -> Self {
        Self {
            record,
            progress: Progress::default(),
            element: None,
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            requeued: BTreeMap::new(),
        }
    }

    /// Whether any of its elements has not ended.
    pub(super) fn is_open(&self) -> bool {
        !self.progress.state().is_final()
    }

    pub(super) fn see(&mut self, change: &Change, cluster: Option<ClusterRecord>, found: &mut Found) {
        let id = match change {
            Change::Progress(_, progress) => {
                self.progress = progress.clone();
                self.requeued = progress.requeued.iter().map(|waiting| (waiting.index, 0)).collect();
                return;
            }
            Change::Attempt(attempt) => attempt.key.element(),
            Change::Result(result) => {
                let untouched = &self.progress.untouched;
                let ended = self.ended.entry(result.verdict.kind()).or_insert_with(|| untouched.emptied());
                ended.insert(result.element.index);
                result.element
            }
            Change::Files(key, _) => key.element(),
            _ => return,
        };
        if self.element.as_ref().is_none_or(|element| element.id != id) {
            self.end_element(found);
            self.element = Some(Element::new(id));
        }
        if let Some(element) = &mut self.element {
            element.see(change, cluster, found);
        }
    }

    fn end_element(&mut self, found: &mut Found) {
        let Some(element) = self.element.take() else { return };
        let index = element.id.index;
        element.finish(found);
        if !self.record.has(index) {
            found.say(element.id, "its task has no such element");
        } else if self.progress.untouched.contains(index) && element.was_touched() {
            found.say(element.id, "it waits as one that never ran, and has runs or a result");
        }
        if let Some(state) = element.live {
            self.live.insert(index, state);
        }
        if let Some(run) = self.requeued.get_mut(&index) {
            *run = element.last_run();
        }
    }

    /// All of it has been seen. Returns how many of its runs are not over.
    pub(super) fn finish(mut self, found: &mut Found) -> u64 {
        self.end_element(found);
        self.check_places(found);
        self.check_results(found);
        self.check_tally(found);
        for waiting in &self.progress.requeued {
            let last = self.requeued.get(&waiting.index).copied().unwrap_or(0);
            if waiting.attempts != last {
                let what = format_args!("it waits after run {}, and its last run is {last}", waiting.attempts);
                found.say(self.at(waiting.index), what);
            }
        }
        if let Some(stray) = self.progress.cancelling.iter().find(|index| !self.live.contains_key(index)) {
            found.say(self.at(stray), "it is being cancelled, and no worker holds it");
        }
        if self.progress.finished_at.is_some() == self.is_open() {
            let what = if self.is_open() { "it has not ended, and has" } else { "it has ended, and has no" };
            found.say(self.record.id, format_args!("{what} a time of its end"));
        }
        self.live.len() as u64
    }

    fn at(&self, index: u32) -> ElementId {
        ElementId { task: self.record.id, index }
    }

    /// Waiting, at a worker, or over: once, and all of them.
    fn check_places(&self, found: &mut Found) {
        let progress = &self.progress;
        let waiting = progress.requeued.iter().map(|waiting| waiting.index);
        let ended = progress.ended.values().flat_map(RangeSet::iter);
        let mut places: Vec<u32> =
            progress.untouched.iter().chain(waiting).chain(self.live.keys().copied()).chain(ended).collect();
        places.sort_unstable();
        if let Some(pair) = places.windows(2).find(|pair| pair[0] == pair[1]) {
            found.say(self.at(pair[0]), "it is in two places: waiting, at a worker, or over");
        }
        places.dedup();
        if let Some(stray) = places.iter().find(|index| !self.record.has(**index)) {
            found.say(self.at(*stray), "it is somewhere, and its task has no such element");
        }
        let indices = self.record.indices();
        if let Some(lost) = indices.iter().find(|index| places.binary_search(index).is_err()) {
            found.say(self.at(lost), "it is nowhere: neither waiting, nor at a worker, nor over");
        }
    }

    /// An element that is over has a result, and of the kind that it is counted as.
    fn check_results(&self, found: &mut Found) {
        let none = RangeSet::default();
        let kinds: std::collections::BTreeSet<_> = self.ended.keys().chain(self.progress.ended.keys()).collect();
        for kind in kinds {
            let expected = self.progress.ended.get(kind).unwrap_or(&none);
            let results = self.ended.get(kind).unwrap_or(&none);
            if expected == results {
                continue;
            }
            let name = name(*kind);
            if let Some(index) = expected.iter().find(|index| !results.contains(*index)) {
                found.say(self.at(index), format_args!("it is counted as ended by {name}, and has no such result"));
            }
            if let Some(index) = results.iter().find(|index| !expected.contains(*index)) {
                found.say(self.at(index), format_args!("its result is {name}, and it is not counted as that"));
            }
        }
    }

    fn check_tally(&self, found: &mut Found) {
        let progress = &self.progress;
        let waiting =
            progress.untouched.len().saturating_add(u32::try_from(progress.requeued.len()).unwrap_or(u32::MAX));
        let mut tally = Tally { queued: waiting, ..Tally::default() };
        for state in self.live.values() {
            match state {
                AttemptState::Pending => tally.pending += 1,
                AttemptState::Running => tally.running += 1,
                AttemptState::Ended => {}
            }
        }
        for (kind, ended) in &progress.ended {
            *tally.of(kind.state()) += ended.len();
        }
        let mut counted = progress.tally;
        for state in TaskState::ALL {
            let (counted, there) = (*counted.of(state), *tally.of(state));
            if counted != there {
                found.say(self.record.id, format_args!("{counted} elements are counted as {state}, and {there} are"));
            }
        }
    }
}

fn name(kind: VerdictKind) -> String {
    serde_json::to_string(&kind).unwrap_or_default().replace('"', "`")
}
