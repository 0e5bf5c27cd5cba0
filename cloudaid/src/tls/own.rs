//! The operator's certificate, in two files that another program may replace at any time.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

/// Where the operator's certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFiles {
    /// The server's certificate in PEM, then those that vouch for it.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// They cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct OwnError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

/// What tells that a file was replaced.
pub(super) type Stamp = [Option<(SystemTime, u64)>; 2];

impl OwnFiles {
    /// Reads both, and sees that they belong together.
    pub(super) fn load(&self) -> Result<Arc<CertifiedKey>, OwnError> {
        let error = |path: &Path, problem: String| OwnError { path: path.to_owned(), problem };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let chain = chain.map_err(|problem| error(&self.certificate, problem.to_string()))?;
        if chain.is_empty() {
            return Err(error(&self.certificate, "it holds no certificate in PEM".to_owned()));
        }
        if fs::metadata(&self.key).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) {
            tracing::warn!("{} can be read by others: close it with chmod 600", self.key.display());
        }
        let key = PrivateKeyDer::from_pem_file(&self.key);
        let key = key.map_err(|problem| error(&self.key, format!("it holds no private key in PEM ({problem})")))?;
        let key = super::provider().key_provider.load_private_key(key);
        let key = key.map_err(|problem| error(&self.key, problem.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(|_| error(&self.key, "it is not the key of the certificate".to_owned()))?;
        Ok(Arc::new(certified))
    }

    pub(super) fn stamp(&self) -> Stamp {
        [&self.certificate, &self.key].map(|path| {
            let metadata = fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        })
    }
}
