//! What programs leave in /output to get at files of the host, or to lose others on the way: it is brought to a master, listed
//! and downloaded, and all of it is there that is theirs.
//!
//! `./tests/torture.sh long trees` tries more of them, as many as `CLOUDAI_TEST_TREES` says.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use cloudai_tests::api::Api;
use cloudai_tests::ctl::Ctl;
use cloudai_tests::embedded::{AMPLE, Embedded};
use cloudai_tests::hostile::{Canaries, exact, hex, is_legal, name, read_tree};
use cloudai_tests::wait::PATIENCE;
use cloudaid::runtime::fake::{Behaviour, FakeRuntime};
use cloudaid::runtime::{ContainerSpec, output};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use rustix::fs::{
    CWD, FileType, Mode, OFlags, RenameFlags, makedev, mkdirat, mknodat, openat, renameat_with, symlinkat,
};
use shared::files_of::PLAIN_PATH;
use shared::submit::SubmitRequest;
use shared::task::Verdict;
use shared::view::{FileListView, TaskView};
use tempfile::TempDir;

/// Nobody may ever see it.
const SECRET: &[u8] = b"secret of the host";
/// What stands in files that change places with links to it.
const OWN: &[u8] = b"its own";
/// Trees whose tasks run at a time.
const TOGETHER: usize = 20;
/// `cloudctl` downloads one of so many.
const BY_CTL: u64 = 5;
/// Of each kind in a tree that changes.
const PAIRS: u32 = 50;
/// The longest path, with room for where the tree is.
const PATH_LIMIT: usize = 3_500;

type Files = BTreeMap<Vec<u8>, Vec<u8>>;

fn trees(quick: u64) -> u64 {
    let wanted = std::env::var("CLOUDAI_TEST_TREES").ok();
    wanted.map_or(quick, |wanted| wanted.parse().expect("CLOUDAI_TEST_TREES is a number"))
}

/// A tree, and what of it is to arrive.
struct Tree {
    root: PathBuf,
    random: StdRng,
    folders: Vec<Vec<u8>>,
    files: Files,
    /// What was put there that is no file, or too deep.
    others: usize,
}

impl Tree {
    fn new(seed: u64, root: &Path, outside: &Path) -> Self {
        output::ensure(root).expect("made");
        let random = StdRng::seed_from_u64(seed);
        let root = root.to_owned();
        let mut tree = Self { root, random, folders: vec![Vec::new()], files: Files::new(), others: 0 };
        // One that is long, and that people cannot read.
        let deep = [[b'\x01'; 250].as_slice(); 12].join(&b'/');
        fs::create_dir_all(tree.path(&deep)).expect("made");
        let long = [b'n'; 255];
        let names: [&[u8]; 9] =
            [b"r.txt", b"new\nline", b"\xff\xfe", b"back\\slash", b"-rf", b"..foo", b"...", b"a%2Fb", &long];
        for folder in [&b""[..], &deep[..]] {
            for name in names {
                tree.write(join(folder, name), name.to_vec());
            }
            tree.link(&join(folder, b"link"), outside.join("secret").as_os_str().as_bytes());
        }
        tree.folders.push(deep);
        tree.dig();
        for _ in 0..tree.random.random_range(1..30) {
            tree.grow(outside);
        }
        tree
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.root.join(OsStr::from_bytes(name))
    }

    fn write(&mut self, name: Vec<u8>, bytes: Vec<u8>) {
        fs::write(self.path(&name), &bytes).expect("a file");
        self.files.insert(name, bytes);
    }

    fn link(&mut self, name: &[u8], target: &[u8]) {
        symlink(OsStr::from_bytes(target), self.path(name)).expect("a link");
        self.others += 1;
    }

    /// Folders below each other, deeper than the kernel takes a path for, with a file and a link in the last one; and others,
    /// so deep that what is in them is not brought.
    fn dig(&mut self) {
        let depth = self.random.random_range(20..80);
        let names: Vec<Vec<u8>> =
            (0..depth).map(|_| (0..250).map(|_| self.random.random_range(b'0'..=255)).collect()).collect();
        let last = self.nest(names.iter().map(Vec::as_slice));
        let file = openat(&last, &b"\xff\n"[..], OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).expect("a file");
        File::from(file).write_all(b"deep").expect("written");
        self.files.insert(join(&names.join(&b'/'), b"\xff\n"), b"deep".to_vec());
        symlinkat("/etc/passwd", &last, "link").expect("a link");
        let too_deep = vec![b'd'; 250];
        let last = self.nest(std::iter::repeat_n(&too_deep[..], 265));
        openat(&last, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).expect("a file");
        self.others += 2;
    }

