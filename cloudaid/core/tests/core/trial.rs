//! What is tried is asked all that a submission is asked, and refused with the same words.

use std::sync::Arc;

use cloudaid_core::effect::Answer;
use cloudaid_core::files::InputFile;
use cloudaid_core::images::ImageRules;
use cloudaid_core::input::{Input, Submission};
use cloudaid_core::record::{IdempotencyKey, TaskRecord};
use cloudaid_core::settings::Settings;
use cloudaid_core::testkit::{World, spec};
use shared::array::Array;
use shared::confinement::{Confinement, NetworkAccess, Profile};
use shared::error::{ApiError, ErrorCode};
use shared::id::{BlobId, InputId};
use shared::task::TaskSpec;
use shared::worker::WorkerFacts;

const WHOLE: InputId = InputId(ulid::Ulid(7));
const INCOMPLETE: InputId = InputId(ulid::Ulid(8));
const OF_ANOTHER: InputId = InputId(ulid::Ulid(9));
const MISSING: InputId = InputId(ulid::Ulid(10));

/// A cluster with inputs of three kinds, a task by the key `used`, and a worker that knows nothing new.
fn world(settings: Settings) -> World {
    let mut world = World::default();
    for (id, user, has_arrived) in [(WHOLE, "ada", true), (INCOMPLETE, "ada", false), (OF_ANOTHER, "bob", true)] {
        let blake3 = has_arrived.then_some([1; 32]);
        let file = InputFile { path: "a".into(), size: 1, executable: false, blob: BlobId(id.0), blake3 };
        let (files, user) = (Arc::from([file]), user.parse().expect("a name"));
        world.ask(|request| Input::AddInput { request, id, user, files }).0.expect("taken");
    }
    let first = keyed(world.submission(1, 1), "used", 1);
    world.submit_this(first);
    world.restart_with(settings);
    world.connect_as("a", WorkerFacts { capacity: World::capacity(4), ..WorkerFacts::default() }, vec![]);
    world
}

fn keyed(submission: Submission, key: &str, digest: u8) -> Submission {
    Submission { key: Some(IdempotencyKey { key: key.into(), digest: [digest; 16] }), ..submission }
}

/// What a submission and a trial of it are told: warnings, or an error.
fn told(
    world: &mut World,
    submission: Submission,
    known: Option<Arc<TaskRecord>>,
) -> [Result<Vec<String>, ApiError>; 2] {
    let tried = world.cluster.trial(&submission, known.as_deref()).map(|tried| tried.warnings);
    let (answer, _) = world.ask(|request| Input::SubmitTask { request, submission, known });
    let submitted = answer.map(|answer| match answer {
        // What was accepted before is not warned of again.
        Answer::Submitted(view) if view.replayed => tried.clone().unwrap_or_default(),
        Answer::Submitted(view) => view.warnings,
        other => panic!("{other:?}"),
    });
    [tried.map_err(ApiError::from), submitted.map_err(ApiError::from)]
}

/// Asks for something.
type Change = fn(&mut TaskSpec);

const CHANGES: [(&str, Change); 14] = [
    ("nothing", |_| {}),
    ("a worker", |spec| spec.worker = Some("a".parse().expect("a name"))),
    ("an unknown worker", |spec| spec.worker = Some("b".parse().expect("a name"))),
    ("too much", |spec| spec.resources.cpu_millis = 64_000),
    ("the Internet", |spec| spec.confinement.network = NetworkAccess::Public),
    ("strictness", |spec| spec.confinement = Confinement { profile: Profile::Strict, network: NetworkAccess::None }),
    ("both", |spec| spec.confinement = Confinement { profile: Profile::Strict, network: NetworkAccess::Public }),
    ("another image", |spec| spec.image = "ghcr.io/acme/tool".to_owned()),
    ("a digest", |spec| spec.image = format!("busybox@sha256:{}", "0".repeat(64))),
    ("an input", |spec| spec.input = Some(WHOLE)),
    ("an incomplete input", |spec| spec.input = Some(INCOMPLETE)),
    ("an input of another user", |spec| spec.input = Some(OF_ANOTHER)),
    ("no such input", |spec| spec.input = Some(MISSING)),
    // Each of these is refused by itself: the first of them is what is said.
    ("all that is wrong", |spec| {
        spec.worker = Some("b".parse().expect("a name"));
        spec.confinement = Confinement { profile: Profile::Strict, network: NetworkAccess::Public };
        spec.image = "ghcr.io/acme/tool".to_owned();
        spec.input = Some(MISSING);
    }),
];

