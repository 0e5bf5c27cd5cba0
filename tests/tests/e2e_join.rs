//! Who may join, and who is refused: real masters and workers, and calls of another program.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::grpc::{Applicant, As, Called, call};
use cloudai_tests::master::MasterOptions;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use serde_json::{Value, json};
use shared::view::{AuditListView, NewWorkerTokenView};
use shared::worker::WorkerState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const DESCRIBE: &str = "cloudai.v1.WorkerSession/Describe";
const OPEN: &str = "cloudai.v1.WorkerSession/Open";

async fn token(api: &Api, request: Value) -> NewWorkerTokenView {
    api.post("/api/worker-tokens", &request).await.expect("a token")
}

fn hello(name: &str) -> Value {
    let capacity = json!({"cpu_millis": 1000, "memory_bytes": 1 << 30, "storage_bytes": 1 << 30});
    json!({"hello": {"protocol": shared::link::PROTOCOL, "version": "x", "worker_id": name, "capacity": capacity}})
}

fn attempt(task: &str, attempt: u32, fence: u64) -> Value {
    json!({"task_id": task, "index": 0, "attempt": attempt, "fence": fence.to_string()})
}

/// A cluster, and what happens when somebody tries what they may not.
struct Matrix {
    cluster: Cluster,
    table: String,
}

impl Matrix {
    fn address(&self) -> String {
        self.cluster.master.grpc_address()
    }

    /// Notes a case: it must have ended with `code`, and stand in the audit log as `action` on `object`.
    async fn expect(&mut self, case: &str, called: &Called, code: &str, action: &str, object: &str) {
        assert_eq!(called.code, code, "{case}: {called:?}");
        let api = self.cluster.api();
        let noted = eventually(PATIENCE, "the entry of the audit log", || async {
            let list: AuditListView = api.get("/api/audit?limit=1000").await.ok()?;
            let is_it = |entry: &&shared::audit::AuditEntry| {
                entry.action == action && entry.object.contains(object) && entry.outcome != "done"
            };
            list.entries.iter().find(is_it).map(|entry| format!("{} {} {}", entry.via, entry.action, entry.outcome))
        });
        let noted = noted.await;
        let message: String = called.message.chars().take(70).collect();
        let _ = writeln!(self.table, "{case:<44} {code:<20} {noted:<52} {message}");
    }

    async fn join(&self, applicant: &Applicant, token: &str, name: &str) -> Called {
        applicant.join(&self.address(), token, name).await
    }

    /// A worker that has joined, and nothing more.
    async fn joined(&self, name: &str) -> PathBuf {
        let applicant = Applicant::default();
        let token = token(&self.cluster.api(), json!({"name": name})).await.token;
        applicant.keep(self.cluster.dir(), &self.join(&applicant, &token, name).await)
    }
}

#[tokio::test]
async fn whoever_is_not_who_they_say_is_refused_and_noted() {
    let cluster = Cluster::start(1).await;
    let mut matrix = Matrix { cluster, table: String::new() };
    tokens(&mut matrix).await;
    certificates(&mut matrix).await;
    attempts(&mut matrix).await;
    println!("{:<44} {:<20} {:<52} message\n{}", "case", "status", "audit log", matrix.table);
    let ctl = matrix.cluster.ctl();
    ctl.run(&["audit", "--verify"]).await.ok();
}

async fn tokens(matrix: &mut Matrix) {
    const JOIN: &str = "gRPC Join";
    let api = matrix.cluster.api();
    let (owner, thief) = (Applicant::default(), Applicant::default());
    let made = token(&api, json!({"name": "owned"})).await;
    assert_eq!(matrix.join(&owner, &made.token, "owned").await.code, "OK");
    assert_eq!(matrix.join(&owner, &made.token, "owned").await.code, "OK", "the answer may have been lost");
    let stolen = matrix.join(&thief, &made.token, "owned").await;
    matrix.expect("stolen token, after its owner has used it", &stolen, "UNAUTHENTICATED", JOIN, "owned").await;

    let made = token(&api, json!({})).await;
    assert_eq!(matrix.join(&owner, &made.token, "first").await.code, "OK");
    let reused = matrix.join(&owner, &made.token, "second").await;
    matrix.expect("token used for a second worker", &reused, "UNAUTHENTICATED", JOIN, "second").await;

    let short = token(&api, json!({"ttl_seconds": 1})).await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let late = matrix.join(&thief, &short.token, "late").await;
    assert!(late.message.contains("has run out"), "{late:?}");
    matrix.expect("expired token", &late, "UNAUTHENTICATED", JOIN, "late").await;

    let made = token(&api, json!({})).await;
    let path = format!("/api/worker-tokens/{}", made.view.token_id);
    api.send(api.request(reqwest::Method::DELETE, &path)).await.expect("revoked");
    let revoked = matrix.join(&thief, &made.token, "revoked").await;
    matrix.expect("revoked token", &revoked, "UNAUTHENTICATED", JOIN, "revoked").await;

    // The secret stands between the id and the fingerprint.
    let made = token(&api, json!({})).await;
    let parts: Vec<_> = made.token.split('_').collect();
    let guess = [parts[0], parts[1], &"0".repeat(64), parts[3]].join("_");
    let guessed = matrix.join(&thief, &guess, "guessed").await;
    matrix.expect("guessed secret", &guessed, "UNAUTHENTICATED", JOIN, "guessed").await;

    let named = token(&api, json!({"name": "alice"})).await;
    let other = matrix.join(&thief, &named.token, "mallory").await;
    matrix.expect("token of another name", &other, "PERMISSION_DENIED", JOIN, "mallory").await;

    let taken = matrix.join(&thief, &made.token, "worker-1").await;
    matrix.expect("name of a worker that there is", &taken, "ALREADY_EXISTS", JOIN, "worker-1").await;

    let request = json!({"token": made.token, "worker_id": "x", "csr": "AAAA"});
    let nonsense = call(&matrix.address(), "cloudai.v1.WorkerIdentity/Join", &request, &As::stranger()).await;
    matrix.expect("request for a certificate that is none", &nonsense, "INVALID_ARGUMENT", JOIN, "x").await;
}