    /// Makes folders below each other, and opens the last one.
    fn nest<'a>(&self, names: impl Iterator<Item = &'a [u8]>) -> OwnedFd {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let mut at = openat(CWD, &self.root, flags, Mode::empty()).expect("a folder");
        for name in names {
            mkdirat(&at, name, Mode::RWXU).expect("a folder");
            at = openat(&at, name, flags, Mode::empty()).expect("a folder");
        }
        at
    }

    /// One more thing, of any kind, under any name.
    fn grow(&mut self, outside: &Path) {
        let odd = name(&mut self.random);
        let Some(last) = odd.rsplit(|byte| *byte == b'/').find(|part| is_legal(part)) else { return };
        let folder = self.random.random_range(0..self.folders.len());
        let name = join(&self.folders[folder], last);
        let path = self.path(&name);
        if name.len() > PATH_LIMIT || path.symlink_metadata().is_ok() {
            return;
        }
        match self.random.random_range(0..14) {
            0..=3 => {
                let length = [0, 1, 100, 5_000][self.random.random_range(0..4)];
                let bytes = (0..length).map(|_| self.random.random()).collect();
                self.write(name, bytes);
            }
            4 | 5 => {
                fs::create_dir(&path).expect("a folder");
                self.folders.push(name);
            }
            6 => {
                // A file with a hole in front.
                let end = self.random.random_range(1..200_000);
                File::create(&path).and_then(|file| file.write_all_at(b"end", end)).expect("a file");
                let mut bytes = vec![0; usize::try_from(end).expect("a length")];
                bytes.extend(b"end");
                self.files.insert(name, bytes);
            }
            7 => {
                let (first, bytes) = self.files.first_key_value().expect("there are some");
                let (first, bytes) = (self.path(first), bytes.clone());
                fs::hard_link(first, &path).expect("a second name");
                self.files.insert(name, bytes);
            }
            8 => self.link(&name, outside.as_os_str().as_bytes()),
            9 | 10 => {
                let targets: [&[u8]; 8] = [
                    b"..",
                    b"/etc/passwd",
                    b"../../../../../../../../etc/passwd",
                    b"/proc/self/root",
                    b"/proc/self/fd/0",
                    b".",
                    b"nowhere",
                    b"/dev/zero",
                ];
                let target = targets[self.random.random_range(0..targets.len())];
                self.link(&name, target);
            }
            // A link to itself, through itself.
            11 => self.link(&name, last),
            12 => self.node(&path, FileType::Fifo),
            _ => {
                let kind = [FileType::Socket, FileType::CharacterDevice][self.random.random_range(0..2)];
                self.node(&path, kind);
            }
        }
    }

    /// A FIFO, a socket, or, for root, a device.
    fn node(&mut self, path: &Path, kind: FileType) {
        let device = if kind == FileType::CharacterDevice { makedev(1, 5) } else { 0 };
        self.others += usize::from(mknodat(CWD, path, kind, Mode::RUSR | Mode::WUSR, device).is_ok());
    }
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

