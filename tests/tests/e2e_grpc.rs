//! A worker of which each call is made by another program, with Python's grpcio and the proto files alone.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::grpc::{Applicant, As, Called, call, converse};
use cloudai_tests::wait::PATIENCE;
use serde_json::{Value, json};
use shared::feature::Features;
use shared::submit::SubmitRequest;
use shared::task::TaskState;
use shared::version::{PRODUCT, Version};
use shared::view::NewWorkerTokenView;

const NAME: &str = "by-hand";

fn method(name: &str) -> String {
    format!("cloudai.v1.WorkerSession/{name}")
}

fn base64(bytes: &[u8]) -> String {
    BASE64_STANDARD.encode(bytes)
}

fn hello(inventory: &Value) -> Value {
    let capacity = json!({"cpu_millis": 4000, "memory_bytes": 8_u64 << 30, "storage_bytes": 64_u64 << 30});
    let (protocol, version) = (shared::link::PROTOCOL, PRODUCT);
    let features = Vec::<String>::from(Features::ALL);
    json!({"hello": {"protocol": protocol, "version": version, "worker_id": NAME, "capacity": capacity,
                     "boot_id": "b", "incarnation": "i", "inventory": inventory, "features": features}})
}

/// A digest of what has arrived, with one more file of so many bytes.
fn chain_after(chain: &[u8], path: &[u8], size: u64) -> blake3::Hash {
    let path_length = (path.len() as u64).to_le_bytes();
    blake3::hash(&[chain, &path_length, path, &size.to_le_bytes()].concat())
}

/// What a worker that is called by hand can do.
struct ByHand {
    cluster: Cluster,
    caller: As,
}

impl ByHand {
    async fn join() -> Self {
        let cluster = Cluster::start(0).await;
        let request = json!({"name": NAME, "pool": "hand"});
        let token: NewWorkerTokenView = cluster.api().post("/api/worker-tokens", &request).await.expect("a token");
        let applicant = Applicant::default();
        let given = applicant.join(&cluster.master.grpc_address(), &token.token, NAME).await;
        let caller = As::holder(&applicant.keep(cluster.dir(), &given));
        Self { cluster, caller }
    }

    async fn call(&self, name: &str, request: &Value) -> Called {
        call(&self.cluster.master.grpc_address(), &method(name), request, &self.caller).await
    }

    /// Says this on the control stream, and hangs up when so many answers have come.
    async fn open(&self, said: &Value, answers: usize) -> Value {
        let address = self.cluster.master.grpc_address();
        let called = converse(&address, &method("Open"), said, &self.caller, answers).await;
        assert_eq!(called.code, "OK", "{called:?}");
        called.answer
    }

    async fn expect(&self, name: &str, request: &Value) -> Value {
        let called = self.call(name, request).await;
        assert_eq!(called.code, "OK", "{name}: {called:?}");
        called.answer
    }

    /// A task for this worker, with a file to read.
    async fn submit(&self) -> String {
        let dir = self.cluster.dir();
        std::fs::write(dir.join("data.txt"), "input").expect("written");
        let path = dir.join("data.txt").display().to_string();
        let uploaded = self.cluster.ctl().run(&["files", "upload", &path, "--quiet"]).await.ok();
        let input = Some(uploaded.trim().parse().expect("an id"));
        let worker_id = Some(NAME.parse().expect("a name"));
        let task = SubmitRequest { input, worker_id, ..shell_task("cat /input/data.txt") };
        self.cluster.api().submit(&task).await.expect("accepted").task_id
    }

    /// The same, and how it is given to this worker when it connects, which it has done before.
    async fn assigned(&self) -> (String, Value) {
        let task = self.submit().await;
        let answers = self.open(&json!([hello(&json!([]))]), 2).await;
        let assigned = answers.as_array().expect("a list").iter().find_map(|answer| {
            let assignment = answer["assignments"]["assignments"].get(0)?;
            Some(assignment.clone())
        });
        (task, assigned.unwrap_or_else(|| panic!("no assignment: {answers}")))
    }
}