async fn certificates(matrix: &mut Matrix) {
    let address = matrix.address();
    let nobody = call(&address, DESCRIBE, &json!({}), &As::stranger()).await;
    matrix.expect("no certificate", &nobody, "UNAUTHENTICATED", "gRPC Describe", "").await;

    let plain = call(&address, OPEN, &json!([hello("worker-1")]), &As::plaintext()).await;
    matrix.expect("plaintext to the TLS port", &plain, "UNAUTHENTICATED", "gRPC Open", "").await;

    let other = Cluster::start(0).await;
    let stranger = Matrix { cluster: other, table: String::new() };
    let foreign = stranger.joined("worker-1").await;
    // It believes the other master; so that it gets as far as showing its certificate it has to believe this one too.
    let ours = matrix.joined("w-trust").await;
    let both = std::fs::read_to_string(&foreign).expect("read") + &std::fs::read_to_string(&ours).expect("read");
    let mixed = matrix.cluster.dir().join("mixed.pem");
    std::fs::write(&mixed, both).expect("written");
    let foreign = call(&address, DESCRIBE, &json!({}), &As::holder(&mixed)).await;
    matrix.expect("certificate of another cluster", &foreign, "UNAVAILABLE", "gRPC connect", "").await;

    let w1 = matrix.joined("w1").await;
    assert_eq!(call(&address, DESCRIBE, &json!({}), &As::holder(&w1)).await.code, "OK");
    let liar = call(&address, OPEN, &json!([hello("worker-1")]), &As::holder(&w1)).await;
    matrix
        .expect("certificate of another worker than the hello", &liar, "PERMISSION_DENIED", "gRPC Open", "worker-1")
        .await;

    let gone = matrix.joined("gone").await;
    matrix.cluster.ctl().run(&["unregister", "gone", "--yes"]).await.ok();
    let revoked = call(&address, DESCRIBE, &json!({}), &As::holder(&gone)).await;
    matrix.expect("revoked worker", &revoked, "PERMISSION_DENIED", "gRPC Describe", "gone").await;
    let csr = json!({"csr": Applicant::default().csr()});
    let renewed = call(&address, "cloudai.v1.WorkerIdentity/Renew", &csr, &As::holder(&gone)).await;
    matrix.expect("revoked worker renews", &renewed, "PERMISSION_DENIED", "gRPC Renew", "gone").await;
    let again = matrix.joined("gone").await;
    assert_eq!(call(&address, DESCRIBE, &json!({}), &As::holder(&again)).await.code, "OK", "it has joined anew");
    let old = call(&address, DESCRIBE, &json!({}), &As::holder(&gone)).await;
    matrix.expect("certificate from before it joined anew", &old, "PERMISSION_DENIED", "gRPC Describe", "gone").await;
}

