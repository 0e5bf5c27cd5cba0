//! What this master shows on its ports, and keeps fresh while it runs.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};
use shared::tls::{Fingerprint, MASTER_NAME, known_by};
use tokio_util::sync::CancellationToken;

use super::authority::{Authority, AuthorityError, is_ageing};
use super::own::{OwnError, OwnFiles, Stamp};
use super::verifier::Workers;

/// How often it is looked whether the operator's certificate was replaced, or one of our own has become old.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why nothing can be shown.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The operator's certificate.
    #[error(transparent)]
    Own(#[from] OwnError),
    /// What the TLS library says.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

/// The master's side of TLS. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ServerTls {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    authority: Authority,
    workers: Arc<Workers>,
    shown: Arc<Shown>,
    own: Option<OwnFiles>,
    stamp: Mutex<Stamp>,
}

/// The certificates that are shown.
#[derive(Debug)]
struct Shown {
    /// Of the built-in authority.
    built_in: RwLock<Arc<CertifiedKey>>,
    /// The operator's.
    own: RwLock<Option<Arc<CertifiedKey>>>,
}

impl ResolvesServerCert for Shown {
    /// Who asks for the name that only our workers know gets what they believe.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let own = match hello.server_name() {
            Some(MASTER_NAME) => None,
            Some(_) | None => self.own.read().clone(),
        };
        Some(own.unwrap_or_else(|| Arc::clone(&self.built_in.read())))
    }
}

impl ServerTls {
    /// With the operator's certificate, if there is one.
    ///
    /// # Errors
    /// A certificate cannot be made or read.
    pub fn new(authority: Authority, own: Option<OwnFiles>) -> Result<Self, TlsError> {
        let stamp = own.as_ref().map(OwnFiles::stamp).unwrap_or_default();
        let shown = Shown {
            built_in: RwLock::new(built_in(&authority)?),
            own: RwLock::new(own.as_ref().map(OwnFiles::load).transpose()?),
        };
        let workers = Arc::new(Workers::new(&authority)?);
        let (shown, stamp) = (Arc::new(shown), Mutex::new(stamp));
        Ok(Self { inner: Arc::new(Inner { authority, workers, shown, own, stamp }) })
    }

    /// Signs for the cluster.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.inner.authority
    }

    /// By what people know the server that they see.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let own = self.inner.shown.own.read().as_ref().and_then(|own| known_by(&own.cert));
        own.unwrap_or_else(|| self.inner.authority.fingerprint())
    }

    /// For workers: they may show a certificate, and have to speak TLS 1.3.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn for_workers(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = builder(&[&TLS13])?.with_client_cert_verifier(Arc::clone(&self.inner.workers) as _);
        let mut config = builder.with_cert_resolver(Arc::clone(&self.inner.shown) as _);
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Arc::new(config))
    }

    /// For people and their programs.
    ///
    /// # Errors
    /// The library refuses it.
    pub fn for_people(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let builder = builder(&[&TLS13, &TLS12])?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::clone(&self.inner.shown) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Another authority takes over.
    ///
    /// # Errors
    /// Its files cannot be written.
    pub fn rotate(&self) -> Result<(), TlsError> {
        self.inner.authority.rotate()?;
        self.inner.workers.refresh(&self.inner.authority)?;
        *self.inner.shown.built_in.write() = built_in(&self.inner.authority)?;
        tracing::info!("Another authority has taken over. Certificate fingerprint: {}", self.fingerprint());
        Ok(())
    }

    /// Keeps everything fresh until the master stops.
    pub async fn keep_fresh(self, shutdown: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        while shutdown.run_until_cancelled(looks.tick()).await.is_some() {
            let tls = self.clone();
            // It reads files, and makes keys now and then.
            let looked = tokio::task::spawn_blocking(move || tls.look()).await;
            if let Ok(Err(error)) = looked {
                tracing::error!("{error}; the certificate of before stays in use");
            }
        }
    }

    pub(super) fn look(&self) -> Result<(), TlsError> {
        let inner = &self.inner;
        if inner.authority.is_ageing() {
            self.rotate()?;
        }
        let is_old = inner.shown.built_in.read().cert.first().is_none_or(is_ageing);
        if is_old {
            *inner.shown.built_in.write() = built_in(&inner.authority)?;
        }
        let Some(own) = &inner.own else { return Ok(()) };
        let stamp = own.stamp();
        // What cannot be used is said once, and looked at again when it has changed again.
        if std::mem::replace(&mut *inner.stamp.lock(), stamp) != stamp {
            *inner.shown.own.write() = Some(own.load()?);
            tracing::info!("The certificate was replaced. Certificate fingerprint: {}", self.fingerprint());
        }
        Ok(())
    }
}

fn builder(
    versions: &[&'static SupportedProtocolVersion],
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, rustls::Error> {
    ServerConfig::builder_with_provider(super::provider()).with_protocol_versions(versions)
}

fn built_in(authority: &Authority) -> Result<Arc<CertifiedKey>, TlsError> {
    let certificate = authority.master_certificate()?;
    let key = super::provider().key_provider.load_private_key(certificate.key)?;
    Ok(Arc::new(CertifiedKey::new(certificate.chain, key)))
}
