//! Secrets of logins that need not be kept, because they can be made again: a keyed hash of what they stand for.
//!
//! `<prefix><login>_<serial>_<hash>`. Whoever reads the store learns none of them, and an old one is known as such.

use shared::id::LoginId;

use super::constant_time_eq;
use super::keys::{Key, Keys};

/// What such a secret is good for. One kind never passes for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Renews a login, once.
    Refresh,
    /// Lets a browser in, in a cookie.
    Cookie,
}

impl Purpose {
    /// What they begin with, so that scanners find them where they should not be.
    fn prefix(self) -> &'static str {
        match self {
            Self::Refresh => "cloudai_refresh_",
            Self::Cookie => "cloudai_cookie_",
        }
    }
}

/// The secret of a login.
pub(super) fn seal(keys: &Keys, purpose: Purpose, login: LoginId, serial: u32) -> String {
    let said = said(purpose, login, serial);
    let hash = hash(&keys.ring().newest, &said);
    format!("{said}_{}", hash.to_hex())
}

/// The login of a secret and its number, if this master made it.
pub(super) fn open(keys: &Keys, purpose: Purpose, secret: &str) -> Option<(LoginId, u32)> {
    let (said, hex) = secret.rsplit_once('_')?;
    let (login, serial) = said.strip_prefix(purpose.prefix())?.split_once('_')?;
    let (login, serial) = (login.parse().ok()?, serial.parse().ok()?);
    let shown: [u8; 32] = hex::decode(hex).ok()?.try_into().ok()?;
    // Written again, so that there is one way to write it.
    let said = self::said(purpose, login, serial);
    let known = keys.ring().all().any(|key| constant_time_eq(hash(key, &said).as_bytes(), &shown));
    known.then_some((login, serial))
}

fn said(purpose: Purpose, login: LoginId, serial: u32) -> String {
    format!("{}{login}_{serial}", purpose.prefix())
}

fn hash(key: &Key, said: &str) -> blake3::Hash {
    blake3::keyed_hash(&key.sealing, said.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_known_again_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let keys = Keys::load(None, directory.path()).expect("keys");
        let login = LoginId(7u128.into());
        let secret = seal(&keys, Purpose::Refresh, login, 3);
        assert_eq!(open(&keys, Purpose::Refresh, &secret), Some((login, 3)));
        assert_eq!(open(&keys, Purpose::Cookie, &secret), None);
        let as_cookie = secret.replace("refresh", "cookie");
        assert_eq!(open(&keys, Purpose::Cookie, &as_cookie), None);
        for bad in ["", "_", "cloudai_refresh_", "cloudai_refresh___", &secret[1..], &secret[..secret.len() - 1]] {
            assert_eq!(open(&keys, Purpose::Refresh, bad), None, "{bad}");
        }
        assert_eq!(open(&keys, Purpose::Refresh, &secret.replace("_3_", "_4_")), None);
    }

    #[test]
    fn it_outlives_one_change_of_keys_and_not_two() {
        let directory = tempfile::tempdir().expect("a directory");
        let keys = Keys::load(None, directory.path()).expect("keys");
        let secret = seal(&keys, Purpose::Refresh, LoginId(7u128.into()), 0);
        keys.rotate().expect("rotated");
        assert!(open(&keys, Purpose::Refresh, &secret).is_some());
        keys.rotate().expect("rotated");
        assert!(open(&keys, Purpose::Refresh, &secret).is_none());
    }
}