async fn attempts(matrix: &mut Matrix) {
    let (address, api) = (matrix.address(), matrix.cluster.api());
    let ended = api.submit(&shell_task("true")).await.expect("accepted").task_id;
    api.ended(PATIENCE, &ended).await;
    let running = api.submit(&shell_task("sleep 300")).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        let task = api.task(&running).await.ok()?;
        (task.state == shared::task::TaskState::Running).then_some(())
    })
    .await;
    let spy = matrix.joined("spy").await;
    let spy = As::holder(&spy);
    let fence = (1 << 32) + 2;

    let old = json!([{"attempt": attempt(&ended, 1, fence - 1)}]);
    let upload = call(&address, "cloudai.v1.WorkerSession/UploadTaskFiles", &old, &spy).await;
    matrix
        .expect("upload for an attempt that is over", &upload, "FAILED_PRECONDITION", "gRPC UploadTaskFiles", &ended)
        .await;

    let foreign = json!([{"attempt": attempt(&running, 1, fence)}]);
    let upload = call(&address, "cloudai.v1.WorkerSession/UploadTaskFiles", &foreign, &spy).await;
    matrix
        .expect(
            "upload for an attempt of another worker",
            &upload,
            "FAILED_PRECONDITION",
            "gRPC UploadTaskFiles",
            &running,
        )
        .await;

    let input = call(&address, "cloudai.v1.WorkerSession/FetchInput", &attempt(&running, 1, fence), &spy).await;
    matrix
        .expect("input of another worker's attempt", &input, "FAILED_PRECONDITION", "gRPC FetchInput", &running)
        .await;

    let chunk = json!({"stream": "LOG_STREAM_STDOUT", "offset": "0", "data": "bGll"});
    let log = json!([{"attempt": attempt(&running, 1, fence), "chunk": chunk}]);
    let pushed = call(&address, "cloudai.v1.WorkerSession/PushLogs", &log, &spy).await;
    assert!(pushed.answer[0]["refused"].as_str().is_some_and(|refused| !refused.is_empty()), "{pushed:?}");
    matrix.expect("log of another worker's attempt", &pushed, "OK", "gRPC PushLogs", &running).await;

    let finished = json!({"verdict_json": "{\"kind\":\"success\"}", "finished_unix_ms": "1"});
    let report = json!({"sequence": "1", "attempt": attempt(&running, 1, fence), "finished": finished});
    let lie = json!([hello("spy"), {"reports": {"reports": [report]}}]);
    let told = call(&address, OPEN, &lie, &spy).await;
    matrix.expect("report on another worker's attempt", &told, "OK", "report", &running).await;
    let task = api.task(&running).await.expect("a task");
    assert_eq!(task.state, shared::task::TaskState::Running, "the lie has changed nothing");
    assert!(matrix.cluster.ctl().run(&["logs", &running]).await.ok().is_empty());
    matrix.cluster.ctl().run(&["cancel", &running]).await.ok();
    api.ended(PATIENCE, &running).await;
}

#[tokio::test]
async fn one_line_makes_a_worker_and_the_same_line_starts_it_again() {
    let mut cluster = Cluster::start(1).await;
    let worker = &mut cluster.workers[0];
    let credentials = worker.data_dir().join("credentials.pem");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&credentials), 0o600);
    assert_eq!(mode(&cluster.master.data_dir().join("tls/authority.pem")), 0o600);
    let before = std::fs::read(&credentials).expect("read");
    worker.kill9();
    // Its token is used up by now.
    worker.restart();
    let task = cluster.api().submit(&shell_task("echo again")).await.expect("accepted").task_id;
    cluster.api().ended(PATIENCE, &task).await;
    assert_eq!(std::fs::read(&credentials).expect("read"), before, "it has not joined twice");
}

#[tokio::test]
async fn a_worker_that_is_taken_out_stops_what_it_runs_and_comes_back_only_with_a_token() {
    let mut cluster = Cluster::start(2).await;
    let api = cluster.api();
    let id = api.submit(&shell_task("sleep 300")).await.expect("accepted").task_id;
    let on = eventually(PATIENCE, "it runs", || async {
        let task = api.task(&id).await.ok()?;
        let running = task.state == shared::task::TaskState::Running;
        task.attempts.last().filter(|_| running).map(|attempt| attempt.worker_id.to_string())
    });
    let first = on.await;
    cluster.ctl().run(&["unregister", &first, "--yes"]).await.ok();
    eventually(PATIENCE, "it runs elsewhere", || async {
        let task = api.task(&id).await.ok()?;
        let elsewhere = task.attempts.len() == 2 && task.attempts[1].worker_id.as_str() != first;
        (task.state == shared::task::TaskState::Running && elsewhere).then_some(())
    })
    .await;
    let containers = cluster.containers.as_ref().expect("containers");
    eventually(PATIENCE, "the old container is gone", || async { (containers.list().await.len() == 1).then_some(()) })
        .await;
    let gone = cluster.workers.iter().position(|worker| worker.name() == first).expect("it is there");
    cluster.workers[gone].kill9();
    cluster.workers[gone].restart();
    assert_eq!(cluster.workers[gone].process.ended().await.code(), Some(4), "it gives up and says why");
    cluster.ctl().run(&["cancel", &id]).await.ok();
    api.ended(PATIENCE, &id).await;
}

