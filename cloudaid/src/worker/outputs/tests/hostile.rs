//! Trees as somebody makes them who wants files of the host, walked and read while they change.
//!
//! `./tests/torture.sh long trees` tries more of them, as many as `CLOUDAI_TEST_TREES` says.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rustix::fs::{RenameFlags, renameat_with};

use super::*;

/// Nobody may ever see it.
const SECRET: &[u8] = b"secret of the host";

/// A tree, and what of it is to be found.
struct Tree {
    root: TempDir,
    random: SmallRng,
    folders: Vec<Vec<u8>>,
    /// Files with what is in them. Those in `moving` folders may come and go.
    files: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What was put there that is no file.
    others: usize,
    sockets: Vec<UnixListener>,
}

impl Tree {
    fn new(seed: u64, outside: &Path) -> Self {
        let random = SmallRng::seed_from_u64(seed);
        let (root, folders) = (folder(), vec![Vec::new()]);
        let mut tree = Self { root, random, folders, files: BTreeMap::new(), others: 0, sockets: Vec::new() };
        tree.dig();
        for _ in 0..tree.random.random_range(1..40) {
            tree.grow(outside);
        }
        tree
    }

    /// Folders below each other, deeper than the kernel takes a path for, with a file and a link in the last one.
    fn dig(&mut self) {
        let depth = self.random.random_range(20..40);
        let names: Vec<Vec<u8>> = (0..depth)
            .map(|_| (0..self.random.random_range(210..=255)).map(|_| self.random.random_range(b'0'..=255)).collect())
            .collect();
        let last = super::dig(self.root.path(), names.iter().map(Vec::as_slice));
        write_at(&last, b"\xff\n", b"deep");
        rustix::fs::symlinkat("/etc/passwd", &last, "link").expect("a link");
        self.files.insert(join(&names.join(&b'/'), b"\xff\n"), b"deep".to_vec());
        self.others += 1;
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.root.path().join(OsString::from_vec(name.to_vec()))
    }

    /// A name in some folder that nothing has yet: any bytes but those that no name has.
    fn name(&mut self) -> Vec<u8> {
        loop {
            let length = *[1, 2, 3, 8, 60, 255].choose(&mut self.random).expect("a length");
            let odd: &[&[u8]] =
                &[b"...", b"-rf", b"~", b"\n", b"\x1b[2J", b"\xff\xfe", b"CON", b" ", b"*", b"a\\b", b"%2e%2e"];
            let name: Vec<u8> = match self.random.random_range(0..4) {
                0 => odd.choose(&mut self.random).expect("a name").to_vec(),
                1 => (0..length).map(|_| self.random.random_range(b'a'..=b'z')).collect(),
                _ => (0..length)
                    .map(|_| self.random.random_range(1..=255))
                    .map(|byte| if byte == b'/' { b'_' } else { byte })
                    .collect(),
            };
            let folder = self.folders.choose(&mut self.random).expect("a folder").clone();
            let path = join(&folder, &name);
            if name != b"." && name != b".." && path.len() < 3_000 && self.path(&path).symlink_metadata().is_err() {
                return path;
            }
        }
    }

    fn grow(&mut self, outside: &Path) {
        let name = self.name();
        let path = self.path(&name);
        match self.random.random_range(0..14) {
            0..=4 => {
                let length = *[0, 1, 100, 5_000].choose(&mut self.random).expect("a length");
                let bytes: Vec<u8> = (0..length).map(|_| self.random.random()).collect();
                fs::write(&path, &bytes).expect("a file");
                self.files.insert(name, bytes);
            }
            5 | 6 => {
                fs::create_dir(&path).expect("a folder");
                self.folders.push(name);
            }
            7 => {
                // A file with a hole in front.
                let end = self.random.random_range(1..200_000);
                let file = File::create(&path).expect("a file");
                file.write_all_at(b"end", end).expect("written");
                let mut bytes = vec![0; usize::try_from(end).expect("a length")];
                bytes.extend(b"end");
                self.files.insert(name, bytes);
            }
            8 => {
                let first = self.files.iter().find(|(name, _)| name.len() < 3_000);
                let Some((first, bytes)) = first.map(|(name, bytes)| (name.clone(), bytes.clone())) else { return };
                fs::hard_link(self.path(&first), &path).expect("a second name");
                self.files.insert(name, bytes);
            }
            9 => self.link(outside.join("secret").into_os_string().into_vec(), &path),
            10 => self.link(outside.as_os_str().as_bytes().to_vec(), &path),
            11 => {
                let targets: [&[u8]; 7] = [
                    b"..",
                    b"../../../../../../etc/passwd",
                    b"/proc/self/root",
                    b"/proc/self/fd/0",
                    b".",
                    b"nowhere",
                    b"/dev/zero",
                ];
                let target = targets.choose(&mut self.random).expect("a target").to_vec();
                self.link(target, &path);
            }
            12 => {
                // A link to itself, through itself.
                let target = path.file_name().expect("a name").as_bytes().to_vec();
                self.link(target, &path);
            }
            _ => self.odd(&path),
        }
    }

