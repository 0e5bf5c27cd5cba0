//! Scenario in, the whole list of effects out.

use std::sync::Arc;
use std::time::Duration;

use shared::id::{AttemptKey, Fence};
use shared::link::{AttemptChange, CancelOrder, Decision, Held, Outcome, Phase, Report};
use shared::task::Verdict;
use shared::time::{BootTime, WallTime};

use super::testkit::{GRACE, assignment, assignment_of, at, attempt, key, welcome};
use super::{
    Agent, AgentEffect, AgentInput, ContainerState, Ended, EngineError, FoundContainer, JournalEntry, JournalRecord,
    LogBytes, StopOrder, StopSignal, container_name,
};

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
        let found = found.iter().map(|&(key, state)| FoundContainer { key, state }).collect();
        let effects = scene.step(AgentInput::Recovered { journal, found });
        (scene, effects)
    }

    fn step(&mut self, input: AgentInput) -> Vec<AgentEffect> {
        let mut effects = Vec::new();
        self.agent.step(at(self.now), input, &mut effects);
        effects
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
        self.step(AgentInput::ImageReady(key(index)));
        self.step(AgentInput::Created(key(index)));
        self.step(AgentInput::Started(key(index)));
    }

    fn cancel(&mut self, index: u32, grace: Duration) -> Vec<AgentEffect> {
        self.step(AgentInput::Cancelled(vec![CancelOrder { key: key(index), grace }]))
    }
}

fn exit(code: i32) -> Ended {
    Ended { code, oom: false, started_at: None, finished_at: None }
}

fn outcome(verdict: Verdict, started_at: Option<i64>, finished_at: i64) -> Outcome {
    Outcome {
        verdict,
        started_at: started_at.map(WallTime),
        finished_at: WallTime(finished_at),
        stdout_bytes: 0,
        stderr_bytes: 0,
        output_files: 0,
        output_notes: Vec::new(),
    }
}

fn finished(key: AttemptKey, sequence: u64, outcome: &Outcome) -> Vec<AgentEffect> {
    vec![
        AgentEffect::Journal(JournalRecord::Finished { key, outcome: outcome.clone() }),
        AgentEffect::Report(Report { sequence, key, change: AttemptChange::Finished(outcome.clone()) }),
    ]
}

fn started(key: AttemptKey, sequence: u64, at: i64) -> AgentEffect {
    let change = AttemptChange::Started { at: WallTime(at), container: container_name(&key) };
    AgentEffect::Report(Report { sequence, key, change })
}

fn starting(key: AttemptKey, at: i64) -> Vec<AgentEffect> {
    vec![AgentEffect::Journal(JournalRecord::Starting { key, at: WallTime(at) }), AgentEffect::Start(key)]
}

fn prepare(key: AttemptKey) -> AgentEffect {
    AgentEffect::Prepare { key, image: "busybox".to_owned() }
}

fn attached(key: AttemptKey) -> Vec<AgentEffect> {
    vec![AgentEffect::Wait(key), AgentEffect::CollectLogs(key)]
}

fn stopping(key: AttemptKey, grace: Duration) -> AgentEffect {
    AgentEffect::Journal(JournalRecord::Stopping { key, order: StopOrder { grace } })
}

fn entry(key: AttemptKey) -> JournalEntry {
    JournalEntry { key, assignment: Some(Arc::new(assignment_of(key))), starting_at: None, stop: None, outcome: None }
}

fn entry_started(key: AttemptKey) -> JournalEntry {
    JournalEntry { starting_at: Some(WallTime(40)), ..entry(key) }
}

fn engine() -> EngineError {
    EngineError::Engine("no answer".to_owned())
}

