//! A small world under a seed: an engine, a journal and a master, with answers in any order, errors, cut links and
//! crashes at any effect.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use shared::id::{AttemptKey, Fence};
use shared::link::{Assignment, AttemptChange, CancelOrder, Decision, Outcome};

use super::testkit::{GRACE, assignment, at, exit, key, welcome};
use super::{
    Agent, AgentEffect, AgentInput, ContainerState, EngineError, FoundContainer, JournalEntry, JournalRecord, LogBytes,
    StopSignal,
};

const RUNS: u32 = 4;

/// Of every other one its storage is only reserved.
fn given(index: u32) -> Assignment {
    Assignment { storage_reserved: index % 2 == 1, ..assignment(index) }
}

/// What is random comes from outside, so that a failure can be repeated and made small.
#[derive(Debug)]
struct Dice(std::vec::IntoIter<u8>);

impl Dice {
    /// A number below `sides`; 0 when the seed is used up, and 0 is always the good case.
    fn roll(&mut self, sides: usize) -> usize {
        self.0.next().map_or(0, |byte| usize::from(byte) % sides)
    }

    fn used_up(&self) -> bool {
        self.0.len() == 0
    }
}

#[derive(Debug)]
struct World {
    dice: Dice,
    now: u64,
    agent: Agent,
    connected: bool,
    /// Whether the engine has said what is there since the process began.
    surveyed: bool,
    /// Orders that the engine has not answered.
    orders: Vec<AgentEffect>,
    journal: BTreeMap<AttemptKey, JournalEntry>,
    containers: BTreeMap<AttemptKey, ContainerState>,
    /// How often each container began to run: the witness.
    begun: BTreeMap<AttemptKey, u32>,
    /// What the master has recorded.
    recorded: BTreeMap<AttemptKey, Outcome>,
    given_up: BTreeSet<AttemptKey>,
    acknowledged_through: u64,
}

impl World {
    fn new(seed: Vec<u8>) -> Self {
        Self {
            dice: Dice(seed.into_iter()),
            now: 0,
            agent: Agent::new(),
            connected: false,
            surveyed: true,
            orders: Vec::new(),
            journal: BTreeMap::new(),
            containers: BTreeMap::new(),
            begun: BTreeMap::new(),
            recorded: BTreeMap::new(),
            given_up: BTreeSet::new(),
            acknowledged_through: 0,
        }
    }

    /// Steps the agent and carries out the batch as the driver does, unless the process dies in the middle.
    fn step(&mut self, input: AgentInput) {
        let mut effects = Vec::new();
        self.agent.step(at(self.now), input, &mut effects);
        let crash_at = match self.dice.roll(40) {
            1 => Some(self.dice.roll(effects.len() + 1)),
            _ => None,
        };
        let (records, others): (Vec<_>, Vec<_>) =
            effects.into_iter().partition(|effect| matches!(effect, AgentEffect::Journal(_)));
        for (position, effect) in records.into_iter().chain(others).enumerate() {
            if crash_at == Some(position) {
                return self.restart();
            }
            self.execute(effect);
        }
        if crash_at.is_some() {
            self.restart();
        }
    }

    fn execute(&mut self, effect: AgentEffect) {
        match effect {
            AgentEffect::Journal(record) => {
                if let JournalRecord::Starting { key, .. } = &record {
                    assert!(self.containers.contains_key(key), "a start is journaled for a container that is there");
                }
                record.apply(&mut self.journal);
            }
            AgentEffect::Report(report) => {
                let report = self.agent.say(report).expect("a session");
                self.report(report.sequence, report.key, report.change);
            }
            AgentEffect::Signal(key, signal) => self.signal(key, signal),
            AgentEffect::Create(_) | AgentEffect::Start(_) => {
                self.check_order(&effect);
                self.orders.push(effect);
            }
            AgentEffect::Prepare { .. }
            | AgentEffect::Wait(_)
            | AgentEffect::CollectLogs(_)
            | AgentEffect::HoldForLog(_)
            | AgentEffect::WatchStorage { .. }
            | AgentEffect::UploadOutputs(_)
            | AgentEffect::Remove(_)
            | AgentEffect::ListContainers { .. } => self.orders.push(effect),
            AgentEffect::Answer(inventory) => {
                for key in &inventory.lost {
                    assert!(!self.containers.contains_key(key), "{key} is said to be lost and is there");
                }
                // All containers of this world were known once.
                assert_eq!(inventory.adopted, []);
            }
        }
    }

    /// The journal must already say what may not happen twice.
    fn check_order(&self, effect: &AgentEffect) {
        match effect {
            AgentEffect::Create(assignment) => {
                let entry = self.journal.get(&assignment.key).expect("accepted before it is made");
                assert_eq!(entry.starting, None, "a container that was started is never made again");
            }
            AgentEffect::Start(key) => {
                assert!(self.journal.get(key).is_some_and(|entry| entry.starting.is_some()), "journaled first");
            }
            other => panic!("{other:?} is not checked"),
        }
    }

