//! The authority's files: only for their owner, whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The most that is read of one; a key and three certificates are far less.
const FILE_LIMIT: u64 = 1 << 20;

/// What a file holds; none: there is none. One that others may read is refused: a key in it is nobody's secret any more.
pub(crate) fn read(path: &Path) -> io::Result<Option<String>> {
    // A link is not followed, and a pipe does not block.
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
    let file = match OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a plain file"));
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        let message = format!("its mode is {mode:03o}: others may have read its key; close it with chmod 600 if not");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    let mut text = String::new();
    file.take(FILE_LIMIT).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Puts a text into a file, in the place of whatever is there. Its directory is made.
pub(crate) fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = path.with_extension("tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_whole_and_only_its_owners() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("tls/authority.pem");
        assert_eq!(read(&path).expect("nothing"), None);
        write(&path, "one").expect("written");
        write(&path, "two").expect("replaced");
        assert_eq!(read(&path).expect("there").as_deref(), Some("two"));
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().expect("a parent")).expect("a directory").count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("opened");
        assert!(read(&path).expect_err("others could read it").to_string().contains("chmod 600"));
        fs::remove_file(&path).expect("removed");
        std::os::unix::fs::symlink("/etc/hostname", &path).expect("a link");
        assert!(read(&path).is_err(), "a link is not followed");
    }
}
