//! The file store as its callers see it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use shared::id::{Epoch, Fence, TaskId};
use tokio::io::AsyncReadExt;

use super::*;

struct Bench {
    store: FileStore,
    key: AttemptKey,
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = FileStore::open(&directory.path().join("files")).expect("open");
        let key =
            AttemptKey { task: TaskId(Ulid::from_parts(7, 42)), index: 0, attempt: 1, fence: Fence::new(Epoch(1), 1) };
        Self { store, key, directory }
    }

    fn temporaries(&self) -> usize {
        fs::read_dir(self.directory.path().join("files/tmp")).expect("list").count()
    }

    async fn until_clean(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.temporaries() > 0 {
            assert!(Instant::now() < deadline, "temporary files stay");
            tokio::task::yield_now().await;
        }
    }

    async fn content(&self, record: &FileRecord) -> Vec<u8> {
        let mut file = self.store.open_file(self.key.element(), 1, record).await.expect("open");
        let mut content = Vec::new();
        file.read_to_end(&mut content).await.expect("read");
        content
    }
}

fn digest(data: &[u8]) -> [u8; 32] {
    *blake3::hash(data).as_bytes()
}

async fn put(upload: &mut Upload, path: &[u8], data: &'static [u8]) {
    upload.begin_file(path.to_vec(), data.len() as u64).await.expect("begin");
    for piece in data.chunks(3) {
        upload.write(Bytes::from_static(piece)).await.expect("write");
    }
    upload.end_file(digest(data)).await.expect("end");
}

#[tokio::test]
async fn files_come_back_byte_for_byte_and_the_last_of_a_name_wins() {
    let bench = Bench::new();
    let mut upload = bench.store.begin(bench.key);
    put(&mut upload, b"z", b"first").await;
    put(&mut upload, b"dir/\xff", b"hello world").await;
    put(&mut upload, b"empty", b"").await;
    put(&mut upload, b"z", b"hello world").await;
    let records = upload.finish().await.expect("finish");
    let paths: Vec<_> = records.iter().map(|record| &record.path[..]).collect();
    assert_eq!(paths, [&b"dir/\xff"[..], b"empty", b"z"]);
    for (record, content) in records.iter().zip([&b"hello world"[..], b"", b"hello world"]) {
        assert_eq!(bench.content(record).await, content);
        assert_eq!(record.size, content.len() as u64);
    }
    bench.until_clean().await;
    FileStore::open(&bench.directory.path().join("files")).expect("open again");
    assert_eq!(bench.content(&records[0]).await, b"hello world");
}

#[tokio::test]
async fn what_does_not_match_is_refused_and_leaves_nothing() {
    let bench = Bench::new();
    let mut upload = bench.store.begin(bench.key);
    upload.begin_file(b"a".to_vec(), 4).await.expect("begin");
    upload.write(Bytes::from_static(b"data")).await.expect("write");
    assert!(matches!(upload.end_file(digest(b"other")).await, Err(UploadError::Checksum(_))));
    drop(upload);

    let mut upload = bench.store.begin(bench.key);
    upload.begin_file(b"a".to_vec(), 4).await.expect("begin");
    upload.write(Bytes::from_static(b"dat")).await.expect("write");
    assert!(matches!(upload.end_file(digest(b"dat")).await, Err(UploadError::Size { announced: 4, received: 3, .. })));
    drop(upload);

    let mut upload = bench.store.begin(bench.key);
    upload.begin_file(b"a".to_vec(), 4).await.expect("begin");
    let long = upload.write(Bytes::from_static(b"data!")).await;
    assert!(matches!(long, Err(UploadError::Size { announced: 4, received: 5, .. })));
    drop(upload);

    bench.until_clean().await;
    assert!(!bench.directory.path().join("files").join(bench.key.task.to_string()).exists());
}

#[tokio::test]
async fn frames_out_of_order_are_refused() {
    let bench = Bench::new();
    let mut upload = bench.store.begin(bench.key);
    assert!(matches!(upload.write(Bytes::from_static(b"x")).await, Err(UploadError::NoFile)));
    assert!(matches!(upload.end_file(digest(b"")).await, Err(UploadError::NoFile)));
    upload.begin_file(b"a".to_vec(), 1).await.expect("begin");
    assert!(matches!(upload.begin_file(b"b".to_vec(), 1).await, Err(UploadError::StillOpen(_))));
    assert!(matches!(upload.finish().await, Err(UploadError::StillOpen(_))));
    let mut upload = bench.store.begin(bench.key);
    for bad in [&b"../x"[..], b"/x", b"", b"a\0"] {
        assert!(matches!(upload.begin_file(bad.to_vec(), 1).await, Err(UploadError::Path { .. })), "{bad:?}");
    }
    bench.until_clean().await;
}

#[tokio::test]
async fn an_upload_without_files_is_one() {
    let bench = Bench::new();
    assert!(bench.store.begin(bench.key).finish().await.expect("finish").is_empty());
}

#[tokio::test]
async fn leftovers_of_a_crash_are_removed_at_the_next_start() {
    let bench = Bench::new();
    let mut upload = bench.store.begin(bench.key);
    upload.begin_file(b"a".to_vec(), 1).await.expect("begin");
    assert_eq!(bench.temporaries(), 1);
    FileStore::open(&bench.directory.path().join("files")).expect("open again");
    assert_eq!(bench.temporaries(), 0);
}