fn settings() -> Vec<Settings> {
    let listed = ImageRules { allowed: vec!["docker.io/library/*".parse().expect("a pattern")], require_digest: false };
    let exact = ImageRules { allowed: Vec::new(), require_digest: true };
    vec![
        Settings::default(),
        Settings { profile: Profile::Strict, ..Settings::default() },
        Settings { profile: Profile::Strict, strict_network: NetworkAccess::Public, ..Settings::default() },
        Settings { strict_users: ["ada".parse().expect("a name")].into(), ..Settings::default() },
        Settings { images: listed, ..Settings::default() },
        Settings { images: exact, ..Settings::default() },
    ]
}

#[test]
fn a_trial_and_a_submission_are_told_the_same() {
    let mut codes = Vec::new();
    for settings in settings() {
        // By no key, by a new one, by one whose task runs, and by one that came with another request.
        for (count, key) in
            [(1, None), (3, None), (1, Some(("new", 1))), (1, Some(("used", 1))), (1, Some(("used", 2)))]
        {
            for (name, change) in CHANGES {
                let mut world = world(settings.clone());
                let mut wanted = spec(1);
                change(&mut wanted);
                let array = (count > 1).then(|| Arc::new(Array::of(count)));
                let mut submission = Submission { spec: Arc::new(wanted), array, ..world.submission(1, 1) };
                if let Some((key, digest)) = key {
                    submission = keyed(submission, key, digest);
                }
                let [tried, submitted] = told(&mut world, submission, None);
                assert_eq!(tried, submitted, "{name} by {key:?} with {settings:?}");
                codes.extend(tried.err().map(|error| error.code));
            }
        }
    }
    codes.sort_unstable();
    codes.dedup();
    let mut expected = vec![
        ErrorCode::InvalidArgument,
        ErrorCode::PermissionDenied,
        ErrorCode::WorkerNotFound,
        ErrorCode::FileNotFound,
        ErrorCode::Conflict,
        ErrorCode::IdempotencyKeyReused,
    ];
    expected.sort_unstable();
    assert_eq!(codes, expected, "each reason is met");
}

#[test]
fn a_key_that_only_the_store_knows_is_known_to_a_trial_too() {
    let mut world = world(Settings::default());
    let submission = keyed(world.submission(1, 1), "over", 1);
    let known = |digest| {
        let Submission { id, user, spec, key, .. } = keyed(submission.clone(), "over", digest);
        let submitted_at = world.now.wall;
        Some(Arc::new(TaskRecord { id, sequence: 1, user, spec, array: None, retry_of: None, key, submitted_at }))
    };
    let (same, other) = (known(1), known(2));
    let [tried, submitted] = told(&mut world, submission.clone(), same);
    assert!(tried.is_ok() && submitted.is_ok(), "{tried:?} {submitted:?}");
    let [tried, submitted] = told(&mut world, submission, other);
    assert_eq!(tried, submitted);
    assert_eq!(tried.expect_err("refused").code, ErrorCode::IdempotencyKeyReused);
}

#[test]
fn what_is_tried_is_as_strict_as_it_would_be_kept() {
    let mut world = World::new(Settings { profile: Profile::Strict, ..Settings::default() });
    let submission = world.submission(1, 1);
    let tried = world.cluster.trial(&submission, None).expect("it would be accepted");
    let (id, _) = world.submit_this(submission);
    let (kept, _) = &world.saved.tasks[&id];
    assert_eq!((&tried.spec, tried.spec.confinement.profile), (&kept.spec, Profile::Strict));
}