    fn report(&mut self, sequence: u64, key: AttemptKey, change: AttemptChange) {
        assert!(self.connected, "a report without a session");
        assert!(!self.given_up.contains(&key), "a report of a run that was given up");
        if let AttemptChange::Finished(outcome) = change {
            assert_eq!(self.journal.get(&key).and_then(|entry| entry.outcome.as_ref()), Some(&outcome));
            let recorded = self.recorded.entry(key).or_insert_with(|| outcome.clone());
            assert_eq!(*recorded, outcome, "one end, however often it is told");
            self.acknowledged_through = sequence;
        }
    }

    fn signal(&mut self, key: AttemptKey, signal: StopSignal) {
        let obeys = signal == StopSignal::Kill || self.dice.roll(2) == 0;
        if let Some(state) = self.containers.get_mut(&key)
            && *state == ContainerState::Running
            && obeys
        {
            *state = ContainerState::Exited;
        }
    }

    /// The process dies: what it knew and had ordered is lost, the containers and the journal stay.
    fn restart(&mut self) {
        self.orders.clear();
        self.agent = Agent::new();
        self.connected = false;
        self.surveyed = self.dice.roll(3) != 1;
        let found = self.surveyed.then(|| self.found());
        let journal = self.journal.values().cloned().collect();
        self.step(AgentInput::Recovered { journal, found, lease: None });
    }

    fn found(&self) -> Vec<FoundContainer> {
        self.containers.iter().map(|(&key, &state)| FoundContainer { key, state, limits: None }).collect()
    }

    /// The engine answers at last, and the worker says hello anew.
    fn survey(&mut self) {
        self.surveyed = true;
        self.step(AgentInput::Surveyed(self.found()));
        if self.connected {
            self.connected = false;
            self.step(AgentInput::Disconnected);
        }
    }

    fn connect(&mut self) {
        let mut decisions = Vec::new();
        for held in self.agent.inventory() {
            let decision = if self.given_up.contains(&held.key) {
                Decision::Stop
            } else if self.recorded.contains_key(&held.key) {
                Decision::Forget
            } else if self.dice.roll(12) == 1 {
                self.given_up.insert(held.key);
                Decision::Stop
            } else {
                Decision::Keep
            };
            decisions.push((held.key, decision));
        }
        self.connected = true;
        self.acknowledged_through = 0;
        self.step(AgentInput::Connected(welcome(decisions)));
        // What the master does not see in an inventory it gives again.
        self.assign_missing();
    }

    fn assign_missing(&mut self) {
        let held: BTreeSet<_> = self.agent.inventory().iter().map(|held| held.key).collect();
        for index in 0..RUNS {
            let key = key(index);
            let open = !self.recorded.contains_key(&key) && !self.given_up.contains(&key);
            if self.connected && open && !held.contains(&key) && !self.begun.contains_key(&key) {
                self.step(AgentInput::Assigned(vec![given(index)]));
            }
        }
    }

    /// The engine answers one order, well or badly.
    fn answer(&mut self) {
        let position = self.dice.roll(self.orders.len());
        let order = self.orders.swap_remove(position);
        let fails = self.dice.roll(6) == 1;
        let trouble = || EngineError::Engine("trouble".to_owned());
        let input = match order {
            AgentEffect::Prepare { key, .. } if fails => AgentInput::ImageFailed(key, trouble()),
            AgentEffect::Prepare { key, .. } => AgentInput::ImageReady(key, None),
            AgentEffect::Create(assignment) => {
                // It may be made although the answer is an error.
                self.containers.entry(assignment.key).or_insert(ContainerState::Created);
                match fails {
                    true => AgentInput::CreateFailed(assignment.key, trouble()),
                    false => AgentInput::Created(assignment.key),
                }
            }
            AgentEffect::Start(key) => self.start(key, fails),
            AgentEffect::Wait(key) if fails => AgentInput::WaitFailed(key, trouble()),
            AgentEffect::Wait(key) => match self.containers.get(&key) {
                None => AgentInput::WaitFailed(key, EngineError::NotFound),
                Some(ContainerState::Exited) => AgentInput::Exited(key, exit(0)),
                Some(ContainerState::Created | ContainerState::Running) => {
                    self.orders.push(AgentEffect::Wait(key));
                    self.containers.insert(key, ContainerState::Exited);
                    return;
                }
            },
            AgentEffect::CollectLogs(key) => AgentInput::LogsDrained(key, LogBytes::default()),
            AgentEffect::WatchStorage { key, .. } if fails => {
                AgentInput::StorageExceeded { key, used_bytes: Some(u64::MAX), largest: Vec::new() }
            }
            AgentEffect::WatchStorage { .. } | AgentEffect::HoldForLog(_) => return,
            AgentEffect::UploadOutputs(key) if fails => AgentInput::UploadFailed(key, "refused".to_owned()),
            AgentEffect::UploadOutputs(key) => {
                AgentInput::OutputsUploaded { key, files: 1, bytes: 10, notes: Vec::new() }
            }
            AgentEffect::Remove(key) => {
                let settled = self.recorded.contains_key(&key) || self.given_up.contains(&key);
                assert!(settled, "removed before the master knows its end");
                self.containers.remove(&key);
                if fails { AgentInput::RemoveFailed(key) } else { AgentInput::Removed(key) }
            }
            AgentEffect::ListContainers { horizon, watched } => {
                AgentInput::Listed { horizon, watched, found: Ok(self.found()) }
            }
            AgentEffect::Journal(_) | AgentEffect::Signal(..) | AgentEffect::Report(_) | AgentEffect::Answer(_) => {
                return;
            }
        };
        self.step(input);
    }

