//! A directory that nothing is written outside of, whatever names and links there are.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use shared::view::FileView;
use ulid::Ulid;

use crate::exit::CtlError;
use shared::text::printable;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// An open directory. Every step below it goes by a handle and a single name, and never through a link.
pub(super) struct Sandbox {
    root: OwnedFd,
}

impl Sandbox {
    /// Opens the directory, and makes it if need be. Its own path is the person's choice, links and all.
    pub(super) fn open(path: &Path) -> Result<Self, CtlError> {
        let failed = || CtlError::local(format!("cannot write to {}", path.display()));
        std::fs::create_dir_all(path).map_err(failed())?;
        let root = openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|error| failed()(error.into()))?;
        Ok(Self { root })
    }

    /// A new file at the path of these names; its directories are made if need be.
    pub(super) fn create(&self, components: &[&[u8]]) -> Result<NewFile, CtlError> {
        let [directories @ .., name] = components else {
            return Err(CtlError::Refused { message: "a file without a name".to_owned(), hint: String::new() });
        };
        let mut at = self.root.try_clone().map_err(CtlError::local("cannot open the directory again"))?;
        for directory in directories {
            at = enter(&at, directory).map_err(|error| local("cannot write into", directory, error))?;
        }
        let temporary = format!(".cloudctl-{}.part", Ulid::generate());
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&at, temporary.as_str(), flags, Mode::from_raw_mode(0o666))
            .map_err(|error| local("cannot create", name, error))?;
        Ok(NewFile {
            directory: at,
            temporary: Some(temporary),
            name: name.to_vec(),
            file: file.into(),
            hasher: blake3::Hasher::new(),
            size: 0,
        })
    }
}

/// Opens a directory below another, and makes it first if it is not there. A link is refused.
fn enter(at: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let open = || openat(at, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
    match open() {
        Err(Errno::NOENT) => {}
        result => return result,
    }
    match mkdirat(at, name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => open(),
        Err(error) => Err(error),
    }
}

fn local(what: &str, name: &[u8], error: Errno) -> CtlError {
    let name = printable(&String::from_utf8_lossy(name));
    match error {
        Errno::LOOP | Errno::NOTDIR => CtlError::Refused {
            message: format!("{what} `{name}`: it is a link or no directory, and links are not followed"),
            hint: "download into an empty directory".to_owned(),
        },
        error => CtlError::Local { what: format!("{what} `{name}`"), source: error.into() },
    }
}

/// A file under a temporary name, until it is known to be whole. Dropped before that, it is gone.
pub(super) struct NewFile {
    directory: OwnedFd,
    temporary: Option<String>,
    name: Vec<u8>,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
}

impl NewFile {
    /// Appends. More than `limit` bytes in all are refused, so that a lying server cannot fill the disk.
    pub(super) fn write(&mut self, piece: &[u8], limit: u64) -> Result<(), CtlError> {
        self.size += piece.len() as u64;
        if self.size > limit {
            return Err(self.differs(format!("it is larger than the {limit} bytes that were listed")));
        }
        self.hasher.update(piece);
        self.file.write_all(piece).map_err(CtlError::local("cannot write the file"))
    }

    /// Gives the file its name, if it is what was listed. What had that name is replaced; a link is, not its target.
    pub(super) fn finish(mut self, listed: &FileView) -> Result<(), CtlError> {
        if self.size != listed.size {
            return Err(self.differs(format!("{} bytes came and {} were listed", self.size, listed.size)));
        }
        if self.hasher.finalize().to_hex().as_str() != listed.blake3.to_ascii_lowercase() {
            return Err(self.differs("its BLAKE3 is another".to_owned()));
        }
        if let Some(temporary) = &self.temporary {
            renameat(&self.directory, temporary.as_str(), &self.directory, self.name.as_slice())
                .map_err(|error| local("cannot replace", &self.name, error))?;
        }
        self.temporary = None;
        Ok(())
    }

    fn differs(&self, how: String) -> CtlError {
        let name = printable(&String::from_utf8_lossy(&self.name));
        let source = io::Error::new(io::ErrorKind::InvalidData, how);
        CtlError::Local { what: format!("`{name}` did not come as it was listed"), source }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing more can be done about it.
            let _ = unlinkat(&self.directory, temporary.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use super::*;

    fn listed(content: &[u8]) -> FileView {
        FileView {
            path: String::new(),
            path_hex: None,
            size: content.len() as u64,
            blake3: blake3::hash(content).to_hex().to_string(),
            index: 0,
            attempt: 1,
        }
    }

    fn put(root: &Path, components: &[&[u8]], content: &[u8]) -> Result<(), CtlError> {
        let listed = listed(content);
        let mut file = Sandbox::open(root)?.create(components)?;
        for piece in content.chunks(2) {
            file.write(piece, listed.size)?;
        }
        file.finish(&listed)
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("listed");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn files_and_their_directories_appear_byte_for_byte() {
        let home = tempfile::tempdir().expect("a directory");
        let root = home.path().join("new/one");
        put(&root, &[b"a", b"b\xff", b"r.txt"], b"data\n\0").expect("written");
        put(&root, &[b"a", b"empty"], b"").expect("written");
        put(&root, &[b"a", b"empty"], b"more").expect("written over");
        let odd = root.join("a").join(OsStr::from_bytes(b"b\xff")).join("r.txt");
        assert_eq!(fs::read(odd).expect("there"), b"data\n\0");
        assert_eq!(fs::read(root.join("a/empty")).expect("there"), b"more");
        assert_eq!(names(&root.join("a")).len(), 2);
    }

    #[test]
    fn a_link_is_never_followed() {
        let home = tempfile::tempdir().expect("a directory");
        let (root, outside) = (home.path().join("root"), home.path().join("outside"));
        fs::create_dir_all(&root).expect("made");
        fs::create_dir_all(&outside).expect("made");
        fs::write(outside.join("secret"), "old").expect("written");
        symlink(&outside, root.join("dir")).expect("linked");
        symlink(outside.join("secret"), root.join("file")).expect("linked");

        assert!(put(&root, &[b"dir", b"secret"], b"new").is_err());
        put(&root, &[b"file"], b"new").expect("the link itself is replaced");
        assert_eq!(fs::read(outside.join("secret")).expect("there"), b"old");
        assert_eq!(fs::read(root.join("file")).expect("there"), b"new");
        assert_eq!(names(&outside), ["secret"]);
    }

    #[test]
    fn what_is_not_as_listed_never_appears() {
        let home = tempfile::tempdir().expect("a directory");
        let sandbox = Sandbox::open(home.path()).expect("opened");
        let listed = listed(b"right");
        for content in [&b"wrong"[..], b"short"[..3].as_ref(), b""] {
            let mut file = sandbox.create(&[b"f"]).expect("created");
            file.write(content, listed.size).expect("written");
            assert!(file.finish(&listed).is_err(), "{content:?}");
        }
        let mut file = sandbox.create(&[b"f"]).expect("created");
        assert!(file.write(b"far too much", listed.size).is_err());
        drop(file);
        assert!(names(home.path()).is_empty(), "{:?}", names(home.path()));
    }
}