#[test]
fn a_run_goes_from_assignment_to_nothing_left() {
    let mut scene = Scene::connected();
    let key = key(0);
    let accepted = AgentEffect::Journal(JournalRecord::Accepted(Arc::new(assignment(0))));
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment(0)])), [accepted, prepare(key)]);
    assert_eq!(scene.step(AgentInput::ImageReady(key)), [AgentEffect::Create(Arc::new(assignment(0)))]);
    scene.now = 5;
    assert_eq!(scene.step(AgentInput::Created(key)), starting(key, 5));
    assert_eq!(
        scene.step(AgentInput::Started(key)),
        [AgentEffect::Wait(key), AgentEffect::CollectLogs(key), started(key, 1, 5)]
    );
    assert_eq!(scene.agent.running(), 1);
    scene.now = 9;
    assert_eq!(scene.step(AgentInput::Exited(key, exit(3))), [AgentEffect::UploadOutputs(key)]);
    assert_eq!(scene.step(AgentInput::LogsDrained(key, LogBytes { stdout: 7, stderr: 8 })), []);
    let outcome = Outcome {
        stdout_bytes: 7,
        stderr_bytes: 8,
        output_files: 2,
        output_notes: vec!["a link".to_owned()],
        ..outcome(Verdict::ExitCode { exit_code: 3 }, Some(5), 9)
    };
    let uploaded = AgentInput::OutputsUploaded { key, files: 2, notes: vec!["a link".to_owned()] };
    assert_eq!(scene.step(uploaded), finished(key, 2, &outcome));
    assert_eq!(scene.step(AgentInput::Acked { through: 1 }), []);
    assert_eq!(scene.step(AgentInput::Acked { through: 2 }), [AgentEffect::Remove(key)]);
    assert_eq!(scene.step(AgentInput::Removed(key)), [AgentEffect::Journal(JournalRecord::Forgotten(key))]);
    assert!(scene.agent.is_empty());
    assert_eq!(scene.agent.next_wake(), None);
}

#[test]
fn logs_that_end_before_the_exit_is_known_count() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    assert_eq!(scene.step(AgentInput::LogsDrained(key(0), LogBytes::default())), []);
    assert_eq!(scene.step(AgentInput::Exited(key(0), exit(0))), [AgentEffect::UploadOutputs(key(0))]);
    let refused = AgentInput::UploadFailed(key(0), "the disk is full".to_owned());
    let outcome =
        Outcome { output_notes: vec!["the disk is full".to_owned()], ..outcome(Verdict::Success, Some(0), 0) };
    assert_eq!(scene.step(refused), finished(key(0), 2, &outcome));
}

#[test]
fn outputs_that_are_there_before_the_log_count() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(scene.step(AgentInput::OutputsUploaded { key: key(0), files: 4, notes: Vec::new() }), []);
    let outcome = Outcome { output_files: 4, ..outcome(Verdict::Success, Some(0), 0) };
    assert_eq!(scene.step(AgentInput::LogsDrained(key(0), LogBytes::default())), finished(key(0), 2, &outcome));
}

#[test]
fn the_clock_of_the_engine_is_used_where_it_has_one() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    let ended = Ended { started_at: Some(WallTime(70)), finished_at: Some(WallTime(80)), ..exit(0) };
    scene.step(AgentInput::Exited(key(0), ended));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 2, &outcome(Verdict::Success, Some(70), 80)));
}

#[test]
fn a_duplicate_assignment_only_repeats_where_the_run_stands() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let duplicate = || AgentInput::Assigned(vec![assignment(0)]);
    assert_eq!(scene.step(duplicate()), []);
    scene.step(AgentInput::ImageReady(key(0)));
    assert_eq!(scene.step(duplicate()), []);
    scene.step(AgentInput::Created(key(0)));
    scene.step(AgentInput::Started(key(0)));
    assert_eq!(scene.step(duplicate()), [started(key(0), 2, 0)]);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    let repeated = &finished(key(0), 4, &outcome(Verdict::Success, Some(0), 0))[1..];
    assert_eq!(scene.step(duplicate()), repeated);
    scene.step(AgentInput::Acked { through: 4 });
    assert_eq!(scene.step(duplicate()), []);
    scene.step(AgentInput::Removed(key(0)));
    assert_eq!(scene.step(duplicate()), [], "a late assignment of a run that is gone");
    assert!(scene.agent.is_empty());
}

#[test]
fn a_newer_run_of_an_element_stops_the_older_without_a_word() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    let newer = attempt(0, 2);
    let accepted = AgentEffect::Journal(JournalRecord::Accepted(Arc::new(assignment_of(newer))));
    let effects = scene.step(AgentInput::Assigned(vec![assignment_of(newer)]));
    assert_eq!(effects, [AgentEffect::Signal(key(0), StopSignal::Term), accepted, prepare(newer)]);
    assert_eq!(scene.step(AgentInput::Exited(key(0), exit(143))), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.agent.inventory(), [Held { key: newer, phase: Phase::Accepted }]);
}

