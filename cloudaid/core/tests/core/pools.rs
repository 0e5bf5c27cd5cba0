//! Pools on whose workers every run is strict.

use std::collections::BTreeMap;
use std::sync::Arc;

use cloudaid_core::admission::{IdentityId, JoinTokenChange, JoinTokenRecord, Joining, POOL};
use cloudaid_core::effect::{Answer, Effect};
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::{Link, World, assigned, spec};
use shared::confinement::{Confinement, NetworkAccess, Profile};
use shared::feature::Features;
use shared::id::{TokenId, WorkerId};
use shared::policy::RunPolicy;
use shared::task::{TaskSpec, Verdict};
use shared::view::Fit;
use shared::worker::WorkerFacts;
use ulid::Ulid;

const STRICT: Confinement = Confinement { profile: Profile::Strict, network: NetworkAccess::None };

fn settings(strict_network: NetworkAccess) -> Settings {
    Settings { strict_pools: ["edge".to_owned()].into(), strict_network, ..Settings::default() }
}

/// A worker with 4 cores that says it is in this pool connects.
fn connect(world: &mut World, name: &str, pool: &str) -> (Link, Vec<Effect>) {
    let labels = Arc::new(BTreeMap::from([(POOL.to_owned(), pool.to_owned())]));
    world.connect_as(
        name,
        WorkerFacts { capacity: World::capacity(4), labels, features: Features::ALL, ..WorkerFacts::default() },
        vec![],
    )
}

fn submission(world: &mut World, change: impl FnOnce(&mut TaskSpec)) -> Submission {
    let mut wanted = spec(1);
    change(&mut wanted);
    Submission { spec: Arc::new(wanted), ..world.submission(1, 1) }
}

fn recorded(world: &World) -> Vec<Option<Confinement>> {
    world.saved.attempts.values().map(|attempt| attempt.confinement).collect()
}

#[test]
fn a_task_is_strict_where_its_worker_is_in_a_strict_pool() {
    let mut world = World::new(settings(NetworkAccess::None));
    let (edge, _) = connect(&mut world, "a", "edge");
    let (main, _) = connect(&mut world, "b", "main");
    let policy = RunPolicy { storage_reserved: true, ..RunPolicy::default() };
    let mut runs = Vec::new();
    for _ in 0..2 {
        let submission = submission(&mut world, |spec| spec.policy = policy.clone());
        let (_, effects) = world.submit_this(submission);
        runs.extend(assigned(&effects));
    }
    let of = |link: &Link| runs.iter().find(|run| run.0 == link.session).map(|run| &run.1).expect("each has one");
    // What it may store is a limit there too, as in every strict task.
    assert_eq!((of(&edge).confinement, of(&edge).storage_reserved), (STRICT, false));
    assert_eq!((of(&main).confinement, of(&main).storage_reserved), (Confinement::default(), true));
    let mut known = recorded(&world);
    known.sort_by_key(Option::is_some);
    assert_eq!(known, [None, Some(STRICT)]);
    let says = |link: &Link| world.cluster.why(of(link).key.task.into()).expect("it is held").summary;
    assert!(says(&edge).contains("on a, strict because of that worker's pool"), "{}", says(&edge));
    assert!(!says(&main).contains("strict"), "{}", says(&main));
    // It stays known to a master that starts again, and when it is over.
    world.restart();
    let (link, _) = connect(&mut world, "a", "edge");
    let key = of(&edge).key;
    world.started(&link, key);
    world.finished(&link, key, Verdict::Success);
    let ended = &world.saved.attempts[&(key.task, 0, 1)];
    assert_eq!((ended.verdict.clone(), ended.confinement), (Some(Verdict::Success), Some(STRICT)));
}

#[test]
fn a_task_that_is_strict_anyway_is_no_stricter_there() {
    let mut world = World::new(settings(NetworkAccess::Public));
    connect(&mut world, "a", "edge");
    let asked = Confinement { network: NetworkAccess::Public, ..STRICT };
    for confinement in [STRICT, asked] {
        let submission = submission(&mut world, |spec| spec.confinement = confinement);
        let (_, effects) = world.submit_this(submission);
        assert_eq!(assigned(&effects)[0].1.confinement, confinement);
    }
    assert_eq!(recorded(&world), [None, None]);
}

