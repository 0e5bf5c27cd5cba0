//! Serves the API on a listener: hyper directly, because its limits are ours to set.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::patient::Patient;
use super::peer::Peer;
use crate::connections::{Connections, Place, Stranger};
use crate::tls::connection::{self, Connection};

/// How long a client may take for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const HEADERS: usize = 64;
/// Bounds the head of a request on HTTP/1, and what is read ahead of a body.
const BUFFER_LIMIT: usize = 16 * 1024;
/// The head of a request on HTTP/2.
const HEADER_BYTES: u32 = 16 * 1024;
/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 128;
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// What is under way at a shutdown gets this long to end.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);
/// The answer to whoever speaks plaintext where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 116\r\n\
connection: close\r\n\r\n{\"error\":{\"code\":\"invalid_argument\",\"message\":\"this port speaks TLS only\",\
\"hint\":\"use https:// instead of http://\"}}";
/// When accepting fails, for example for want of file descriptors, others must close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `router` until `shutdown` is cancelled and what was under way has ended, or had its time: over TLS, where there
/// is any.
pub async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, router: Router, shutdown: CancellationToken) {
    let room = Connections::new();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            () = shutdown.cancelled() => break,
        };
        let Some((stream, peer, place)) = accepted else { continue };
        let (tls, router, shutdown) = (tls.clone(), router.clone(), shutdown.clone());
        connections.spawn(async move {
            let connection = async {
                // Without it small answers wait for the acknowledgement of the last one. It fails only if the peer is gone.
                let _ = stream.set_nodelay(true);
                let Some(stream) = shake_hands(stream, tls).await else { return };
                serve_connection(stream, peer, place.stranger(), router, shutdown).await;
            };
            tokio::select! {
                () = connection => {}
                () = place.evicted() => {}
            }
        });
    }
    drop(listener);
    connections.close();
    connections.wait().await;
}

/// The next connection, when there is room for it. Never fails for good.
async fn accept(listener: &TcpListener, connections: &Connections) -> Option<(TcpStream, Peer, Place)> {
    let room = connections.room().await?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, Peer(address.ip()), connections.enter(room, address.ip()))),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// The connection as it is to be served; none: it is not.
async fn shake_hands(stream: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Connection> {
    let Some(tls) = tls else { return Some(Connection::Plain(stream)) };
    match connection::accept(stream, tls).await {
        Ok(encrypted @ Connection::Tls(_)) => Some(encrypted),
        Ok(Connection::Plain(mut stream)) => {
            // What it has asked for may hold a secret, and is not even read. It is told what to do, if it listens.
            let _ = tokio::time::timeout(HEADER_TIMEOUT, stream.write_all(SPEAK_TLS)).await;
            None
        }
        Err(error) => {
            tracing::debug!(%error, "a connection was not made");
            None
        }
    }
}

async fn serve_connection(
    stream: Connection,
    peer: Peer,
    stranger: Stranger,
    router: Router,
    shutdown: CancellationToken,
) {
    let has_asked = Arc::new(AtomicBool::new(false));
    let asked = has_asked.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(stranger.clone());
        asked.store(true, Ordering::Relaxed);
        let router = router.clone();
        async move {
            let answer: Result<_, Infallible> = router.oneshot(request.map(Body::new)).await;
            answer
        }
    });
    let builder = builder();
    let mut connection =
        std::pin::pin!(builder.serve_connection_with_upgrades(TokioIo::new(Patient::new(stream)), service));
    // hyper's own timer starts only when it knows the version of HTTP.
    let silence = tokio::time::sleep(HEADER_TIMEOUT);
    tokio::pin!(silence);
    let mut checked = false;
    let result = loop {
        tokio::select! {
            result = connection.as_mut() => break result,
            () = &mut silence, if !checked => {
                if !has_asked.load(Ordering::Relaxed) {
                    return;
                }
                checked = true;
            }
            () = shutdown.cancelled() => {
                connection.as_mut().graceful_shutdown();
                match tokio::time::timeout(SHUTDOWN_GRACE, connection.as_mut()).await {
                    Ok(result) => break result,
                    Err(_) => return,
                }
            }
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS)
        .max_buf_size(BUFFER_LIMIT)
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(1024)
        .keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    builder
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::AsyncReadExt;

    use super::*;

    struct Bench {
        address: std::net::SocketAddr,
        shutdown: CancellationToken,
        server: tokio::task::JoinHandle<()>,
    }

    async fn start() -> Bench {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "hello" }));
        let server = tokio::spawn(serve(listener, None, router, shutdown.clone()));
        Bench { address, shutdown, server }
    }

    impl Bench {
        /// Sends `request`, which must make the server close, and returns all that it answered.
        async fn exchange(&self, request: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.expect("connect");
            stream.write_all(request.as_bytes()).await.expect("send");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.expect("an answer");
            answer
        }
    }

    #[tokio::test]
    async fn serves_and_stops_in_good_order() {
        let bench = start().await;
        let two = "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        assert_eq!(bench.exchange(two).await.matches("hello").count(), 2);
        let idle = TcpStream::connect(bench.address).await.expect("connect");
        bench.shutdown.cancel();
        tokio::time::timeout(SHUTDOWN_GRACE / 2, bench.server).await.expect("in time").expect("no panic");
        drop(idle);
        assert!(TcpStream::connect(bench.address).await.is_err());
    }

    #[test]
    fn the_answer_to_plaintext_is_what_it_says_it_is() {
        let text = std::str::from_utf8(SPEAK_TLS).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let error: shared::error::ErrorBody = serde_json::from_str(body).expect("the shape of an error");
        assert!(error.error.hint.contains("https://"));
    }

    #[tokio::test]
    async fn who_holds_connections_open_displaces_only_themselves() {
        let bench = start().await;
        let mut idle = Vec::new();
        for _ in 0..400 {
            let mut stream = TcpStream::connect(bench.address).await.expect("connect");
            stream.write_all(b"GET / HTTP/1.1\r\nHost: ").await.expect("send");
            idle.push(stream);
        }
        let request = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = tokio::time::timeout(HEADER_TIMEOUT / 2, bench.exchange(request)).await.expect("in time");
        assert!(answer.ends_with("hello"));
        let mut gone = 0;
        for stream in &mut idle {
            let read = tokio::time::timeout(Duration::from_millis(1), stream.read_u8()).await;
            gone += usize::from(read.is_ok_and(|read| read.is_err()));
        }
        assert_eq!(gone, 145, "the oldest make room: 256 of one address stay");
    }

    #[tokio::test]
    async fn more_headers_than_the_limit_are_refused() {
        let bench = start().await;
        for (count, status) in [(HEADERS, "200"), (HEADERS + 1, "431")] {
            // `Host` and `Connection` are headers too.
            let more: String = (0..count - 2).map(|number| format!("X-{number}: x\r\n")).collect();
            let request = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
            assert!(bench.exchange(&request).await.starts_with(&format!("HTTP/1.1 {status}")), "{count}");
        }
    }
}