#[test]
fn an_older_run_of_an_element_is_not_taken() {
    let mut scene = Scene::connected();
    scene.step(AgentInput::Assigned(vec![assignment_of(attempt(0, 2))]));
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment(0)])), []);
    let same_fence = AttemptKey { attempt: 3, ..attempt(0, 2) };
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment_of(same_fence)])), []);
    let other_element = AttemptKey { fence: Fence(1), ..key(1) };
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment_of(other_element)])).len(), 2);
}

#[test]
fn an_engine_in_trouble_is_asked_again_more_and_more_slowly() {
    let mut scene = Scene::connected();
    scene.assign(0);
    for pause in [200, 400, 800, 1600, 3200, 6400, 7000, 7000] {
        assert_eq!(scene.step(AgentInput::ImageFailed(key(0), engine())), []);
        assert_eq!(scene.agent.next_wake(), Some(BootTime(scene.now + pause)));
        assert_eq!(scene.step(AgentInput::Tick), [], "too early");
        assert_eq!(scene.wake(), [prepare(key(0))]);
    }
    scene.step(AgentInput::ImageReady(key(0)));
    assert_eq!(scene.step(AgentInput::CreateFailed(key(0), engine())), []);
    assert_eq!(scene.wake(), [AgentEffect::Create(Arc::new(assignment(0)))]);
    scene.step(AgentInput::Created(key(0)));
    assert_eq!(scene.step(AgentInput::StartFailed(key(0), engine())), []);
    assert_eq!(scene.wake(), [AgentEffect::Start(key(0))]);
    scene.step(AgentInput::Started(key(0)));
    assert_eq!(scene.step(AgentInput::WaitFailed(key(0), engine())), []);
    assert_eq!(scene.wake(), [AgentEffect::Wait(key(0))]);
}

#[test]
fn what_can_never_be_is_said_at_once() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let error = EngineError::ImageNotFound("no such image".to_owned());
    let verdict = Verdict::Image { message: "no such image".to_owned() };
    let effects = scene.step(AgentInput::ImageFailed(key(0), error));
    assert_eq!(effects, finished(key(0), 1, &outcome(verdict, None, 0)));

    let setup = || EngineError::Setup("no such command".to_owned());
    let verdict = || Verdict::Setup { message: "no such command".to_owned() };
    scene.assign(1);
    scene.step(AgentInput::ImageReady(key(1)));
    let effects = scene.step(AgentInput::CreateFailed(key(1), setup()));
    assert_eq!(effects, finished(key(1), 2, &outcome(verdict(), None, 0)));

    scene.assign(2);
    scene.step(AgentInput::ImageReady(key(2)));
    scene.step(AgentInput::Created(key(2)));
    let effects = scene.step(AgentInput::StartFailed(key(2), setup()));
    assert_eq!(effects, finished(key(2), 3, &outcome(verdict(), None, 0)));
}

#[test]
fn a_registry_that_does_not_answer_is_asked_three_times_more() {
    let mut scene = Scene::connected();
    scene.assign(0);
    let error = || EngineError::ImageUnavailable("timeout".to_owned());
    for _ in 0..3 {
        assert_eq!(scene.step(AgentInput::ImageFailed(key(0), error())), []);
        assert_eq!(scene.wake(), [prepare(key(0))]);
    }
    let verdict = Verdict::Image { message: "timeout".to_owned() };
    let now = i64::try_from(scene.now).expect("a small time");
    assert_eq!(scene.step(AgentInput::ImageFailed(key(0), error())), finished(key(0), 1, &outcome(verdict, None, now)));
}

#[test]
fn a_container_that_vanishes_is_lost_with_what_it_left() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.now = 3;
    assert_eq!(scene.step(AgentInput::WaitFailed(key(0), EngineError::NotFound)), [AgentEffect::UploadOutputs(key(0))]);
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    let verdict = Verdict::WorkerLost { message: "the container is gone".to_owned() };
    assert_eq!(effects, finished(key(0), 2, &outcome(verdict, Some(0), 3)));
}

