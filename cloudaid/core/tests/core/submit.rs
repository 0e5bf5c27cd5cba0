use std::sync::Arc;

use cloudaid_core::input::{Input, Submission};
use cloudaid_core::record::{IdempotencyKey, TaskRecord};
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{World, brief, spec};
use shared::task::Verdict;
use shared::time::WallTime;

fn keyed(mut submission: Submission, key: &str, digest: u8) -> Submission {
    submission.key = Some(IdempotencyKey { key: key.into(), digest: [digest; 16] });
    submission
}

#[test]
fn a_task_is_durable_placed_and_acknowledged_in_one_batch() {
    let mut world = World::default();
    world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(1, 1);
    assert_eq!(
        brief(&effects),
        [
            "save task 2 x1",
            "reply submitted",
            "save attempt 2.0#1 on a Pending",
            "s2 assign 2.0#1",
            "save progress 2 pending",
        ]
    );
}

#[test]
fn without_a_worker_it_waits_and_says_so() {
    let mut world = World::default();
    let (_, effects) = world.submit(1, 1);
    assert_eq!(
        brief(&effects),
        [
            "save task 2 x1",
            "reply submitted (no worker is connected: the task waits until one is)",
            "save progress 2 queued",
        ]
    );
    let (_, effects) = world.connect("a", 4, vec![]);
    assert_eq!(
        brief(&effects),
        [
            "save worker a",
            "s2 welcome",
            "save attempt 2.0#1 on a Pending",
            "s2 assign 2.0#1",
            "save progress 2 pending"
        ]
    );
}

#[test]
fn what_can_never_run_is_accepted_and_flagged() {
    let mut world = World::default();
    world.connect("a", 4, vec![]);
    let (_, effects) = world.submit(64, 1);
    assert_eq!(
        brief(&effects)[1],
        "reply submitted (can never run on the present workers: 1 worker has at most 4 CPU of 64 CPU in all)"
    );
}

#[test]
fn an_array_is_placed_as_far_as_there_is_room_and_the_rest_follows() {
    let mut world = World::default();
    let (a, _) = world.connect("a", 2, vec![]);
    let (_, effects) = world.submit(1, 1_000_000);
    let placed = cloudaid_core::testkit::assigned(&effects);
    assert_eq!(placed.len(), 2);
    let effects = world.finished(&a, placed[0].1.key, Verdict::Success);
    assert_eq!(
        brief(&effects),
        [
            "save attempt 2.0#1 on a Ended success",
            "save result 2.0 success",
            "s2 ack 1",
            "save attempt 2.2#1 on a Pending",
            "s2 assign 2.2#1",
            "save progress 2 pending",
        ]
    );
}

#[test]
fn the_same_key_is_the_same_task() {
    let mut world = World::default();
    let first = keyed(world.submission(1, 1), "k", 1);
    let (id, _) = world.submit_this(first);
    let again = keyed(world.submission(1, 1), "k", 1);
    let (answer, effects) = world.ask(|request| Input::SubmitTask { request, submission: again, known: None });
    assert_eq!(brief(&effects), ["reply submitted again"]);
    let Ok(cloudaid_core::effect::Answer::Submitted(view)) = answer else { panic!("{answer:?}") };
    assert_eq!(view.task_id, id.to_string());
    let other = keyed(world.submission(1, 1), "k", 2);
    let (answer, _) = world.ask(|request| Input::SubmitTask { request, submission: other, known: None });
    assert_eq!(answer, Err(Reject::KeyReused));
}

#[test]
fn a_key_that_only_the_store_knows_is_the_same_task_too() {
    let mut world = World::default();
    let submission = keyed(world.submission(1, 1), "k", 1);
    let known = Arc::new(TaskRecord {
        id: "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id"),
        sequence: 1,
        user: submission.user.clone(),
        spec: Arc::new(spec(1)),
        array: None,
        retry_of: None,
        key: submission.key.clone(),
        submitted_at: WallTime(0),
    });
    let (_, effects) = world.ask(|request| Input::SubmitTask { request, submission, known: Some(known) });
    assert_eq!(brief(&effects), ["reply submitted again"]);
}

#[test]
fn dispatch_to_an_unknown_worker_is_refused_with_the_known_ones() {
    let mut world = World::default();
    world.connect("a", 4, vec![]);
    let mut submission = world.submission(1, 1);
    submission.spec = Arc::new(shared::task::TaskSpec { worker: Some("b".parse().expect("a name")), ..spec(1) });
    let (answer, effects) = world.ask(|request| Input::SubmitTask { request, submission, known: None });
    let expected =
        Reject::WorkerNotFound { worker: "b".parse().expect("a name"), known: vec!["a".parse().expect("a name")] };
    assert_eq!(answer, Err(expected));
    assert_eq!(brief(&effects).len(), 1, "nothing is kept");
}

#[test]
fn a_draining_master_accepts_but_places_nothing() {
    let mut world = World::default();
    world.connect("a", 4, vec![]);
    world.ask(|request| Input::Drain { request }).0.expect("accepted");
    let (_, effects) = world.submit(1, 1);
    assert_eq!(brief(&effects), ["save task 2 x1", "reply submitted", "save progress 2 queued"]);
}

