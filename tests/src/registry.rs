//! An image registry: a few images without much content, one that stops half way, one that comes slowly, one for who has a
//! password, and several kinds of trouble.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// The size of the slow image, at least.
pub const SLOW_BYTES: usize = 8 << 20;
/// The size of the image that creeps, at least, and how it comes: that takes 3 s.
const CREEPING_BYTES: usize = 2 << 20;
const PIECE_BYTES: usize = 64 << 10;
const PIECE_EVERY: Duration = Duration::from_millis(100);

/// It ends with the test.
#[derive(Debug)]
pub struct Registry {
    /// Where it is: before the name of each image.
    pub address: String,
    /// Pulls of `empty:1` by its tag.
    pulls: AtomicU32,
    /// How often its layer was fetched.
    fetches: AtomicU32,
    /// Whether the slow image may come to its end.
    gate: watch::Sender<bool>,
    /// By their paths: the kind, and the content.
    served: HashMap<String, (&'static str, Vec<u8>)>,
    /// The layer of `empty:1`.
    empty: String,
    /// The layer that stops half way.
    slow: String,
    /// The layer that comes slowly.
    creeping: String,
    /// What a client has to say; none: nothing.
    login: Option<String>,
}

impl Registry {
    /// Images: `empty:1`, which does nothing; `slow:1`, of which half comes before [`Self::open`]; `creep:1`, which comes in
    /// 3 s. Trouble: `busy:1`, `broken:1`, `forbidden:1`, and all others are not there.
    ///
    /// # Panics
    /// It cannot listen.
    pub async fn serve() -> Arc<Self> {
        Self::serve_for(None).await
    }

    /// The same, for `ann` with the password `secret` only.
    ///
    /// # Panics
    /// It cannot listen.
    pub async fn serve_privately() -> Arc<Self> {
        Self::serve_for(Some(format!("Basic {}", BASE64_STANDARD.encode("ann:secret")))).await
    }

    async fn serve_for(login: Option<String>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let mut served = HashMap::from([("/v2/".to_owned(), ("application/json", b"{}".to_vec()))]);
        // An archive without anything in it.
        let empty = image(&mut served, "empty", filler(64));
        let slow = image(&mut served, "slow", filler(SLOW_BYTES));
        let creeping = image(&mut served, "creep", filler(CREEPING_BYTES));
        let (gate, pulls, fetches) = (watch::Sender::new(false), AtomicU32::new(0), AtomicU32::new(0));
        let registry = Arc::new(Self { address, pulls, fetches, gate, served, empty, slow, creeping, login });
        let serving = Arc::clone(&registry);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&serving).answer(connection));
            }
        });
        registry
    }

    /// The reference of an image.
    #[must_use]
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// How often `empty:1` was pulled by its tag: of a digest that an engine has had it does not ask again what it is.
    #[must_use]
    pub fn pulls(&self) -> u32 {
        self.pulls.load(Ordering::SeqCst)
    }

    /// How often the layer of `empty:1` was fetched, which no other image has.
    #[must_use]
    pub fn fetches(&self) -> u32 {
        self.fetches.load(Ordering::SeqCst)
    }

    /// Lets the slow image come to its end.
    pub fn open(&self) {
        self.gate.send_replace(true);
    }

    async fn answer(self: Arc<Self>, mut connection: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match connection.read_u8().await {
                // The engine tries TLS first, which begins so.
                Ok(0x16) if request.is_empty() => return,
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let head_only = request.starts_with("HEAD");
        if path == "/v2/empty/manifests/1" && !head_only {
            self.pulls.fetch_add(1, Ordering::SeqCst);
        }
        if path == self.empty && !head_only {
            self.fetches.fetch_add(1, Ordering::SeqCst);
        }
        let (status, kind, body) = self.find(path, &request);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             WWW-Authenticate: Basic realm=\"images\"\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _gone = connection.write_all(head.as_bytes()).await;
        if head_only {
            return;
        }
        if path == self.creeping {
            let mut beat = tokio::time::interval(PIECE_EVERY);
            for piece in body.chunks(PIECE_BYTES) {
                beat.tick().await;
                if connection.write_all(piece).await.is_err() {
                    return;
                }
            }
            return;
        }
        let (first, rest) = body.split_at(if path == self.slow { body.len() / 2 } else { body.len() });
        let _gone = connection.write_all(first).await;
        if !rest.is_empty() && self.gate.subscribe().wait_for(|open| *open).await.is_ok() {
            let _gone = connection.write_all(rest).await;
        }
    }

    fn find(&self, path: &str, request: &str) -> (&'static str, &'static str, Vec<u8>) {
        let trouble = |status, code: &str| {
            let body = format!(r#"{{"errors":[{{"code":"{code}","message":"{code}"}}]}}"#);
            (status, "application/json", body.into_bytes())
        };
        if self.login.as_ref().is_some_and(|login| !request.contains(login)) {
            return trouble("401 Unauthorized", "UNAUTHORIZED");
        }
        match (self.served.get(path), path) {
            (Some((kind, body)), _) => ("200 OK", kind, body.clone()),
            (None, "/v2/busy/manifests/1") => trouble("429 Too Many Requests", "TOOMANYREQUESTS"),
            (None, "/v2/broken/manifests/1") => trouble("503 Service Unavailable", "UNAVAILABLE"),
            (None, "/v2/forbidden/manifests/1") => trouble("403 Forbidden", "DENIED"),
            (None, _) => trouble("404 Not Found", "MANIFEST_UNKNOWN"),
        }
    }
}

/// Serves an image of one layer. Returns the path of that.
fn image(served: &mut HashMap<String, (&'static str, Vec<u8>)>, name: &str, layer: Vec<u8>) -> String {
    let of_layer = digest(&layer);
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","config":{{"Cmd":["/nothing"]}},"rootfs":{{"type":"layers","diff_ids":["{of_layer}"]}}}}"#
    );
    let of_config = digest(config.as_bytes());
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":"{CONFIG}","size":{},"digest":"{of_config}"}},"layers":[{{"mediaType":"{LAYER}","size":{},"digest":"{of_layer}"}}]}}"#,
        config.len(),
        layer.len()
    );
    let blob = |digest: &str| format!("/v2/{name}/blobs/{digest}");
    let path = blob(&of_layer);
    for reference in ["1", &digest(manifest.as_bytes())] {
        served.insert(format!("/v2/{name}/manifests/{reference}"), (MANIFEST, manifest.clone().into_bytes()));
    }
    served.insert(blob(&of_config), ("application/octet-stream", config.into_bytes()));
    served.insert(path.clone(), ("application/octet-stream", layer));
    path
}

/// An archive with one file that no other has: what an engine has of a layer it does not fetch again.
fn filler(bytes: usize) -> Vec<u8> {
    let scratch = tempfile::tempdir().expect("a directory");
    let bytes: Vec<u8> = std::iter::repeat_with(rand::random::<[u8; 64]>).take(bytes / 64).flatten().collect();
    fs::write(scratch.path().join("filler"), bytes).expect("written");
    let archive = |dir: &Path| Command::new("tar").arg("-C").arg(dir).args(["-c", "."]).output().expect("tar");
    archive(scratch.path()).stdout
}

fn digest(bytes: &[u8]) -> String {
    let mut sum = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("sha256sum");
    sum.stdin.take().expect("its input").write_all(bytes).expect("written");
    let said = sum.wait_with_output().expect("a digest").stdout;
    let said = String::from_utf8(said).expect("text");
    format!("sha256:{}", said.split_whitespace().next().expect("a digest"))
}