#[test]
fn a_command_that_was_never_run_is_a_setup_failure_and_not_waited_for_again() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.now = 3;
    let error = EngineError::Setup("exec nosuch failed".to_owned());
    assert_eq!(scene.step(AgentInput::WaitFailed(key(0), error)), [AgentEffect::UploadOutputs(key(0))]);
    assert_eq!(scene.agent.next_wake(), None, "there is nothing to wait for");
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    let verdict = Verdict::Setup { message: "exec nosuch failed".to_owned() };
    assert_eq!(effects, finished(key(0), 2, &outcome(verdict, Some(0), 3)));
}

#[test]
fn cancelling_before_the_start_ends_it_without_one() {
    let mut scene = Scene::connected();
    scene.assign(0);
    assert_eq!(scene.cancel(0, GRACE), finished(key(0), 1, &outcome(Verdict::Cancelled, None, 0)));
    assert_eq!(scene.step(AgentInput::ImageReady(key(0))), [], "a late answer");

    scene.assign(1);
    scene.step(AgentInput::ImageReady(key(1)));
    assert_eq!(scene.cancel(1, GRACE), [stopping(key(1), GRACE)], "the container is just being made");
    let effects = scene.step(AgentInput::Created(key(1)));
    assert_eq!(effects, finished(key(1), 2, &outcome(Verdict::Cancelled, None, 0)));
}

#[test]
fn cancelling_during_the_start_stops_it_when_it_runs() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.step(AgentInput::ImageReady(key(0)));
    scene.step(AgentInput::Created(key(0)));
    assert_eq!(scene.cancel(0, GRACE), [stopping(key(0), GRACE)]);
    assert_eq!(
        scene.step(AgentInput::Started(key(0))),
        [
            AgentEffect::Wait(key(0)),
            AgentEffect::CollectLogs(key(0)),
            started(key(0), 1, 0),
            AgentEffect::Signal(key(0), StopSignal::Term),
        ]
    );
}

#[test]
fn a_failed_start_of_a_cancelled_run_is_not_tried_again() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.step(AgentInput::ImageReady(key(0)));
    scene.step(AgentInput::Created(key(0)));
    scene.cancel(0, GRACE);
    let effects = scene.step(AgentInput::StartFailed(key(0), engine()));
    assert_eq!(effects[0], AgentEffect::Signal(key(0), StopSignal::Kill));
    assert_eq!(effects[1..], finished(key(0), 1, &outcome(Verdict::Cancelled, None, 0)));
}

#[test]
fn cancelling_what_runs_asks_then_kills() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    let term = AgentEffect::Signal(key(0), StopSignal::Term);
    let kill = AgentEffect::Signal(key(0), StopSignal::Kill);
    assert_eq!(scene.cancel(0, GRACE), [stopping(key(0), GRACE), term]);
    assert_eq!(scene.agent.next_wake(), Some(BootTime(10_000)));
    assert_eq!(scene.cancel(0, Duration::from_secs(2)), [], "less patience is heard");
    assert_eq!(scene.agent.next_wake(), Some(BootTime(2_000)));
    assert_eq!(scene.wake(), std::slice::from_ref(&kill));
    assert_eq!(scene.wake(), [kill], "an engine may have missed it");
    scene.step(AgentInput::Exited(key(0), exit(137)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 2, &outcome(Verdict::Cancelled, Some(0), 9_000)));
}

#[test]
fn what_ended_by_itself_before_the_cancel_keeps_its_end() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(scene.cancel(0, GRACE), []);
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 2, &outcome(Verdict::Success, Some(0), 0)));
    assert_eq!(scene.cancel(0, GRACE), []);
    assert_eq!(scene.cancel(7, GRACE), [], "unknown here");
}

