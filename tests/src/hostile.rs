//! Names and trees as somebody makes them who wants to get at files of others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rand::RngExt;
use rand::rngs::StdRng;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, openat, statat};

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
pub fn name(random: &mut StdRng) -> Vec<u8> {
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
#[must_use]
pub fn is_legal(name: &[u8]) -> bool {
    name.len() <= 4096
        && !name.contains(&0)
        && name
            .split(|byte| *byte == b'/')
            .all(|part| !part.is_empty() && part != b"." && part != b".." && part.len() <= 255)
}

/// Files that nobody may touch, in the places that names lead to.
#[derive(Debug)]
pub struct Canaries(Vec<PathBuf>);

impl Canaries {
    /// Puts them into the directory of a cluster.
    ///
    /// # Panics
    /// When they cannot be written.
    #[must_use]
    pub fn plant(directory: &Path) -> Self {
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

    /// Looks at each.
    ///
    /// # Panics
    /// When somebody has changed one.
    pub fn assert_untouched(&self) {
        for path in &self.0 {
            assert_eq!(fs::read_to_string(path).expect("it is there"), "alive", "{}", path.display());
        }
    }
}

/// Two digits for each byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a path as the API tells it.
///
/// # Panics
/// When it is no hex.
#[must_use]
pub fn exact(path: &str, path_hex: Option<&str>) -> Vec<u8> {
    match path_hex {
        None => path.as_bytes().to_vec(),
        Some(hex) => {
            let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
            (0..hex.len()).step_by(2).map(byte).collect()
        }
    }
}

/// All files below a folder, by their names in it, with what is in them. Paths may be longer than the kernel takes at once.
///
/// # Panics
/// When there is anything but files and folders.
#[must_use]
pub fn read_tree(folder: &Path) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![Vec::new()]);
    while let Some(below) = folders.pop() {
        let opened = enter(folder, &below);
        for entry in Dir::read_from(&opened).expect("a folder") {
            let entry = entry.expect("an entry");
            let last = entry.file_name();
            if matches!(last.to_bytes(), b"." | b"..") {
                continue;
            }
            let mut name: Vec<u8> = below.clone();
            if !name.is_empty() {
                name.push(b'/');
            }
            name.extend(last.to_bytes());
            let stat = statat(&opened, last, AtFlags::SYMLINK_NOFOLLOW).expect("its kind");
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Directory => folders.push(name),
                FileType::RegularFile => {
                    let file = openat(&opened, last, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).expect("opened");
                    let mut content = Vec::new();
                    File::from(file).read_to_end(&mut content).expect("read");
                    files.insert(name, content);
                }
                other => panic!("{name:?} is a {other:?}"),
            }
        }
    }
    files
}

/// Opens a folder below another, name by name.
fn enter(folder: &Path, below: &[u8]) -> OwnedFd {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut at = openat(CWD, folder, flags, Mode::empty()).expect("a folder");
    for name in below.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
        at = openat(&at, name, flags | OFlags::NOFOLLOW, Mode::empty()).expect("a folder");
    }
    at
}