#[tokio::test]
async fn a_thousand_joins_in_a_row_leave_nothing_behind_but_the_workers() {
    let cluster = Cluster::start(0).await;
    let (api, pid) = (cluster.api(), cluster.master.process.pid());
    let join = async |count: usize| {
        let token = token(&api, json!({"uses": count})).await.token;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/joins.py");
        let mut command = cloudai_tests::python::python();
        let command = command.arg(script).args([cluster.master.grpc_address(), token, count.to_string()]);
        let output = command.output().await.expect("python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let files = || std::fs::read_dir(format!("/proc/{pid}/fd")).expect("files").count();
    let resident = || {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS").to_owned();
        line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("kB")
    };
    // What is made once is made now; the names are taken by then.
    join(1).await;
    cluster.ctl().run(&["unregister", "joined-0", "--yes"]).await.ok();
    let (files_before, resident_before) = (files(), resident());
    let told = join(1000).await;
    assert_eq!(told["certificates"], 1000, "{told}");
    let known = api.workers().await.expect("a list").len();
    assert_eq!(known, 1000);
    eventually(PATIENCE, "all connections are closed", || async { (files() <= files_before).then_some(()) }).await;
    let grown = resident().saturating_sub(resident_before);
    println!("{told}; files {files_before} before, {} after; resident {resident_before} kB, {grown} kB more", files());
    assert!(grown < 32 * 1024, "{grown} kB more than before");
}

#[tokio::test]
async fn connections_that_say_nothing_end() {
    let cluster = Cluster::start(0).await;
    for said in [&b""[..], b"P", b"\x16", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = tokio::net::TcpStream::connect(cluster.master.grpc_address()).await.expect("connect");
        stream.write_all(said).await.expect("sent");
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after {said:?}");
    }
}

/// Certificates that are good for three seconds, and tasks all the while.
#[tokio::test]
async fn renewals_under_load_lose_nothing() {
    let options = MasterOptions {
        env: vec![("CLOUDAI_WORKERS_CERTIFICATE_TTL".to_owned(), "3s".to_owned())],
        ..MasterOptions::default()
    };
    let cluster = Cluster::start_with(&options, 2, &WorkerOptions::default()).await;
    let api = cluster.api();
    let credentials: Vec<_> = cluster.workers.iter().map(|w| w.data_dir().join("credentials.pem")).collect();
    let read = || credentials.iter().map(|path| std::fs::read(path).expect("read")).collect::<Vec<_>>();
    let mut tasks = Vec::new();
    let (mut seen, mut renewals) = (read(), 0);
    while renewals < 6 {
        let line = format!("echo {0}; echo {0} > /output/number", tasks.len());
        tasks.push(api.submit(&shell_task(&line)).await.expect("accepted").task_id);
        api.ended(PATIENCE, tasks.last().expect("a task")).await;
        let now = read();
        renewals += now.iter().zip(&seen).filter(|(now, before)| now != before).count();
        seen = now;
    }
    for (number, id) in tasks.iter().enumerate() {
        let task = api.task(id).await.expect("a task");
        assert_eq!((task.state, task.attempts.len()), (shared::task::TaskState::Completed, 1), "{id}");
        assert_eq!(cluster.ctl().run(&["logs", id]).await.ok(), format!("{number}\n"));
        assert_eq!(
            api.get_bytes(&format!("/api/files/{id}/number")).await.expect("a file"),
            format!("{number}\n").as_bytes()
        );
    }
    println!("{} tasks, {renewals} renewals", tasks.len());
    for worker in &cluster.workers {
        api.worker_is(PATIENCE, worker.name(), WorkerState::Active).await;
    }
}

/// A certificate may run out while nobody is there; then it opens nothing but the way to the next one.
#[tokio::test]
async fn a_certificate_that_ran_out_can_be_renewed_and_nothing_else() {
    let options = MasterOptions {
        env: vec![("CLOUDAI_WORKERS_CERTIFICATE_TTL".to_owned(), "3s".to_owned())],
        ..MasterOptions::default()
    };
    let cluster = Cluster::start_with(&options, 0, &WorkerOptions::default()).await;
    let matrix = Matrix { cluster, table: String::new() };
    let (address, file) = (matrix.address(), matrix.joined("w1").await);
    eventually(PATIENCE, "it has run out", || async {
        let described = call(&address, DESCRIBE, &json!({}), &As::holder(&file)).await;
        described.message.contains("has run out").then_some(())
    })
    .await;
    let applicant = Applicant::default();
    let renewed =
        call(&address, "cloudai.v1.WorkerIdentity/Renew", &json!({"csr": applicant.csr()}), &As::holder(&file)).await;
    let fresh = applicant.keep(matrix.cluster.dir(), &renewed);
    assert_eq!(call(&address, DESCRIBE, &json!({}), &As::holder(&fresh)).await.code, "OK");
}
