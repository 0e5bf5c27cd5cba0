//! What a worker proves itself with: its key, its certificate, and whom it believes. In one file of the data directory.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use shared::id::ClusterId;
use shared::proto;
use shared::time::WallTime;

use super::error::WorkerError;
use crate::tls::{self, pem};

/// Where they are kept.
const FILE: &str = "credentials.pem";
/// Where the key is kept until there is a certificate for it.
const JOINING: &str = "joining.pem";
/// The line before the first block: when it is time for the next certificate, in milliseconds since 1970.
const RENEW_AT: &str = "renew-at-unix-ms: ";

/// A key that no certificate has been given for yet.
pub(super) struct NewKey(KeyPair);

/// A key and a certificate for it, and whom to believe.
#[derive(Debug)]
pub(super) struct Credentials {
    text: String,
    /// From when on another certificate should be asked for.
    pub(super) renew_at: WallTime,
    /// When the certificate runs out.
    pub(super) expires_at: WallTime,
    /// Whose they are.
    pub(super) cluster: ClusterId,
    /// How to connect with them.
    pub(super) config: Arc<ClientConfig>,
}

impl NewKey {
    pub(super) fn generate() -> Result<Self, WorkerError> {
        KeyPair::generate().map(Self).map_err(|error| unusable(&error))
    }

    /// The one that the worker joins with. It is kept until there is a certificate for it: whoever dies before the answer is
    /// there asks again with the same key, and gets the same answer.
    pub(super) fn to_join_with(data_dir: &Path) -> Result<Self, WorkerError> {
        let path = data_dir.join(JOINING);
        let failed = |source| WorkerError::Data { path: path.clone(), source };
        if let Some(text) = tls::keep::read(&path).map_err(failed)? {
            return KeyPair::from_pem(&text).map(Self).map_err(|error| unusable(&error));
        }
        let key = Self::generate()?;
        tls::keep::write(&path, &key.0.serialize_pem()).map_err(failed)?;
        Ok(key)
    }

    /// A request for a certificate, as PKCS #10 in DER. What it says besides its key is of no account.
    pub(super) fn request(&self) -> Result<Vec<u8>, WorkerError> {
        let request = CertificateParams::default().serialize_request(&self.0);
        request.map(|request| request.der().to_vec()).map_err(|error| unusable(&error))
    }

    /// With the certificate that has come for it.
    pub(super) fn certified(self, given: &proto::Credentials) -> Result<Credentials, WorkerError> {
        let authorities = given.authorities.iter().map(|authority| pem(authority));
        let blocks: String = std::iter::once(pem(&given.certificate)).chain(authorities).collect();
        let text = format!("{RENEW_AT}{}\n{}{blocks}", given.renew_at_unix_ms, self.0.serialize_pem());
        Credentials::parse(text).map_err(|problem| WorkerError::Credentials { problem })
    }
}

impl Credentials {
    /// Those of a data directory, if the worker has joined.
    pub(super) fn load(data_dir: &Path) -> Result<Option<Self>, WorkerError> {
        let path = data_dir.join(FILE);
        let text = tls::keep::read(&path).map_err(|source| WorkerError::Data { path: path.clone(), source })?;
        let parsed = text.map(Self::parse).transpose();
        parsed.map_err(|problem| WorkerError::Unreadable { path, problem })
    }

    fn save(&self, data_dir: &Path) -> Result<(), WorkerError> {
        let path = data_dir.join(FILE);
        tls::keep::write(&path, &self.text).map_err(|source| WorkerError::Data { path, source })
    }

