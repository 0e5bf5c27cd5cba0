//! Opens connections to masters: TCP, then TLS with what the worker has by then.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use shared::tls::MASTER_NAME;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::Uri;
use tower::Service;

use crate::worker::credentials::Keyring;

/// For TCP and TLS together.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What a worker is known by to the master.
#[derive(Debug, Clone)]
pub(in crate::worker) enum Trust {
    /// Nothing yet: it believes who shows the certificate that its join token names.
    Joining(Arc<ClientConfig>),
    /// Its certificate, the present one at each connection.
    Joined(Keyring),
}

/// Connects for tonic.
#[derive(Debug, Clone)]
pub(in crate::worker) struct Connector(pub(in crate::worker) Trust);

impl Service<Uri> for Connector {
    type Response = TokioIo<TlsStream<TcpStream>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let config = match &self.0 {
            Trust::Joining(config) => Arc::clone(config),
            Trust::Joined(keyring) => Arc::clone(&keyring.present().config),
        };
        Box::pin(async move {
            let late = || io::Error::new(io::ErrorKind::TimedOut, "the connection was not made in time");
            tokio::time::timeout(CONNECT_LIMIT, connect(&uri, config)).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

async fn connect(uri: &Uri, config: Arc<ClientConfig>) -> io::Result<TokioIo<TlsStream<TcpStream>>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(443))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(MASTER_NAME).map_err(io::Error::other)?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| {
        let is_plain = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        match is_plain {
            Some(rustls::Error::InvalidMessage(_)) => io::Error::other("what answers there does not speak TLS"),
            _ => error,
        }
    })?;
    Ok(TokioIo::new(stream))
}
