//! How a worker gets its certificate, and the next one in time.

use std::sync::Arc;
use std::time::Duration;

use shared::id::{ClusterId, WorkerId};
use shared::proto;
use shared::proto::worker_identity_client::WorkerIdentityClient;
use shared::tls::Pinned;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::credentials::{self, Credentials, Keyring, NewKey};
use super::error::WorkerError;
use super::link::connector::{Connector, Trust};
use super::link::dial::{LinkError, Master, describe, describe_status, shown};
use crate::clock;
use crate::config::{JoinFrom, WorkerConfig};
use crate::master::join_token::{JoinToken, NoJoinToken};
use crate::pause::Pauses;
use crate::tls;

const CALL_LIMIT: Duration = Duration::from_secs(10);
/// After a refusal that only a person can end.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// The longest sleep before the clock is looked at again: it may have been set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// The cluster that a worker belongs to, and what proves that.
#[derive(Debug)]
pub(super) struct Joined {
    pub(super) cluster: ClusterId,
    pub(super) keyring: Keyring,
}

/// What the worker has in its data directory; else it joins with its token. None: `shutdown` came first.
pub(super) async fn ensure(
    config: &WorkerConfig,
    known: Option<ClusterId>,
    shutdown: &CancellationToken,
) -> Result<Option<Joined>, WorkerError> {
    let masters = Master::all(&config.masters)?;
    match Credentials::load(&config.data_dir)? {
        Some(credentials) => {
            let cluster = credentials.cluster;
            if config.join.is_some() {
                tracing::info!("The worker has joined already; its --join token is not needed");
            }
            let keyring = Keyring::new(&config.data_dir, credentials);
            let is_good = renew_what_is_over(&masters, &keyring, shutdown).await?;
            Ok(is_good.then_some(Joined { cluster, keyring }))
        }
        None => join(config, &masters, known, shutdown).await,
    }
}

