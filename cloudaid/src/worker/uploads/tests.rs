use shared::proto::UploadRoom;

use super::*;

fn key() -> AttemptKey {
    let task = "task-01arz3ndektsv4rrffq69g5fav".parse().expect("an id");
    AttemptKey { task, index: 0, attempt: 1, fence: shared::id::Fence(1) }
}

fn feed(root: &Path, state: &UploadState, anew: bool) -> (Result<Vec<String>, Broken>, Vec<Content>) {
    feed_without(&Unreadable::default(), root, state, anew)
}

fn feed_without(
    unreadable: &Unreadable,
    root: &Path,
    state: &UploadState,
    anew: bool,
) -> (Result<Vec<String>, Broken>, Vec<Content>) {
    let (frames, mut outbound) = mpsc::channel(1000);
    let outputs = Outputs { root: root.to_owned(), storage: Some(1 << 20), given_up: root.with_extension("given-up") };
    let feed = Feed::new(&frames, &outputs, unreadable, state).expect("a directory");
    let fed = if anew { feed.send_all(key()) } else { feed.send_the_rest(key(), state) };
    drop(frames);
    let mut contents = Vec::new();
    while let Some(frame) = outbound.blocking_recv() {
        contents.push(frame.content.expect("content"));
    }
    (fed, contents)
}

fn end(data: &[u8]) -> Content {
    Content::End(FileEnd { blake3: Bytes::copy_from_slice(blake3::hash(data).as_bytes()) })
}

fn begin(path: &[u8], size: u64) -> Content {
    Content::Begin(FileBegin { path: Bytes::copy_from_slice(path), size, executable: false })
}

#[test]
fn files_become_frames_with_their_digest() {
    let scratch = tempfile::tempdir().expect("a directory");
    std::fs::write(scratch.path().join("a"), b"data").expect("written");
    let (notes, contents) = feed(scratch.path(), &UploadState::default(), false);
    assert!(notes.expect("read").is_empty());
    let chain = Bytes::copy_from_slice(&upload_chain::extend(upload_chain::START, b"a", 4));
    let expected = [
        Content::Attempt(key().into()),
        begin(b"a", 4),
        Content::Data(Bytes::from("data")),
        end(b"data"),
        Content::Last(UploadEnd { files: 1, chain }),
    ];
    assert_eq!(contents, expected);
}

#[test]
fn an_upload_goes_on_where_it_was_only_if_the_same_is_here() {
    let scratch = tempfile::tempdir().expect("a directory");
    for number in 0..20u8 {
        std::fs::write(scratch.path().join(format!("f{number}")), vec![number; usize::from(number)]).expect("written");
    }
    let large: Vec<u8> = (0..CHUNK_LIMIT * 3 + 7).map(|byte| byte.to_le_bytes()[0]).collect();
    std::fs::write(scratch.path().join("large"), &large).expect("written");
    let (_, all) = feed(scratch.path(), &UploadState::default(), false);
    let begins = |contents: &[Content]| {
        let begin = |content: &Content| match content {
            Content::Begin(begin) => Some((begin.path.clone(), begin.size)),
            _ => None,
        };
        contents.iter().filter_map(begin).collect::<Vec<_>>()
    };
    let files = begins(&all);
    assert_eq!(files.len(), 21);
    let place = files.iter().position(|(path, _)| path == "large").expect("it is there");
    let chain = |count: usize| {
        files[..count].iter().fold(upload_chain::START, |chain, (path, size)| upload_chain::extend(chain, path, *size))
    };
    // Between two files.
    let state = UploadState { files: 7, chain: chain(7).to_vec().into(), ..UploadState::default() };
    let (notes, rest) = feed(scratch.path(), &state, false);
    notes.expect("read");
    assert_eq!(begins(&rest), files[7..]);
    let resume = UploadResume { files: 7, chain: state.chain, offset: 0, leaves_open: false };
    assert_eq!(rest[..2], [Content::Attempt(key().into()), Content::Resume(resume)]);
    // In the middle of one.
    let offset = CHUNK_LIMIT as u64 * 2;
    let open = UploadOpen { path: "large".into(), size: large.len() as u64, offset };
    let chain = chain(place).to_vec().into();
    let state = UploadState { files: place as u64, chain, open: Some(open), ..UploadState::default() };
    let (notes, rest) = feed(scratch.path(), &state, false);
    notes.expect("read");
    let data = |range: std::ops::Range<usize>| Content::Data(Bytes::copy_from_slice(&large[range]));
    let expected = [data(CHUNK_LIMIT * 2..CHUNK_LIMIT * 3), data(CHUNK_LIMIT * 3..large.len()), end(&large)];
    assert_eq!(rest[2..5], expected);
    assert_eq!(begins(&rest), files[place + 1..]);
    assert_eq!(rest.last(), all.last(), "in the end the same has arrived");
    // Something else has arrived.
    let others = [
        UploadState { chain: vec![1; 32].into(), ..state.clone() },
        UploadState { files: 100, ..state.clone() },
        UploadState { open: Some(UploadOpen { size: 1, path: "large".into(), offset: 0 }), ..state.clone() },
        UploadState { open: Some(UploadOpen { path: "f1".into(), ..UploadOpen::default() }), ..state },
    ];
    for other in others {
        let (refused, sent) = feed(scratch.path(), &other, false);
        assert!(matches!(refused, Err(Broken::Other)), "{refused:?}");
        assert_eq!(sent, [], "nothing is sent");
        assert_eq!(begins(&feed(scratch.path(), &other, true).1), files, "it begins anew");
    }
}