#[test]
fn each_session_begins_with_where_every_run_stands() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    scene.assign_and_start(1);
    scene.assign(2);
    assert_eq!(scene.step(AgentInput::Disconnected), []);
    scene.step(AgentInput::Exited(key(1), exit(0)));
    scene.step(AgentInput::LogsDrained(key(1), LogBytes::default()));
    let outcome = outcome(Verdict::Success, Some(0), 0);
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(1), files: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(1), 0, &outcome)[..1], "nothing is said without a session");
    let held = [(0, Phase::Running), (1, Phase::Finished), (2, Phase::Accepted)];
    assert_eq!(scene.agent.inventory(), held.map(|(index, phase)| Held { key: key(index), phase }));
    let keep = (0..3).map(|index| (key(index), Decision::Keep)).collect();
    let report = finished(key(1), 2, &outcome).remove(1);
    assert_eq!(scene.step(AgentInput::Connected(welcome(keep))), [started(key(0), 1, 0), report.clone()]);
    assert_eq!(scene.step(AgentInput::Disconnected), []);
    assert_eq!(scene.step(AgentInput::Acked { through: 2 }), [], "of a session that is over");
    assert_eq!(scene.step(AgentInput::Connected(welcome(Vec::new()))), [started(key(0), 1, 0), report]);
    assert_eq!(scene.step(AgentInput::Acked { through: u64::MAX }), [AgentEffect::Remove(key(1))]);
}

#[test]
fn what_the_master_gave_up_is_stopped_and_removed_without_a_word() {
    let mut scene = Scene::connected();
    (0..4).for_each(|index| scene.assign_and_start(index));
    scene.assign(4);
    scene.step(AgentInput::Exited(key(1), exit(0)));
    scene.step(AgentInput::Disconnected);
    let decisions = vec![
        (key(0), Decision::Stop),
        (key(1), Decision::Stop),
        (key(2), Decision::Forget),
        (key(3), Decision::Keep),
        (key(4), Decision::Stop),
        (key(9), Decision::Stop),
    ];
    assert_eq!(
        scene.step(AgentInput::Connected(welcome(decisions))),
        [
            AgentEffect::Signal(key(0), StopSignal::Term),
            AgentEffect::Remove(key(1)),
            AgentEffect::Remove(key(2)),
            AgentEffect::Remove(key(4)),
            started(key(3), 1, 0),
        ]
    );
    assert_eq!(scene.agent.inventory(), [Held { key: key(3), phase: Phase::Running }]);
    assert_eq!(scene.wake(), [AgentEffect::Signal(key(0), StopSignal::Kill)]);
    assert_eq!(scene.step(AgentInput::Exited(key(0), exit(137))), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.step(AgentInput::OutputsUploaded { key: key(1), files: 0, notes: Vec::new() }), []);
}

#[test]
fn what_is_given_up_while_the_engine_works_on_it_is_removed_when_it_answers() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.step(AgentInput::ImageReady(key(0)));
    assert_eq!(scene.step(AgentInput::Connected(welcome(vec![(key(0), Decision::Stop)]))), []);
    assert_eq!(scene.step(AgentInput::Created(key(0))), [AgentEffect::Remove(key(0))]);
}

#[test]
fn removing_is_tried_until_it_is_done() {
    let mut scene = Scene::connected();
    scene.assign(0);
    scene.cancel(0, GRACE);
    assert_eq!(scene.step(AgentInput::Removed(key(0))), [], "nobody asked for it");
    assert_eq!(scene.step(AgentInput::Acked { through: 1 }), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.step(AgentInput::RemoveFailed(key(0))), []);
    assert_eq!(scene.wake(), [AgentEffect::Remove(key(0))]);
    assert_eq!(scene.step(AgentInput::Removed(key(0))), [AgentEffect::Journal(JournalRecord::Forgotten(key(0)))]);
}

#[test]
fn accepted_in_an_earlier_life_waits_for_the_master() {
    let (mut scene, effects) = Scene::recovered(
        vec![entry(key(0)), entry(key(1)), entry(key(2)), entry_started(key(3))],
        &[(key(1), ContainerState::Created), (key(3), ContainerState::Created)],
    );
    assert_eq!(effects, []);
    assert_eq!(scene.agent.inventory(), [0, 1, 2, 3].map(|index| Held { key: key(index), phase: Phase::Accepted }));
    scene.now = 6;
    let decisions =
        vec![(key(0), Decision::Keep), (key(1), Decision::Keep), (key(2), Decision::Stop), (key(3), Decision::Keep)];
    let mut expected = vec![prepare(key(0))];
    expected.extend(starting(key(1), 6));
    expected.push(AgentEffect::Remove(key(2)));
    expected.extend(starting(key(3), 6));
    assert_eq!(scene.step(AgentInput::Connected(welcome(decisions))), expected);
}

