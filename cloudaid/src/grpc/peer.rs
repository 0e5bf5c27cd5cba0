//! Who is at the other end of a connection of the gRPC port.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tonic::transport::server::Connected;
use tonic::{Extensions, Status};

use crate::connections::{Place, Stranger};
use crate::tls::certified::Certified;
use crate::tls::connection::Connection;

/// The connection preface of HTTP/2 (RFC 9113, 3.4), and how long it may take.
const PREFACE: usize = 24;
const PREFACE_LIMIT: Duration = Duration::from_secs(5);

/// What a connection has shown. In the extensions of every request that comes over it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// From where.
    pub(crate) address: SocketAddr,
    /// Whether nobody can read along.
    pub(crate) is_encrypted: bool,
    /// The worker whose certificate it has. Whether that still belongs to the cluster is not known by it.
    pub(crate) certified: Option<Certified>,
    /// Whether the certificate had run out when it was shown. One that runs out later is no reason to cut off a worker
    /// that has another by then.
    pub(crate) is_expired: bool,
    /// To be told when somebody proves on it who they are.
    pub(crate) stranger: Option<Stranger>,
}

impl Peer {
    /// Of a request.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Status> {
        extensions.get::<Self>().cloned().ok_or_else(|| Status::internal("a request without a connection"))
    }

    /// Whether a secret may be sent over it: encrypted, or within this machine.
    pub(crate) fn is_private(&self) -> bool {
        self.is_encrypted || self.address.ip().to_canonical().is_loopback()
    }
}

/// A connection with its peer and its place among all of them.
pub(super) struct Seated {
    connection: Connection,
    peer: Peer,
    /// Kept as long as the connection.
    _place: Place,
    evicted: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Until the client has said that it speaks HTTP/2.
    silence: Option<Silence>,
}

/// How long it may take until the client has said something, and how much it has to say.
struct Silence {
    until: Pin<Box<Sleep>>,
    missing: usize,
}

impl Seated {
    pub(super) fn new(connection: Connection, peer: Peer, place: Place) -> Self {
        let evicted = Box::pin(place.evicted_owned());
        let silence = Silence { until: Box::pin(tokio::time::sleep(PREFACE_LIMIT)), missing: PREFACE };
        Self { connection, peer, _place: place, evicted, silence: Some(silence) }
    }
}

impl Connected for Seated {
    type ConnectInfo = Peer;
    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Seated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.evicted.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(context, buffer);
        if let Some(silence) = &mut self.silence {
            silence.missing = silence.missing.saturating_sub(buffer.filled().len() - before);
            if silence.missing == 0 {
                self.silence = None;
            } else if silence.until.as_mut().poll(context).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        read
    }
}

impl AsyncWrite for Seated {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, data)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, data)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }
}
