//! Secrets in files that only their owner may read: made once, and replaced only on purpose.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rand::TryRng;
use rand::rngs::SysRng;
use subtle::ConstantTimeEq;
use ulid::Ulid;

/// The shortest secret, in bytes.
pub const SECRET_MIN: usize = 32;
/// Random bytes of a new secret; twice as many hex digits.
const RANDOM_BYTES: usize = 32;
/// The largest secret file that is read.
const FILE_LIMIT: u64 = 4096;
/// What stands in the samples of the world.
const SAMPLES: [&str; 5] = ["your-secret-key", "your_secret_key", "vishvboda", "password123", "changeme"];

/// A secret that cannot be used. The message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Others could have read it.
    #[error(
        "{path} can be read by others (mode {mode:03o}): make a new one, or `chmod 600` it if nobody else has read it"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a plain file.
    #[error("{path} is not a plain file: remove it, a new one is made at the next start")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Too short to be a secret.
    #[error("the secret{place} is shorter than {SECRET_MIN} bytes: make one with `openssl rand -hex 32`")]
    TooShort {
        /// ` in <file>`, or nothing.
        place: String,
    },
    /// It stands in somebody's documentation.
    #[error("the secret is a known sample: make one with `openssl rand -hex 32`")]
    Sample,
    /// Nothing can be signed with it.
    #[error("tokens cannot be signed: {0}")]
    Unusable(String),
    /// The operating system said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Whether `secret` is long enough and not a sample that everybody knows.
///
/// # Errors
/// [`SecretError::TooShort`] or [`SecretError::Sample`].
pub fn check_secret(secret: &str) -> Result<(), SecretError> {
    let lower = secret.to_ascii_lowercase();
    if SAMPLES.iter().any(|sample| lower.contains(sample)) {
        return Err(SecretError::Sample);
    }
    if secret.len() < SECRET_MIN {
        return Err(SecretError::TooShort { place: String::new() });
    }
    Ok(())
}

/// The secret in the file at `path`; makes a random one of 64 hex digits if there is no such file.
///
/// A new file appears complete and durable or not at all, and of two processes that make it at once both read the same.
///
/// # Errors
/// The file is open to others, not a plain file, too short, or cannot be read or made.
pub fn ensure_secret(path: &Path) -> Result<String, SecretError> {
    let failed = |source| SecretError::Io { path: path.to_owned(), source };
    match open(path) {
        Ok(file) => return read(path, &file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let directory = directory(path);
    fs::create_dir_all(directory).map_err(failed)?;
    let temporary = temporary(path);
    let made = create(&temporary, path, directory);
    // It is gone or of no use; nothing depends on it.
    let _ = fs::remove_file(&temporary);
    made.map_err(failed)?;
    read(path, &open(path).map_err(failed)?)
}

/// The secret that is kept in `path`, if there is one.
///
/// # Errors
/// It cannot be used: see [`SecretError`].
pub(super) fn read_secret(path: &Path) -> Result<Option<String>, SecretError> {
    match open(path) {
        Ok(file) => read(path, &file).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SecretError::Io { path: path.to_owned(), source }),
    }
}

/// Puts a secret into `path`, whatever is there: `secret`, or a new one. All or nothing.
///
/// # Errors
/// The file cannot be written.
pub(super) fn replace_secret(path: &Path, secret: Option<&str>) -> Result<String, SecretError> {
    let replace = || {
        let secret = secret.map_or_else(random, |secret| Ok(secret.to_owned()))?;
        let (temporary, directory) = (temporary(path), directory(path));
        write(&temporary, &secret).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
            // The error that is reported is the first one.
            let _ = fs::remove_file(&temporary);
        })?;
        File::open(directory)?.sync_all()?;
        Ok(secret)
    };
    replace().map_err(|source| SecretError::Io { path: path.to_owned(), source })
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
#[must_use]
pub fn constant_time_eq(left: &[u8], right: &[u8]) -> bool {
    left.ct_eq(right).into()
}

fn open(path: &Path) -> io::Result<File> {
    // A link is not followed, and a pipe does not block.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)
}

fn read(path: &Path, file: &File) -> Result<String, SecretError> {
    let failed = |source| SecretError::Io { path: path.to_owned(), source };
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(SecretError::NotAFile { path: path.to_owned() });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.take(FILE_LIMIT).read_to_string(&mut text).map_err(failed)?;
    let secret = text.trim();
    if secret.len() < SECRET_MIN {
        return Err(SecretError::TooShort { place: format!(" in {}", path.display()) });
    }
    Ok(secret.to_owned())
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
}

fn temporary(path: &Path) -> PathBuf {
    directory(path).join(format!(".{}.tmp", Ulid::generate().to_string().to_ascii_lowercase()))
}

fn random() -> io::Result<String> {
    let mut random = [0; RANDOM_BYTES];
    SysRng.try_fill_bytes(&mut random).map_err(io::Error::other)?;
    Ok(hex::encode(random))
}

fn write(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    writeln!(file, "{secret}")?;
    file.sync_all()
}

fn create(temporary: &Path, path: &Path, directory: &Path) -> io::Result<()> {
    write(temporary, &random()?)?;
    // A link and not a rename: it never replaces what another process has made meanwhile.
    match fs::hard_link(temporary, path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_for_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("below/worker.token");
        let secret = ensure_secret(&path).expect("made");
        assert_eq!(secret.len(), 2 * RANDOM_BYTES);
        assert_eq!(ensure_secret(&path).expect("read"), secret);
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().expect("parent")).expect("list").count(), 1, "no temporary is left");
    }

    #[test]
    fn secrets_that_others_could_read_or_that_are_short_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("jwt.secret");
        ensure_secret(&path).expect("made");
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
            assert!(matches!(ensure_secret(&path), Err(SecretError::Exposed { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(&path, "x".repeat(SECRET_MIN - 1)).expect("write");
        assert!(matches!(ensure_secret(&path), Err(SecretError::TooShort { .. })));
        fs::remove_file(&path).expect("remove");
        fs::create_dir(&path).expect("a directory in its place");
        assert!(matches!(ensure_secret(&path), Err(SecretError::NotAFile { .. })));
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        ensure_secret(&real).expect("made");
        std::os::unix::fs::symlink(&real, &link).expect("link");
        assert!(matches!(ensure_secret(&link), Err(SecretError::Io { .. })));
    }

    #[test]
    fn samples_and_short_secrets_are_refused() {
        assert!(matches!(check_secret("your-secret-key-but-longer-than-32-bytes"), Err(SecretError::Sample)));
        assert!(matches!(check_secret(&"x".repeat(SECRET_MIN - 1)), Err(SecretError::TooShort { .. })));
        assert!(check_secret(&"x".repeat(SECRET_MIN)).is_ok());
    }

    #[test]
    fn equality_is_equality() {
        assert!(constant_time_eq(b"abc", b"abc"));
        assert!(!constant_time_eq(b"abc", b"abd") && !constant_time_eq(b"abc", b"ab") && !constant_time_eq(b"", b"a"));
    }
}
