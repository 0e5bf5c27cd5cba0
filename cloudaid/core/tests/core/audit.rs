use cloudaid_core::audit::{AuditNote, Outcome};
use cloudaid_core::effect::Effect;
use cloudaid_core::input::Input;
use cloudaid_core::record::Change;
use cloudaid_core::testkit::{World, brief};
use shared::audit::AuditEntry;
use shared::error::ErrorCode;
use shared::id::RequestId;

fn note(object: &str) -> AuditNote {
    AuditNote {
        user: Some("ann".parse().expect("a name")),
        via: "login".into(),
        address: None,
        request_id: "r1".into(),
        action: "POST /api/tasks".into(),
        object: object.into(),
        outcome: None,
    }
}

/// Steps inputs and the note of them as one batch, as the driver does.
fn batch(world: &mut World, inputs: Vec<Input>, note: AuditNote, of: &[u64]) -> (Vec<String>, AuditEntry) {
    let mut effects = Vec::new();
    for input in inputs {
        world.cluster.step(world.now, input, &mut effects);
    }
    let of = of.iter().copied().map(RequestId).collect();
    world.cluster.step(world.now, Input::Audit { note, of }, &mut effects);
    world.cluster.settle(world.now, &mut effects);
    let mut entry = None;
    for effect in &effects {
        if let Effect::Save(change) = effect {
            world.saved.apply(change.clone()).expect("a legal change, and the next of the chain");
            if let Change::Audit(made) = change {
                entry = Some(made.clone());
            }
        }
    }
    (brief(&effects), entry.expect("an entry"))
}

fn submit(world: &mut World, request: u64) -> Input {
    let submission = world.submission(1, 1);
    Input::SubmitTask { request: RequestId(request), submission, known: None }
}

#[test]
fn what_is_done_is_noted_in_the_same_commit_and_sealed_with_what_was_before() {
    let mut world = World::default();
    let first = submit(&mut world, 1);
    let (lines, entry) = batch(&mut world, vec![first], note(""), &[1]);
    assert!(
        lines[0].starts_with("save task 2") && lines.iter().any(|line| line.starts_with("save audit")),
        "{lines:?}"
    );
    assert_eq!((entry.sequence, entry.outcome.as_str()), (1, "done"));
    assert!(entry.object.starts_with("task-"), "{entry:?}");
    let before = entry.seal;
    world.restart();
    let second = submit(&mut world, 2);
    let (_, entry) = batch(&mut world, vec![second], note(""), &[2]);
    assert_eq!((entry.sequence, entry.seal), (2, entry.sealed(before)), "the chain goes on after a restart");
}

#[test]
fn what_is_refused_is_noted_with_its_reason() {
    let mut world = World::default();
    let task = world.submission(1, 1).id;
    let cancel = Input::CancelTask { request: RequestId(7), task: task.into(), force: false };
    let (_, entry) = batch(&mut world, vec![cancel], note("that one"), &[7]);
    assert_eq!((entry.object.as_str(), entry.outcome.as_str()), ("that one", "task_not_found"));
    let known = AuditNote { outcome: Some(Outcome::Refused(ErrorCode::PermissionDenied)), ..note("") };
    assert_eq!(batch(&mut world, vec![], known, &[]).1.outcome, "permission_denied");
    assert_eq!(batch(&mut world, vec![], note(""), &[99]).1.outcome, "outcome_unknown", "it was not answered here");
}

#[test]
fn a_call_of_many_is_one_entry() {
    let mut world = World::default();
    let mut inputs: Vec<_> = (1..=3).map(|request| submit(&mut world, request)).collect();
    let Input::SubmitTask { submission, .. } = &mut inputs[1] else { unreachable!() };
    std::sync::Arc::make_mut(&mut submission.spec).worker = Some("nobody".parse().expect("a name"));
    let (_, entry) = batch(&mut world, inputs, note(""), &[1, 2, 3]);
    assert!(entry.object.ends_with("and 1 more, 1 refused"), "{entry:?}");
    assert_eq!(entry.outcome, "done");
}
