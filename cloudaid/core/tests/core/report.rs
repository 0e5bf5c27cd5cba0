use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::event::{Event, RefusedReport};
use cloudaid_core::input::Input;
use cloudaid_core::record::FileRecord;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::id::{AttemptKey, Fence};
use shared::link::{AttemptChange, Report};
use shared::task::Verdict;

fn refusals(effects: &[cloudaid_core::effect::Effect]) -> Vec<RefusedReport> {
    let reason = |effect: &cloudaid_core::effect::Effect| match effect {
        cloudaid_core::effect::Effect::Publish(Event::ReportRefused { reason, .. }) => Some(*reason),
        _ => None,
    };
    effects.iter().filter_map(reason).collect()
}

#[test]
fn a_run_from_start_to_end() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let effects = world.started(&a, key);
    assert_eq!(brief(&effects), ["save attempt 2.0#1 on a Running", "s2 ack 1", "save progress 2 running"]);
    let effects = world.finished(&a, key, Verdict::ExitCode { exit_code: 3 });
    assert_eq!(
        brief(&effects),
        [
            "save attempt 2.0#1 on a Ended exit code 3",
            "save result 2.0 exit code 3",
            "s2 ack 1",
            "save progress 2 failed, over",
        ],
        "a failure of the task itself is never run again"
    );
}

#[test]
fn a_report_ten_times_is_a_report_once() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 2);
    let keys: Vec<_> = assigned(&effects).into_iter().map(|(_, order)| order.key).collect();
    world.started(&a, keys[0]);
    assert_eq!(brief(&world.started(&a, keys[0])), ["s2 ack 1"]);
    world.finished(&a, keys[0], Verdict::Success);
    for verdict in [Verdict::Success, Verdict::Cancelled, Verdict::ExitCode { exit_code: 1 }] {
        let effects = world.finished(&a, keys[0], verdict);
        assert_eq!(brief(&effects), ["s2 ack 1"]);
        assert_eq!(refusals(&effects), [RefusedReport::Repeated]);
    }
}

#[test]
fn reports_for_what_is_not_theirs_change_nothing() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (b, _) = world.connect("b", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let cases = [
        (&b, key, RefusedReport::ForeignWorker, "permission_denied"),
        (&a, AttemptKey { fence: Fence(1), ..key }, RefusedReport::Superseded, "conflict"),
        (&a, AttemptKey { fence: Fence(u64::MAX), ..key }, RefusedReport::Unknown, "not_found"),
        (&a, AttemptKey { attempt: 9, ..key }, RefusedReport::Unknown, "not_found"),
        (&a, AttemptKey { index: 7, ..key }, RefusedReport::Unknown, "not_found"),
    ];
    for (link, key, reason, code) in cases {
        let effects = world.finished(link, key, Verdict::Success);
        assert_eq!(refusals(&effects), [reason], "{key:?}");
        let expected = [format!("save audit report {key}: {code}"), format!("s{} ack 1", link.session.0)];
        assert_eq!(brief(&effects), expected, "it is noted and acknowledged, and nothing else");
    }
}

#[test]
fn reports_of_a_closed_connection_are_not_even_acknowledged() {
    let mut world = World::default();
    let (old, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    world.connect("a", 4, vec![shared::link::Held { key, phase: shared::link::Phase::Running }]);
    assert_eq!(world.finished(&old, key, Verdict::Success), []);
}

#[test]
fn many_reports_are_one_acknowledgement_and_one_progress_per_task() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 3);
    let outcome = world.outcome(Verdict::Success);
    let reports = assigned(&effects)
        .into_iter()
        .zip(1..)
        .map(|((_, order), sequence)| Report {
            sequence,
            key: order.key,
            change: AttemptChange::Finished(outcome.clone()),
        })
        .collect();
    let effects = world.step(Input::WorkerReported { worker: a.worker.clone(), session: a.session, reports });
    let lines = brief(&effects);
    assert_eq!(lines.iter().filter(|line| line.contains("ack")).collect::<Vec<_>>(), ["s2 ack 3"]);
    assert_eq!(lines.last().map(String::as_str), Some("save progress 2 completed, over"));
    assert_eq!(lines.iter().filter(|line| line.contains("progress")).count(), 1);
}

#[test]
fn an_acknowledgement_never_passes_over_a_report_that_is_missing() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 3);
    let outcome = world.outcome(Verdict::Success);
    let orders = assigned(&effects);
    let mut acks = |index: usize, sequence| {
        let change = AttemptChange::Finished(outcome.clone());
        let reports = vec![Report { sequence, key: orders[index].1.key, change }];
        let effects = world.step(Input::WorkerReported { worker: a.worker.clone(), session: a.session, reports });
        brief(&effects).into_iter().filter(|line| line.contains("ack")).collect::<Vec<_>>()
    };
    assert_eq!(acks(0, 2), [""; 0]);
    assert_eq!(acks(1, 1), ["s2 ack 2"]);
    assert_eq!(acks(2, 4), ["s2 ack 2"]);
    assert_eq!(acks(1, 1), ["s2 ack 2"], "a repetition");
    assert_eq!(acks(2, 3), ["s2 ack 4"]);
}

#[test]
fn files_count_for_the_present_run_only() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let files: Arc<[FileRecord]> =
        Arc::from([FileRecord { path: b"r.txt".to_vec(), size: 5, blake3: [0; 32], blob: None, start: None }]);
    let worker = a.worker.clone();
    let of = |key| {
        let (worker, files) = (worker.clone(), Arc::clone(&files));
        move |request| Input::FilesStored { request, worker, key, files, before: Vec::new() }
    };
    assert_eq!(brief(&world.ask(of(key)).1), ["save ada keeps 5 in 1", "save files 2.0#1 x1", "reply done"]);
    let (answer, effects) = world.ask(of(AttemptKey { fence: Fence(1), ..key }));
    assert!(answer.is_err());
    assert_eq!(brief(&effects).len(), 1);
    world.finished(&a, key, Verdict::Success);
    assert!(world.ask(of(key)).0.is_err(), "not after the end");
}

#[test]
fn a_rejected_run_is_the_infrastructures_fault_and_tried_again_after_a_pause() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    let key = assigned(&effects)[0].1.key;
    let effects = world.finished(&a, key, Verdict::Rejected { message: "full".into() });
    assert_eq!(assigned(&effects), []);
    let effects = world.pass(Duration::from_secs(10));
    assert!(brief(&effects).contains(&"s2 assign 2.0#2".to_owned()));
}
