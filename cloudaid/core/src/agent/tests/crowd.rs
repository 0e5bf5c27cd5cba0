//! A full disk, and those that have more on it than was reserved for them.

use shared::task::StoredPart;

use super::*;

const RESERVED: u64 = 1 << 30;
/// How long others are waited for, and how long they wait.
const LOOKS: u64 = 5_000;
const PATIENCE: u64 = 120_000;

fn reserved(index: u32) -> Assignment {
    let mut assignment = Assignment { storage_reserved: true, ..assignment(index) };
    assignment.resources.storage_bytes = RESERVED;
    assignment
}

/// As many run, and each has only reserved what it stores.
fn running(count: u32) -> Scene {
    let mut scene = Scene::connected();
    for index in 0..count {
        scene.step(AgentInput::Assigned(vec![reserved(index)]));
        scene.step(AgentInput::ImageReady(key(index), None));
        scene.step(AgentInput::Created(key(index)));
        scene.step(AgentInput::Started(key(index)));
    }
    scene
}

impl Scene {
    fn is_over_by(&mut self, index: u32, bytes: u64) -> Vec<AgentEffect> {
        let used_bytes = Some(RESERVED + bytes);
        self.step(AgentInput::StorageExceeded { key: key(index), used_bytes, largest: largest(bytes) })
    }

    /// It ends, its master has all of it, and nothing is left here.
    fn goes(&mut self, index: u32) -> Vec<AgentEffect> {
        self.step(AgentInput::Exited(key(index), exit(137)));
        self.step(AgentInput::LogsDrained(key(index), LogBytes::default()));
        self.step(AgentInput::OutputsUploaded { key: key(index), files: 0, bytes: 0, notes: Vec::new() });
        self.step(AgentInput::Acked { through: u64::MAX });
        let mut effects = self.step(AgentInput::Removed(key(index)));
        assert_eq!(effects.remove(0), AgentEffect::Journal(JournalRecord::Forgotten(key(index))));
        effects
    }
}

/// What takes the most where it is over by so much.
fn largest(over: u64) -> Vec<StoredPart> {
    vec![StoredPart { path: "/large".to_owned(), bytes: over }]
}

fn ended_for(index: u32, bytes: u64) -> [AgentEffect; 2] {
    let used_bytes = Some(RESERVED + bytes);
    let reason = StopReason::Storage { limit_bytes: RESERVED, used_bytes, largest: largest(bytes) };
    let order = StopOrder { grace: Duration::ZERO, reason };
    let journal = AgentEffect::Journal(JournalRecord::Stopping { key: key(index), order });
    [journal, AgentEffect::Signal(key(index), StopSignal::Term)]
}

fn looked_at(index: u32) -> AgentEffect {
    AgentEffect::WatchStorage { key: key(index), limit_bytes: RESERVED, reserved: true }
}

#[test]
fn of_all_that_are_over_the_furthest_ends_and_the_others_are_looked_at_when_its_room_is_free() {
    let mut scene = running(3);
    assert_eq!(scene.is_over_by(0, 5), []);
    assert_eq!(scene.is_over_by(1, 9), []);
    assert_eq!(scene.is_over_by(2, 7), ended_for(1, 9), "all that may be over have been looked at");
    assert_eq!(scene.wake(), [AgentEffect::Signal(key(1), StopSignal::Kill)]);
    assert_eq!(scene.goes(1), [looked_at(0), looked_at(2)]);
    assert_eq!(scene.agent.next_wake(), None, "what was known of them is old");
    // There was not enough room after all.
    assert_eq!(scene.is_over_by(0, 8), []);
    assert_eq!(scene.is_over_by(2, 8), ended_for(2, 8), "of two alike the later one");
    assert_eq!(scene.goes(2), [looked_at(0)]);
}

#[test]
fn who_is_not_heard_of_is_not_waited_for_long() {
    let mut scene = running(3);
    scene.now = 1_000;
    assert_eq!(scene.is_over_by(0, 5), []);
    scene.now = 2_000;
    assert_eq!(scene.is_over_by(2, 1), []);
    assert_eq!(scene.wake(), ended_for(0, 5), "the last of them has room, or is looked at for long");
    assert_eq!(scene.now, 1_000 + LOOKS);
}

#[test]
fn room_that_does_not_become_free_is_not_waited_for_without_end() {
    let mut scene = running(3);
    scene.is_over_by(0, 1);
    scene.is_over_by(1, 2);
    assert_eq!(scene.is_over_by(2, 3), ended_for(2, 3));
    // Its outputs wait for the master.
    scene.step(AgentInput::Exited(key(2), exit(137)));
    assert_eq!(scene.wake(), [looked_at(0), looked_at(1)], "what is known of them is old");
    assert_eq!(scene.now, PATIENCE);
    assert_eq!(scene.is_over_by(0, 1), []);
    assert_eq!(scene.is_over_by(1, 2), ended_for(1, 2));
    scene.step(AgentInput::Exited(key(1), exit(137)));
    assert_eq!(scene.wake(), [looked_at(0)]);
    assert_eq!(scene.now, 2 * PATIENCE);
    assert_eq!(scene.is_over_by(0, 1), ended_for(0, 1));
}

