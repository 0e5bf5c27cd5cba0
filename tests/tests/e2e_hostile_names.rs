//! A hundred thousand hostile names: those that lead elsewhere are refused, those that are only odd arrive as they are, and
//! nothing outside is touched.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::embedded::{AMPLE, Embedded};
use cloudai_tests::hostile::{Canaries, exact, hex, is_legal, name, read_tree};
use cloudai_tests::wait::PATIENCE;
use cloudaid::runtime::fake::{Behaviour, FakeRuntime};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::Method;
use serde_json::json;
use shared::submit::SubmitRequest;
use shared::view::InputView;

const NAMES: usize = 100_000;
/// In one input, or one task.
const TOGETHER: usize = 2_500;

/// Those that can all stand in one folder: no file is the folder of another.
fn that_fit(names: impl IntoIterator<Item = Vec<u8>>) -> BTreeSet<Vec<u8>> {
    let mut files: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut folders: BTreeSet<Vec<u8>> = BTreeSet::new();
    for name in names {
        let slashes = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        let parents: Vec<_> = slashes.map(|at| name[..at].to_vec()).collect();
        if folders.contains(&name) || parents.iter().any(|parent| files.contains(parent)) {
            continue;
        }
        folders.extend(parents);
        files.insert(name);
    }
    files
}

async fn announce(api: &Api, names: &BTreeSet<Vec<u8>>) -> Result<InputView, Failure> {
    let file = |name: &Vec<u8>| json!({"path_hex": hex(name), "size": content(name).len()});
    api.post("/api/files", &json!({"files": names.iter().map(file).collect::<Vec<_>>()})).await
}

/// Of each name another; most have none, so that the disk has less to do.
fn content(name: &[u8]) -> String {
    let digest = blake3::hash(name);
    if digest.as_bytes()[31] < 5 { digest.to_hex()[..8].to_owned() } else { String::new() }
}

/// Sends all files of an input in a form.
async fn send(api: &Api, view: &InputView, names: &BTreeSet<Vec<u8>>) -> InputView {
    let mut body = Vec::new();
    for (number, name) in names.iter().enumerate() {
        let head = format!("--b\r\nContent-Disposition: form-data; name=\"{number}\"\r\n\r\n{}\r\n", content(name));
        body.extend(head.into_bytes());
    }
    body.extend(b"--b--\r\n");
    let request = api.request(Method::POST, &format!("/api/files/{}", view.input.input_id));
    let sent = api.send(request.header("Content-Type", "multipart/form-data; boundary=b").body(body)).await;
    sent.expect("sent");
    api.get(&format!("/api/files/{}", view.input.input_id)).await.expect("the input")
}

#[tokio::test]
async fn no_name_leads_out_and_every_legal_one_arrives() {
    let runtime = Arc::new(FakeRuntime::with(|_: &_| Behaviour::exit(0)));
    let cluster = Embedded::start(1, &runtime, AMPLE).await;
    let canaries = Canaries::plant(cluster.dir());
    let api = cluster.api();
    let mut random = StdRng::seed_from_u64(7);
    let (mut legal, mut refused) = (0, 0);
    let mut batch: Vec<Vec<u8>> = Vec::new();
    for made in 1..=NAMES {
        let name = name(&mut random);
        if is_legal(&name) {
            batch.push(name);
        } else {
            // Each by itself, and one of many: with it all are refused.
            if refused % 40 == 0 {
                let one = announce(&api, &BTreeSet::from([name.clone()])).await;
                assert!(matches!(one, Err(Failure::Refused { status: 400, .. })), "{name:?}: {one:?}");
            } else {
                assert!(cloudaid::master::inputs::check_paths([&name[..]]).is_err(), "{name:?}");
            }
            refused += 1;
        }
        if batch.len() == TOGETHER || made == NAMES {
            let names = that_fit(std::mem::take(&mut batch));
            legal += names.len();
            there_and_back(&cluster, &api, &names).await;
            canaries.assert_untouched();
        }
    }
    println!("{NAMES} names: {legal} arrived, {refused} were refused");
    assert!(legal > NAMES / 5 && refused > NAMES / 5, "{legal} {refused}");
    cluster.stop().await;
}

/// Uploads files of these names, has a worker fetch them, and looks at each step whether all of them are there, and nothing
/// else.
async fn there_and_back(cluster: &Embedded, api: &Api, names: &BTreeSet<Vec<u8>>) {
    let view = announce(api, names).await.expect("announced");
    let view = send(api, &view, names).await;
    assert_eq!(view.input.missing, 0);
    let listed: BTreeSet<Vec<u8>> = view.files.iter().map(|file| exact(&file.path, file.path_hex.as_deref())).collect();
    assert_eq!(&listed, names);
    let task = SubmitRequest {
        image: "i".to_owned(),
        input: Some(view.input.input_id.to_string()),
        ..SubmitRequest::default()
    };
    let task = api.submit(&task).await.expect("accepted").task_id;
    api.ended(PATIENCE, &task).await;
    let fetched = read_tree(&cluster.dir().join("worker-1/inputs").join(view.input.input_id.to_string()));
    let expected: BTreeMap<_, _> = names.iter().map(|name| (name.clone(), content(name).into_bytes())).collect();
    assert!(fetched == expected, "{} of {} arrived", fetched.len(), expected.len());
    api.send(api.request(Method::DELETE, &format!("/api/files/{}", view.input.input_id))).await.expect("deleted");
}
