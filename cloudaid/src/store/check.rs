//! Looks at everything that a store holds for what contradicts itself. Nothing is changed, and a page is in memory at a
//! time, so it works for any store that answers from one state.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;

use cloudaid_core::files::{FileUsage, InputFile, InputRecord};
use cloudaid_core::record::{Change, ClusterRecord, Snapshot, TaskRecord, Totals};
use serde::Serialize;
use shared::audit::Chain;
use shared::id::{InputId, TaskId, UserName, WorkerId};
use shared::task::TaskState;
use shared::view::TaskCounts;

use crate::store::summary::{Summary, Summing};
use crate::store::walk::{Place, Walk};
use crate::store::{Store, StoreError};

mod element;
mod submission;

use submission::Submission;

/// The most that is told; beyond, it is only counted.
pub const TOLD: usize = 1000;

/// What was looked at, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What the store holds.
    #[serde(flatten)]
    pub summary: Summary,
    /// In words, each with the id that it is about.
    pub violations: Vec<String>,
    /// Violations that are not told, because there are too many.
    pub more: u64,
}

/// Checks a store. `look` sees each page.
pub async fn check(store: &dyn Store, look: &mut (dyn FnMut(Place) + Send)) -> Result<Report, StoreError> {
    let (snapshot, _) = store.load().await?;
    let mut checker = Checker::new(&snapshot);
    let mut summing = Summing::default();
    let mut walk = Walk::new(store, snapshot);
    while let Some((changes, place)) = walk.next().await? {
        checker.check_keys(store, &changes).await?;
        for change in &changes {
            summing.add(change)?;
            checker.see(change);
        }
        look(place);
    }
    for stray in store.list_strays(TOLD).await? {
        checker.found.push(stray);
    }
    checker.finish();
    let Found { told, more } = checker.found;
    Ok(Report { summary: summing.finish(), violations: told, more })
}

/// What is wrong.
#[derive(Debug, Default)]
struct Found {
    told: Vec<String>,
    more: u64,
}

impl Found {
    fn push(&mut self, violation: String) {
        if self.told.len() < TOLD { self.told.push(violation) } else { self.more += 1 }
    }

    fn say(&mut self, about: impl Display, what: impl Display) {
        self.push(format!("{about}: {what}"));
    }
}

/// What has been seen of a store.
#[derive(Debug)]
struct Checker {
    found: Found,
    cluster: Option<ClusterRecord>,
    last_sequence: u64,
    users: BTreeSet<UserName>,
    workers: BTreeSet<WorkerId>,
    inputs: BTreeMap<InputId, Input>,
    /// As the store has it, and as files and inputs sum up to it.
    usage: BTreeMap<UserName, (FileUsage, FileUsage)>,
    audit: Chain,
    audit_end: Chain,
    /// Of the submission that is looked at.
    submission: Option<Submission>,
    sequence: u64,
    results: TaskCounts,
    /// Submissions that have not ended and runs that have not, as the store gives them to a master at its start.
    open: BTreeSet<TaskId>,
    live: u64,
    live_seen: u64,
}

/// An input, and what is seen of its files.
#[derive(Debug)]
struct Input {
    record: InputRecord,
    size: FileUsage,
    missing: u64,
}

impl Checker {
    fn new(snapshot: &Snapshot) -> Self {
        let input = |record: &InputRecord| Input { record: record.clone(), size: FileUsage::default(), missing: 0 };
        let mut checker = Self {
            found: Found::default(),
            cluster: snapshot.cluster,
            last_sequence: snapshot.last_sequence,
            users: snapshot.users.iter().map(|user| user.name.clone()).collect(),
            workers: BTreeSet::new(),
            inputs: snapshot.inputs.iter().map(|record| (record.id, input(record))).collect(),
            usage: BTreeMap::new(),
            audit: Chain::default(),
            audit_end: snapshot.audit,
            submission: None,
            sequence: 0,
            results: TaskCounts::default(),
            open: snapshot.tasks.iter().map(|(record, _)| record.id).collect(),
            live: snapshot.attempts.len() as u64,
            live_seen: 0,
        };
        if snapshot.is_unfinished_copy() {
            checker.found.say("the store", "it is a copy that was not finished");
        }
        checker
    }

    /// Each key leads to its own submission. Asked by page, because all keys together may be many.
    async fn check_keys(&mut self, store: &dyn Store, changes: &[Change]) -> Result<(), StoreError> {
        let (mut keys, mut owners) = (Vec::new(), Vec::new());
        for change in changes {
            if let Change::NewTask(record) = change
                && let Some(key) = &record.key
            {
                keys.push((record.user.clone(), Arc::clone(&key.key)));
                owners.push(record.id);
            }
        }
        if keys.is_empty() {
            return Ok(());
        }
        for (owner, found) in owners.into_iter().zip(store.find_keys(keys).await?) {
            match found {
                Some(record) if record.id == owner => {}
                Some(record) => self.found.say(owner, format_args!("{} has the same idempotency key", record.id)),
                None => self.found.say(owner, "it is not found by its idempotency key"),
            }
        }
        Ok(())
    }