/// After a long absence: without a good certificate nothing else is served. False: `shutdown` came first.
async fn renew_what_is_over(
    masters: &[Master],
    keyring: &Keyring,
    shutdown: &CancellationToken,
) -> Result<bool, WorkerError> {
    let mut pauses = Pauses::default();
    for master in masters.iter().cycle() {
        if keyring.present().expires_at > clock::wall() {
            return Ok(true);
        }
        let reason = match shutdown.run_until_cancelled(renew(master, keyring)).await {
            None => return Ok(false),
            Some(Ok(())) => continue,
            Some(Err(LinkError::Refused(error))) => return Err(error),
            Some(Err(LinkError::Lost { reason, .. })) => reason,
        };
        let pause = pauses.next();
        tracing::warn!(
            master = master.address,
            reason,
            "The certificate has run out and could not be renewed, trying again in {pause:.1?}"
        );
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    Ok(false)
}

async fn join(
    config: &WorkerConfig,
    masters: &[Master],
    known: Option<ClusterId>,
    shutdown: &CancellationToken,
) -> Result<Option<Joined>, WorkerError> {
    let token = token(config)?;
    let pinned = tls::client_builder().map_err(|error| WorkerError::Credentials { problem: error.to_string() })?;
    let pinned = pinned.dangerous().with_custom_certificate_verifier(Arc::new(Pinned::new(Some(token.fingerprint))));
    let trust = Trust::Joining(Arc::new(tls::for_grpc(pinned.with_no_client_auth())));
    let key = NewKey::to_join_with(&config.data_dir)?;
    let request =
        proto::JoinRequest { token: token.expose(), worker_id: config.name.to_string(), csr: key.request()?.into() };
    let mut pauses = Pauses::default();
    for master in masters.iter().cycle() {
        let answer = shutdown.run_until_cancelled(ask(master, &trust, request.clone())).await;
        let reason = match answer {
            None => return Ok(None),
            Some(Ok(given)) => return Ok(Some(accept(config, known, master, key, &given).await?)),
            Some(Err(LinkError::Refused(error))) => return Err(error),
            Some(Err(LinkError::Lost { reason, .. })) => reason,
        };
        let pause = pauses.next();
        tracing::warn!(
            master = master.address,
            reason,
            "No master yet; is it running, and is this its gRPC address? Trying again in {pause:.1?}"
        );
        if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    Ok(None)
}

async fn accept(
    config: &WorkerConfig,
    known: Option<ClusterId>,
    master: &Master,
    key: NewKey,
    given: &proto::Credentials,
) -> Result<Joined, WorkerError> {
    let wrong = |problem: String| WorkerError::Credentials { problem };
    let theirs: ClusterId = given.cluster_id.parse().map_err(|error| wrong(format!("cluster_id: {error}")))?;
    if let Some(ours) = known
        && ours != theirs
    {
        return Err(WorkerError::OtherCluster { master: master.address.clone(), ours, theirs });
    }
    let named: Result<WorkerId, _> = given.worker_id.parse();
    if named.as_ref() != Ok(&config.name) {
        return Err(wrong("the master has given a certificate for another worker".to_owned()));
    }
    let keyring = credentials::keep(&config.data_dir, key.certified(given)?).await?;
    tracing::info!("Joined cluster {theirs} as {}", config.name);
    Ok(Joined { cluster: theirs, keyring })
}

async fn ask(master: &Master, trust: &Trust, request: proto::JoinRequest) -> Result<proto::Credentials, LinkError> {
    let mut client = client(master, trust).await?;
    let answer = tokio::time::timeout(CALL_LIMIT, client.join(request)).await;
    answered(master, answer)
}

async fn client(master: &Master, trust: &Trust) -> Result<WorkerIdentityClient<tonic::transport::Channel>, LinkError> {
    let channel = master.endpoint.connect_with_connector(Connector(trust.clone())).await;
    let channel = channel.map_err(|error| match (trust, is_about_certificate(&error)) {
        // It will not get another one by waiting.
        (Trust::Joining(_), true) => LinkError::Refused(WorkerError::OtherAuthority { master: master.address.clone() }),
        (Trust::Joining(_) | Trust::Joined(_), _) => {
            LinkError::Lost { master: master.address.clone(), reason: describe(&error) }
        }
    })?;
    Ok(WorkerIdentityClient::new(channel))
}

/// Whether a connection was not made for the certificate that was shown.
fn is_about_certificate(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let of_io = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let tls = of_io.and_then(|inner| inner.downcast_ref::<rustls::Error>()).or_else(|| error.downcast_ref());
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        cause = error.source();
    }
    false
}

fn answered(
    master: &Master,
    answer: Result<Result<tonic::Response<proto::Credentials>, tonic::Status>, tokio::time::error::Elapsed>,
) -> Result<proto::Credentials, LinkError> {
    match answer {
        Ok(Ok(given)) => Ok(given.into_inner()),
        Ok(Err(status)) => Err(match status.code() {
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown | Code::Internal => {
                LinkError::Lost { master: master.address.clone(), reason: describe_status(&status) }
            }
            _ => LinkError::Refused(WorkerError::Refused {
                master: master.address.clone(),
                message: shown(status.message()),
            }),
        }),
        Err(_) => Err(LinkError::Lost { master: master.address.clone(), reason: "no answer".to_owned() }),
    }
}

/// The token that the worker was given.
fn token(config: &WorkerConfig) -> Result<JoinToken, WorkerError> {
    let (source_name, text) = match &config.join {
        None => return Err(WorkerError::NoToken),
        Some(JoinFrom::Inline(secret)) => ("--join".to_owned(), secret.expose().to_owned()),
        Some(JoinFrom::File(path)) => {
            let source_name = path.display().to_string();
            let text = std::fs::read_to_string(path)
                .map_err(|error| WorkerError::Token { source_name: source_name.clone(), problem: error.to_string() })?;
            (source_name, text)
        }
    };
    text.parse().map_err(|error: NoJoinToken| WorkerError::Token { source_name, problem: error.to_string() })
}

/// Sees to it that the certificate never runs out while the worker lives: comes back after two thirds of its time, and
/// again until it has the next one.
pub(super) async fn keep_fresh(masters: Vec<Master>, keyring: Keyring, life: CancellationToken) {
    let mut pauses = Pauses::default();
    let mut masters = masters.iter().cycle();
    loop {
        let wait = u64::try_from(keyring.present().renew_at.0 - clock::wall().0).unwrap_or(0);
        if wait > 0 {
            let wait = Duration::from_millis(wait).min(LOOK_EVERY);
            if life.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
            continue;
        }
        let Some(master) = masters.next() else { return };
        let pause = match life.run_until_cancelled(renew(master, &keyring)).await {
            None => return,
            Some(Ok(())) => {
                pauses.reset();
                continue;
            }
            Some(Err(LinkError::Refused(error))) => {
                tracing::error!("The certificate is not renewed: {error}; {}", error.hint());
                REFUSED_PAUSE
            }
            Some(Err(LinkError::Lost { master, reason })) => {
                let pause = pauses.next();
                tracing::warn!(%master, reason, "The certificate could not be renewed now, trying again in {pause:.1?}");
                pause
            }
        };
        if life.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Gets the next certificate, with a key of its own.
async fn renew(master: &Master, keyring: &Keyring) -> Result<(), LinkError> {
    let key = NewKey::generate().map_err(LinkError::Refused)?;
    let csr = key.request().map_err(LinkError::Refused)?;
    let mut client = client(master, &Trust::Joined(keyring.clone())).await?;
    let answer = tokio::time::timeout(CALL_LIMIT, client.renew(proto::RenewRequest { csr: csr.into() })).await;
    let given = answered(master, answer)?;
    let credentials = key.certified(&given).map_err(LinkError::Refused)?;
    keyring.replace(credentials).await.map_err(LinkError::Refused)?;
    tracing::debug!("The certificate was renewed");
    Ok(())
}
