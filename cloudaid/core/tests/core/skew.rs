//! Workers of other versions: who is served, and what of.

use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::effect::Effect;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::reject::Reject;
use cloudaid_core::testkit::{World, assigned, brief};
use shared::confinement::{NetworkAccess, Profile};
use shared::error::{ApiError, ErrorCode};
use shared::feature::{Feature, Features};
use shared::id::{SessionId, TaskId};
use shared::link::{Hello, OLDEST_PROTOCOL, PROTOCOL};
use shared::policy::RunPolicy;
use shared::task::TaskSpec;
use shared::version::{PRODUCT, Skew, Version};
use shared::worker::WorkerFacts;

const SESSION: SessionId = SessionId(1);

/// What becomes of the hello of a worker.
fn hello(world: &mut World, protocol: u32, version: &str) -> Vec<Effect> {
    let proof = world.admit("a");
    let hello = Hello {
        worker: "a".parse().expect("a name"),
        protocol,
        facts: WorkerFacts { version: version.to_owned(), ..WorkerFacts::default() },
        incarnation: String::new(),
        inventory: vec![],
        problem: None,
        ill_gpus: vec![],
    };
    world.step(Input::WorkerConnected { session: SESSION, proof, hello })
}

fn is_refused(effects: &[Effect]) -> bool {
    let is_for_it = |why: &Reject| matches!(why, Reject::Protocol { .. } | Reject::Version { .. });
    effects.iter().any(|effect| matches!(effect, Effect::Close(_, why) if is_for_it(why)))
}

#[test]
fn a_worker_may_be_older_than_its_master_as_far_as_that_goes_back_and_never_newer() {
    let mut world = World::default();
    for (theirs, hint) in
        [(PROTOCOL + 1, "update the master first"), (OLDEST_PROTOCOL - 1, "update cloudaid on the worker")]
    {
        let reject = Reject::Protocol { theirs };
        assert_eq!(hello(&mut world, theirs, PRODUCT), [Effect::Close(SESSION, reject.clone())]);
        let error = ApiError::from(reject);
        assert_eq!(error.code, ErrorCode::VersionSkew);
        assert!(error.hint.starts_with(hint), "{}", error.hint);
    }
    for served in OLDEST_PROTOCOL..=PROTOCOL {
        assert!(!is_refused(&hello(&mut world, served, PRODUCT)));
    }
}

#[test]
fn a_worker_is_served_that_is_at_most_one_minor_version_older() {
    let Version { major, minor } = Version::OWN;
    let mut world = World::default();
    let patch = |minor: u32| format!("{major}.{minor}.99");
    let mut served = vec![patch(minor), "of another programmer".to_owned()];
    served.extend(minor.checked_sub(1).map(patch));
    for version in served {
        assert!(!is_refused(&hello(&mut world, PROTOCOL, &version)), "{version}");
    }
    let mut refused = vec![(patch(minor + 1), Skew::Newer), (format!("{}.{minor}.0", major + 1), Skew::Newer)];
    refused.extend(minor.checked_sub(2).map(|minor| (patch(minor), Skew::Older)));
    refused.extend(major.checked_sub(1).map(|major| (format!("{major}.{minor}.0"), Skew::Older)));
    for (theirs, skew) in refused {
        let reject = Reject::Version { theirs: theirs.clone(), skew };
        assert_eq!(hello(&mut world, PROTOCOL, &theirs), [Effect::Close(SESSION, reject)], "nothing is noted of it");
    }
}

#[test]
fn who_is_refused_for_its_version_is_told_both_and_what_to_do() {
    for (skew, hint) in [(Skew::Newer, "update the master first"), (Skew::Older, "update cloudaid on the worker")] {
        let error = ApiError::from(Reject::Version { theirs: "7.8.9".to_owned(), skew });
        assert_eq!(error.code, ErrorCode::VersionSkew);
        assert!(error.message.contains("7.8.9") && error.message.contains(PRODUCT), "{error}");
        assert!(error.hint.starts_with(hint), "{}", error.hint);
    }
}

fn with(features: impl IntoIterator<Item = Feature>) -> WorkerFacts {
    WorkerFacts { capacity: World::capacity(4), features: features.into_iter().collect(), ..WorkerFacts::default() }
}

fn submit(world: &mut World, change: impl FnOnce(&mut TaskSpec)) -> (TaskId, Vec<Effect>) {
    let submission = world.submission(1, 1);
    let mut spec = (*submission.spec).clone();
    change(&mut spec);
    world.submit_this(Submission { spec: Arc::new(spec), ..submission })
}

#[test]
fn a_task_waits_for_a_worker_that_knows_all_that_it_asks_for() {
    for feature in Feature::ALL {
        let change = |spec: &mut TaskSpec| match feature {
            Feature::PublicNetwork => spec.confinement.network = NetworkAccess::Public,
            Feature::BlockingLog => spec.policy.blocking_log = true,
        };
        let mut world = World::default();
        let others = Feature::ALL.into_iter().filter(|other| *other != feature);
        world.connect_as("old", with(others), vec![]);
        let (task, effects) = submit(&mut world, change);
        assert!(assigned(&effects).is_empty(), "{feature:?}: {effects:?}");
        let why = world.cluster.why(task.into()).expect("it waits");
        assert_eq!((why.reasons[0].code.as_str(), why.reasons[0].workers), ("worker_outdated", 1), "{why:?}");
        assert!(why.can_never_run && why.summary.contains(feature.as_str()), "{why:?}");
        assert!(why.hint.contains("update cloudaid"), "{why:?}");
        let (new, effects) = world.connect_as("new", with([feature]), vec![]);
        let orders = assigned(&effects);
        assert_eq!(orders.iter().map(|(session, _)| *session).collect::<Vec<_>>(), [new.session], "{feature:?}");
    }
}

#[test]
fn what_asks_for_nothing_new_runs_on_workers_of_before_too() {
    let mut world = World::default();
    world.connect_as("old", with([]), vec![]);
    let usual = |spec: &mut TaskSpec| spec.policy.storage_reserved = true;
    assert_eq!(assigned(&submit(&mut world, usual).1).len(), 1);
    let strict = |spec: &mut TaskSpec| spec.confinement.profile = Profile::Strict;
    assert_eq!(assigned(&submit(&mut world, strict).1).len(), 1);
}

#[test]
fn what_never_arrived_goes_elsewhere_when_its_worker_comes_back_older() {
    let mut world = World::default();
    let (a, _) = world.connect_as("a", with([Feature::BlockingLog]), vec![]);
    let policy = RunPolicy { blocking_log: true, ..RunPolicy::default() };
    let (_, effects) = submit(&mut world, |spec| spec.policy = policy);
    assert_eq!(assigned(&effects).len(), 1);
    world.disconnect(&a);
    let (_, effects) = world.connect_as("a", with([]), vec![]);
    assert!(assigned(&effects).is_empty(), "{effects:?}");
    assert!(brief(&effects).iter().any(|line| line.contains("of an older version")), "{effects:?}");
    let (b, _) = world.connect_as("b", WorkerFacts { features: Features::ALL, ..with([]) }, vec![]);
    let effects = world.pass(Duration::from_secs(60));
    assert_eq!(assigned(&effects)[0].0, b.session);
}