#[tokio::test]
async fn every_call_of_a_worker_can_be_made_by_another_program() {
    let by_hand = ByHand::join().await;
    let described = by_hand.expect("Describe", &json!({})).await;
    assert_eq!(described["protocol"], shared::link::PROTOCOL);
    // It connects, and is known.
    let answers = by_hand.open(&json!([hello(&json!([])), {"heartbeat": {"cpu_percent": 5.0}}]), 1).await;
    assert_eq!(answers[0]["welcome"]["cluster_id"], described["cluster_id"], "{answers}");
    let worker = by_hand.cluster.api().workers().await.expect("a list").remove(0);
    assert_eq!((worker.capacity.cpu_millis, worker.labels["pool"].as_str()), (4000, "hand"));

    // It is given a task when it comes again.
    let (task, assigned) = by_hand.assigned().await;
    let attempt = assigned["attempt"].clone();
    assert_eq!((&attempt["task_id"], &assigned["shell"]), (&json!(task), &json!("cat /input/data.txt")));

    // The input comes: begin, data, end.
    let input = by_hand.expect("FetchInput", &attempt).await;
    assert_eq!(input[0]["begin"]["path"], base64(b"data.txt"));
    assert_eq!(input[1]["data"], base64(b"input"));
    assert_eq!(input[2]["end"]["blake3"], base64(blake3::hash(b"input").as_bytes()));

    // Logs go by offsets: what comes twice is there once.
    let chunk = |offset: u64, text: &str| {
        let chunk =
            json!({"stream": "LOG_STREAM_STDOUT", "offset": offset.to_string(), "data": base64(text.as_bytes())});
        json!({"attempt": attempt, "chunk": chunk})
    };
    let acks = by_hand.expect("PushLogs", &json!([chunk(0, "hel"), chunk(1, "ello\n")])).await;
    assert_eq!(acks.as_array().and_then(|acks| acks.last()).expect("an ack")["stdout_offset"], "6", "{acks}");

    // Files come with their digests.
    let file = |digest: &[u8]| {
        json!([{"attempt": attempt}, {"begin": {"path": base64(b"out"), "size": "4"}}, {"data": base64(b"data")},
               {"end": {"blake3": base64(digest)}}])
    };
    let broken = by_hand.call("UploadTaskFiles", &file(&[0; 32])).await;
    assert_eq!(broken.code, "INVALID_ARGUMENT", "{broken:?}");
    // What ends without its last frame, or with that of another upload, has broken off: nothing of it is there.
    let whole = file(blake3::hash(b"data").as_bytes());
    let with = |last: Value| {
        let mut frames = whole.as_array().expect("frames").clone();
        frames.push(json!({"last": last}));
        Value::Array(frames)
    };
    let last =
        |files: &str, path: &[u8]| json!({"files": files, "chain": base64(chain_after(&[0; 32], path, 4).as_bytes())});
    for broken_off in [whole.clone(), with(last("2", b"out")), with(last("1", b"other"))] {
        let broken = by_hand.call("UploadTaskFiles", &broken_off).await;
        assert_eq!(broken.code, "ABORTED", "{broken:?}");
        let state = by_hand.expect("DescribeUpload", &attempt).await;
        assert!(state["ended"].is_null() && state["files"].as_str().unwrap_or("0") == "0", "{state}");
    }
    let resumed = json!([{"attempt": attempt}, {"resume": {"files": "1"}}]);
    assert_eq!(by_hand.call("UploadTaskFiles", &resumed).await.code, "ABORTED", "there is nothing to go on with");
    for _again in 0..2 {
        let receipt = by_hand.expect("UploadTaskFiles", &with(last("1", b"out"))).await;
        assert_eq!((&receipt["files"], &receipt["bytes"]), (&json!(1), &json!("4")));
    }
    let state = by_hand.expect("DescribeUpload", &attempt).await;
    assert_eq!((&state["ended"]["files"], &state["ended"]["bytes"]), (&json!(1), &json!("4")), "{state}");

    // It comes again with what it holds, and says how that ended.
    let held = json!([{"attempt": attempt, "phase": "PHASE_RUNNING"}]);
    let started = json!({"sequence": "1", "attempt": attempt, "started": {"at_unix_ms": "1795600000000"}});
    let outcome = json!({"verdict_json": "{\"kind\":\"success\"}", "finished_unix_ms": "1795600001000",
                         "stdout_bytes": "6", "output_files": 1});
    let finished = json!({"sequence": "2", "attempt": attempt, "finished": outcome});
    let answers = by_hand.open(&json!([hello(&held), {"reports": {"reports": [started, finished]}}]), 2).await;
    assert!(answers.as_array().expect("a list").iter().any(|answer| answer["ack"]["through"] == "2"), "{answers}");
    let ended = by_hand.cluster.api().ended(PATIENCE, &task).await;
    assert_eq!(ended.state, TaskState::Completed, "{ended:?}");
    assert_eq!(by_hand.cluster.ctl().run(&["logs", &task]).await.ok(), "hello\n");
    let out = by_hand.cluster.api().get_bytes(&format!("/api/files/{task}/out")).await.expect("a file");
    assert_eq!(out, b"data");
    let renewed = call(
        &by_hand.cluster.master.grpc_address(),
        "cloudai.v1.WorkerIdentity/Renew",
        &json!({"csr": Applicant::default().csr()}),
        &by_hand.caller,
    )
    .await;
    assert_eq!((renewed.code.as_str(), &renewed.answer["worker_id"]), ("OK", &json!(NAME)));
}

