//! The directory that a container sees as /output. It belongs to the container: whoever makes that makes it too.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Whoever the container runs as must be able to write, and nobody to delete what others wrote.
const MODE: u32 = 0o1777;

/// Makes it, in a directory that is ours alone, or finds the one of an earlier try.
pub fn ensure(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(MODE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anybody_can_write_and_a_second_try_keeps_what_is_there() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("run/output");
        ensure(&path).expect("made");
        let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o7777;
        assert_eq!((mode(&path), mode(&scratch.path().join("run"))), (0o1777, 0o700));
        fs::write(path.join("r.txt"), "data").expect("written");
        ensure(&path).expect("found");
        assert!(path.join("r.txt").exists());
    }
}
