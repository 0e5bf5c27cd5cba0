//! Reading and writing the file of contexts. It holds tokens: only its owner can read it, and it is never half written.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::ContextFile;

/// Why the file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ContextFileError {
    /// It is not what it should be. It is left as it is.
    #[error("{} is not a file of contexts: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Without the line that it stands on, which may hold a token.
        reason: String,
    },
    /// It cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Reads the file; one that does not exist is an empty one.
///
/// # Errors
/// It cannot be read, or is not what it should be.
pub fn load(path: &Path) -> Result<ContextFile, ContextFileError> {
    keep_private(path);
    match fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text)
            .map_err(|error| ContextFileError::Broken { path: path.to_owned(), reason: error.message().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(ContextFile::default()),
        Err(source) => Err(ContextFileError::Io { path: path.to_owned(), source }),
    }
}

/// There are tokens in it: whatever has opened it to others, it is closed again. One that is not ours stays as it is.
fn keep_private(path: &Path) {
    let loose = fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
    if loose {
        let _ = fs::set_permissions(path, Permissions::from_mode(0o600));
    }
}

/// Reads the file, lets `change` change it, and writes it. Two programs that do this at once do it one after the other.
/// Nothing is written if nothing changed, or if `change` fails.
///
/// # Errors
/// It cannot be read or written, or is not what it should be, or `change` fails.
pub fn update<T, E: From<ContextFileError>>(
    path: &Path,
    change: impl FnOnce(&mut ContextFile) -> Result<T, E>,
) -> Result<T, E> {
    let failed = |source| ContextFileError::Io { path: path.to_owned(), source };
    let directory = path.parent().ok_or_else(|| failed(io::Error::other("it has no directory")))?;
    let lock = lock(directory).map_err(failed)?;
    let before = load(path)?;
    let mut after = before.clone();
    let done = change(&mut after)?;
    if after != before {
        let text = toml::to_string(&after).map_err(|error| failed(io::Error::other(error)))?;
        replace(directory, path, text.as_bytes()).map_err(failed)?;
    }
    drop(lock);
    Ok(done)
}

/// Waits for its turn to renew a login, and has it while the value lives: of several programs that share a login only one
/// asks for new tokens, and the others find them in the file.
///
/// # Errors
/// The directory cannot be made or written.
pub fn turn_to_renew(path: &Path) -> Result<File, ContextFileError> {
    let failed = |source| ContextFileError::Io { path: path.to_owned(), source };
    let directory = path.parent().ok_or_else(|| failed(io::Error::other("it has no directory")))?;
    lock_file(directory, ".renewal.lock").map_err(failed)
}

/// Held while the file is open. The file itself cannot be the lock: it is replaced.
fn lock(directory: &Path) -> io::Result<File> {
    lock_file(directory, ".contexts.lock")
}

fn lock_file(directory: &Path, name: &str) -> io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    fs::set_permissions(directory, Permissions::from_mode(0o700))?;
    let mut options = OpenOptions::new();
    let lock = options.create(true).truncate(false).write(true).mode(0o600).open(directory.join(name))?;
    lock.lock()?;
    Ok(lock)
}

/// All or nothing: whoever reads meanwhile, or after a crash, finds the old file or the new one.
fn replace(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Under the lock nobody else has a file of this name; a crash may have left one.
    let temporary = directory.join(".contexts.tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        // The error that is reported is the first one.
        let _ = fs::remove_file(&temporary);
    })?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;

    fn put(path: &Path, name: &str, server: &str) -> Result<(), ContextFileError> {
        let context = Context { server: server.to_owned(), token: Some("t0ken".to_owned()), ..Context::default() };
        update(path, |file| {
            file.upsert(name, context);
            Ok(())
        })
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_file_that_others_can_read_is_closed_when_it_is_read() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("contexts.toml");
        put(&path, "a", "http://a").expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("opened");
        load(&path).expect("read");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn the_file_reads_back_as_written_and_is_for_its_owner_only() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("config/cloudctl/contexts.toml");
        assert_eq!(load(&path).expect("no file"), ContextFile::default());
        put(&path, "dev", "http://127.0.0.1:8080").expect("written");
        let expected = "current = \"dev\"\n\n[contexts.dev]\nserver = \"http://127.0.0.1:8080\"\ntoken = \"t0ken\"\n";
        assert_eq!(fs::read_to_string(&path).expect("text"), expected);
        assert_eq!((mode(&path), mode(path.parent().expect("a directory"))), (0o600, 0o700));
        assert_eq!(load(&path).expect("a file").contexts["dev"].token.as_deref(), Some("t0ken"));
        let names = fs::read_dir(path.parent().expect("a directory")).expect("a list");
        assert_eq!(names.count(), 2, "the file and its lock");
    }

    #[test]
    fn what_is_not_ours_stays() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        let before = "current = \"prod\"\ntheme = \"dark\"\n[contexts.prod]\nserver = \"https://prod\"\ntoken = \"p\"\n\
                      later = 1\n[contexts.dev]\nserver = \"http://old\"\ntoken = \"t0ken\"\npager = true\n";
        fs::write(&path, before).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).expect("set");
        put(&path, "dev", "http://new").expect("written");
        let after: toml::Table = fs::read_to_string(&path).expect("text").parse().expect("TOML");
        let expected = before.replace("http://old", "http://new");
        assert_eq!(after, expected.parse::<toml::Table>().expect("TOML"));
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_broken_file_is_left_alone_and_not_quoted() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        for broken in ["token = s3cret\n[", "contexts = 7", "current = 1"] {
            fs::write(&path, broken).expect("written");
            let error = put(&path, "dev", "http://new").expect_err("it is broken").to_string();
            assert!(error.contains("contexts.toml") && !error.contains("s3cret"), "{error}");
            assert_eq!(fs::read_to_string(&path).expect("text"), broken);
        }
    }

    #[test]
    fn a_place_that_cannot_be_written_is_named() {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("file"), "").expect("written");
        let error = put(&home.path().join("file/contexts.toml"), "dev", "http://new").expect_err("no directory");
        assert!(error.to_string().contains("contexts.toml"), "{error}");
    }

    #[test]
    fn nobody_overwrites_what_another_has_just_written() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("contexts.toml");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || put(path, &format!("c{writer}"), "http://h").expect("written"));
            }
        });
        assert_eq!(load(&path).expect("a file").contexts.len(), 8);
    }
}