#[tokio::test]
async fn an_upload_goes_on_without_a_file_that_its_worker_cannot_bring() {
    let by_hand = ByHand::join().await;
    by_hand.open(&json!([hello(&json!([]))]), 1).await;
    let (task, assigned) = by_hand.assigned().await;
    let attempt = assigned["attempt"].clone();
    let begin = |path: &[u8], size: u64| json!({"begin": {"path": base64(path), "size": size.to_string()}});
    let data = json!({"data": base64(b"data")});
    let end = json!({"end": {"blake3": base64(blake3::hash(b"data").as_bytes())}});
    // It breaks off in a large file.
    let first = json!([{"attempt": attempt}, begin(b"first", 4), data, end, begin(b"large", 32 << 20)]);
    assert_eq!(by_hand.call("UploadTaskFiles", &first).await.code, "ABORTED");
    let state = by_hand.expect("DescribeUpload", &attempt).await;
    assert_eq!((&state["files"], &state["open"]["path"]), (&json!("1"), &json!(base64(b"large"))), "{state}");
    assert_eq!(state["may_leave_open"], true, "{state}");
    // Without it, what came before stays, and that nothing of it has come is durable.
    let chain = state["chain"].clone();
    let other = json!([{"attempt": attempt}, {"resume": {"files": "2", "chain": chain, "leaves_open": true}}]);
    assert_eq!(by_hand.call("UploadTaskFiles", &other).await.code, "ABORTED");
    assert_eq!(by_hand.expect("DescribeUpload", &attempt).await, state, "that was another upload");
    let leaving = json!([{"attempt": attempt}, {"resume": {"files": "1", "chain": chain, "leaves_open": true}}]);
    assert_eq!(by_hand.call("UploadTaskFiles", &leaving).await.code, "ABORTED", "it lacks its end");
    let state = by_hand.expect("DescribeUpload", &attempt).await;
    assert!(state["files"] == "1" && state["chain"] == chain && state["open"].is_null(), "{state}");
    let whole = chain_after(chain_after(&[0; 32], b"first", 4).as_bytes(), b"last", 4);
    let last = json!({"last": {"files": "2", "chain": base64(whole.as_bytes())}});
    let resume = json!({"resume": {"files": "1", "chain": chain}});
    let rest = json!([{"attempt": attempt}, resume, begin(b"last", 4), data, end, last]);
    let receipt = by_hand.expect("UploadTaskFiles", &rest).await;
    assert_eq!((&receipt["files"], &receipt["bytes"]), (&json!(2), &json!("8")));
    assert_eq!(by_hand.cluster.api().files(&task).await.expect("a list").files.len(), 2);
}

#[tokio::test]
async fn what_is_no_message_of_a_worker_is_refused() {
    let by_hand = ByHand::join().await;
    let digest = json!({"end": {"blake3": "AAAA"}});
    let foreign = json!({"task_id": "task-01arz3ndektsv4rrffq69g5fav", "attempt": 1, "fence": "1"});
    for (name, request, code) in [
        ("Open", json!([]), "INVALID_ARGUMENT"),
        ("Open", json!([{"heartbeat": {}}]), "INVALID_ARGUMENT"),
        ("Open", json!([{}]), "INVALID_ARGUMENT"),
        ("Open", json!([{"hello": {"protocol": 1, "worker_id": ""}}]), "INVALID_ARGUMENT"),
        ("Open", json!([{"hello": {"protocol": 999, "worker_id": NAME, "capacity": {}}}]), "FAILED_PRECONDITION"),
        ("PushLogs", json!([{"attempt": {"task_id": "x"}}]), "INVALID_ARGUMENT"),
        ("PushLogs", json!([{}]), "INVALID_ARGUMENT"),
        ("UploadTaskFiles", json!([]), "INVALID_ARGUMENT"),
        ("UploadTaskFiles", json!([digest]), "INVALID_ARGUMENT"),
        ("UploadTaskFiles", json!([{"attempt": foreign}]), "FAILED_PRECONDITION"),
        ("FetchInput", json!({}), "INVALID_ARGUMENT"),
        ("FetchInput", foreign.clone(), "FAILED_PRECONDITION"),
    ] {
        // Who hangs up before a hello is answered may miss the answer.
        let is_hello = request[0]["hello"]["protocol"] == 999;
        let called = if is_hello {
            let address = by_hand.cluster.master.grpc_address();
            converse(&address, &method(name), &request, &by_hand.caller, 1).await
        } else {
            by_hand.call(name, &request).await
        };
        assert_eq!(called.code, code, "{name} {request}: {called:?}");
        assert!(!called.message.is_empty(), "{name} {request} is refused without a word");
    }
    assert_eq!(by_hand.call("Describe", &json!({})).await.code, "OK", "the master goes on");
}

#[tokio::test]
async fn a_worker_that_is_newer_than_its_master_is_refused_with_both_versions() {
    let by_hand = ByHand::join().await;
    let address = by_hand.cluster.master.grpc_address();
    let Version { major, minor } = Version::OWN;
    let newer = format!("{major}.{}.0", minor + 1);
    let mut said = hello(&json!([]));
    said["hello"]["version"] = json!(newer);
    let called = converse(&address, &method("Open"), &json!([said]), &by_hand.caller, 1).await;
    assert_eq!(called.code, "FAILED_PRECONDITION", "{called:?}");
    assert!(called.message.contains(&newer) && called.message.contains(PRODUCT), "{called:?}");
    assert!(called.message.contains("update the master first"), "{called:?}");
    let version = by_hand.cluster.api().workers().await.expect("a list").remove(0).version;
    assert_ne!(version, newer, "it is not noted");
}
