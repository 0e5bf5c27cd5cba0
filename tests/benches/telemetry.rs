//! What 10,000 watchers of 10 workers cost, a tenth of whom never read. Prints the memory of the master, and how many
//! updates each of the others has got and missed.
//!
//! A real master as a process, workers without containers and the watchers in this one, on loopback, from many addresses.
//!
//! ```text
//! cargo build --release --workspace --bins && cargo bench --bench telemetry
//! CLOUDAI_BENCH_WATCHERS=1000 CLOUDAI_BENCH_SECONDS=20 cargo bench --bench telemetry
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cloudai_tests::bench::{raise_open_files, resident_mb};
use cloudai_tests::embedded::{AMPLE, worker_config};
use cloudai_tests::master::Master;
use cloudaid::runtime::Runtime;
use cloudaid::runtime::fake::FakeRuntime;
use futures_util::StreamExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tokio_util::sync::CancellationToken;

const WORKERS: usize = 10;

#[derive(Default)]
struct Seen {
    snapshots: AtomicU64,
    deltas: AtomicU64,
    missed: AtomicU64,
    lagged: AtomicU64,
    closed: AtomicU64,
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn main() {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (watchers, seconds) = (setting("CLOUDAI_BENCH_WATCHERS", 10_000), setting("CLOUDAI_BENCH_SECONDS", 60));
        let directory = tempfile::tempdir().expect("a directory");
        let master = Master::start(directory.path(), &Default::default()).await;
        let engine: Arc<dyn Runtime> = Arc::new(FakeRuntime::default());
        for number in 1..=WORKERS {
            let join = master.api().join_token().await;
            let config = worker_config(directory.path(), number, master.grpc_address(), &join, AMPLE);
            tokio::spawn(cloudaid::worker::run_with(engine.clone(), config, CancellationToken::new()));
        }
        while master.api().status().await.expect("a status").active_workers as usize != WORKERS {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // The password of the set-up was hashed in 19 MiB, which the allocator keeps until its thread ends.
        tokio::time::sleep(Duration::from_secs(15)).await;
        println!("the master with {WORKERS} workers and no watcher: {:.0} MB", resident_mb(master.process.pid()));
        let server: SocketAddr = master.url().trim_start_matches("http://").parse().expect("an address");
        let begin = Instant::now();
        let (seen, mut silent) = (Arc::new(Seen::default()), Vec::new());
        for number in 0..watchers {
            let stream = connect(server, master.token(), number).await;
            if number % 10 == 0 {
                silent.push(stream);
            } else {
                tokio::spawn(watch(stream, seen.clone()));
            }
        }
        println!("{watchers} watchers connected in {:.1} s", begin.elapsed().as_secs_f64());
        let reading = (watchers - silent.len()) as u64;
        let before = seen.deltas.load(Ordering::Relaxed);
        let mut most: f64 = 0.0;
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            most = most.max(resident_mb(master.process.pid()));
        }
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        println!("the master in these {seconds} s: at most {most:.0} MB");
        println!(
            "{reading} that read: {:.1} deltas each, {} missed, {} told that they lag, {} cut off; {} that never read",
            (count(&seen.deltas) - before) as f64 / reading as f64,
            count(&seen.missed),
            count(&seen.lagged),
            count(&seen.closed),
            silent.len()
        );
    });
}

async fn connect(server: SocketAddr, token: &str, number: usize) -> WebSocketStream<TcpStream> {
    let socket = TcpSocket::new_v4().expect("a socket");
    let [high, low] = u16::try_from(number / 50).expect("few").to_be_bytes();
    socket.bind((Ipv4Addr::new(127, 20, high, low), 0).into()).expect("a port");
    let stream = socket.connect(server).await.expect("connected");
    let mut request = format!("ws://{server}/ws/telemetry").into_client_request().expect("an address");
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a header"));
    let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
    client_async_with_config(request, stream, Some(config)).await.expect("let in").0
}

/// Reads for ever, and looks whether the numbers follow each other.
async fn watch(mut stream: WebSocketStream<TcpStream>, seen: Arc<Seen>) {
    let mut last = None;
    while let Some(Ok(message)) = stream.next().await {
        let Message::Text(text) = message else { continue };
        let sequence = || -> u64 {
            let rest = text.split("\"sequence\":").nth(1).expect("a sequence");
            rest.split([',', '}']).next().expect("a number").parse().expect("a number")
        };
        if text.starts_with("{\"type\":\"delta\"") {
            let sequence = sequence();
            seen.missed.fetch_add(last.map_or(0, |last: u64| sequence - last - 1), Ordering::Relaxed);
            last = Some(sequence);
            seen.deltas.fetch_add(1, Ordering::Relaxed);
        } else if text.starts_with("{\"type\":\"snapshot\"") {
            last = Some(sequence());
            seen.snapshots.fetch_add(1, Ordering::Relaxed);
        } else {
            seen.lagged.fetch_add(1, Ordering::Relaxed);
        }
    }
    seen.closed.fetch_add(1, Ordering::Relaxed);
}
