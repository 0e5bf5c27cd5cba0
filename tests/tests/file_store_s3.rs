//! The checks of every place for files, on a bucket of a real server.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::s3::Bucket;
use cloudaid::config::Secret;
use cloudaid::file_store_contract;
use cloudaid::master::files::contract::FileStoreFactory;
use cloudaid::master::files::{FileStore, S3Config};

/// A bucket of its own for each test.
struct Remote {
    scratch: tempfile::TempDir,
    bucket: tokio::sync::OnceCell<Bucket>,
}

#[async_trait::async_trait]
impl FileStoreFactory for Remote {
    async fn open(&self) -> FileStore {
        let bucket = self.bucket.get_or_init(|| Bucket::start(self.scratch.path())).await;
        let config = S3Config {
            bucket: "cloudai".to_owned(),
            prefix: Some("a/b".to_owned()),
            endpoint: Some(bucket.endpoint()),
            region: "us-east-1".to_owned(),
            credentials: Some((Secret::new("somebody"), Secret::new("something"))),
            session: None,
        };
        FileStore::connect(&config, self.scratch.path()).await.expect("connected")
    }
}

file_store_contract!(Remote {
    scratch: tempfile::tempdir().expect("a directory"),
    bucket: tokio::sync::OnceCell::new()
});

#[tokio::test]
async fn a_bucket_that_is_not_there_is_said_at_once() {
    let scratch = tempfile::tempdir().expect("a directory");
    let bucket = Bucket::start(scratch.path()).await;
    let config = S3Config {
        bucket: "nowhere".to_owned(),
        prefix: None,
        endpoint: Some(bucket.endpoint()),
        region: "us-east-1".to_owned(),
        credentials: Some((Secret::new("somebody"), Secret::new("something"))),
        session: None,
    };
    let error = FileStore::connect(&config, scratch.path()).await.expect_err("no such bucket");
    assert!(error.to_string().contains("nowhere"), "{error}");
}