#[test]
fn who_has_room_by_then_is_not_ended_for_what_was_measured_before() {
    let mut scene = running(4);
    scene.is_over_by(0, 1);
    scene.is_over_by(1, 9);
    scene.is_over_by(2, 2);
    assert_eq!(scene.is_over_by(3, 10), ended_for(3, 10));
    scene.step(AgentInput::Exited(key(3), exit(137)));
    assert_eq!(scene.wake(), [looked_at(0), looked_at(1), looked_at(2)]);
    // The one that was the furthest over is not heard of.
    scene.now += 1;
    assert_eq!(scene.is_over_by(0, 1), []);
    assert_eq!(scene.is_over_by(2, 2), []);
    assert_eq!(scene.wake(), ended_for(2, 2));
    assert_eq!(scene.now, PATIENCE + 1 + LOOKS);
    // Nor are the others: they go on, and nothing is due.
    scene.step(AgentInput::Exited(key(2), exit(137)));
    assert_eq!(scene.wake(), [looked_at(0)]);
    assert_eq!(scene.agent.next_wake(), None);
}

#[test]
fn who_waits_is_looked_at_when_anything_goes_and_waits_no_longer_for_that() {
    let mut scene = running(3);
    scene.step(AgentInput::Exited(key(2), exit(0)));
    scene.step(AgentInput::LogsDrained(key(2), LogBytes::default()));
    scene.step(AgentInput::OutputsUploaded { key: key(2), files: 0, bytes: 0, notes: Vec::new() });
    scene.step(AgentInput::Acked { through: u64::MAX });
    scene.is_over_by(0, 1);
    assert_eq!(scene.is_over_by(1, 9), ended_for(1, 9));
    scene.step(AgentInput::Exited(key(1), exit(137)));
    scene.now = 60_000;
    let gone = AgentEffect::Journal(JournalRecord::Forgotten(key(2)));
    assert_eq!(scene.step(AgentInput::Removed(key(2))), [gone, looked_at(0)]);
    scene.now = 61_000;
    assert_eq!(scene.is_over_by(0, 3), [], "there may be room soon");
    assert_eq!(scene.wake(), [looked_at(0)]);
    assert_eq!(scene.now, PATIENCE);
    assert_eq!(scene.is_over_by(0, 3), ended_for(0, 3));
}

#[test]
fn who_ends_by_itself_needs_no_end() {
    let mut scene = running(2);
    assert_eq!(scene.is_over_by(0, 9), []);
    scene.step(AgentInput::Exited(key(0), exit(0)));
    assert_eq!(scene.is_over_by(0, 9), [], "it is late");
    assert_eq!(scene.wake(), []);
    assert_eq!(scene.agent.next_wake(), None);
    assert_eq!(scene.is_over_by(1, 1), ended_for(1, 1), "the only one that runs");
}

#[test]
fn whose_room_is_being_freed_is_known_after_a_restart() {
    let used_bytes = Some(RESERVED + 9);
    let reason = StopReason::Storage { limit_bytes: RESERVED, used_bytes, largest: largest(9) };
    let ended = JournalEntry {
        assignment: Some(Arc::new(reserved(0))),
        stop: Some(StopOrder { grace: Duration::ZERO, reason }),
        exited: Some(Exited {
            verdict: Verdict::Disk { limit_bytes: RESERVED, used_bytes, largest: largest(9) },
            started_at: None,
            finished_at: WallTime(50),
            usage: None,
            notes: Vec::new(),
        }),
        ..entry_started(key(0))
    };
    let runs = JournalEntry { assignment: Some(Arc::new(reserved(1))), ..entry_started(key(1)) };
    let found = [(key(0), ContainerState::Exited), (key(1), ContainerState::Running)];
    let (mut scene, _) = Scene::recovered(vec![ended, runs], &found);
    assert_eq!(scene.is_over_by(1, 5), [], "there may be room for it soon");
    assert_eq!(scene.agent.next_wake(), Some(BootTime(PATIENCE)));
    scene.step(AgentInput::Connected(welcome(Vec::new())));
    assert_eq!(scene.goes(0), [looked_at(1)]);
}

#[test]
fn who_was_given_up_makes_room_as_well() {
    let mut scene = running(2);
    assert_eq!(scene.is_over_by(0, 9), []);
    assert_eq!(scene.is_over_by(1, 5), ended_for(0, 9));
    scene.step(AgentInput::Decided(vec![(key(0), Decision::Stop)]));
    scene.step(AgentInput::Exited(key(0), exit(137)));
    assert_eq!(scene.agent.next_wake(), Some(BootTime(PATIENCE)));
    let effects = scene.step(AgentInput::Removed(key(0)));
    assert_eq!(effects, [AgentEffect::Journal(JournalRecord::Forgotten(key(0))), looked_at(1)]);
}

#[test]
fn who_may_not_store_more_ends_whoever_else_is_over() {
    let mut scene = running(2);
    let held = Assignment { storage_reserved: false, ..reserved(2) };
    scene.step(AgentInput::Assigned(vec![held]));
    scene.step(AgentInput::ImageReady(key(2), None));
    scene.step(AgentInput::Created(key(2)));
    scene.step(AgentInput::Started(key(2)));
    assert_eq!(scene.is_over_by(0, 9), []);
    assert_eq!(scene.is_over_by(2, 1), ended_for(2, 1));
    // One that is being stopped for another reason makes haste.
    scene.cancel(1, GRACE);
    assert_eq!(scene.is_over_by(1, 1), []);
    scene.step(AgentInput::Exited(key(2), exit(137)));
    let effects = scene.wake();
    assert!(effects.contains(&AgentEffect::Signal(key(1), StopSignal::Kill)), "{effects:?}");
    assert_eq!(scene.now, 0, "its grace is over");
}
