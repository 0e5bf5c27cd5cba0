//! Connections within this process.

use std::future::{Ready, ready};
use std::io;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tower::Service;

/// Bytes on their way, each way.
const BUFFER: usize = 256 * 1024;

/// Connects to the one server that it was made with, whatever the address.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Pipe {
    connections: mpsc::UnboundedSender<DuplexStream>,
}

impl Pipe {
    /// One, and the connections that are made with it. Our own agent makes them, a few in its life.
    pub(super) fn new() -> (Self, impl Stream<Item = io::Result<DuplexStream>>) {
        let (connections, made) = mpsc::unbounded_channel();
        (Self { connections }, UnboundedReceiverStream::new(made).map(Ok))
    }
}

impl Service<Uri> for Pipe {
    type Response = TokioIo<DuplexStream>;
    type Error = io::Error;
    type Future = Ready<io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let (near, far) = duplex(BUFFER);
        let connected = self.connections.send(far);
        ready(match connected {
            Ok(()) => Ok(TokioIo::new(near)),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        })
    }
}