#[test]
fn a_task_is_as_strict_as_it_asks_for_or_as_the_cluster_wants_it() {
    use cloudaid_core::settings::Settings;
    use cloudaid_core::testkit::assigned;
    use shared::confinement::{Confinement, NetworkAccess, Profile};
    let of = |profile, network| Confinement { profile, network };
    let run = |profile, strict_network, asked: Confinement| {
        let mut world = World::new(Settings { profile, strict_network, ..Settings::default() });
        world.connect("a", 4, vec![]);
        let mut submission = world.submission(1, 1);
        submission.spec = Arc::new(shared::task::TaskSpec { confinement: asked, ..spec(1) });
        let (_, effects) = world.ask(|request| Input::SubmitTask { request, submission, known: None });
        assigned(&effects).first().map(|(_, assignment)| assignment.confinement)
    };
    use NetworkAccess::{None as Nothing, Outgoing, Public};
    use Profile::{Standard, Strict};
    for network in [Outgoing, Public, Nothing] {
        assert_eq!(run(Standard, Nothing, of(Standard, network)), Some(of(Standard, network)));
    }
    assert_eq!(run(Standard, Nothing, of(Strict, Nothing)), Some(of(Strict, Nothing)));
    assert_eq!(run(Standard, Public, of(Strict, Nothing)), Some(of(Strict, Nothing)));
    assert_eq!(run(Standard, Public, of(Strict, Public)), Some(of(Strict, Public)));
    assert_eq!(run(Strict, Nothing, Confinement::default()), Some(of(Strict, Nothing)));
    assert_eq!(run(Strict, Public, Confinement::default()), Some(of(Strict, Public)));
    // Who needs it is told that it is not to be had.
    assert_eq!(run(Standard, Nothing, of(Strict, Public)), None);
    assert_eq!(run(Strict, Nothing, of(Standard, Public)), None);
}

#[test]
fn tasks_of_some_users_are_strict_in_any_case() {
    use cloudaid_core::settings::Settings;
    use cloudaid_core::testkit::assigned;
    use shared::confinement::Profile;
    let profile = |strict: &str| {
        let strict_users = [strict.parse().expect("a name")].into();
        let mut world = World::new(Settings { strict_users, ..Settings::default() });
        world.connect("a", 4, vec![]);
        let submission = world.submission(1, 1);
        let (_, effects) = world.ask(|request| Input::SubmitTask { request, submission, known: None });
        assigned(&effects)[0].1.confinement.profile
    };
    let own = World::default().submission(1, 1).user.to_string();
    assert_eq!(profile(&own), Profile::Strict);
    assert_eq!(profile("somebody-else"), Profile::Standard);
}

#[test]
fn a_task_that_waits_is_as_strict_as_the_cluster_wants_it_after_a_restart() {
    use cloudaid_core::settings::Settings;
    use cloudaid_core::testkit::assigned;
    use shared::confinement::Profile;
    let mut world = World::default();
    world.submit(1, 1);
    world.restart_with(Settings { profile: Profile::Strict, ..Settings::default() });
    let (_, effects) = world.connect("a", 4, vec![]);
    assert_eq!(assigned(&effects)[0].1.confinement.profile, Profile::Strict);
}

#[test]
fn only_images_that_the_cluster_runs_are_accepted() {
    use cloudaid_core::effect::Effect;
    use cloudaid_core::images::ImageRules;
    use cloudaid_core::settings::Settings;
    use shared::error::{ApiError, ErrorCode};
    let digest = format!("sha256:{}", "0".repeat(64));
    let refusal = |images: &ImageRules, image: &str| {
        let mut world = World::new(Settings { images: images.clone(), ..Settings::default() });
        let mut submission = world.submission(1, 1);
        submission.spec = Arc::new(shared::task::TaskSpec { image: image.to_owned(), ..spec(1) });
        let (answer, effects) = world.ask(|request| Input::SubmitTask { request, submission, known: None });
        let is_saved = effects.iter().any(|effect| matches!(effect, Effect::Save(_)));
        assert_eq!(is_saved, answer.is_ok(), "nothing is kept of what is refused");
        answer.err().map(ApiError::from)
    };
    let allowed = vec!["docker.io/library/*".parse().expect("a pattern"), "ghcr.io/acme/*".parse().expect("a pattern")];
    let listed = ImageRules { allowed, require_digest: false };
    assert_eq!(refusal(&listed, "busybox:1"), None);
    let refused = refusal(&listed, "ada/tool").expect("it is not on the list");
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    assert!(refused.message.contains("docker.io/ada/tool:latest is not one"), "{refused:?}");
    assert!(refused.hint.contains("docker.io/library/*, ghcr.io/acme/*;"), "{refused:?}");
    let exact = ImageRules { allowed: Vec::new(), require_digest: true };
    assert_eq!(refusal(&exact, &format!("ada/tool@{digest}")), None);
    let refused = refusal(&exact, "ada/tool:1").expect("it has no digest");
    assert_eq!((refused.code, refused.message.contains("has no digest")), (ErrorCode::InvalidArgument, true));
}