#[test]
fn what_runs_or_ended_is_watched_again_at_once() {
    let (mut scene, effects) = Scene::recovered(
        vec![entry_started(key(0)), entry_started(key(1))],
        &[(key(0), ContainerState::Running), (key(1), ContainerState::Exited)],
    );
    assert_eq!(effects, [attached(key(0)), attached(key(1))].concat());
    scene.step(AgentInput::Exited(key(1), exit(1)));
    scene.step(AgentInput::LogsDrained(key(1), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(1), files: 0, notes: Vec::new() });
    let outcome = outcome(Verdict::ExitCode { exit_code: 1 }, Some(40), 0);
    let reports = [started(key(0), 1, 40), finished(key(1), 2, &outcome).remove(1)];
    assert_eq!(scene.step(AgentInput::Connected(welcome(Vec::new()))), reports);
}

#[test]
fn a_container_that_was_started_and_is_gone_is_lost() {
    let (mut scene, effects) = Scene::recovered(vec![entry_started(key(0))], &[]);
    let verdict = Verdict::WorkerLost { message: "the container is gone".to_owned() };
    let expected = finished(key(0), 1, &outcome(verdict, Some(40), 0));
    assert_eq!(effects, expected[..1]);
    assert_eq!(scene.step(AgentInput::Connected(welcome(vec![(key(0), Decision::Keep)]))), expected[1..]);
}

#[test]
fn a_container_without_a_journal_is_adopted_and_finishes() {
    let (mut scene, effects) =
        Scene::recovered(Vec::new(), &[(key(0), ContainerState::Running), (key(1), ContainerState::Created)]);
    let adopted = |index| AgentEffect::Journal(JournalRecord::Adopted(key(index)));
    let expected = [vec![adopted(0)], attached(key(0)), vec![adopted(1)]].concat();
    assert_eq!(effects, expected);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    let mut expected = starting(key(1), 0);
    expected.push(finished(key(0), 1, &outcome(Verdict::Success, None, 0)).remove(1));
    assert_eq!(scene.step(AgentInput::Connected(welcome(vec![(key(1), Decision::Keep)]))), expected);
}

#[test]
fn an_end_that_was_not_acknowledged_is_told_again() {
    let outcome = outcome(Verdict::Success, Some(1), 2);
    let entries =
        [0, 1].map(|index| JournalEntry { outcome: Some(outcome.clone()), ..entry_started(key(index)) }).into();
    let (mut scene, effects) = Scene::recovered(entries, &[(key(0), ContainerState::Exited)]);
    assert_eq!(effects, []);
    assert_eq!(scene.agent.inventory(), [0, 1].map(|index| Held { key: key(index), phase: Phase::Finished }));
    let decisions = vec![(key(0), Decision::Keep), (key(1), Decision::Forget)];
    assert_eq!(
        scene.step(AgentInput::Connected(welcome(decisions))),
        [AgentEffect::Remove(key(1)), finished(key(0), 1, &outcome).remove(1)]
    );
}

#[test]
fn a_cancel_outlives_the_process() {
    let stop = Some(StopOrder { grace: GRACE });
    let (mut scene, effects) = Scene::recovered(
        vec![JournalEntry { stop, ..entry_started(key(0)) }, JournalEntry { stop, ..entry(key(1)) }],
        &[(key(0), ContainerState::Running)],
    );
    let mut expected = attached(key(0));
    expected.push(AgentEffect::Signal(key(0), StopSignal::Term));
    expected.extend_from_slice(&finished(key(1), 0, &outcome(Verdict::Cancelled, None, 0))[..1]);
    assert_eq!(effects, expected);
    scene.step(AgentInput::Exited(key(0), exit(143)));
    scene.step(AgentInput::LogsDrained(key(0), LogBytes::default()));
    let effects = scene.step(AgentInput::OutputsUploaded { key: key(0), files: 0, notes: Vec::new() });
    assert_eq!(effects, finished(key(0), 0, &outcome(Verdict::Cancelled, Some(40), 0))[..1]);
}

#[test]
fn nothing_is_taken_on_while_the_process_ends() {
    let mut scene = Scene::connected();
    scene.assign_and_start(0);
    assert_eq!(scene.step(AgentInput::Shutdown), []);
    assert_eq!(scene.step(AgentInput::Assigned(vec![assignment(1)])), []);
    assert_eq!(scene.agent.inventory(), [Held { key: key(0), phase: Phase::Running }]);
}
