//! Uploads as clients send them, to a master that keeps its files in a directory or in a bucket.

use std::path::Path;

use reqwest::Method;
use shared::view::{InputFileView, InputView};
use tokio::sync::mpsc;

use crate::api::{Api, Failure};
use crate::cluster::Cluster;
use crate::master::MasterOptions;
use crate::s3::Bucket;
use crate::worker::WorkerOptions;

/// Bytes of a piece that is made durable by itself.
pub const PIECE: usize = 8 << 20;

/// Bytes that differ everywhere.
#[must_use]
pub fn bytes(size: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"test");
    let mut bytes = vec![0; size];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// BLAKE3, as the API writes it.
#[must_use]
pub fn digest(content: &[u8]) -> String {
    blake3::hash(content).to_hex().to_string()
}

/// With what a call was refused.
///
/// # Panics
/// When it was not, or when there was no answer.
#[must_use]
pub fn status<T: std::fmt::Debug>(result: Result<T, Failure>) -> u16 {
    match result.expect_err("refused") {
        Failure::Refused { status, .. } => status,
        Failure::Unknown(error) => panic!("{error}"),
    }
}

/// A form as `curl -F` sends it.
#[must_use]
pub fn form(files: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in files {
        body.extend_from_slice(b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"");
        body.extend_from_slice(name);
        body.extend_from_slice(b"\"\r\n\r\n");
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

/// Uploads files as a new input, in one form.
///
/// # Errors
/// It is refused.
///
/// # Panics
/// When the answer is no input.
pub async fn upload(api: &Api, files: &[(&[u8], &[u8])]) -> Result<InputView, Failure> {
    let request = api.request(Method::POST, "/api/files").header("Content-Type", "multipart/form-data; boundary=b");
    let answer = api.send(request.body(form(files))).await?;
    Ok(serde_json::from_slice(&answer).expect("an input"))
}

/// Uploads a part of a file that was announced.
///
/// # Errors
/// It is refused.
///
/// # Panics
/// When the answer is no file.
pub async fn part(api: &Api, id: &str, path: &str, offset: usize, body: Vec<u8>) -> Result<InputFileView, Failure> {
    let request = api.request(Method::PATCH, &format!("/api/files/{id}/{path}")).header("Upload-Offset", offset);
    let answer = api.send(request.body(body)).await?;
    Ok(serde_json::from_slice(&answer).expect("a file"))
}

/// Where a cluster keeps its files.
#[derive(Debug)]
pub struct Home {
    /// The cluster.
    pub cluster: Cluster,
    _bucket: Option<Bucket>,
    _dir: tempfile::TempDir,
}

impl Home {
    /// Starts the bucket if there shall be one, a master with these settings, and workers.
    ///
    /// # Panics
    /// When they do not become ready.
    pub async fn start(remote: bool, workers: usize, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let bucket = if remote { Some(Bucket::start(dir.path()).await) } else { None };
        let mut options = MasterOptions { env: bucket.iter().flat_map(Bucket::env).collect(), ..Default::default() };
        options.env.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let cluster = Cluster::start_with(&options, workers, &WorkerOptions::default()).await;
        Self { cluster, _bucket: bucket, _dir: dir }
    }
}

/// A body that is sent piece by piece, as the test says.
#[must_use]
pub fn piecewise() -> (mpsc::Sender<Result<Vec<u8>, std::io::Error>>, reqwest::Body) {
    let (sender, receiver) = mpsc::channel(1);
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver: mpsc::Receiver<_>| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    (sender, reqwest::Body::wrap_stream(pieces))
}

/// A part of a form with a file that was announced; `--b--` ends the form.
#[must_use]
pub fn numbered(number: usize, content: &[u8]) -> Vec<u8> {
    let head = format!("--b\r\nContent-Disposition: form-data; name=\"{number}\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n"].concat()
}

/// Files below a directory.
#[must_use]
pub fn count(directory: &Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
}