    fn start(&mut self, key: AttemptKey, fails: bool) -> AgentInput {
        match self.containers.get_mut(&key) {
            None => return AgentInput::StartFailed(key, EngineError::NotFound),
            Some(state @ ContainerState::Created) if !fails || self.dice.roll(2) == 0 => {
                *state = ContainerState::Running;
                *self.begun.entry(key).or_default() += 1;
            }
            Some(_) => {}
        }
        match fails {
            true => AgentInput::StartFailed(key, EngineError::Engine("trouble".to_owned())),
            false => AgentInput::Started(key),
        }
    }

    /// One thing happens.
    fn turn(&mut self) {
        match self.dice.roll(16) {
            1 if self.connected => {
                self.connected = false;
                self.step(AgentInput::Disconnected);
            }
            1 | 2 if !self.connected => self.connect(),
            3 if self.connected => {
                let key = key(u32::try_from(self.dice.roll(RUNS as usize)).expect("small"));
                self.step(AgentInput::Cancelled(vec![CancelOrder { key, grace: GRACE, time_limit: None }]));
            }
            4 if self.connected => {
                let index = u32::try_from(self.dice.roll(RUNS as usize)).expect("small");
                let key = key(index);
                // A duplicate from before the end was acknowledged may still be on its way in this session.
                if !self.given_up.contains(&key) && !self.recorded.contains_key(&key) {
                    let known = self.agent.inventory().iter().any(|held| held.key == key);
                    if known {
                        self.step(AgentInput::Assigned(vec![given(index)]));
                    }
                }
            }
            5 => self.restart(),
            12 if !self.surveyed => self.survey(),
            6 => {
                let key = key(u32::try_from(self.dice.roll(RUNS as usize)).expect("small"));
                if self.dice.roll(4) == 1 && self.containers.get(&key) == Some(&ContainerState::Exited) {
                    self.containers.remove(&key);
                }
            }
            11 if self.connected => self.step(AgentInput::Inquired { horizon: Fence(9999) }),
            7..=10 if self.connected => self.step(AgentInput::Acked { through: self.acknowledged_through }),
            _ if !self.orders.is_empty() => self.answer(),
            _ => self.pass_time(),
        }
    }

    fn pass_time(&mut self) {
        if let Some(wake) = self.agent.next_wake() {
            self.now = self.now.max(wake.0);
            self.step(AgentInput::Tick);
        }
    }

    /// Everything is well from here on: it must come to an end.
    fn settle(&mut self) {
        for _ in 0..1000 {
            if !self.surveyed {
                self.survey();
            }
            if !self.connected {
                self.connect();
            }
            self.assign_missing();
            while !self.orders.is_empty() {
                self.answer();
            }
            self.step(AgentInput::Acked { through: self.acknowledged_through });
            let waits = self.orders.is_empty();
            if waits && self.agent.is_empty() {
                return;
            }
            if waits {
                self.pass_time();
            }
        }
        panic!("it does not come to an end: {self:#?}");
    }

    fn check(&self) {
        for (key, count) in &self.begun {
            assert_eq!(*count, 1, "{key} began {count} times");
        }
        for index in 0..RUNS {
            let key = key(index);
            let settled = self.recorded.contains_key(&key) || self.given_up.contains(&key);
            assert!(settled, "{key} has no end");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn every_run_ends_once_and_begins_at_most_once(seed in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut world = World::new(seed);
        world.connect();
        while !world.dice.used_up() {
            world.turn();
        }
        world.settle();
        world.check();
        prop_assert!(world.containers.is_empty(), "left over: {:?}", world.containers);
        prop_assert!(world.journal.is_empty(), "left over: {:?}", world.journal);
    }
}
