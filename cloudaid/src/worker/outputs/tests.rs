use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::mknodat;
use tempfile::TempDir;

use super::*;
use crate::worker::removal::{self, testkit::nest};

mod hostile;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn write(root: &Path, path: &[u8], bytes: &[u8]) {
    let path = root.join(OsStr::from_bytes(path));
    std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
    std::fs::write(path, bytes).expect("a file");
}

/// All that a walk finds, sorted.
#[derive(Debug, PartialEq)]
struct Outputs {
    files: Vec<OutputFile>,
    notes: Vec<String>,
}

fn walk(root: &Path) -> io::Result<Outputs> {
    finish(Walk::new(root)?)
}

fn finish(mut walk: Walk) -> io::Result<Outputs> {
    let mut files = Vec::new();
    while let Some(file) = walk.next_file()? {
        files.push(file);
    }
    files.sort_unstable();
    Ok(Outputs { files, notes: walk.finish() })
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    if folder.is_empty() { name.to_vec() } else { [folder, b"/", name].concat() }
}

fn used(root: &Path, enough: u64) -> u64 {
    super::used(root, enough, |_, _| {})
}

fn paths(outputs: &Outputs) -> Vec<&[u8]> {
    outputs.files.iter().map(|file| file.path.as_slice()).collect()
}

#[test]
fn files_are_found_in_order_with_their_sizes() {
    let root = folder();
    for (path, bytes) in [("b", "22"), ("a/z", "1"), ("a/b/c", ""), ("a.txt", "333")] {
        write(root.path(), path.as_bytes(), bytes.as_bytes());
    }
    std::fs::create_dir(root.path().join("empty")).expect("a folder");
    let outputs = walk(root.path()).expect("a walk");
    let expected = [("a.txt", 3), ("a/b/c", 0), ("a/z", 1), ("b", 2)];
    let expected = expected.map(|(path, size)| OutputFile { path: path.as_bytes().to_vec(), size });
    assert_eq!(outputs, Outputs { files: expected.to_vec(), notes: Vec::new() });
}

#[test]
fn names_are_any_bytes() {
    let root = folder();
    let names: [&[u8]; 5] = [b" ", b"-rf", b"\x01\n\x1b[2J", b"...", b"\xff\xfe"];
    for name in names {
        write(root.path(), name, name);
    }
    let outputs = walk(root.path()).expect("a walk");
    let mut expected = names.to_vec();
    expected.sort_unstable();
    assert_eq!(paths(&outputs), expected);
    for name in names {
        let mut bytes = Vec::new();
        open(root.path(), name).expect("a file").read_to_end(&mut bytes).expect("bytes");
        assert_eq!(bytes, name);
    }
}

