//! A directory that nothing is written outside of, whatever names and links there are.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, fchmod, fstat, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;
use shared::error::exit;
use shared::text::printable;
use shared::view::FileView;

use crate::exit::CtlError;

const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// An open directory. Every step below it goes by a handle and a single name, and never through a link.
pub(super) struct Sandbox {
    root: OwnedFd,
}

/// What is at the place of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existing {
    /// Nothing.
    Nothing,
    /// The file itself.
    Same,
    /// Something else.
    Other,
}

impl Sandbox {
    /// Opens the directory, and makes it if need be. Its own path is the person's choice, links and all.
    pub(super) fn open(path: &Path) -> Result<Self, CtlError> {
        let failed = |error: io::Error| {
            let message = format!("cannot write to {}: {error}", path.display());
            CtlError::refused(exit::CANNOT_CREATE, message, "name a directory that you may write to")
        };
        DirBuilder::new().recursive(true).create(path).map_err(failed)?;
        let root = openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|error| failed(error.into()))?;
        let may_write = rustix::fs::accessat(&root, ".", rustix::fs::Access::WRITE_OK, AtFlags::empty());
        may_write.map_err(|error| failed(error.into()))?;
        Ok(Self { root })
    }

    /// What is at a path below it. Nothing is made.
    pub(super) fn look(&self, path: &[u8], listed: &FileView) -> Result<Existing, CtlError> {
        let (directories, name) = split(path);
        let mut at = self.again()?;
        for directory in directories {
            at = match openat(&at, directory, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(next) => next,
                Err(Errno::NOENT) => return Ok(Existing::Nothing),
                Err(error) => return Err(local("cannot write into", directory, error)),
            };
        }
        // Without waiting: what stands there may be a pipe.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file: File = match openat(&at, name, flags, Mode::empty()) {
            Ok(file) => file.into(),
            Err(Errno::NOENT) => return Ok(Existing::Nothing),
            Err(_) => return Ok(Existing::Other),
        };
        let is_plain = file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() == listed.size);
        if !is_plain {
            return Ok(Existing::Other);
        }
        let mut hasher = blake3::Hasher::new();
        let hashed = hasher.update_reader(file);
        hashed.map_err(CtlError::local(format!("cannot read `{}`", shown(name))))?;
        Ok(if is_digest(&hasher, listed) { Existing::Same } else { Existing::Other })
    }

    /// A new file for a path below it; its directories are made if need be. With `resume` it begins with what an earlier call
    /// has brought of it.
    pub(super) fn create(&self, path: &[u8], listed: &FileView, resume: bool) -> Result<NewFile, CtlError> {
        let (directories, name) = split(path);
        let mut at = self.again()?;
        for directory in directories {
            at = enter(&at, directory).map_err(|error| local("cannot write into", directory, error))?;
        }
        let partial = partial_name(name, listed);
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&at, partial.as_str(), flags, Mode::from_raw_mode(0o666))
            .map_err(|error| local("cannot create", name, error))?;
        let file = File::from(file);
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("another download of `{}` into this directory is under way", shown(name));
                return Err(CtlError::refused(exit::TEMPORARY, message, "wait for it, or name another directory"));
            }
            Err(TryLockError::Error(error)) => return Err(CtlError::local("cannot lock the new file")(error)),
        }
        let mut new = NewFile {
            directory: at,
            partial: Some(partial),
            name: name.to_vec(),
            file,
            hasher: blake3::Hasher::new(),
            size: 0,
        };
        if !(resume && new.go_on(listed)?) {
            new.start_again()?;
        }
        Ok(new)
    }

    /// Lets whoever may read the file of a path run it.
    pub(super) fn make_executable(&self, path: &[u8]) -> Result<(), CtlError> {
        let (directories, name) = split(path);
        let mut at = self.again()?;
        for directory in directories {
            at = openat(&at, directory, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
                .map_err(|error| local("cannot write into", directory, error))?;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let changed = openat(&at, name, flags, Mode::empty()).and_then(|file| {
            let mode = Mode::from_raw_mode(fstat(&file)?.st_mode & 0o777);
            fchmod(&file, mode | Mode::from_raw_mode((mode.as_raw_mode() & 0o444) >> 2))
        });
        changed.map_err(|error| local("cannot change the mode of", name, error))
    }

    fn again(&self) -> Result<OwnedFd, CtlError> {
        self.root.try_clone().map_err(CtlError::local("cannot open the directory again"))
    }
}

/// The directories, one below the other, and the name in the last of them.
fn split(path: &[u8]) -> (impl Iterator<Item = &[u8]>, &[u8]) {
    let mut names = path.split(|byte| *byte == b'/');
    let name = names.next_back().unwrap_or(path);
    (names, name)
}

/// The name that a file has until it is whole. The same file has the same one, so that another call can go on with it;
/// nothing in it is the server's choice.
fn partial_name(name: &[u8], listed: &FileView) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(name).update(&[0]).update(listed.blake3.as_bytes());
    let digest = hasher.finalize().to_hex();
    format!(".cloudctl-{}.part", &digest[..16])
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

fn shown(name: &[u8]) -> String {
    printable(&String::from_utf8_lossy(name))
}

fn is_digest(hasher: &blake3::Hasher, listed: &FileView) -> bool {
    hasher.finalize().to_hex().as_str() == listed.blake3.to_ascii_lowercase()
}

fn local(what: &str, name: &[u8], error: Errno) -> CtlError {
    let name = shown(name);
    match error {
        Errno::LOOP | Errno::NOTDIR => CtlError::refused(
            exit::CANNOT_CREATE,
            format!("{what} `{name}`: it is a link or no directory, and links are not followed"),
            "download into an empty directory",
        ),
        error => {
            let message = format!("{what} `{name}`: {}", io::Error::from(error));
            CtlError::refused(exit::CANNOT_CREATE, message, "name a directory that you may write to")
        }
    }
}

/// A file under a name of its own, until it is known to be whole. Dropped before that, it is gone, unless it is kept for
/// a later call.
pub(super) struct NewFile {
    directory: OwnedFd,
    partial: Option<String>,
    name: Vec<u8>,
    file: File,
    hasher: blake3::Hasher,
    size: u64,
}

impl NewFile {
    /// Bytes that are there.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Takes over what an earlier call has left; says whether it can be used.
    fn go_on(&mut self, listed: &FileView) -> Result<bool, CtlError> {
        let failed = || CtlError::local("cannot read what an earlier download has left");
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = self.file.read(&mut buffer).map_err(failed())?;
            if count == 0 {
                return Ok(true);
            }
            self.hasher.update(&buffer[..count]);
            self.size += count as u64;
            if self.size > listed.size {
                return Ok(false);
            }
        }
    }

    /// Throws away what is there.
    pub(super) fn start_again(&mut self) -> Result<(), CtlError> {
        (self.hasher, self.size) = (blake3::Hasher::new(), 0);
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map(drop).map_err(CtlError::local("cannot write the file"))
    }

    /// Appends. More than `limit` bytes in all are refused, so that a lying server cannot fill the disk.
    pub(super) fn write(&mut self, piece: &[u8], limit: u64) -> Result<(), CtlError> {
        if self.size + piece.len() as u64 > limit {
            return Err(self.differs(format!("it is larger than the {limit} bytes that were listed")));
        }
        self.file.write_all(piece).map_err(CtlError::local("cannot write the file"))?;
        self.size += piece.len() as u64;
        self.hasher.update(piece);
        Ok(())
    }

    /// Gives the file its name, if it is what was listed. What had that name is replaced; a link is, not its target.
    pub(super) fn finish(mut self, listed: &FileView) -> Result<(), CtlError> {
        if self.size != listed.size {
            return Err(self.differs(format!("{} bytes came and {} were listed", self.size, listed.size)));
        }
        if !is_digest(&self.hasher, listed) {
            return Err(self.differs("its BLAKE3 is another".to_owned()));
        }
        if let Some(partial) = &self.partial {
            renameat(&self.directory, partial.as_str(), &self.directory, self.name.as_slice())
                .map_err(|error| local("cannot replace", &self.name, error))?;
        }
        self.partial = None;
        Ok(())
    }

    /// Leaves it for a later call.
    pub(super) fn keep(mut self) {
        if self.size > 0 {
            self.partial = None;
        }
    }

    fn differs(&self, how: String) -> CtlError {
        let source = io::Error::new(io::ErrorKind::InvalidData, how);
        CtlError::Local { what: format!("`{}` did not come as it was listed", shown(&self.name)), source }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(partial) = &self.partial {
            // Nothing more can be done about it.
            let _ = unlinkat(&self.directory, partial.as_str(), AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};

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

    fn put(root: &Path, path: &[u8], content: &[u8]) -> Result<(), CtlError> {
        let listed = listed(content);
        let mut file = Sandbox::open(root)?.create(path, &listed, false)?;
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
        put(&root, b"a/b\xff/r.txt", b"data\n\0").expect("written");
        put(&root, b"a/empty", b"").expect("written");
        put(&root, b"a/empty", b"more").expect("written over");
        let odd = root.join("a").join(OsStr::from_bytes(b"b\xff")).join("r.txt");
        assert_eq!(fs::read(odd).expect("there"), b"data\n\0");
        assert_eq!(fs::read(root.join("a/empty")).expect("there"), b"more");
        assert_eq!(names(&root.join("a")).len(), 2);
    }

    #[test]
    fn a_program_can_be_run_by_whoever_may_read_it() {
        let home = tempfile::tempdir().expect("a directory");
        put(home.path(), b"d/run.sh", b"x").expect("written");
        let path = home.path().join("d/run.sh");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        Sandbox::open(home.path()).expect("opened").make_executable(b"d/run.sh").expect("changed");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o750);
        symlink("run.sh", home.path().join("d/link")).expect("linked");
        let sandbox = Sandbox::open(home.path()).expect("opened");
        assert!(sandbox.make_executable(b"d/link").is_err());
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

        assert!(put(&root, b"dir/secret", b"new").is_err());
        put(&root, b"file", b"new").expect("the link itself is replaced");
        assert_eq!(fs::read(outside.join("secret")).expect("there"), b"old");
        assert_eq!(fs::read(root.join("file")).expect("there"), b"new");
        assert_eq!(names(&outside), ["secret"]);
    }

    #[test]
    fn what_is_there_is_told_apart() {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join("d")).expect("made");
        fs::write(home.path().join("d/f"), "content").expect("written");
        symlink("d/f", home.path().join("link")).expect("linked");
        let sandbox = Sandbox::open(home.path()).expect("opened");
        let look = |path: &[u8], content: &[u8]| sandbox.look(path, &listed(content)).expect("looked");
        assert_eq!(look(b"d/f", b"content"), Existing::Same);
        for (content, what) in [(&b"another"[..], "of the same size"), (b"longer content", "of another size")] {
            assert_eq!(look(b"d/f", content), Existing::Other, "{what}");
        }
        assert_eq!(look(b"link", b"content"), Existing::Other);
        assert_eq!(look(b"d", b""), Existing::Other);
        for nothing in [&b"x"[..], b"x/f"] {
            assert_eq!(look(nothing, b"content"), Existing::Nothing);
        }
        assert_eq!(names(home.path()).len(), 2, "looking makes nothing");
    }

    #[test]
    fn a_path_that_the_kernel_does_not_take_at_once_is_made_name_by_name() {
        let home = tempfile::tempdir().expect("a directory");
        let (root, outside) = (home.path().join("root"), home.path().join("outside"));
        let folders = [[b'\xfe'; 255].as_slice(); 250].join(&b'/');
        let path = [&folders[..], b"/run.sh"].concat();
        assert!(path.len() > 64_000);
        put(&root, &path, b"data").expect("written");
        let sandbox = Sandbox::open(&root).expect("opened");
        assert_eq!(sandbox.look(&path, &listed(b"data")).expect("looked"), Existing::Same);
        assert_eq!(sandbox.look(&path, &listed(b"atad")).expect("looked"), Existing::Other);
        sandbox.make_executable(&path).expect("changed");
        put(&root, &path, b"more").expect("written over");
        assert_eq!(sandbox.look(&path, &listed(b"more")).expect("looked"), Existing::Same);
        // A link far below the directory is not followed either.
        fs::create_dir(&outside).expect("made");
        let (above, last) = folders.split_at(folders.len() - 256);
        let mut at = openat(CWD, &root, DIRECTORY, Mode::empty()).expect("opened");
        for name in above.split(|byte| *byte == b'/') {
            at = openat(&at, name, DIRECTORY, Mode::empty()).expect("opened");
        }
        renameat(&at, &last[1..], &at, "moved").expect("moved");
        rustix::fs::symlinkat(&outside, &at, &last[1..]).expect("linked");
        assert!(put(&root, &path, b"new").is_err());
        assert!(sandbox.look(&path, &listed(b"new")).is_err());
        assert!(names(&outside).is_empty());
    }

    #[test]
    fn what_was_kept_is_gone_on_with() {
        let home = tempfile::tempdir().expect("a directory");
        let sandbox = Sandbox::open(home.path()).expect("opened");
        let (listed, name) = (listed(b"one two"), b"f");
        let mut first = sandbox.create(name, &listed, true).expect("created");
        first.write(b"one ", listed.size).expect("written");
        assert!(sandbox.create(name, &listed, true).is_err(), "two at once");
        first.keep();
        let mut second = sandbox.create(name, &listed, true).expect("created");
        assert_eq!(second.size(), 4);
        second.write(b"two", listed.size).expect("written");
        second.finish(&listed).expect("whole");
        assert_eq!(fs::read(home.path().join("f")).expect("there"), b"one two");
        assert_eq!(names(home.path()), ["f"]);
    }

    #[test]
    fn without_resume_it_begins_anew() {
        let home = tempfile::tempdir().expect("a directory");
        let sandbox = Sandbox::open(home.path()).expect("opened");
        let (listed, name) = (listed(b"right"), b"f");
        let mut first = sandbox.create(name, &listed, true).expect("created");
        first.write(b"wron", listed.size).expect("written");
        first.keep();
        let mut second = sandbox.create(name, &listed, false).expect("created");
        assert_eq!(second.size(), 0);
        second.write(b"right", listed.size).expect("written");
        second.finish(&listed).expect("whole");
    }

    #[test]
    fn what_is_not_as_listed_never_appears() {
        let home = tempfile::tempdir().expect("a directory");
        let sandbox = Sandbox::open(home.path()).expect("opened");
        let listed = listed(b"right");
        for content in [&b"wrong"[..], b"short"[..3].as_ref(), b""] {
            let mut file = sandbox.create(b"f", &listed, false).expect("created");
            file.write(content, listed.size).expect("written");
            assert!(file.finish(&listed).is_err(), "{content:?}");
        }
        let mut file = sandbox.create(b"f", &listed, false).expect("created");
        assert!(file.write(b"far too much", listed.size).is_err());
        drop(file);
        assert!(names(home.path()).is_empty(), "{:?}", names(home.path()));
    }
}
