//! What every place for files must do, as checks that each of them runs over itself with [`file_store_contract!`].
//!
//! [`file_store_contract!`]: crate::file_store_contract
#![allow(clippy::expect_used, clippy::panic, reason = "the checks are tests, and a failed one panics")]
#![allow(missing_docs, reason = "a check is named by what it checks")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use cloudaid_core::files::{FileUsage, Leftover, UploadRecord};
use cloudaid_core::record::FileRecord;
use futures_util::TryStreamExt;
use shared::id::{AttemptKey, BlobId, ElementId, Epoch, Fence, TaskId};
use ulid::Ulid;

use super::{Content, FileStore, PIECE, Place, Progress, StagedUpload, Upload, UploadError, output};

/// Opens one place for files, which is empty at first.
#[async_trait]
pub trait FileStoreFactory: Send + Sync {
    /// Opens it. What was kept by earlier handles is there.
    async fn open(&self) -> FileStore;
}

/// Makes one test of each check of the contract. The argument makes a [`FileStoreFactory`]; it is evaluated once for each
/// test.
#[macro_export]
macro_rules! file_store_contract {
    ($factory:expr) => {
        $crate::file_store_contract!(@checks $factory,
            files_come_back_byte_for_byte,
            the_last_of_a_name_wins,
            files_of_unknown_size_are_as_large_as_they_turn_out_to_be,
            what_does_not_match_is_refused_and_leaves_nothing,
            frames_out_of_order_are_refused,
            what_there_is_no_room_for_is_refused_at_once,
            an_upload_without_files_is_one,
            what_is_not_kept_is_removed,
            small_files_are_kept_together_and_found_again,
            files_with_long_paths_make_smaller_parts,
            an_upload_goes_on_in_the_middle_of_a_large_file,
            an_upload_goes_on_without_the_file_that_was_arriving,
            any_part_of_a_large_file_is_read,
            what_is_damaged_is_not_given_out,
            a_content_is_gone_on_with_from_any_byte,
            tasks_go_with_all_their_files,
            leftovers_of_a_crash_are_tidied);
    };
    (@checks $factory:expr, $($check:ident),+) => {
        $(
            #[tokio::test]
            async fn $check() {
                $crate::master::files::contract::$check(&$factory).await;
            }
        )+
    };
}

const ATTEMPT: u32 = 1;

fn key(task: u64) -> AttemptKey {
    AttemptKey { task: TaskId(Ulid::from_parts(task, 42)), index: 0, attempt: ATTEMPT, fence: Fence::new(Epoch(1), 1) }
}

/// Where the files of a task of the checks are.
#[must_use]
pub fn place(task: u64) -> Place {
    Place::Run(key(task).element(), ATTEMPT)
}

fn digest(data: &[u8]) -> [u8; 32] {
    *blake3::hash(data).as_bytes()
}

async fn put(upload: &mut Upload, path: &[u8], data: &[u8]) {
    upload.begin_file(path.to_vec()).await.expect("begin");
    for piece in data.chunks(300_000) {
        upload.write(Bytes::copy_from_slice(piece)).await.expect("write");
    }
    upload.end_file().await.expect("end");
}

async fn put_announced(upload: &mut StagedUpload, path: &[u8], data: &[u8]) {
    upload.begin_file(path.to_vec(), data.len() as u64).await.expect("begin");
    for piece in data.chunks(300_000) {
        upload.write(Bytes::copy_from_slice(piece)).await.expect("write");
    }
    upload.end_file(digest(data)).await.expect("end");
}

async fn read(store: &FileStore, element: ElementId, file: &FileRecord, range: std::ops::Range<u64>) -> Vec<u8> {
    let stream = store.read(output(element, ATTEMPT, file), range).await.expect("opened");
    let pieces: Vec<Bytes> = stream.try_collect().await.expect("read");
    pieces.concat()
}

async fn until_empty(store: &FileStore, place: Place) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !store.names(place).await.expect("listed").is_empty() {
        assert!(Instant::now() < deadline, "something stays");
        tokio::task::yield_now().await;
    }
}

