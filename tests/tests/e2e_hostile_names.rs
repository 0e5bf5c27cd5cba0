//! A hundred thousand hostile names and trees: those that lead elsewhere are refused, those that are only odd arrive as
//! they are, and nothing outside is touched.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cloudai_tests::api::{Api, Failure};
use cloudai_tests::embedded::{AMPLE, Embedded};
use cloudai_tests::wait::PATIENCE;
use cloudaid::runtime::fake::{Behaviour, FakeRuntime};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::json;
use shared::submit::SubmitRequest;
use shared::view::InputView;

const NAMES: usize = 100_000;
/// In one input, or one task.
const TOGETHER: usize = 2_500;

/// Parts that names are made of; each is odd in a way of its own.
const ODD: [&[u8]; 40] = [
    b"..",
    b".",
    b"",
    b"/",
    b"\0",
    b"\n",
    b"\r\n",
    b"\t",
    b" ",
    b"~",
    b"-rf",
    b"--",
    b"$(reboot)",
    b"`id`",
    b";",
    b"|",
    b"*",
    b"?",
    b"\\",
    b"..\\",
    b"%2e%2e",
    b"%00",
    b"%2f",
    b"\"",
    b"'",
    b"<script>",
    b"\x1b[2J",
    b"CON",
    b"aux.txt",
    "\u{202e}txt.exe".as_bytes(),
    "e\u{301}".as_bytes(),
    "\u{e9}".as_bytes(),
    "\u{ff0f}".as_bytes(),
    b"\xff\xfe",
    b"\xc0\xaf",
    b"\xc0\xae\xc0\xae",
    b"A",
    b"a",
    b"...",
    b".hidden",
];

/// A name that may lead anywhere.
fn name(random: &mut StdRng) -> Vec<u8> {
    let mut name = Vec::new();
    for _ in 0..random.random_range(1..=6) {
        match random.random_range(0..12) {
            0 => name.extend(b"../".repeat(random.random_range(1..8))),
            1 => name.extend(b"/etc/passwd"),
            2 => name.extend(b"canary"),
            3 => name.extend(std::iter::repeat_n(b'x', random.random_range(200..300))),
            4 => name.extend((0..random.random_range(1..20)).map(|_| random.random::<u8>())),
            5 => name.push(b'/'),
            _ => name.extend_from_slice(ODD[random.random_range(0..ODD.len())]),
        }
    }
    name
}

/// Whether Linux could make it below a folder.
fn is_legal(name: &[u8]) -> bool {
    name.len() <= 4096
        && !name.contains(&0)
        && name
            .split(|byte| *byte == b'/')
            .all(|part| !part.is_empty() && part != b"." && part != b".." && part.len() <= 255)
}

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

/// Files that nobody may touch, in the places that names lead to.
struct Canaries(Vec<PathBuf>);

impl Canaries {
    fn plant(directory: &Path) -> Self {
        let mut planted = Vec::new();
        let below = [
            directory.to_owned(),
            directory.join("worker-1"),
            directory.join("master"),
            directory.join("master/files"),
        ];
        for folder in below {
            for name in ["canary", "etc/passwd"] {
                let path = folder.join(name);
                fs::create_dir_all(path.parent().expect("a folder")).expect("made");
                fs::write(&path, "alive").expect("planted");
                planted.push(path);
            }
        }
        Self(planted)
    }

    fn assert_untouched(&self) {
        for path in &self.0 {
            assert_eq!(fs::read_to_string(path).expect("it is there"), "alive", "{}", path.display());
        }
    }
}

async fn announce(api: &Api, names: &BTreeSet<Vec<u8>>) -> Result<InputView, Failure> {
    let file = |name: &Vec<u8>| json!({"path_hex": hex(name), "size": content(name).len()});
    api.post("/api/files", &json!({"files": names.iter().map(file).collect::<Vec<_>>()})).await
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

/// All files below a folder, by their names in it, with what is in them.
fn read_tree(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![Vec::new()]);
    while let Some(below) = folders.pop() {
        for entry in fs::read_dir(folder.join(OsStr::from_bytes(&below))).expect("a folder") {
            let entry = entry.expect("an entry");
            let mut name: Vec<u8> = below.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend(entry.file_name().as_bytes());
            let kind = entry.file_type().expect("its kind");
            assert!(kind.is_dir() || kind.is_file(), "{name:?}");
            if kind.is_dir() {
                folders.push(name);
            } else {
                let content = fs::read(entry.path()).expect("read");
                files.insert(name, content);
            }
        }
    }
    files
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

/// Uploads files of these names, has a worker fetch them and a task leave the same in /output, and looks at each step
/// whether all of them are there, and nothing else.
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

fn exact(path: &str, path_hex: Option<&str>) -> Vec<u8> {
    match path_hex {
        None => path.as_bytes().to_vec(),
        Some(hex) => {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            (0..hex.len()).step_by(2).map(byte).collect()
        }
    }
}

/// What a program can leave in /output: links to everywhere, loops, devices, sockets, FIFOs, and files of odd names.
#[tokio::test]
async fn of_hostile_trees_only_their_own_files_are_collected() {
    let directory = tempfile::tempdir().expect("a directory");
    let canaries = Canaries::plant(directory.path());
    let mut random = StdRng::seed_from_u64(11);
    let mut entries = 0;
    for number in 0..200 {
        let root = directory.path().join(format!("output-{number}"));
        fs::create_dir(&root).expect("made");
        let mut expected = BTreeSet::new();
        for _ in 0..250 {
            entries += 1;
            let name = name(&mut random);
            let Some(last) = name.rsplit(|byte| *byte == b'/').find(|part| is_legal(part)) else { continue };
            let folder = random.random_range(0..4);
            let folder = root.join(format!("folder-{folder}"));
            let _exists = fs::create_dir(&folder);
            let path = folder.join(OsStr::from_bytes(last));
            if fs::symlink_metadata(&path).is_ok() {
                continue;
            }
            match random.random_range(0..8) {
                0 => symlink("../../canary", &path).expect("linked"),
                1 => symlink(directory.path().join("etc"), &path).expect("linked"),
                2 => symlink("/proc/self/root", &path).expect("linked"),
                3 => symlink(".", &path).expect("linked"),
                4 => rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0)
                    .expect("made"),
                5 => drop(std::os::unix::net::UnixListener::bind(&path)),
                _ => {
                    fs::write(&path, content(last)).expect("written");
                    expected.insert(path.strip_prefix(&root).expect("below").as_os_str().as_bytes().to_vec());
                }
            }
        }
        let mut walk = cloudaid::worker::outputs::Walk::new(&root).expect("begun");
        let mut found: BTreeSet<Vec<u8>> = BTreeSet::new();
        while let Some(file) = walk.next_file().expect("walked") {
            assert!(found.insert(file.path), "found once");
        }
        assert_eq!(found, expected);
        for path in &found {
            let mut read = String::new();
            let mut file = cloudaid::worker::outputs::open(&root, path).expect("opened");
            std::io::Read::read_to_string(&mut file, &mut read).expect("read");
            assert_eq!(read, content(path.rsplit(|byte| *byte == b'/').next().expect("a name")));
        }
        fs::remove_dir_all(&root).expect("removed");
        canaries.assert_untouched();
    }
    println!("{entries} entries");
}