#[test]
fn a_file_that_became_shorter_is_an_error_and_a_longer_one_is_cut() {
    assert!(read(&b"abc"[..], 4, |_, _| true).is_err());
    assert_eq!(read(&b"abcd"[..], 3, |_, _| true).expect("read"), Some(blake3::hash(b"abc")));
    assert_eq!(read(&b"abcd"[..], 3, |_, _| false).expect("read"), None);
}

#[test]
fn a_file_that_is_never_read_to_its_end_is_named_and_the_others_are_sent() {
    let scratch = tempfile::tempdir().expect("a directory");
    let path = scratch.path().join("shrinks");
    std::fs::write(&path, vec![1; CHUNK_LIMIT * 8]).expect("written");
    // The reader is never far ahead of the frame that is taken.
    let (frames, mut outbound) = mpsc::channel(1);
    let given_up = scratch.path().with_extension("given-up");
    let outputs = Outputs { root: scratch.path().to_owned(), storage: None, given_up };
    let reader = std::thread::spawn(move || {
        let unreadable = Unreadable::default();
        let feed = Feed::new(&frames, &outputs, &unreadable, &UploadState::default()).expect("a directory");
        feed.send_all(key())
    });
    while let Some(frame) = outbound.blocking_recv() {
        if matches!(frame.content, Some(Content::Begin(_))) {
            std::fs::File::options().write(true).open(&path).and_then(|file| file.set_len(1)).expect("shorter");
        }
    }
    let Err(Broken::File(name, error)) = reader.join().expect("no panics") else { panic!("it was read") };
    assert_eq!((&name[..], error.kind()), (&b"shrinks"[..], io::ErrorKind::UnexpectedEof));
    // The next tries end the same way; then the others are brought without it.
    std::fs::write(scratch.path().join("other"), b"data").expect("written");
    let mut unreadable = Unreadable::default();
    for _ in 0..3 {
        let (_, contents) = feed_without(&unreadable, scratch.path(), &UploadState::default(), false);
        assert!(contents.contains(&begin(b"shrinks", 1)), "it is tried");
        assert!(unreadable.add(name.clone(), &error));
    }
    let (notes, contents) = feed_without(&unreadable, scratch.path(), &UploadState::default(), false);
    let note = "skipped file that cannot be read to its end: shrinks: it has become shorter meanwhile";
    assert_eq!(notes.expect("read"), [note]);
    let chain = Bytes::copy_from_slice(&upload_chain::extend(upload_chain::START, b"other", 4));
    let last = Content::Last(UploadEnd { files: 1, chain });
    assert_eq!(contents[1..], [begin(b"other", 4), Content::Data(Bytes::from("data")), end(b"data"), last]);
}