pub async fn files_come_back_byte_for_byte(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin(key(1), None);
    let content = b"hello \0 world".repeat(100_000);
    put(&mut upload, b"z", &content).await;
    put(&mut upload, b"dir/\xff", &content).await;
    put(&mut upload, b"empty", b"").await;
    let files = upload.files().expect("complete");
    upload.keep();
    drop(store);
    let store = factory.open().await;
    let paths: Vec<_> = files.iter().map(|file| &file.path[..]).collect();
    assert_eq!(paths, [&b"dir/\xff"[..], b"empty", b"z"]);
    for (file, content) in files.iter().zip([&content[..], b"", &content[..]]) {
        assert_eq!((file.size, file.blake3), (content.len() as u64, digest(content)));
        assert!(read(&store, key(1).element(), file, 0..file.size).await == content);
    }
}

pub async fn the_last_of_a_name_wins(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin(key(1), None);
    put(&mut upload, b"a", b"first").await;
    put(&mut upload, b"a", b"second").await;
    let files = upload.files().expect("complete");
    upload.keep();
    assert_eq!(files.len(), 1);
    assert_eq!(read(&store, key(1).element(), &files[0], 0..6).await, b"second");
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.names(place(1)).await.expect("listed").len() > 1 {
        assert!(Instant::now() < deadline, "the first stays");
        tokio::task::yield_now().await;
    }
}

pub async fn files_of_unknown_size_are_as_large_as_they_turn_out_to_be(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin(key(1), Some(FileUsage { bytes: 10, files: 2 }));
    upload.begin_file(b"a".to_vec()).await.expect("begun");
    assert_eq!(upload.open_path(), Some(&b"a"[..]));
    upload.write(Bytes::from_static(b"hello ")).await.expect("written");
    upload.write(Bytes::from_static(b"you")).await.expect("written");
    upload.end_file().await.expect("ended");
    assert_eq!(upload.open_path(), None);
    upload.begin_file(b"b".to_vec()).await.expect("begun");
    assert!(matches!(upload.write(Bytes::from_static(b"12")).await, Err(UploadError::NoRoom(_))), "11 bytes in all");
    upload.end_file().await.expect("ended");
    let third = upload.begin_file(b"c".to_vec()).await;
    assert!(matches!(third, Err(UploadError::NoRoom(_))), "a third file");
    let files = upload.files().expect("complete");
    upload.keep();
    assert_eq!((files[0].size, files[0].blake3, files[1].size), (9, digest(b"hello you"), 0));
    assert_eq!(read(&store, key(1).element(), &files[0], 0..9).await, b"hello you");
    assert_eq!(read(&store, key(1).element(), &files[1], 0..0).await, b"");
}

pub async fn what_does_not_match_is_refused_and_leaves_nothing(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let begun = async || {
        let mut upload = store.begin_staged(key(1), None);
        upload.begin_file(b"a".to_vec(), 4).await.expect("begin");
        upload
    };
    let mut upload = begun().await;
    upload.write(Bytes::from_static(b"data")).await.expect("write");
    assert!(matches!(upload.end_file(digest(b"other")).await, Err(UploadError::Checksum(_))));
    drop(upload);

    let mut upload = begun().await;
    upload.write(Bytes::from_static(b"dat")).await.expect("write");
    assert!(matches!(upload.end_file(digest(b"dat")).await, Err(UploadError::Size { announced: 4, received: 3, .. })));
    drop(upload);

    let mut upload = begun().await;
    let long = upload.write(Bytes::from_static(b"data!")).await;
    assert!(matches!(long, Err(UploadError::Size { announced: 4, received: 5, .. })));
    drop(upload);
    until_empty(&store, place(1)).await;
}

pub async fn frames_out_of_order_are_refused(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin_staged(key(1), None);
    assert!(matches!(upload.write(Bytes::from_static(b"x")).await, Err(UploadError::NoFile)));
    assert!(matches!(upload.end_file(digest(b"")).await, Err(UploadError::NoFile)));
    upload.begin_file(b"a".to_vec(), 1).await.expect("begin");
    assert!(matches!(upload.begin_file(b"b".to_vec(), 1).await, Err(UploadError::StillOpen(_))));
    assert!(matches!(upload.end().await, Err(UploadError::StillOpen(_))));
    let mut upload = store.begin_staged(key(1), None);
    for bad in [&b"../x"[..], b"/x", b"", b"a\0"] {
        assert!(matches!(upload.begin_file(bad.to_vec(), 1).await, Err(UploadError::Path { .. })), "{bad:?}");
    }
}

