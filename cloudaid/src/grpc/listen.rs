//! Accepts connections of workers: each gets its place, shakes hands, and then goes to the services.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::admission::Proof;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::peer::{Peer, Seated};
use super::{GrpcState, audit};
use crate::clock;
use crate::connections::{Connections, Place};
use crate::tls::certified::Certified;
use crate::tls::connection;

/// Connections that have shaken hands and wait for the services.
const WAITING: usize = 64;
/// When accepting fails, for example for want of file descriptors, others must close first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// All connections that come, until told to stop.
pub(super) fn incoming(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    state: GrpcState,
    shutdown: CancellationToken,
) -> impl Stream<Item = io::Result<Seated>> {
    let (seated, stream) = mpsc::channel(WAITING);
    tokio::spawn(async move {
        let room = Connections::new();
        // A connection that fails is only its client's business, and never the end of the others.
        while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &room)).await {
            let Some((stream, address, place)) = accepted else { continue };
            let (tls, state, seated) = (Arc::clone(&tls), state.clone(), seated.clone());
            tokio::spawn(async move {
                if let Some(connection) = shake_hands(stream, address, place, tls, state).await {
                    // Nobody takes it only while the master stops.
                    let _ = seated.send(Ok(connection)).await;
                }
            });
        }
    });
    ReceiverStream::new(stream)
}

async fn accept(listener: &TcpListener, connections: &Connections) -> Option<(TcpStream, SocketAddr, Place)> {
    let room = connections.room().await?;
    match listener.accept().await {
        Ok((stream, address)) => Some((stream, address, connections.enter(room, address.ip()))),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

async fn shake_hands(
    stream: TcpStream,
    address: SocketAddr,
    place: Place,
    tls: Arc<ServerConfig>,
    state: GrpcState,
) -> Option<Seated> {
    // Without it small messages wait for the acknowledgement of the last one. It fails only if the peer is gone.
    let _ = stream.set_nodelay(true);
    let accepted = tokio::select! {
        accepted = connection::accept(stream, tls) => accepted,
        () = place.evicted() => return None,
    };
    match accepted {
        Ok(connection) => {
            let cluster = state.tls.authority().cluster();
            let certified = connection.certificate().and_then(|certificate| Certified::read(certificate, cluster));
            let belongs = |certified: &Certified| {
                let proof = Proof::Certificate(certified.identity);
                state.cluster.admissions().is_proved(&certified.worker, proof)
            };
            if certified.as_ref().is_some_and(belongs) {
                place.stranger().is_known();
            }
            let is_encrypted = connection.is_encrypted();
            let is_expired = certified.as_ref().is_some_and(|certified| certified.expires_at <= clock::wall());
            Some(Seated::new(
                connection,
                Peer { address, is_encrypted, certified, is_expired, stranger: Some(place.stranger()) },
                place,
            ))
        }
        Err(error) => {
            // Who shows a certificate that nobody here has given wants something.
            if error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()).is_some_and(is_about_certificate)
            {
                audit::refused_connection(&state, address, &error.to_string());
            }
            tracing::debug!(%address, %error, "a connection was not made");
            None
        }
    }
}

fn is_about_certificate(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(_))
}