#[test]
fn what_is_no_regular_file_is_noted_and_never_opened() {
    let root = folder();
    write(root.path(), b"real", b"x");
    symlink("real", root.path().join("link")).expect("a link");
    symlink("/etc", root.path().join("out")).expect("a link");
    mknodat(CWD, root.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("a FIFO");
    let _socket = UnixListener::bind(root.path().join("socket")).expect("a socket");
    let outputs = walk(root.path()).expect("a walk");
    assert_eq!(paths(&outputs), [b"real"]);
    let notes = ["skipped FIFO: pipe", "skipped link: link", "skipped link: out", "skipped socket: socket"];
    assert_eq!(outputs.notes, notes);
    for path in ["link", "out", "out/passwd", "pipe", "socket", ".", "", "..", "../x", "real/..", "/etc/passwd", "a\0b"]
    {
        assert!(open(root.path(), path.as_bytes()).is_err(), "{path:?}");
    }
}

#[test]
fn a_link_in_the_place_of_the_root_is_refused() {
    let outer = folder();
    let target = folder();
    write(target.path(), b"secret", b"x");
    let link = outer.path().join("output");
    symlink(target.path(), &link).expect("a link");
    assert!(walk(&link).is_err());
    assert!(open(&link, b"secret").is_err());
}

#[test]
fn without_openat2_links_are_refused_as_well() {
    let root = folder();
    write(root.path(), b"a/b/file", b"x");
    symlink("a", root.path().join("way")).expect("a link");
    symlink("file", root.path().join("a/b/link")).expect("a link");
    let opened = open_root(root.path()).expect("the root");
    assert!(resolve_by_steps(&opened, b"a/b/file", FILE).is_ok());
    for path in ["way/b/file", "a/b/link", "a/b/none", "a/b/file/x"] {
        assert!(resolve_by_steps(&opened, path.as_bytes(), FILE).is_err(), "{path}");
    }
}

#[test]
fn notes_are_counted_beyond_their_limit() {
    let root = folder();
    for number in 0..NOTE_LIMIT + 7 {
        symlink("nowhere", root.path().join(number.to_string())).expect("a link");
    }
    let outputs = walk(root.path()).expect("a walk");
    assert_eq!(outputs.notes.len(), NOTE_LIMIT + 1);
    assert_eq!(outputs.notes.last().map(String::as_str), Some("and 7 more"));
}

#[test]
fn a_note_is_short_however_long_the_path_is() {
    let root = folder();
    let folders = [[b'\x01'; 250].as_slice(); 12].join(&b'/');
    write(root.path(), &join(&folders, b"file"), b"x");
    symlink("file", root.path().join(OsStr::from_bytes(&join(&folders, b"link")))).expect("a link");
    let outputs = walk(root.path()).expect("a walk");
    assert_eq!(paths(&outputs), [join(&folders, b"file")]);
    let [note] = &outputs.notes[..] else { panic!("{:?}", outputs.notes) };
    assert!(note.starts_with("skipped link: \\u{1}\\u{1}") && note.ends_with("\\u{1}..."), "{note}");
    // A master refuses the whole report with one of more than 8 KiB.
    assert!(note.len() < 8 * 1024, "{}", note.len());
    assert_eq!(shown(&"\u{10fffe}".repeat(600).into_bytes()).len(), SHOWN_LIMIT * "\\u{10fffe}".len() + 3);
}

#[test]
fn too_many_files_are_cut_and_said() {
    let root = folder();
    for number in 0..12 {
        write(root.path(), format!("d{}/f{number}", number % 3).as_bytes(), b"");
    }
    let mut walk = Walk::new(root.path()).expect("the root");
    walk.file_limit = 10;
    let outputs = finish(walk).expect("a walk");
    assert_eq!(outputs.files.len(), 10);
    assert_eq!(outputs.notes, ["more than 10 files or directories: the rest was skipped"]);
}

#[test]
fn folders_are_gone_on_with_where_they_were_left_and_always_in_the_same_order() {
    let root = folder();
    for number in 0..3000 {
        write(root.path(), format!("d{}/e{}/f{number}", number % 700, number % 3).as_bytes(), b"");
        write(root.path(), format!("g{number}").as_bytes(), b"");
    }
    let found = || {
        let mut walk = Walk::new(root.path()).expect("the root");
        let mut found = Vec::new();
        while let Some(file) = walk.next_file().expect("a walk") {
            found.push(file.path);
        }
        found
    };
    let first = found();
    assert_eq!(first.len(), 6000);
    assert_eq!(first.iter().collect::<std::collections::BTreeSet<_>>().len(), 6000);
    assert_eq!(found(), first);
}

#[test]
fn a_tree_deeper_than_any_path_is_noted() {
    let root = folder();
    let name = "d".repeat(200);
    let mut at = open_root(root.path()).expect("the root");
    for _ in 0..30 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("a folder");
        at = openat(&at, &name, FOLDER, Mode::empty()).expect("a folder");
    }
    let outputs = walk(root.path()).expect("a walk");
    assert_eq!(outputs.files, []);
    assert_eq!(outputs.notes.len(), 1);
    assert!(outputs.notes.iter().all(|note| note.starts_with("skipped directory that cannot be read: ddd")));
}

#[test]
fn a_tree_of_fifty_thousand_folders_is_read_as_far_as_it_has_names_and_counted_whole() {
    let root = folder();
    nest(root.path(), 50_000);
    write(root.path(), b"beside", b"x");
    let outputs = walk(root.path()).expect("a walk");
    assert_eq!(paths(&outputs), [b"beside"]);
    assert_eq!(outputs.notes.len(), 1);
    assert!(outputs.notes[0].starts_with("skipped directory that cannot be read: d/d/d"));
    assert_eq!(used(root.path(), u64::MAX), 50_002 * UNIT, "each of them, and two files");
    assert!(used(root.path(), 5 * UNIT) <= 7 * UNIT, "no more is looked at than has to be");
    assert_eq!(removal::remove(root.path()).expect("removed"), None);
}

#[test]
fn what_is_empty_takes_room_too() {
    let root = folder();
    for number in 0..100 {
        write(root.path(), number.to_string().as_bytes(), b"");
    }
    std::fs::hard_link(root.path().join("0"), root.path().join("again")).expect("a link");
    assert_eq!(used(root.path(), u64::MAX), 100 * UNIT);
    let kept = std::fs::File::create(root.path().join("kept")).expect("a file");
    rustix::fs::fallocate(&kept, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 8 << 20).expect("it has room");
    assert!(used(root.path(), u64::MAX) >= 100 * UNIT + (8 << 20), "what a file of no length has counts");
}

#[test]
fn what_is_stored_counts_blocks_and_each_file_once() {
    use std::os::unix::fs::FileExt;
    let root = folder();
    let empty = used(root.path(), u64::MAX);
    write(root.path(), b"a/b/c", &vec![1; 1 << 20]);
    std::fs::hard_link(root.path().join("a/b/c"), root.path().join("again")).expect("a link");
    let one = used(root.path(), u64::MAX);
    assert!((1 << 20..(1 << 20) + (64 << 10)).contains(&(one - empty)), "{one}");
    let hole = std::fs::File::create(root.path().join("hole")).expect("a file");
    hole.write_all_at(b"x", 1 << 40).expect("a hole");
    assert!(used(root.path(), u64::MAX) - one < 1 << 16, "a hole is nothing");
    let outside = folder();
    write(outside.path(), b"large", &vec![1; 1 << 20]);
    symlink(outside.path(), root.path().join("out")).expect("a link");
    assert!(used(root.path(), u64::MAX) - one < 1 << 17, "what a link names is somebody else's");
    assert_eq!(used(&root.path().join("nowhere"), 0), 0);
}