pub async fn what_there_is_no_room_for_is_refused_at_once(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin_staged(key(1), Some(FileUsage { bytes: 10, files: 2 }));
    put_announced(&mut upload, b"a", b"1234").await;
    assert!(matches!(upload.begin_file(b"b".to_vec(), 7).await, Err(UploadError::NoRoom(_))));
    drop(upload);
    let mut upload = store.begin_staged(key(1), Some(FileUsage { bytes: 10, files: 1 }));
    put_announced(&mut upload, b"a", b"").await;
    assert!(matches!(upload.begin_file(b"b".to_vec(), 0).await, Err(UploadError::NoRoom(_))));
}

pub async fn an_upload_without_files_is_one(factory: &dyn FileStoreFactory) {
    assert!(factory.open().await.begin(key(1), None).files().expect("complete").is_empty());
}

pub async fn what_is_not_kept_is_removed(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin(key(1), None);
    put(&mut upload, b"whole", b"content").await;
    let large = vec![7; usize::try_from(PIECE).expect("small") + 1_000_000];
    upload.begin_file(b"broken off".to_vec()).await.expect("begin");
    upload.write(Bytes::from(large.clone())).await.expect("write");
    assert!(store.names(place(1)).await.expect("listed").len() >= 2);
    drop(upload);
    until_empty(&store, place(1)).await;
    // The same of what was announced.
    let mut upload = store.begin_staged(key(1), None);
    put_announced(&mut upload, b"small", b"content").await;
    put_announced(&mut upload, b"larger", &large[..100_000]).await;
    upload.begin_file(b"broken off".to_vec(), 2 * large.len() as u64).await.expect("begin");
    upload.write(Bytes::from(large)).await.expect("write");
    assert!(store.names(place(1)).await.expect("listed").len() >= 2);
    drop(upload);
    until_empty(&store, place(1)).await;
}

pub async fn small_files_are_kept_together_and_found_again(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin_staged(key(1), None);
    let content = |number: usize| format!("{number}\n").into_bytes().repeat(number % 50);
    let (mut files, mut parts) = (Vec::new(), 0);
    for number in 0..2500 {
        put_announced(&mut upload, number.to_string().as_bytes(), &content(number)).await;
        if upload.is_part_due() {
            let part = upload.take_part().await.expect("taken");
            assert_eq!(part.upload.size.files, number as u64 + 1);
            files.extend(part.files.iter().cloned());
            parts += 1;
        }
    }
    assert!(upload.is_staged() && upload.arrived().files == 2500);
    let large = b"large".repeat(20_000);
    put_announced(&mut upload, b"large", &large).await;
    files.extend(upload.end().await.expect("ended").files.iter().cloned());
    drop(upload);
    assert_eq!((files.len(), parts), (2501, 2));
    // Three of small ones, and the large one.
    assert_eq!(store.names(place(1)).await.expect("listed").len(), 4);
    for (number, file) in files[..2500].iter().enumerate() {
        assert_eq!(file.path, number.to_string().as_bytes());
        assert_eq!((file.size, file.blake3), (content(number).len() as u64, digest(&content(number))));
        if number % 97 == 0 {
            assert_eq!(read(&store, key(1).element(), file, 0..file.size).await, content(number));
        }
    }
    assert!(read(&store, key(1).element(), &files[2500], 3..9).await == large[3..9]);
    store.remove(Leftover::Run(key(1).element(), ATTEMPT)).await.expect("removed");
    assert_eq!(store.names(place(1)).await.expect("listed").len(), 0);
}

