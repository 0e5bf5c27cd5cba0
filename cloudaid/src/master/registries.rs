//! What workers pull private images with: encrypted wherever it is kept, by a key that is kept elsewhere.

use std::fmt;
use std::path::Path;

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use shared::pull::RegistryLogin;
use shared::registry::RegistryName;

use super::auth::{SecretError, ensure_secret};

/// The file of the key, in the master's data directory.
pub const KEY_FILE: &str = "registries.secret";
/// Bytes of a nonce: random ones of this length do not meet again (XChaCha20-Poly1305, draft-irtf-cfrg-xchacha-03).
const NONCE: usize = 24;

/// Encrypts passwords of registries, and reads them.
#[derive(Clone)]
pub struct Seal(XChaCha20Poly1305);

/// Without the key.
impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seal")
    }
}

/// It was encrypted with another key, or has been changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the password cannot be read with the key of this master: set it again with `cloudctl registry login`")]
pub struct Unreadable;

impl Seal {
    /// With the key in `path`, which is made if there is none.
    ///
    /// # Errors
    /// The key cannot be read or made, or others could have read it.
    pub fn open(path: &Path) -> Result<Self, SecretError> {
        let secret = ensure_secret(path)?;
        let key = blake3::derive_key("cloudai registry passwords v1", secret.as_bytes());
        Ok(Self(XChaCha20Poly1305::new(&key.into())))
    }

    /// Encrypts a password, for this name at this registry only.
    ///
    /// # Panics
    /// Never: only a password of 256 GiB is too long.
    #[must_use]
    pub fn seal(&self, registry: &RegistryName, login: &RegistryLogin) -> String {
        let nonce: [u8; NONCE] = rand::random();
        let aad = bound_to(registry, &login.username);
        let payload = Payload { msg: login.password.as_bytes(), aad: &aad };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).unwrap_or_default();
        hex::encode([nonce.as_slice(), &sealed].concat())
    }

    /// Reads what [`Self::seal`] has written.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn unseal(&self, registry: &RegistryName, username: &str, sealed: &str) -> Result<RegistryLogin, Unreadable> {
        let bytes = hex::decode(sealed).map_err(|_| Unreadable)?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or(Unreadable)?;
        let aad = bound_to(registry, username);
        let password = self.0.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: &aad });
        let password = password.ok().and_then(|password| String::from_utf8(password).ok()).ok_or(Unreadable)?;
        Ok(RegistryLogin { username: username.to_owned(), password })
    }
}

/// A line break is in neither.
fn bound_to(registry: &RegistryName, username: &str) -> Vec<u8> {
    format!("{registry}\n{username}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_reads_it_and_only_for_what_it_was_meant() {
        let scratch = tempfile::tempdir().expect("a directory");
        let seal = |name: &str| Seal::open(&scratch.path().join(name)).expect("a key");
        let registry: RegistryName = "ghcr.io".parse().expect("a name");
        let login = RegistryLogin { username: "ann".to_owned(), password: "secret".to_owned() };
        let sealed = seal("a").seal(&registry, &login);
        assert!(!hex::decode(&sealed).expect("hex").windows(6).any(|bytes| bytes == b"secret"));
        assert_ne!(seal("a").seal(&registry, &login), sealed, "each time another");
        assert_eq!(seal("a").unseal(&registry, "ann", &sealed), Ok(login));
        assert_eq!(seal("b").unseal(&registry, "ann", &sealed), Err(Unreadable));
        assert_eq!(seal("a").unseal(&registry, "eve", &sealed), Err(Unreadable));
        assert_eq!(seal("a").unseal(&"evil.io".parse().expect("a name"), "ann", &sealed), Err(Unreadable));
        for broken in [&sealed[..10], &sealed[2..], "", "xyz"] {
            assert_eq!(seal("a").unseal(&registry, "ann", broken), Err(Unreadable));
        }
    }
}
