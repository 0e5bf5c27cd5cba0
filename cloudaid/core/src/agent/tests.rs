//! Scenario in, the whole list of effects out.

use std::sync::Arc;
use std::time::Duration;

use shared::id::{AttemptKey, Fence};
use shared::link::{Assignment, AttemptChange, CancelOrder, Decision, Held, Outcome, Phase, Report};
use shared::pull::PullPolicy;
use shared::task::Verdict;
use shared::time::{BootTime, WallTime};

use super::testkit::{GRACE, assignment, assignment_of, at, attempt, exit, key, welcome};
use super::{
    Agent, AgentEffect, AgentInput, ContainerState, Ended, EngineError, Exited, FoundContainer, JournalEntry,
    JournalRecord, Lease, LogBytes, Starting, StopOrder, StopReason, StopSignal, container_name,
};

mod crowd;
mod hand;
mod inventory;
mod leave;
mod limits;
mod link;
mod recover;
mod run;
mod stop;

/// An agent and the clock it is stepped by.
#[derive(Debug, Default)]
struct Scene {
    agent: Agent,
    now: u64,
}

impl Scene {
    fn connected() -> Self {
        let mut scene = Self::default();
        assert_eq!(scene.step(AgentInput::Connected(welcome(Vec::new()))), []);
        scene
    }

    fn recovered(journal: Vec<JournalEntry>, found: &[(AttemptKey, ContainerState)]) -> (Self, Vec<AgentEffect>) {
        let mut scene = Self::default();
        let found = found.iter().map(|&(key, state)| FoundContainer { key, state, limits: None }).collect();
        let effects = scene.step(AgentInput::Recovered { journal, found: Some(found), lease: None });
        (scene, effects)
    }

    fn step(&mut self, input: AgentInput) -> Vec<AgentEffect> {
        let mut effects = Vec::new();
        self.agent.step(at(self.now), input, &mut effects);
        effects.into_iter().map(|effect| self.say(effect)).collect()
    }

    /// Nothing waits here.
    fn say(&mut self, effect: AgentEffect) -> AgentEffect {
        match effect {
            AgentEffect::Report(report) => AgentEffect::Report(self.agent.say(report).expect("a session")),
            other => other,
        }
    }

    /// Moves the clock to the next time that the agent asked for.
    fn wake(&mut self) -> Vec<AgentEffect> {
        self.now = self.agent.next_wake().expect("a time to wake").0;
        self.step(AgentInput::Tick)
    }

    fn assign(&mut self, index: u32) {
        self.step(AgentInput::Assigned(vec![assignment(index)]));
    }

    fn assign_and_start(&mut self, index: u32) {
        self.assign(index);
        self.step(AgentInput::ImageReady(key(index), None));
        self.step(AgentInput::Created(key(index)));
        self.step(AgentInput::Started(key(index)));
    }

    fn cancel(&mut self, index: u32, grace: Duration) -> Vec<AgentEffect> {
        self.step(AgentInput::Cancelled(vec![CancelOrder { key: key(index), grace, time_limit: None }]))
    }
}

fn outcome(verdict: Verdict, started_at: Option<i64>, finished_at: i64) -> Outcome {
    Outcome {
        verdict,
        started_at: started_at.map(WallTime),
        finished_at: WallTime(finished_at),
        stdout_bytes: 0,
        stderr_bytes: 0,
        output_files: 0,
        output_bytes: Some(0),
        output_notes: Vec::new(),
        usage: None,
        handed_back: false,
        perhaps_stopped: false,
    }
}

fn finished(key: AttemptKey, sequence: u64, outcome: &Outcome) -> Vec<AgentEffect> {
    vec![
        AgentEffect::Journal(JournalRecord::Finished { key, outcome: outcome.clone() }),
        AgentEffect::Report(Report { sequence, key, change: AttemptChange::Finished(outcome.clone()) }),
    ]
}

fn started(key: AttemptKey, sequence: u64, at: i64) -> AgentEffect {
    let change = AttemptChange::Started { at: WallTime(at), container: container_name(&key), image: None };
    AgentEffect::Report(Report { sequence, key, change })
}

fn starting(key: AttemptKey, at: i64) -> Vec<AgentEffect> {
    let boot = Some(BootTime(at.unsigned_abs()));
    vec![
        AgentEffect::Journal(JournalRecord::Starting { key, at: WallTime(at), boot, again: false }),
        AgentEffect::Start(key),
    ]
}

fn prepare(key: AttemptKey) -> AgentEffect {
    AgentEffect::Prepare { key, image: "busybox".to_owned(), pull: PullPolicy::Missing, input: None }
}

fn attached(key: AttemptKey) -> Vec<AgentEffect> {
    vec![AgentEffect::Wait(key), AgentEffect::CollectLogs(key)]
}

/// The same where its limits are known.
fn watched(key: AttemptKey) -> Vec<AgentEffect> {
    let limit_bytes = assignment(0).resources.storage_bytes;
    [attached(key), vec![AgentEffect::WatchStorage { key, limit_bytes, reserved: false }]].concat()
}

/// The container has ended.
fn exited(key: AttemptKey, verdict: Verdict, started_at: Option<i64>, finished_at: i64) -> Vec<AgentEffect> {
    let (started_at, finished_at) = (started_at.map(WallTime), WallTime(finished_at));
    let exited = Exited { verdict, started_at, finished_at, usage: None, notes: Vec::new() };
    vec![AgentEffect::Journal(JournalRecord::Exited { key, exited }), AgentEffect::UploadOutputs(key)]
}

fn stopping(key: AttemptKey, grace: Duration) -> AgentEffect {
    AgentEffect::Journal(JournalRecord::Stopping { key, order: StopOrder { grace, reason: StopReason::Person } })
}

fn entry(key: AttemptKey) -> JournalEntry {
    JournalEntry { assignment: Some(Arc::new(assignment_of(key))), ..JournalEntry::new(key) }
}

fn entry_started(key: AttemptKey) -> JournalEntry {
    JournalEntry { starting: Some(Starting { at: WallTime(40), boot: None }), ..entry(key) }
}

fn engine() -> EngineError {
    EngineError::Engine("no answer".to_owned())
}