/// Files and folders that change places with links to what is outside, and a file that grows.
struct Swapper {
    done: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Swapper {
    fn new(_seed: u64, root: &Path, outside: &Path) -> Self {
        output::ensure(root).expect("made");
        for number in 0..PAIRS {
            let below = |name: &str| root.join(format!("{name}-{number}"));
            fs::create_dir(below("way")).expect("a folder");
            fs::write(below("way").join("secret"), OWN).expect("a file");
            symlink(outside, below("lure")).expect("a link");
            fs::write(below("file"), OWN).expect("a file");
            symlink(outside.join("secret"), below("bait")).expect("a link");
        }
        let folder = File::open(root).expect("a folder");
        let mut grows = File::create(root.join("grows")).expect("a file");
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let thread = std::thread::spawn(move || {
            let mut swaps = 0;
            let swap = |number: u32, first: &str, second: &str| {
                let (first, second) = (format!("{first}-{number}"), format!("{second}-{number}"));
                renameat_with(&folder, first, &folder, second, RenameFlags::EXCHANGE)
            };
            while !is_done.load(Ordering::Relaxed) {
                for number in 0..PAIRS {
                    let swapped = swap(number, "way", "lure").and_then(|()| swap(number, "file", "bait"));
                    // They have been brought, and are being removed.
                    if swapped.is_err() {
                        return swaps;
                    }
                    swaps += 2;
                }
                grows.write_all(&[b'x'; 64]).expect("written");
            }
            swaps
        });
        Self { done, thread }
    }

    /// How often something has changed places.
    fn stop(self) -> u64 {
        self.done.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panics")
    }
}

/// A cluster on a fake engine, whose container of the image `tree:SEED` has in its /output what `make` makes of the seed.
struct World<T> {
    cluster: Embedded,
    api: Api,
    ctl: Ctl,
    canaries: Canaries,
    outside: TempDir,
    made: Arc<Mutex<BTreeMap<u64, T>>>,
}

impl<T: Send + 'static> World<T> {
    async fn start(make: fn(u64, &Path, &Path) -> T) -> Self {
        let outside = tempfile::tempdir().expect("a directory");
        fs::write(outside.path().join("secret"), SECRET).expect("a file");
        let made = Arc::new(Mutex::new(BTreeMap::new()));
        let (all, place) = (Arc::clone(&made), outside.path().to_owned());
        let runtime = Arc::new(FakeRuntime::with(move |spec: &ContainerSpec| {
            let seed = spec.image.rsplit(':').next().and_then(|seed| seed.parse().ok()).expect("a seed");
            let tree = make(seed, &spec.output, &place);
            all.lock().expect("no panics").insert(seed, tree);
            Behaviour::exit(0)
        }));
        let cluster = Embedded::start(1, &runtime, AMPLE).await;
        let canaries = Canaries::plant(cluster.dir());
        let api = cluster.api().for_long().await;
        let ctl = cluster.ctl().with_env("CLOUDCTL_TOKEN", api.token());
        Self { cluster, api, ctl, canaries, outside, made }
    }

    async fn submit(&self, seed: u64) -> String {
        let task = SubmitRequest { image: format!("tree:{seed}"), ..SubmitRequest::default() };
        self.api.submit(&task).await.expect("accepted").task_id
    }

    async fn ended(&self, seed: u64, id: &str) -> (TaskView, T) {
        let task = self.api.ended(PATIENCE, id).await;
        assert_eq!(task.verdict, Some(Verdict::Success), "tree {seed}: {task:?}");
        let tree = self.made.lock().expect("no panics").remove(&seed).expect("it was made");
        (task, tree)
    }

    /// The output files of a task as `cloudctl` downloads them.
    async fn downloaded(&self, seed: u64, id: &str) -> Files {
        let place = format!("tree-{seed}");
        self.ctl.run(&["download", id, &place, "--quiet"]).await.ok();
        let folder = self.ctl.dir().join(place);
        let files = read_tree(&folder);
        fs::remove_dir_all(folder).expect("removed");
        files
    }

    /// Removes what is known of a tree, and looks after what nobody may have touched.
    async fn forget(&self, id: &str) {
        self.api.send(self.api.request(Method::DELETE, &format!("/api/files/{id}"))).await.expect("deleted");
        self.canaries.assert_untouched();
        let secret = fs::read(self.outside.path().join("secret")).expect("it is there");
        assert!(secret == SECRET && fs::read_dir(self.outside.path()).expect("a folder").count() == 1);
    }
}

/// How much was left out, as the notes say it.
fn left_out(notes: &[String]) -> usize {
    let of = |note: &String| -> usize {
        let more = note.strip_prefix("and ").and_then(|rest| rest.strip_suffix(" more"));
        more.map_or(1, |more| more.parse().expect("a number"))
    };
    notes.iter().map(of).sum()
}

/// What a list says of each file: its size and its BLAKE3.
fn listed(list: &FileListView) -> BTreeMap<Vec<u8>, (u64, String)> {
    let of_each = list.files.iter().map(|file| {
        let name = exact(&file.path, file.path_hex.as_deref());
        (name, (file.size, file.blake3.clone()))
    });
    let listed: BTreeMap<_, _> = of_each.collect();
    assert_eq!(listed.len(), list.files.len(), "no name twice");
    listed
}

