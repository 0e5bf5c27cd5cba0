//! Workers that are taken out of use for a while.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use shared::submit::SubmitRequest;
use shared::task::{TaskState, Verdict, VerdictKind};

#[tokio::test]
async fn a_drained_worker_hands_over_what_does_not_end_in_time() {
    let mut cluster = Cluster::start(1).await;
    let (api, ctl) = (cluster.api(), cluster.ctl());
    let task =
        SubmitRequest { stop_grace: "1s".parse().ok(), ..shell_task("for i in $(seq 1 40); do sleep 0.2; done") };
    let id = api.submit(&task).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&id).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    let cordoned = ctl.run(&["cordon", "worker-1", "--reason", "a fan is loud"]).await.ok();
    assert!(cordoned.contains("Cordoned by") && cordoned.contains("a fan is loud"), "{cordoned}");
    let waiting = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    assert_eq!(api.why(&waiting).await.expect("a reason").reasons[0].code, "worker_cordoned");
    cluster.add_worker("worker-2", &WorkerOptions::default()).await;
    assert_eq!(api.ended(PATIENCE, &waiting).await.worker_id.expect("a worker").as_str(), "worker-2");

    let drained = ctl.run(&["drain", "worker-1", "--deadline", "1s", "--wait"]).await;
    assert!(drained.stderr.contains("1 still run"), "{drained:?}");
    drained.ok();
    let task = api.ended(PATIENCE, &id).await;
    let kinds: Vec<_> = task.attempts.iter().filter_map(|run| Some(run.verdict.as_ref()?.kind())).collect();
    assert_eq!(kinds, [VerdictKind::WorkerLost, VerdictKind::Success], "{task:?}");
    assert!(format!("{:?}", task.attempts[0].verdict).contains("was drained"), "{task:?}");
    assert_eq!(task.verdict, Some(Verdict::Success));

    // It is so after a restart too, and until somebody ends it.
    cluster.master.kill9();
    cluster.master.restart().await;
    let workers = api.workers().await.expect("workers");
    assert!(
        workers.iter().any(|worker| worker.worker_id.as_str() == "worker-1" && worker.cordon.is_some()),
        "{workers:?}"
    );
    let back = ctl.run(&["undrain", "worker-1"]).await.ok();
    assert!(!back.contains("Drained"), "{back}");
    for bad in [
        &["drain", "nobody"][..],
        &["drain", "worker-1", "--deadline", "soon"],
        &["cordon", "worker-1", "--reason", ""],
    ] {
        let refused = ctl.run(bad).await;
        assert!(refused.code != 0 && refused.stderr.starts_with("error: "), "{bad:?}: {refused:?}");
    }
}

fn stopping(how: &str) -> WorkerOptions {
    WorkerOptions { args: vec!["--on-stop".to_owned(), how.to_owned()], ..WorkerOptions::default() }
}

async fn run_on_first(cluster: &mut Cluster, how: &str, task: &SubmitRequest) -> String {
    cluster.add_worker("worker-1", &stopping(how)).await;
    let api = cluster.api();
    let id = api.submit(task).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        api.task(&id).await.ok().filter(|task| task.state == TaskState::Running)
    })
    .await;
    cluster.add_worker("worker-2", &WorkerOptions::default()).await;
    id
}

#[tokio::test]
async fn a_worker_that_is_stopped_hands_back_what_it_runs_if_it_is_told_to() {
    let mut cluster = Cluster::start(0).await;
    let task =
        SubmitRequest { stop_grace: "1s".parse().ok(), ..shell_task("for i in $(seq 1 30); do sleep 0.1; done") };
    let id = run_on_first(&mut cluster, "hand-back", &task).await;
    assert!(cluster.workers[0].term().await.success());
    let task = cluster.api().ended(PATIENCE, &id).await;
    let ends: Vec<_> = task.attempts.iter().map(|run| (run.worker_id.to_string(), run.verdict.clone())).collect();
    assert_eq!(ends.len(), 2, "{task:?}");
    assert!(format!("{:?}", ends[0].1).contains("handed it back"), "{task:?}");
    assert_eq!(ends[1], ("worker-2".to_owned(), Some(Verdict::Success)));
}

#[tokio::test]
async fn a_worker_that_is_stopped_waits_for_what_it_runs_if_it_is_told_to() {
    let mut cluster = Cluster::start(0).await;
    let id =
        run_on_first(&mut cluster, "finish", &shell_task("for i in $(seq 1 30); do sleep 0.1; done; exit 5")).await;
    cluster.workers[0].process.signal(rustix::process::Signal::TERM);
    let api = cluster.api();
    eventually(PATIENCE, "the master knows", || async {
        let workers = api.workers().await.ok()?;
        workers.into_iter().find_map(|worker| worker.problem).filter(|problem| problem.contains("being stopped"))
    })
    .await;
    let next = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    assert_eq!(api.ended(PATIENCE, &next).await.worker_id.expect("a worker").as_str(), "worker-2");
    assert!(cluster.workers[0].process.ended().await.success());
    let task = api.task(&id).await.expect("the task");
    assert_eq!(
        (task.verdict, task.attempts.len()),
        (Some(Verdict::ExitCode { exit_code: 5 }), 1),
        "it has ended before"
    );
}