    fn see(&mut self, change: &Change) {
        match change {
            Change::Token(id, Some(token)) => self.check_owner(format_args!("token {id}"), &token.user),
            Change::Login(id, Some(login)) => self.check_owner(format_args!("login {id}"), &login.user),
            Change::Worker(id, Some(_)) => {
                self.workers.insert(id.clone());
            }
            Change::Pending(id, Some(_)) if self.workers.contains(id) => {
                self.found.say(format_args!("worker {id}"), "it waits to be let in, and is in already");
            }
            Change::FileUsage(user, usage) => self.usage.entry(user.clone()).or_default().0 = *usage,
            Change::InputFiles(id, files) => self.see_input_files(*id, files),
            Change::Audit(entry) => {
                if let Err(what) = self.audit.follow(entry) {
                    self.found.say("audit log", what);
                    // One break is told once.
                    self.audit = Chain { sequence: entry.sequence, seal: entry.seal };
                }
            }
            Change::NewTask(record) => self.begin(record),
            Change::Totals(totals) => self.check_totals(totals),
            Change::Progress(..) | Change::Attempt(_) | Change::Result(_) | Change::Files(..) => self.see_part(change),
            // Their fields were checked when they were read, or they are none of a walk.
            Change::User(_)
            | Change::Guess(..)
            | Change::Left(_)
            | Change::Input(_)
            | Change::JoinToken(..)
            | Change::Registry(..)
            | Change::Token(_, None)
            | Change::Login(_, None)
            | Change::Worker(_, None)
            | Change::Pending(..)
            | Change::Cluster(_)
            | Change::Spec(..)
            | Change::Gone(_)
            | Change::FilesGone(_)
            | Change::RunFilesGone(..)
            | Change::FilesAdded(..)
            | Change::Upload(..)
            | Change::InputGone(_)
            | Change::Swept(_) => {}
        }
    }

    fn check_owner(&mut self, what: impl Display, user: &UserName) {
        if !self.users.contains(user) {
            self.found.say(what, format_args!("there is no account {user}, whose it is"));
        }
    }

    fn see_input_files(&mut self, id: InputId, files: &[InputFile]) {
        let Some(input) = self.inputs.get_mut(&id) else { return };
        input.size = input.size.plus(FileUsage::of(files.iter().map(|file| file.size)));
        input.missing += files.iter().filter(|file| file.blake3.is_none()).count() as u64;
    }

    fn begin(&mut self, record: &Arc<TaskRecord>) {
        self.end();
        if record.sequence <= self.sequence {
            self.found.say(record.id, format_args!("its sequence {} comes twice, or out of order", record.sequence));
        }
        if record.sequence > self.last_sequence {
            let last = self.last_sequence;
            let what = format_args!("its sequence {} is larger than the last that was given, {last}", record.sequence);
            self.found.say(record.id, what);
        }
        self.sequence = record.sequence;
        self.submission = Some(Submission::new(Arc::clone(record)));
    }

    fn see_part(&mut self, change: &Change) {
        let Some(submission) = &mut self.submission else { return };
        match change {
            Change::Result(result) => *self.results.of(result.verdict.state()) += 1,
            Change::Files(_, files) => {
                let usage = self.usage.entry(submission.record.user.clone()).or_default();
                usage.1 = usage.1.plus(FileUsage::of(files.iter().map(|file| file.size)));
            }
            _ => {}
        }
        submission.see(change, self.cluster, &mut self.found);
    }

    /// All of a submission has been seen.
    fn end(&mut self) {
        let Some(submission) = self.submission.take() else { return };
        let record = Arc::clone(&submission.record);
        let is_open = submission.is_open();
        self.live_seen += submission.finish(&mut self.found);
        if self.open.remove(&record.id) != is_open {
            let what = if is_open {
                "it has not ended, and a master would not see it at its start"
            } else {
                "it has ended, and a master would see it at its start"
            };
            self.found.say(record.id, what);
        }
        if let Some(id) = record.spec.input.filter(|_| is_open)
            && self.inputs.get(&id).is_none_or(|input| input.record.user != record.user)
        {
            self.found.say(record.id, format_args!("its user has no {id}, which it reads"));
        }
    }

    fn check_totals(&mut self, totals: &Totals) {
        self.end();
        let (mut known, mut results) = (totals.ended, self.results);
        for state in [TaskState::Completed, TaskState::Failed, TaskState::Cancelled] {
            let (known, results) = (*known.of(state), *results.of(state));
            if known < results {
                let what =
                    format_args!("{known} elements are counted as {state}, and there are {results} such results");
                self.found.say("totals", what);
            }
        }
    }

    /// What only the whole shows.
    fn finish(&mut self) {
        for id in std::mem::take(&mut self.open) {
            self.found.say(id, "a master would see it at its start, and it is not among all tasks");
        }
        if self.live != self.live_seen {
            let (live, seen) = (self.live, self.live_seen);
            let what = format_args!("a master would see {live} at its start, and among all runs there are {seen}");
            self.found.say("live runs", what);
        }
        if self.audit != self.audit_end {
            let (end, seen) = (self.audit_end.sequence, self.audit.sequence);
            self.found.say("audit log", format_args!("it ends at entry {seen}, not at {end}, or with another seal"));
        }
        for (id, input) in std::mem::take(&mut self.inputs) {
            let Input { record, size, missing } = input;
            if record.size != size {
                let (announced, found) = (shown(record.size), shown(size));
                self.found.say(id, format_args!("it was announced with {announced}, and has {found}"));
            }
            if record.missing != missing {
                let announced = record.missing;
                self.found.say(id, format_args!("{announced} of its files are said to be missing, and {missing} are"));
            }
            let usage = self.usage.entry(record.user).or_default();
            usage.1 = usage.1.plus(record.size);
        }
        for (user, (kept, found)) in std::mem::take(&mut self.usage) {
            if kept != found {
                let (kept, found) = (shown(kept), shown(found));
                self.found.say(format_args!("user {user}"), format_args!("{kept} are counted, and there are {found}"));
            }
        }
    }
}

fn shown(usage: FileUsage) -> String {
    format!("{} files with {} bytes", usage.files, usage.bytes)
}