#[test]
fn what_has_arrived_before_a_file_that_is_given_up_stays() {
    let scratch = tempfile::tempdir().expect("a directory");
    for name in ["one", "two", "three"] {
        std::fs::write(scratch.path().join(name), name).expect("written");
    }
    let (_, all) = feed(scratch.path(), &UploadState::default(), false);
    let begin_of = |content: &Content| match content {
        Content::Begin(begin) => Some((begin.path.clone(), begin.size)),
        _ => None,
    };
    let files: Vec<_> = all.iter().filter_map(begin_of).collect();
    let [(first, size), (broken, broken_size), _] = &files[..] else { panic!("{files:?}") };
    let chain = Bytes::copy_from_slice(&upload_chain::extend(upload_chain::START, first, *size));
    let open = UploadOpen { path: broken.clone(), size: *broken_size, offset: 2 };
    let old = UploadState { files: 1, chain: chain.clone(), open: Some(open), ..UploadState::default() };
    let state = UploadState { may_leave_open: true, ..old.clone() };
    // While it is tried, it is gone on with.
    let mut unreadable = Unreadable::default();
    let resume = |leaves_open| UploadResume { files: 1, chain: chain.clone(), offset: 2, leaves_open };
    for _ in 0..3 {
        let (_, sent) = feed_without(&unreadable, scratch.path(), &state, false);
        assert_eq!(sent[1], Content::Resume(resume(false)));
        assert!(unreadable.add(broken.to_vec(), &io::Error::other("bad sector")));
    }
    // Then the rest comes without it, and nothing comes again.
    let (notes, sent) = feed_without(&unreadable, scratch.path(), &state, false);
    assert_eq!(notes.expect("read"), unreadable.notes());
    assert_eq!(sent[1], Content::Resume(resume(true)));
    assert_eq!(sent.iter().filter_map(begin_of).collect::<Vec<_>>(), files[2..]);
    assert!(matches!(sent.last(), Some(Content::Last(last)) if last.files == 2), "{sent:?}");
    // When that broke off, nothing is open any more: it is passed over in its place.
    let state = UploadState { open: None, ..state };
    let (_, sent) = feed_without(&unreadable, scratch.path(), &state, false);
    assert_eq!(sent[1], Content::Resume(UploadResume { offset: 0, ..resume(false) }));
    assert_eq!(sent.iter().filter_map(begin_of).collect::<Vec<_>>(), files[2..]);
    // Earlier masters go on nowhere else than in it.
    let (begun, _) = feed_without(&unreadable, scratch.path(), &old, false);
    assert!(matches!(begun, Err(Broken::Other)), "{begun:?}");
}

#[test]
fn files_that_an_upload_left_out_and_has_told_nobody_are_counted() {
    let scratch = tempfile::tempdir().expect("a directory");
    for name in ["a", "b", "c", "d"] {
        std::fs::write(scratch.path().join(name), name).expect("written");
    }
    std::os::unix::fs::symlink("a", scratch.path().join("link")).expect("a link");
    let mut unreadable = Unreadable::default();
    let notes = |arrived, unreadable: &Unreadable| {
        all_notes(scratch.path(), PATH_LIMIT, arrived, unreadable).expect("it can be looked through")
    };
    assert_eq!(notes(4, &unreadable), ["skipped link: link"]);
    let unknown = ["2 files of /output are not among them; why is not known any more", "skipped link: link"];
    assert_eq!(notes(2, &unreadable), unknown);
    for _ in 0..3 {
        assert!(unreadable.add(b"b".to_vec(), &io::Error::other("bad sector")));
    }
    let given_up = "skipped file that cannot be read to its end: b: bad sector";
    let unknown = ["1 file of /output is not among them; why is not known any more", "skipped link: link", given_up];
    assert_eq!(notes(2, &unreadable), unknown);
    assert_eq!(notes(3, &unreadable), ["skipped link: link", given_up]);
}

