//! A network that breaks when it is told to: passes TCP on, and cuts connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// When connections are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Not at all.
    Never,
    /// Each, after so many bytes from the server.
    Each(u64),
    /// The first one, after so many bytes from the server. Nobody can connect after that.
    FirstAndLast(u64),
}

/// Passes connections on to a server. Dropped, it is gone.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
    passed: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before the server at `url` (`http://HOST:PORT`).
    ///
    /// # Panics
    /// When there is no port for it.
    pub async fn start(url: &str, cut: Cut) -> Self {
        let server = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let passed = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&passed);
        let open = watch::channel(true).0;
        let is_open = open.subscribe();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut shut = is_open.clone();
                if !*shut.borrow_and_update() {
                    continue;
                }
                let passed = pass(client, server.clone(), cut, Arc::clone(&counted));
                let link = async move {
                    tokio::select! {
                        () = passed => {}
                        _ = shut.wait_for(|open| !open) => {}
                    }
                };
                if matches!(cut, Cut::FirstAndLast(_)) {
                    link.await;
                    return;
                }
                tokio::spawn(link);
            }
        });
        Self { address, open, passed, task }
    }

    /// Where to connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// `HOST:PORT` to connect to.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Cuts all connections, whatever is on its way, and closes new ones at once.
    pub fn shut(&self) {
        self.open.send_replace(false);
    }

    /// Passes new connections on again.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Bytes that the server has sent to clients.
    #[must_use]
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, server: String, cut: Cut, passed: Arc<AtomicU64>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async { drop(copy(&mut from_client, &mut to_server).await) };
    let down = async {
        let mut left = match cut {
            Cut::Never => u64::MAX,
            Cut::Each(bytes) | Cut::FirstAndLast(bytes) => bytes,
        };
        let mut buffer = vec![0; 16 * 1024];
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            match from_server.read(&mut buffer[..room]).await {
                Ok(count) if count > 0 => {
                    if to_client.write_all(&buffer[..count]).await.is_err() {
                        return;
                    }
                    left -= count as u64;
                    passed.fetch_add(count as u64, Ordering::SeqCst);
                }
                _ => return,
            }
        }
    };
    // Whichever ends takes the other with it.
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}