    fn parse(text: String) -> Result<Self, String> {
        let renew_at = text.strip_prefix(RENEW_AT).and_then(|rest| rest.split_once('\n')?.0.parse().ok());
        let renew_at = WallTime(renew_at.ok_or("it does not say when it is to be renewed")?);
        let words = |error: rustls::pki_types::pem::Error| error.to_string();
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(words)?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        let mut certificates = certificates.map_err(words)?.into_iter();
        let own = certificates.next().ok_or("it holds no certificate")?;
        let expires_at = tls::certified::expiry(&own).ok_or("its certificate cannot be read")?;
        let cluster = tls::certified::cluster_of(&own).ok_or("its certificate is not one of a worker")?;
        let mut roots = RootCertStore::empty();
        for authority in certificates {
            roots.add(authority).map_err(|error| error.to_string())?;
        }
        let config = tls::client_builder().map_err(|error| error.to_string())?;
        let config = config.with_root_certificates(roots).with_client_auth_cert(vec![own], key);
        let config = config.map_err(|error| error.to_string())?;
        Ok(Self { text, renew_at, expires_at, cluster, config: Arc::new(tls::for_grpc(config)) })
    }
}

/// The credentials of now, for everybody who connects.
#[derive(Debug, Clone)]
pub(super) struct Keyring {
    data_dir: PathBuf,
    present: Arc<RwLock<Arc<Credentials>>>,
}

impl Keyring {
    pub(super) fn new(data_dir: &Path, credentials: Credentials) -> Self {
        Self { data_dir: data_dir.to_owned(), present: Arc::new(RwLock::new(Arc::new(credentials))) }
    }

    pub(super) fn present(&self) -> Arc<Credentials> {
        Arc::clone(&self.present.read())
    }

    /// Keeps others from now on. They are on the disk before they are used: nobody shall come back with a certificate that
    /// they have lost the key of.
    pub(super) async fn replace(&self, credentials: Credentials) -> Result<(), WorkerError> {
        let data_dir = self.data_dir.clone();
        let saved = tokio::task::spawn_blocking(move || credentials.save(&data_dir).map(|()| credentials)).await;
        let failed = |error| WorkerError::Data { path: self.data_dir.clone(), source: io::Error::other(error) };
        let credentials = saved.unwrap_or_else(|error| Err(failed(error)))?;
        *self.present.write() = Arc::new(credentials);
        Ok(())
    }
}

/// Keeps the first ones.
pub(super) async fn keep(data_dir: &Path, credentials: Credentials) -> Result<Keyring, WorkerError> {
    credentials.save(data_dir)?;
    // It is among the credentials now. One that stays is used the next time, which does no harm.
    let _ = std::fs::remove_file(data_dir.join(JOINING));
    Ok(Keyring::new(data_dir, credentials))
}

fn unusable(error: &rcgen::Error) -> WorkerError {
    WorkerError::Credentials { problem: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The public key of a request.
    fn key_of(key: &NewKey) -> Vec<u8> {
        use x509_parser::prelude::{FromDer, X509CertificationRequest};
        let request = key.request().expect("a request");
        let (_, parsed) = X509CertificationRequest::from_der(&request).expect("PKCS #10");
        parsed.certification_request_info.subject_pki.raw.to_vec()
    }

    #[test]
    fn whoever_dies_before_the_answer_is_there_asks_with_the_same_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = NewKey::to_join_with(directory.path()).expect("a key");
        let again = NewKey::to_join_with(directory.path()).expect("the key");
        assert_eq!(key_of(&first), key_of(&again));
        std::fs::write(directory.path().join(JOINING), "nonsense").expect("written");
        assert!(NewKey::to_join_with(directory.path()).is_err());
    }

    #[test]
    fn what_is_no_file_of_credentials_is_not_used() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(Credentials::load(directory.path()).expect("there is none").is_none());
        for broken in ["", "nonsense", "renew-at-unix-ms: 5\n", "renew-at-unix-ms: x\n"] {
            tls::keep::write(&directory.path().join(FILE), broken).expect("written");
            let loaded = Credentials::load(directory.path());
            assert!(matches!(loaded, Err(WorkerError::Unreadable { .. })), "{broken}");
        }
    }
}