pub async fn files_with_long_paths_make_smaller_parts(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin_staged(key(1), None);
    let longest = [&b"d/".repeat(shared::files_of::PATH_LIMIT / 2 - 1)[..], b"ab"].concat();
    for number in 0..64_u8 {
        assert!(!upload.is_part_due(), "after {number} of them");
        let path = [&longest[..longest.len() - 1], &[b'0' + number]].concat();
        put_announced(&mut upload, &path, b"x").await;
    }
    assert!(upload.is_part_due(), "their paths are 4 MiB");
    let part = upload.take_part().await.expect("taken");
    assert_eq!((part.files.len(), part.files[0].path.len()), (64, shared::files_of::PATH_LIMIT));
    assert!(!upload.is_part_due());
    let too_long = upload.begin_file([&longest[..], b"c"].concat(), 1).await;
    assert!(matches!(too_long, Err(UploadError::Path { .. })), "{too_long:?}");
    // No store could count it.
    let too_large = upload.begin_file(b"large".to_vec(), 1 << 63).await;
    assert!(matches!(too_large, Err(UploadError::TooLarge { .. })), "{too_large:?}");
    upload.begin_file(b"large".to_vec(), (1 << 63) - 1).await.expect("begun");
}

pub async fn an_upload_goes_on_in_the_middle_of_a_large_file(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let size = 3 * PIECE + 12_345;
    let content: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
    let mut upload = store.begin_staged(key(1), None);
    put_announced(&mut upload, b"first", b"content").await;
    upload.begin_file(b"large".to_vec(), size).await.expect("begun");
    assert!(upload.is_part_due(), "it is to be known before it has come");
    let part = upload.take_part().await.expect("taken");
    assert_eq!((part.files.len(), part.upload.size.files), (1, 1));
    assert!(!upload.is_part_due());
    let cut = usize::try_from(2 * PIECE).expect("small") + 777;
    for piece in content[..cut].chunks(300_000) {
        upload.write(Bytes::copy_from_slice(piece)).await.expect("written");
    }
    drop(upload);
    let offset = store.arrived_of(key(1), &part.upload).await.expect("looked at");
    assert_eq!(offset, 2 * PIECE, "what makes whole pieces");
    drop(store);
    let store = factory.open().await;
    let mut upload = store.resume_staged(key(1), None, (part.upload, offset)).await.expect("gone on with");
    for piece in content[usize::try_from(offset).expect("small")..].chunks(300_000) {
        upload.write(Bytes::copy_from_slice(piece)).await.expect("written");
    }
    upload.end_file(digest(&content)).await.expect("it is what it should be");
    put_announced(&mut upload, b"last", b"").await;
    let last = upload.end().await.expect("ended");
    assert_eq!((last.files.len(), last.upload.size), (2, FileUsage { bytes: size + 7, files: 3 }));
    assert!(read(&store, key(1).element(), &last.files[0], 0..size).await == content);
    assert_eq!(read(&store, key(1).element(), &part.files[0], 0..7).await, b"content");
    // Room counts from the beginning.
    let room = Some(FileUsage { bytes: size + 7, files: 2 });
    let mut upload = store.resume_staged(key(1), room, (last.upload.clone(), 0)).await.expect("gone on with");
    assert!(matches!(upload.begin_file(b"more".to_vec(), 0).await, Err(UploadError::NoRoom(_))));
}

pub async fn an_upload_goes_on_without_the_file_that_was_arriving(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin_staged(key(1), None);
    put_announced(&mut upload, b"first", b"content").await;
    upload.begin_file(b"large".to_vec(), 4 * PIECE).await.expect("begun");
    let part = upload.take_part().await.expect("taken");
    upload.write(vec![7; usize::try_from(PIECE).expect("small")].into()).await.expect("written");
    drop(upload);
    let blob = part.upload.open.as_ref().expect("it is open").blob;
    assert_eq!(store.arrived(place(1), blob).await.expect("looked at"), PIECE);
    store.remove_arrived(place(1), blob).await.expect("removed");
    assert_eq!(store.names(place(1)).await.expect("listed").len(), 1, "what came before it stays");
    let record = UploadRecord { open: None, ..part.upload };
    let mut upload = store.resume_staged(key(1), None, (record, 0)).await.expect("gone on with");
    put_announced(&mut upload, b"last", b"more").await;
    let last = upload.end().await.expect("ended");
    assert_eq!((last.files.len(), last.upload.size), (1, FileUsage { bytes: 11, files: 2 }));
    assert_eq!(read(&store, key(1).element(), &part.files[0], 0..7).await, b"content");
}

