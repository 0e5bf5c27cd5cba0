use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use rustix::fs::{mkdirat, mknodat};
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

/// Makes folders of these names, each in the one before, and opens the last: their path may be too long for the kernel.
fn dig<'a>(root: &Path, names: impl IntoIterator<Item = &'a [u8]>) -> OwnedFd {
    let mut at = open_root(root).expect("the root");
    for name in names {
        let made = mkdirat(&at, name, Mode::RWXU);
        assert!(matches!(made, Ok(()) | Err(Errno::EXIST)), "{made:?}");
        at = openat(&at, name, FOLDER, Mode::empty()).expect("a folder");
    }
    at
}

fn write_at(folder: &OwnedFd, name: &[u8], bytes: &[u8]) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
    let file = openat(folder, name, flags, Mode::RUSR | Mode::WUSR).expect("a file");
    File::from(file).write_all(bytes).expect("written");
}

fn read(root: &Path, path: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(root, path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// All that a walk finds, sorted.
#[derive(Debug, PartialEq)]
struct Outputs {
    files: Vec<OutputFile>,
    notes: Vec<String>,
}

fn walk(root: &Path) -> io::Result<Outputs> {
    finish(Walk::new(root, PATH_LIMIT)?)
}

fn walk_up_to(root: &Path, longest: usize) -> Outputs {
    finish(Walk::new(root, longest).expect("the root")).expect("a walk")
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
        assert_eq!(read(root.path(), name).expect("a file"), name);
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
    let mut walk = Walk::new(root.path(), PATH_LIMIT).expect("the root");
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
        let mut walk = Walk::new(root.path(), PATH_LIMIT).expect("the root");
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
fn files_are_found_and_read_by_paths_that_the_kernel_does_not_take_at_once() {
    let (root, outside) = (folder(), folder());
    write(outside.path(), b"file", b"secret");
    let names: Vec<&[u8]> =
        (0..100).map(|at| if at % 2 == 0 { &[b'd'; 200][..] } else { &[b'\xff'; 199][..] }).collect();
    let last = dig(root.path(), names.iter().copied());
    write_at(&last, b"file", b"deep");
    write_at(&dig(root.path(), names[..40].iter().copied()), b"half", b"way");
    rustix::fs::symlinkat("file", &last, "link").expect("a link");
    let path = join(&names.join(&b'/'), b"file");
    assert!(path.len() > 20_000);
    let outputs = walk(root.path()).expect("a walk");
    let half = join(&names[..40].join(&b'/'), b"half");
    assert_eq!(paths(&outputs), [&path[..], &half], "and no folder");
    let [note] = &outputs.notes[..] else { panic!("{:?}", outputs.notes) };
    assert!(note.starts_with("skipped link: ddd"), "{note}");
    assert_eq!(read(root.path(), &path).expect("a file"), b"deep");
    assert_eq!(read(root.path(), &half).expect("a file"), b"way");
    let parts = |last: &[u8]| join(&names.join(&b'/'), last);
    for bad in [&b"link"[..], b"", b"none", b"file/x", b"..", b"../file", b"."] {
        assert!(read(root.path(), &parts(bad)).is_err(), "{bad:?}");
    }
    // A link in the middle of the way, with the same names behind it.
    let above = dig(root.path(), names[..50].iter().copied());
    rustix::fs::renameat(&above, names[50], &above, "moved").expect("moved");
    rustix::fs::symlinkat("moved", &above, names[50]).expect("a link");
    assert!(read(root.path(), &path).is_err());
    rustix::fs::unlinkat(&above, names[50], rustix::fs::AtFlags::empty()).expect("removed");
    rustix::fs::symlinkat(outside.path(), &above, names[50]).expect("a link");
    assert!(read(root.path(), &join(&names[..51].join(&b'/'), b"file")).is_err());
}

#[test]
fn a_path_is_as_long_as_the_bound_and_no_longer() {
    let root = folder();
    let (whole, rest) = ([b'w'; 255], [vec![b'x'; 200], vec![b'y'; 100]]);
    let names: Vec<&[u8]> = std::iter::repeat_n(&whole[..], 254).chain(rest.iter().map(Vec::as_slice)).collect();
    let last = dig(root.path(), names.iter().copied());
    write_at(&last, &[b'f'; 210], b"at the bound");
    write_at(&last, &[b'f'; 211], b"beyond it");
    let outputs = walk(root.path()).expect("a walk");
    let path = join(&names.join(&b'/'), &[b'f'; 210]);
    assert_eq!(path.len(), PATH_LIMIT);
    assert_eq!(paths(&outputs), [&path[..]]);
    let [note] = &outputs.notes[..] else { panic!("{:?}", outputs.notes) };
    assert!(note.starts_with("skipped file with a path of more than 65536 bytes: www"), "{note}");
    assert_eq!(read(root.path(), &path).expect("a file"), b"at the bound");
    assert_eq!(walk_up_to(root.path(), usize::MAX), outputs, "nobody wants more");
}

#[test]
fn what_a_master_does_not_take_is_noted() {
    let root = folder();
    write(root.path(), b"a/b/1234", b"x");
    write(root.path(), b"a/b/12345", b"x");
    write(root.path(), b"a/b/c/d/e/f", b"x");
    let outputs = walk_up_to(root.path(), 8);
    assert_eq!(paths(&outputs), [b"a/b/1234"]);
    let notes =
        ["directory with a path of more than 8 bytes: a/b/c/d/e", "file with a path of more than 8 bytes: a/b/12345"];
    assert_eq!(outputs.notes, notes.map(|note| format!("skipped {note}")));
}

#[test]
fn long_paths_have_a_bound_together() {
    let root = folder();
    let names = [[b'n'; 250].as_slice(); 20];
    let last = dig(root.path(), names);
    for number in 0..10 {
        write_at(&last, number.to_string().as_bytes(), b"");
        write(root.path(), number.to_string().as_bytes(), b"");
    }
    let mut walk = Walk::new(root.path(), PATH_LIMIT).expect("the root");
    walk.long_paths = 3 * 5021 + 5020;
    let outputs = finish(walk).expect("a walk");
    assert_eq!(outputs.files.len(), 13, "short ones do not count");
    assert_eq!(outputs.notes.len(), 7);
    let note = "skipped file, as the paths of more than 4096 bytes would come to more than 256 MiB: nnn";
    assert!(outputs.notes.iter().all(|found| found.starts_with(note)), "{:?}", outputs.notes);
}

#[test]
fn a_tree_of_fifty_thousand_folders_is_read_as_far_as_it_has_names_and_counted_whole() {
    let root = folder();
    nest(root.path(), 50_000);
    write(root.path(), b"beside", b"x");
    let outputs = walk(root.path()).expect("a walk");
    assert_eq!(paths(&outputs), [b"beside"]);
    assert_eq!(outputs.notes.len(), 1);
    assert!(outputs.notes[0].starts_with("skipped directory with a path of more than 65536 bytes: d/d/d"));
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
fn of_many_as_many_are_counted_as_are_worth_the_time() {
    let root = folder();
    for number in 0..10 {
        write(root.path(), format!("{number}/f").as_bytes(), b"");
    }
    let counted = |entries| {
        let mut told = 0;
        let bytes = used_by(root.path(), entries, u64::MAX, |_, _| told += 1);
        (told, bytes)
    };
    assert_eq!(counted(7), (7, 7 * UNIT));
    assert_eq!(counted(SOON_LIMIT), (20, 20 * UNIT));
    assert_eq!(used_soon(root.path(), |_, _| {}), 20 * UNIT);
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