    fn link(&mut self, target: Vec<u8>, path: &Path) {
        symlink(OsString::from_vec(target), path).expect("a link");
        self.others += 1;
    }

    /// A FIFO, a socket or a device.
    fn odd(&mut self, path: &Path) {
        let made = match self.random.random_range(0..3) {
            0 => mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).is_ok(),
            1 => mknodat(CWD, path, FileType::CharacterDevice, Mode::RUSR, rustix::fs::makedev(1, 5)).is_ok(),
            // The address of a socket is short.
            _ => UnixListener::bind(path).map(|socket| self.sockets.push(socket)).is_ok(),
        };
        self.others += usize::from(made);
    }
}

fn trees() -> u64 {
    let wanted = std::env::var("CLOUDAI_TEST_TREES").ok();
    wanted.map_or(300, |wanted| wanted.parse().expect("CLOUDAI_TEST_TREES is a number"))
}

fn outside() -> TempDir {
    let outside = folder();
    write(outside.path(), b"secret", SECRET);
    outside
}

#[test]
fn hostile_trees_give_their_own_files_and_nothing_else() {
    let outside = outside();
    let (mut files, mut bytes, mut others) = (0, 0, 0);
    for seed in 0..trees() {
        let tree = Tree::new(seed, outside.path());
        let outputs = walk(tree.root.path()).expect("a walk");
        let expected: Vec<&[u8]> = tree.files.keys().map(Vec::as_slice).collect();
        assert_eq!(paths(&outputs), expected, "tree {seed}");
        assert_eq!(outputs.notes.len(), tree.others, "tree {seed}: {:?}", outputs.notes);
        for (path, content) in &tree.files {
            let found = read(tree.root.path(), path).expect("a file of its own");
            assert!(found == *content, "tree {seed}: {path:?}");
            bytes += found.len();
        }
        files += tree.files.len();
        others += tree.others;
    }
    println!(
        "{} hostile trees: {files} of {files} files found under their names, {bytes} bytes, {others} links, FIFOs, sockets and devices left out, 0 bytes from outside",
        trees()
    );
}

#[test]
fn hostile_trees_that_change_while_they_are_read_give_nothing_from_outside() {
    let outside = outside();
    let (mut read_files, mut refused, mut swaps) = (0, 0, 0);
    for seed in 0..trees() / 10 {
        let tree = Tree::new(seed, outside.path());
        let root = tree.root.path();
        // A folder with a file in it that has the name of the secret, and a link to where the secret is, change places.
        write(root, b"way/secret", b"its own");
        symlink(outside.path(), root.join("lure")).expect("a link");
        write(root, b"file", b"its own");
        symlink(outside.path().join("secret"), root.join("bait")).expect("a link");
        let (done, root_folder) = (AtomicBool::new(false), open_root(root).expect("the root"));
        let swap = |first, second| renameat_with(&root_folder, first, &root_folder, second, RenameFlags::EXCHANGE);
        std::thread::scope(|scope| {
            let swapper = scope.spawn(|| {
                let mut swaps = 0;
                while !done.load(Ordering::Relaxed) || swaps < 100 {
                    swap("way", "lure").and_then(|()| swap("file", "bait")).expect("they change places");
                    swaps += 1;
                }
                swaps
            });
            for _ in 0..20 {
                let outputs = walk(root).expect("a walk");
                let found = outputs.files.iter().map(|file| file.path.as_slice());
                let tried: [&[u8]; 5] = [b"way/secret", b"lure/secret", b"file", b"bait", b"way/../lure/secret"];
                for path in found.chain(tried) {
                    match read(root, path) {
                        Ok(content) => {
                            assert!(content != SECRET, "tree {seed}: {path:?} is from outside");
                            read_files += 1;
                        }
                        Err(_) => refused += 1,
                    }
                }
            }
            done.store(true, Ordering::Relaxed);
            swaps += swapper.join().expect("the swapper");
        });
    }
    assert!(read_files > 0 && refused > 0, "{read_files} read, {refused} refused");
    println!(
        "{} hostile trees that changed {swaps} times: {read_files} files read, {refused} refused, 0 bytes from outside",
        trees() / 10
    );
}