pub async fn any_part_of_a_large_file_is_read(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let size = 2 * PIECE + 12_345;
    let content: Vec<u8> = (0..size / 4 + 1).flat_map(|at| u32::try_from(at).expect("small").to_le_bytes()).collect();
    let content = &content[..usize::try_from(size).expect("small")];
    let mut upload = store.begin(key(1), None);
    put(&mut upload, b"large", content).await;
    let file = upload.files().expect("complete").remove(0);
    upload.keep();
    for range in [0..size, 0..1, PIECE - 1..PIECE + 1, PIECE..2 * PIECE, size - 1..size, 5..2 * PIECE + 5, 9..9] {
        let part = usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
        assert!(read(&store, key(1).element(), &file, range.clone()).await == content[part], "{range:?}");
    }
}

pub async fn what_is_damaged_is_not_given_out(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin(key(1), None);
    put(&mut upload, b"a", b"content").await;
    let file = upload.files().expect("complete").remove(0);
    upload.keep();
    let of = |size| output(key(1).element(), ATTEMPT, &FileRecord { size, ..file.clone() });
    assert!(store.read(of(8), 0..8).await.is_err(), "shorter than it was written");
    assert!(store.read(of(7), 0..7).await.is_ok());
    store.remove_content(&of(7)).await.expect("removed");
    store.remove_content(&of(7)).await.expect("removed twice");
    assert!(store.read(of(7), 0..7).await.is_err(), "gone");
}

pub async fn a_content_is_gone_on_with_from_any_byte(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let (place, blob) = (place(1), BlobId(7.into()));
    let content: Vec<u8> = (0..PIECE + 1_000_000).map(|at| (at % 251) as u8).collect();
    let mut progress = Progress::default();
    let piece = usize::try_from(PIECE).expect("small");
    let mut before = 0;
    for end in [5, 400_000, piece - 1, piece, piece + 300_000, content.len()] {
        let mut writer = store.resume(place, blob, progress).await.expect("gone on with");
        writer.write(Bytes::copy_from_slice(&content[before..end])).await.expect("written");
        // One that is dropped in between changes nothing of what is there.
        let mut lost = store.resume(place, blob, writer.progress().clone()).await.expect("begun");
        lost.write(Bytes::from_static(b"lost")).await.expect("written");
        drop(lost);
        progress = writer.pause().await.expect("kept");
        let arrived = store.arrived(place, blob).await.expect("looked at");
        assert_eq!((progress.size, arrived), (end as u64, end as u64));
        assert_eq!(store.all_arrived(place).await.expect("listed").get(&blob), Some(&arrived));
        before = end;
    }
    let whole = Content { place, blob: Some(blob), blake3: [0; 32], size: content.len() as u64, start: None };
    let pieces: Vec<Bytes> =
        store.read(whole, 0..content.len() as u64).await.expect("opened").try_collect().await.expect("read");
    assert!(pieces.concat() == content);
    assert_eq!(*progress.hasher.finalize().as_bytes(), digest(&content));
    assert_eq!(store.arrived(place, BlobId(8.into())).await.expect("looked at"), 0);
}

pub async fn tasks_go_with_all_their_files(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    for task in [1, 2] {
        let mut upload = store.begin(key(task), None);
        put(&mut upload, b"a", b"content").await;
        put(&mut upload, b"b", b"content").await;
        upload.keep();
    }
    store.remove(Leftover::Task(key(1).task)).await.expect("removed");
    store.remove(Leftover::Task(key(1).task)).await.expect("removed twice");
    assert_eq!(store.names(place(1)).await.expect("listed").len(), 0);
    assert_eq!(store.names(place(2)).await.expect("listed").len(), 2);
}

pub async fn leftovers_of_a_crash_are_tidied(factory: &dyn FileStoreFactory) {
    let store = factory.open().await;
    let mut upload = store.begin(key(1), None);
    put(&mut upload, b"known", b"content").await;
    put(&mut upload, b"unknown", b"content").await;
    let files = upload.files().expect("complete");
    upload.keep();
    let known: BTreeSet<BlobId> = files[..1].iter().filter_map(|file| file.blob).collect();
    store.tidy(place(1), &known).await.expect("tidied");
    assert_eq!(store.names(place(1)).await.expect("listed").len(), 1);
    assert_eq!(read(&store, key(1).element(), &files[0], 0..7).await, b"content");
    store.tidy(place(9), &known).await.expect("nothing there");
}
