//! Which files are meant, and where in /input each of them will be.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use shared::error::exit;

use crate::exit::CtlError;

/// A file of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LocalFile {
    /// Where it is.
    pub(super) source: PathBuf,
    /// Bytes, when it was looked at.
    pub(super) size: u64,
    /// Whether its owner may run it.
    pub(super) executable: bool,
}

/// All files below `paths`, by their paths in /input. As `cp -r PATH... /input` has it: each has its own name there, and of
/// `DIR/.`, `.` and `..` what is in them. Links are followed only where they were named.
pub(super) fn collect(paths: &[PathBuf]) -> Result<BTreeMap<Vec<u8>, LocalFile>, CtlError> {
    let mut files = BTreeMap::new();
    for path in paths {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        let name = match path.components().next_back() {
            Some(Component::Normal(name)) if !ends_in_dot(path) => name.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        add(&mut files, path, name, &metadata)?;
    }
    if files.is_empty() {
        let message = "there are no files in what was named; empty folders are not uploaded";
        return Err(CtlError::refused(exit::DATA, message, "name files, or folders with files in them"));
    }
    Ok(files)
}

/// `components` leaves the dot of `DIR/.` out.
fn ends_in_dot(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/.")
}

fn add(
    files: &mut BTreeMap<Vec<u8>, LocalFile>,
    source: &Path,
    path: Vec<u8>,
    metadata: &Metadata,
) -> Result<(), CtlError> {
    if metadata.is_dir() {
        let entries = fs::read_dir(source).map_err(|error| unreadable(source, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unreadable(source, &error))?;
            let name = entry.file_name();
            let below =
                if path.is_empty() { name.as_bytes().to_vec() } else { [&path, &b"/"[..], name.as_bytes()].concat() };
            let metadata = entry.metadata().map_err(|error| unreadable(&entry.path(), &error))?;
            add(files, &entry.path(), below, &metadata)?;
        }
        return Ok(());
    }
    if !metadata.is_file() {
        let kind = if metadata.is_symlink() { "a link" } else { "no regular file" };
        let message = format!("{} is {kind}, and only files and folders are uploaded", source.display());
        let hint = "remove it, name what it points to, or pack the folder with tar and upload that";
        return Err(CtlError::refused(exit::DATA, message, hint));
    }
    let executable = metadata.permissions().mode() & 0o100 != 0;
    let file = LocalFile { source: source.to_owned(), size: metadata.len(), executable };
    if let Some(other) = files.insert(path, file) {
        let message = format!("{} and {} would be the same file in /input", other.source.display(), source.display());
        return Err(CtlError::refused(exit::USAGE, message, "rename one of them, or name a folder that has both"));
    }
    Ok(())
}

fn unreadable(path: &Path, error: &io::Error) -> CtlError {
    let exit = if error.kind() == io::ErrorKind::NotFound { exit::NOT_FOUND } else { exit::IO };
    CtlError::refused(
        exit,
        format!("cannot read {}: {error}", path.display()),
        "name files and folders that you may read",
    )
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(paths: &[PathBuf]) -> Result<Vec<String>, String> {
        let files = collect(paths).map_err(|error| error.to_string())?;
        Ok(files.keys().map(|path| String::from_utf8_lossy(path).into_owned()).collect())
    }

    #[test]
    fn paths_in_the_input_are_as_cp_makes_them() {
        let home = tempfile::tempdir().expect("a directory");
        let dir = home.path().join("data");
        fs::create_dir_all(dir.join("sub/empty")).expect("made");
        fs::write(dir.join("a.csv"), "1").expect("written");
        fs::write(dir.join("sub").join(OsStr::from_bytes(b"odd\xff")), "22").expect("written");
        fs::write(home.path().join("run.sh"), "x").expect("written");
        fs::set_permissions(home.path().join("run.sh"), fs::Permissions::from_mode(0o755)).expect("set");
        let all = names(&[dir.clone(), home.path().join("run.sh")]).expect("collected");
        assert_eq!(all, ["data/a.csv", "data/sub/odd\u{fffd}", "run.sh"]);
        assert_eq!(names(&[dir.join("")]).expect("a slash at the end"), all[..2]);
        assert_eq!(names(&[dir.join(".")]).expect("a dot at the end"), ["a.csv", "sub/odd\u{fffd}"]);
        let files = collect(&[dir, home.path().join("run.sh")]).expect("collected");
        assert!(files[&b"run.sh"[..]].executable && !files[&b"data/a.csv"[..]].executable);
        assert_eq!(files[&b"data/sub/odd\xff"[..]].size, 2);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        for dir in [&a, &b] {
            fs::create_dir(dir).expect("made");
        }
        let refusal = |paths: &[PathBuf]| names(paths).expect_err("refused");
        assert!(refusal(std::slice::from_ref(&a)).contains("no files"));
        assert!(refusal(&[home.path().join("none")]).contains("cannot read"));
        fs::write(a.join("x"), "").expect("written");
        fs::write(b.join("x"), "").expect("written");
        assert!(refusal(&[a.join("x"), b.join("x")]).contains("the same file"));
        symlink(a.join("x"), b.join("link")).expect("linked");
        assert!(refusal(std::slice::from_ref(&b)).contains("link is a link"));
        assert_eq!(names(&[b.join("link")]).expect("named itself"), ["link"]);
    }
}
