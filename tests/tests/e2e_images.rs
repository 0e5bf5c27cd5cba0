//! Images from a registry of the test's own, through master, worker and engine.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::api::Failure;
use cloudai_tests::cluster::Cluster;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::registry::Registry;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use shared::submit::SubmitRequest;
use shared::task::VerdictKind;
use shared::view::TaskView;

fn of(image: String) -> SubmitRequest {
    SubmitRequest { image, ..SubmitRequest::default() }
}

/// There is nothing in these images: who gets as far as that has pulled one.
fn is_pulled(task: &TaskView) -> bool {
    task.verdict.as_ref().is_some_and(|verdict| verdict.kind() == VerdictKind::Setup)
}

#[tokio::test]
async fn a_private_image_is_pulled_with_what_the_master_keeps() {
    let registry = Registry::serve_privately().await;
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let image = registry.image("empty:1");
    let before = api.submit(&of(image.clone())).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &before).await;
    assert_eq!(task.verdict.map(|verdict| verdict.kind()), Some(VerdictKind::Image), "nobody has said who we are");

    let login = |password: &str| {
        let line =
            format!("echo {password} | cloudctl registry login {} --username ann --password-stdin", registry.address);
        let ctl = cluster.ctl();
        async move { ctl.shell(&line).await }
    };
    let wrong = login("wrong").await;
    assert_eq!(wrong.code, 0, "{wrong:?}");
    let id = api.submit(&of(image.clone())).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!(task.verdict.map(|verdict| verdict.kind()), Some(VerdictKind::Image), "a wrong password is none");

    assert_eq!(login("secret").await.code, 0);
    // What is kept is read again, and nobody else can read it.
    cluster.master.term().await;
    for entry in std::fs::read_dir(cluster.master.data_dir()).expect("a directory").flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_file()) {
            let bytes = std::fs::read(entry.path()).expect("a file");
            assert!(!bytes.windows(6).any(|bytes| bytes == b"secret"), "{}", entry.path().display());
        }
    }
    cluster.master.restart().await;
    let api = cluster.api();
    let id = api.submit(&of(image.clone())).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    assert!(is_pulled(&task), "{task:?}");
    assert!(!cluster.workers[0].process.log().contains("secret") && !cluster.master.process.log().contains("secret"));
}

#[tokio::test]
async fn what_the_cluster_does_not_run_is_refused_when_it_is_submitted() {
    let registry = Registry::serve().await;
    let allowed = format!("docker.io/library/*,{}/empty", registry.address);
    let options =
        MasterOptions { env: vec![("CLOUDAI_IMAGES_ALLOWED".to_owned(), allowed)], ..MasterOptions::default() };
    let cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    for image in [registry.image("slow:1"), "ada/tool".to_owned(), "evil.io/library/busybox".to_owned()] {
        let refused = api.submit(&of(image.clone())).await;
        let Err(Failure::Refused { status: 403, error }) = &refused else { panic!("{image}: {refused:?}") };
        assert!(error.hint.contains(&registry.address), "{error:?}");
    }
    let tried = cluster.ctl().run(&["task", "ada/tool", "--dry-run"]).await;
    assert!(tried.code != 0 && tried.stderr.contains("docker.io/ada/tool:latest is not one of those"), "{tried:?}");
    let id = api.submit(&of(registry.image("empty:1"))).await.expect("accepted").task_id;
    let task = api.ended(PATIENCE, &id).await;
    assert!(is_pulled(&task), "{task:?}");
}

/// Whoever waits for it is told what the registry says, and not to look at an empty log.
#[tokio::test]
async fn what_a_registry_says_is_told_while_it_is_asked_again() {
    let registry = Registry::serve().await;
    let options = MasterOptions {
        env: vec![("CLOUDAI_LEASES_HEARTBEAT".to_owned(), "300ms".to_owned())],
        ..MasterOptions::default()
    };
    let cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let id = api.submit(&of(registry.image("busy:1"))).await.expect("accepted").task_id;
    let failure = eventually(PATIENCE, "it was tried twice", || async {
        api.task(&id).await.ok()?.attempts.pop()?.pulling?.failure.filter(|failure| failure.tries > 1)
    })
    .await;
    assert!(failure.message.to_lowercase().contains("toomanyrequests"), "{failure:?}");
    let why = cluster.ctl().run(&["why", &id]).await;
    assert!(why.stdout.contains(&failure.message) && !why.stdout.contains("monitor"), "{why:?}");
    let shown = cluster.ctl().run(&["show", &id]).await;
    assert!(shown.stdout.contains("tries failed, the last with: "), "{shown:?}");
    let stats = cluster.ctl().run(&["stats", "worker-1"]).await;
    assert!(stats.stdout.contains("Pulling:") && stats.stdout.contains(&failure.message), "{stats:?}");
    let cancelled = cluster.ctl().run(&["cancel", &id]).await;
    assert_eq!(cancelled.code, 0, "{cancelled:?}");
    let task = api.ended(PATIENCE, &id).await;
    assert_eq!(task.attempts[0].pulling, None);
}

#[tokio::test]
async fn a_pull_is_shown_while_it_goes_on() {
    let registry = Registry::serve().await;
    let options = MasterOptions {
        env: vec![("CLOUDAI_LEASES_HEARTBEAT".to_owned(), "300ms".to_owned())],
        ..MasterOptions::default()
    };
    let cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    let id = api.submit(&of(registry.image("slow:1"))).await.expect("accepted").task_id;
    let pull = eventually(PATIENCE, "the pull is shown", || async {
        api.task(&id).await.ok()?.attempts.pop()?.pulling.filter(|pull| pull.done_bytes > 0)
    })
    .await;
    assert!(pull.total_bytes > pull.done_bytes, "{pull:?}");
    let why = cluster.ctl().run(&["why", &id]).await;
    assert!(why.stdout.contains("its image is being fetched") && why.stdout.contains("of 8"), "{why:?}");
    let shown = cluster.ctl().run(&["show", &id]).await;
    assert!(shown.stdout.contains("pulling"), "{shown:?}");
    let stats = cluster.ctl().run(&["stats", "worker-1"]).await;
    assert!(stats.stdout.contains("Pulling:"), "{stats:?}");
    registry.open();
    let task = api.ended(PATIENCE, &id).await;
    assert!(is_pulled(&task), "{task:?}");
    assert_eq!(task.attempts[0].pulling, None);
}