#[test]
fn a_worker_of_before_gets_nothing_that_its_pool_makes_it_misread() {
    let mut world = World::new(settings(NetworkAccess::Public));
    let labels = Arc::new(BTreeMap::from([(POOL.to_owned(), "edge".to_owned())]));
    let old = WorkerFacts { capacity: World::capacity(4), labels, ..WorkerFacts::default() };
    world.connect_as("a", old, vec![]);
    let (task, effects) = world.submit(1, 1);
    assert_eq!(assigned(&effects), []);
    assert_eq!(world.cluster.why(task.into()).expect("it waits").reasons[0].code, "worker_outdated");
    let (new, effects) = connect(&mut world, "b", "edge");
    assert_eq!(assigned(&effects)[0].0, new.session);
}

#[test]
fn which_pool_it_is_in_is_not_the_choice_of_a_worker() {
    let mut world = World::new(settings(NetworkAccess::None));
    let worker: WorkerId = "a".parse().expect("a name");
    let plain = world.join_token(Some(worker.clone()), 1);
    let token = JoinTokenRecord { id: TokenId(Ulid(999)), pool: Some("edge".into()), ..plain };
    let change = JoinTokenChange::Create(token.clone());
    world.ask(|request| Input::ChangeJoinToken { request, change }).0.expect("made");
    let joining = Joining { token: token.id, digest: token.digest, worker, key: [1; 32], identity: IdentityId(77) };
    let (answer, _) = world.ask(|request| Input::JoinWorker { request, joining });
    assert!(matches!(answer, Ok(Answer::Joined(_))), "{answer:?}");
    connect(&mut world, "a", "main");
    let (_, effects) = world.submit(1, 1);
    assert_eq!(assigned(&effects)[0].1.confinement, STRICT);
}

#[test]
fn who_needs_the_internet_is_not_run_where_it_is_not_to_be_had() {
    let online = Confinement { network: NetworkAccess::Public, ..Confinement::default() };
    let mut world = World::new(settings(NetworkAccess::None));
    connect(&mut world, "a", "edge");
    let wanted = submission(&mut world, |spec| spec.confinement = online);
    let (task, effects) = world.submit_this(wanted.clone());
    assert_eq!(assigned(&effects), []);
    let why = world.cluster.why(task.into()).expect("it waits");
    assert_eq!((why.can_never_run, why.reasons[0].code.as_str()), (true, "pool_offline"));
    let tried = world.cluster.trial(&wanted, None).expect("a trial");
    assert_eq!((tried.workers[0].fit, tried.warnings.len()), (Fit::Never, 1));
    let (link, effects) = connect(&mut world, "b", "main");
    let runs = assigned(&effects);
    assert_eq!((runs[0].0, runs[0].1.confinement), (link.session, online));
    // Where strict tasks may have it, it runs there too, and is strict.
    let mut world = World::new(settings(NetworkAccess::Public));
    connect(&mut world, "a", "edge");
    let wanted = submission(&mut world, |spec| spec.confinement = online);
    let (_, effects) = world.submit_this(wanted);
    assert_eq!(assigned(&effects)[0].1.confinement, Confinement { profile: Profile::Strict, ..online });
}

#[test]
fn a_run_that_never_arrived_is_as_strict_as_its_pool_is_now() {
    let mut world = World::default();
    connect(&mut world, "a", "edge");
    let (_, effects) = world.submit(1, 1);
    assert_eq!(assigned(&effects)[0].1.confinement, Confinement::default());
    world.restart_with(settings(NetworkAccess::None));
    let (_, effects) = connect(&mut world, "a", "edge");
    assert_eq!(assigned(&effects)[0].1.confinement, STRICT);
    assert_eq!(recorded(&world), [Some(STRICT)]);
    // And the other way round.
    world.restart_with(Settings::default());
    let (_, effects) = connect(&mut world, "a", "edge");
    assert_eq!(assigned(&effects)[0].1.confinement, Confinement::default());
    assert_eq!(recorded(&world), [None]);
}

#[test]
fn what_never_arrived_and_needs_the_internet_is_not_sent_to_a_pool_without() {
    let mut world = World::new(settings(NetworkAccess::None));
    let (main, _) = connect(&mut world, "a", "main");
    let online = Confinement { network: NetworkAccess::Public, ..Confinement::default() };
    let submission = submission(&mut world, |spec| spec.confinement = online);
    let (_, effects) = world.submit_this(submission);
    assert_eq!(assigned(&effects).len(), 1, "{effects:?}");
    world.disconnect(&main);
    let (_, effects) = connect(&mut world, "a", "edge");
    assert_eq!(assigned(&effects), []);
    let ended = world.saved.attempts.values().next().expect("a run");
    assert!(
        matches!(&ended.verdict, Some(Verdict::Rejected { message }) if message.contains("no network")),
        "{ended:?}"
    );
}
