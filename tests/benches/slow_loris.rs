//! What honest requests cost while 5,000 connections send the head of a request a byte at a time, from many addresses and
//! from one. Prints percentiles.
//!
//! A real master as a process, on loopback.
//!
//! ```text
//! cargo build --release --workspace --bins && cargo bench --bench slow_loris
//! ```
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cloudai_tests::bench::{percentile, raise_open_files, resident_mb};
use cloudai_tests::master::Master;
use shared::view::MeView;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;

const LORIS: usize = 5_000;
const REQUESTS: usize = 3_000;

fn main() {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let master = Master::start(directory.path(), &Default::default()).await;
        measure("nobody else", &master).await;
        for (what, addresses) in [("5,000 slow ones from 50 addresses", 50), ("5,000 slow ones from one address", 1)] {
            let open = Arc::new(AtomicUsize::new(0));
            let server: SocketAddr = master.url().trim_start_matches("http://").parse().expect("an address");
            let all: Vec<_> = (0..LORIS)
                .map(|number| {
                    let from = Ipv4Addr::new(127, 9, 0, u8::try_from(1 + number % addresses).expect("few"));
                    tokio::spawn(loris(from, server, open.clone()))
                })
                .collect();
            tokio::time::sleep(Duration::from_secs(3)).await;
            let held = open.load(Ordering::Relaxed);
            measure(&format!("{what} ({held} held)"), &master).await;
            println!("  memory of the master: {:.0} MB", resident_mb(master.process.pid()));
            for one in all {
                one.abort();
            }
        }
    });
}

/// Connects, sends a byte now and then, and does it again when it is thrown out.
async fn loris(from: Ipv4Addr, server: SocketAddr, open: Arc<AtomicUsize>) {
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_reuseaddr(true).expect("set");
        socket.bind((from, 0).into()).expect("a port");
        if let Ok(mut stream) = socket.connect(server).await {
            open.fetch_add(1, Ordering::Relaxed);
            for byte in b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".iter().cycle() {
                if stream.write_all(&[*byte]).await.is_err() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(900)).await;
            }
            open.fetch_sub(1, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Half of them on one connection, half on a new one each.
async fn measure(what: &str, master: &Master) {
    let api = master.api();
    let mut kept = Vec::new();
    for _ in 0..REQUESTS {
        let begin = Instant::now();
        api.get::<MeView>("/api/auth/me").await.expect("an answer");
        kept.push(begin.elapsed());
    }
    let mut fresh = Vec::new();
    for _ in 0..REQUESTS {
        let client = cloudai_tests::api::Api::new(master.url(), master.token().to_owned());
        let begin = Instant::now();
        client.get::<MeView>("/api/auth/me").await.expect("an answer");
        fresh.push(begin.elapsed());
    }
    for (kind, mut times) in [("on one connection", kept), ("on a new one each", fresh)] {
        times.sort_unstable();
        let at = |share| percentile(&times, share).as_secs_f64() * 1e3;
        println!(
            "{what}: {REQUESTS} requests {kind}, ms: median {:.2}, p99 {:.2}, longest {:.2}",
            at(0.5),
            at(0.99),
            at(1.0)
        );
    }
}