/// As it stands in a URL, each byte by its number.
fn escaped(name: &[u8]) -> String {
    name.iter().map(|byte| if *byte == b'/' { "/".to_owned() } else { format!("%{byte:02X}") }).collect()
}

#[tokio::test]
async fn hostile_trees_arrive_whole_with_nothing_from_outside() {
    let count = trees(60);
    let world = World::start(Tree::new).await;
    let (mut files, mut bytes, mut others, mut by_ctl) = (0, 0, 0, 0);
    for first in (0..count).step_by(TOGETHER) {
        let mut tasks = Vec::new();
        for seed in first..count.min(first + TOGETHER as u64) {
            tasks.push((seed, world.submit(seed).await));
        }
        for (seed, id) in tasks {
            let (task, tree) = world.ended(seed, &id).await;
            assert_eq!(left_out(&task.output_notes), tree.others, "tree {seed}: {:?}", task.output_notes);
            let list = world.api.files(&id).await.expect("a list");
            let of_each = |(name, content): (&Vec<u8>, &Vec<u8>)| {
                (name.clone(), (content.len() as u64, blake3::hash(content).to_hex().to_string()))
            };
            let expected: BTreeMap<_, _> = tree.files.iter().map(of_each).collect();
            assert!(listed(&list) == expected, "tree {seed}: {list:?}");
            for (number, (name, content)) in tree.files.iter().enumerate() {
                let path = match number % 2 {
                    _ if name.len() > PLAIN_PATH => {
                        format!("/api/files/{id}?path_blake3={}", blake3::hash(name).to_hex())
                    }
                    0 => format!("/api/files/{id}?path_hex={}", hex(name)),
                    _ => format!("/api/files/{id}/{}", escaped(name)),
                };
                let found = world.api.get_bytes(&path).await.expect("a file");
                assert!(found == *content, "tree {seed}: {name:?}");
                bytes += found.len();
            }
            if seed.is_multiple_of(BY_CTL) {
                let shown = world.ctl.run(&["task-files", &id, "--output", "json"]).await.ok();
                let shown: FileListView = serde_json::from_str(&shown).expect("a list");
                assert_eq!(listed(&shown), listed(&list), "tree {seed}");
                let found = world.downloaded(seed, &id).await;
                assert!(found == tree.files, "tree {seed}: {} of {}", found.len(), tree.files.len());
                by_ctl += 1;
            }
            files += tree.files.len();
            others += tree.others;
            world.forget(&id).await;
        }
    }
    println!(
        "{count} hostile trees brought to a master: {files} of {files} files found under their names, {bytes} bytes, {others} \
         links, FIFOs, sockets, devices and folders too deep left out, {by_ctl} of the trees downloaded by cloudctl too, 0 bytes \
         from outside"
    );
    world.cluster.stop().await;
}

#[tokio::test]
async fn hostile_trees_that_change_while_they_are_brought_give_nothing_from_outside() {
    let count = trees(60) / 10;
    let world = World::start(Swapper::new).await;
    let (mut arrived, mut left, mut swaps) = (0, 0, 0);
    for seed in 0..count {
        let id = world.submit(seed).await;
        let (task, swapper) = world.ended(seed, &id).await;
        swaps += swapper.stop();
        left += left_out(&task.output_notes);
        let list = world.api.files(&id).await.expect("a list");
        let mut found = Files::new();
        for name in listed(&list).into_keys() {
            let path = format!("/api/files/{id}?path_hex={}", hex(&name));
            found.insert(name, world.api.get_bytes(&path).await.expect("a file"));
        }
        for (name, content) in &found {
            let is_own = content == OWN || name == b"grows" && content.iter().all(|byte| *byte == b'x');
            assert!(is_own, "tree {seed}: {name:?} has {content:?}");
        }
        assert!(world.downloaded(seed, &id).await == found, "tree {seed}");
        arrived += found.len();
        world.forget(&id).await;
    }
    assert!(arrived > 0 && left > 0 && swaps > 0, "{arrived} arrived, {left} left out, {swaps} swaps");
    println!(
        "{count} hostile trees that changed {swaps} times until they were brought to a master: {arrived} files arrived, {left} \
         left out, 0 bytes from outside"
    );
    world.cluster.stop().await;
}
