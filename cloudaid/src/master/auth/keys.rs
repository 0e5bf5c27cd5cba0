//! The keys that tokens are signed with: the newest signs, and the one before it is still good for what it has signed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cloudaid_core::login::LIFE;
use jsonwebtoken::{DecodingKey, EncodingKey};
use parking_lot::RwLock;

use super::secret::{SecretError, check_secret, ensure_secret, read_secret, replace_secret};
use crate::config::Secret;

/// Where a generated signing secret is kept, below the data directory.
const FILE: &str = "jwt.secret";
/// Where the one before it is kept.
const PREVIOUS_FILE: &str = "jwt.secret.previous";
/// Characters of a key id.
const KEY_ID: usize = 16;

/// One key, for all that is made of it.
pub(super) struct Key {
    /// Names it, without telling anything of it.
    pub(super) id: String,
    pub(super) signing: EncodingKey,
    pub(super) verifying: DecodingKey,
    /// For what is no JWT.
    pub(super) sealing: [u8; 32],
}

impl Key {
    fn new(secret: &str) -> Self {
        let secret = secret.as_bytes();
        let mut id =
            blake3::derive_key("CloudAI 2026 id of a signing key", secret).map(|byte| format!("{byte:02x}")).concat();
        id.truncate(KEY_ID);
        Self {
            id,
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
            sealing: blake3::derive_key("CloudAI 2026 secrets of logins", secret),
        }
    }
}

/// The keys that count at a time.
pub(super) struct Ring {
    pub(super) newest: Key,
    pub(super) previous: Option<Key>,
}

impl Ring {
    fn new(newest: &str, previous: Option<&str>) -> Self {
        // A rotation that was cut off leaves the same secret twice.
        let previous = previous.filter(|previous| *previous != newest).map(Key::new);
        Self { newest: Key::new(newest), previous }
    }

    /// All of them, the newest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Key> {
        std::iter::once(&self.newest).chain(&self.previous)
    }

    /// The key that a token names.
    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.all().find(|key| key.id == id)
    }
}

/// The keys of this master, and where they come from.
pub(super) struct Keys {
    ring: RwLock<Arc<Ring>>,
    /// Where they are kept; none: the configuration gives them.
    directory: Option<PathBuf>,
}

/// The keys cannot be replaced here.
#[derive(Debug, thiserror::Error)]
pub(super) enum RotateError {
    /// They are not ours.
    #[error("the signing secret comes from the configuration")]
    Configured,
    /// The files cannot be written.
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Keys {
    /// Those of the configuration, the newest first, or those that are kept in `data_dir`, where one is made if need be.
    pub(super) fn load(configured: Option<(&Secret, Option<&Secret>)>, data_dir: &Path) -> Result<Self, SecretError> {
        if let Some((newest, previous)) = configured {
            let (newest, previous) = (newest.expose(), previous.map(Secret::expose));
            for secret in [newest].into_iter().chain(previous) {
                check_secret(secret)?;
            }
            return Ok(Self { ring: RwLock::new(Arc::new(Ring::new(newest, previous))), directory: None });
        }
        let newest = ensure_secret(&data_dir.join(FILE))?;
        check_secret(&newest)?;
        let previous_file = data_dir.join(PREVIOUS_FILE);
        if age(&previous_file).is_some_and(|age| age > LIFE) {
            // Nothing lives so long that it could have signed.
            let _ = std::fs::remove_file(&previous_file);
        }
        let previous = read_secret(&previous_file)?;
        let ring = RwLock::new(Arc::new(Ring::new(&newest, previous.as_deref())));
        Ok(Self { ring, directory: Some(data_dir.to_owned()) })
    }

    /// As they are now.
    pub(super) fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read())
    }

    /// Makes a new key. What the present one has signed stays good; what the one before it has signed does not.
    pub(super) fn rotate(&self) -> Result<Arc<Ring>, RotateError> {
        let directory = self.directory.as_ref().ok_or(RotateError::Configured)?;
        let mut ring = self.ring.write();
        let (file, previous_file) = (directory.join(FILE), directory.join(PREVIOUS_FILE));
        let present = ensure_secret(&file)?;
        replace_secret(&previous_file, Some(&present))?;
        let newest = replace_secret(&file, None)?;
        *ring = Arc::new(Ring::new(&newest, Some(&present)));
        Ok(Arc::clone(&ring))
    }
}

fn age(path: &Path) -> Option<Duration> {
    SystemTime::now().duration_since(path.metadata().ok()?.modified().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ring: &Ring) -> Vec<String> {
        ring.all().map(|key| key.id.clone()).collect()
    }

    #[test]
    fn the_newest_signs_and_the_one_before_it_is_still_known() {
        let directory = tempfile::tempdir().expect("a directory");
        let load = || Keys::load(None, directory.path()).expect("keys");
        let keys = load();
        let [first] = ids(&keys.ring()).try_into().expect("one");
        let second = ids(&keys.rotate().expect("rotated"));
        assert_eq!(second[1..], [first]);
        assert_eq!(ids(&load().ring()), second, "and after a restart");
        let third = ids(&keys.rotate().expect("rotated"));
        assert_eq!((third.len(), &third[1]), (2, &second[0]), "two at most");
    }

    #[test]
    fn a_rotation_that_was_cut_off_leaves_the_old_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let before = ids(&Keys::load(None, directory.path()).expect("keys").ring());
        std::fs::copy(directory.path().join(FILE), directory.path().join(PREVIOUS_FILE)).expect("copied");
        assert_eq!(ids(&Keys::load(None, directory.path()).expect("keys").ring()), before);
    }

    #[test]
    fn a_key_that_nothing_can_be_signed_with_any_more_goes() {
        let directory = tempfile::tempdir().expect("a directory");
        Keys::load(None, directory.path()).expect("keys").rotate().expect("rotated");
        let file = std::fs::File::open(directory.path().join(PREVIOUS_FILE)).expect("there");
        file.set_modified(SystemTime::now() - LIFE - Duration::from_secs(60)).expect("older");
        assert_eq!(ids(&Keys::load(None, directory.path()).expect("keys").ring()).len(), 1);
    }

    #[test]
    fn what_the_configuration_gives_is_not_replaced_here() {
        let (newest, previous) = (Secret::new(&"0".repeat(32)), Secret::new(&"1".repeat(32)));
        let directory = tempfile::tempdir().expect("a directory");
        let keys = Keys::load(Some((&newest, Some(&previous))), directory.path()).expect("keys");
        assert_eq!(ids(&keys.ring()).len(), 2);
        assert!(matches!(keys.rotate(), Err(RotateError::Configured)));
        assert!(Keys::load(Some((&newest, Some(&Secret::new("short")))), directory.path()).is_err());
    }

    #[test]
    fn a_key_is_named_without_being_told() {
        let id = |secret: &str| Key::new(secret).id;
        assert_eq!(id("a secret"), id("a secret"));
        assert_ne!(id("a secret"), id("another secret"));
        assert_eq!(id("a secret").len(), KEY_ID);
    }
}