#[test]
fn paths_are_as_long_as_the_master_takes_them() {
    let scratch = tempfile::tempdir().expect("a directory");
    let name = [b'n'; 250];
    let mut at = rustix::fs::open(scratch.path(), rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
        .expect("the directory");
    for _ in 0..20 {
        rustix::fs::mkdirat(&at, &name[..], rustix::fs::Mode::RWXU).expect("a folder");
        at = rustix::fs::openat(&at, &name[..], rustix::fs::OFlags::DIRECTORY, rustix::fs::Mode::empty())
            .expect("a folder");
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    drop(rustix::fs::openat(&at, "f", flags, rustix::fs::Mode::RUSR).expect("a file"));
    let path = [[name.as_slice(); 20].join(&b'/'), b"/f".to_vec()].concat();
    // It says nothing of longer ones.
    let (notes, contents) = feed(scratch.path(), &UploadState::default(), false);
    let notes = notes.expect("read");
    assert!(notes.len() == 1 && notes[0].contains("with a path of more than 4096 bytes: nnn"), "{notes:?}");
    assert_eq!(contents.len(), 2);
    let state = UploadState { path_limit: 65_536, ..UploadState::default() };
    let (notes, contents) = feed(scratch.path(), &state, false);
    assert_eq!(notes.expect("read"), [""; 0]);
    assert_eq!(contents[1..3], [begin(&path, 0), end(b"")]);
}

#[test]
fn what_there_is_no_room_for_is_left_out_and_named() {
    let scratch = tempfile::tempdir().expect("a directory");
    std::fs::write(scratch.path().join("small"), b"1").expect("written");
    std::fs::write(scratch.path().join("huge"), b"1234567890").expect("written");
    let state = UploadState { room: Some(UploadRoom { bytes: 9, files: 9 }), ..UploadState::default() };
    let (notes, contents) = feed(scratch.path(), &state, false);
    assert_eq!(notes.expect("read"), ["skipped file for which its user has no room: huge, 10 B of 9 B free"]);
    assert_eq!(contents[1], begin(b"small", 1));
    assert_eq!(contents.len(), 5);
}

#[test]
fn what_is_nearly_all_hole_is_left_out_and_holes_that_are_small_are_brought() {
    let scratch = tempfile::tempdir().expect("a directory");
    let hole = |name: &str, length: u64| {
        std::fs::File::create(scratch.path().join(name)).and_then(|file| file.set_len(length)).expect("a file");
    };
    hole("huge", 99 << 30);
    hole("small", 200_000);
    let state = UploadState { room: Some(UploadRoom { bytes: 100 << 30, files: 9 }), ..UploadState::default() };
    let (notes, contents) = feed(scratch.path(), &state, false);
    let notes = notes.expect("read");
    assert!(notes.len() == 1 && notes[0].contains("huge, 99 GiB long"), "{notes:?}");
    let zeros = vec![0; 200_000];
    assert_eq!(contents[1..4], [begin(b"small", 200_000), Content::Data(Bytes::from(zeros.clone())), end(&zeros)]);
}

#[test]
fn what_may_pass_is_tried_again_and_nothing_else() {
    // So does a port of the master answer that has too much to do, whatever the call.
    assert!(matches!(refused(&Status::resource_exhausted("Too many active requests")), Broken::Again(_)));
    let mut no_room = Status::resource_exhausted("no room");
    no_room.metadata_mut().insert(shared::link::ROOM_BYTES, 7u64.into());
    assert!(matches!(refused(&no_room), Broken::Again(_)));
    assert!(matches!(refused(&Status::unavailable("not now")), Broken::Again(_)));
    assert!(matches!(refused(&Status::failed_precondition("given up")), Broken::Never(_)));
}

#[test]
fn notes_have_a_bound() {
    let notes = bounded(vec!["\u{fffd}".repeat(NOTES_LIMIT); 6]);
    assert!(notes.len() == 5 && notes[..4].iter().all(|note| note.len() <= NOTE_LIMIT), "{notes:?}");
    assert_eq!(notes[4], "and 2 more");
    assert_eq!(bounded(vec!["a".to_owned()]), ["a"]);
}
