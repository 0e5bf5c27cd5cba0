//! Which names a file may have.

use shared::files_of::{PATH_LIMIT, PLAIN_PATH};

/// A path that no file below /output can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// More than so many bytes.
    #[error("it is longer than {0} bytes")]
    TooLong(usize),
    /// Contains NUL.
    #[error("it contains NUL")]
    Nul,
    /// Begins with a slash.
    #[error("it is not relative")]
    Absolute,
    /// Has a component `.`, `..` or nothing.
    #[error("it has a component that is empty, `.` or `..`")]
    Component,
}

/// A path of any bytes for people: no control characters, and no more than 200 of the others.
#[must_use]
pub fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).chars().take(200).collect::<String>().escape_debug().to_string()
}

/// Checks a path relative to /output. Any bytes are good but those that say another place or none.
///
/// # Errors
/// What is wrong with it. The check keeps manifests sane for clients; on the master such a path is never opened.
pub(super) fn check(path: &[u8]) -> Result<(), InvalidPath> {
    check_up_to(path, PATH_LIMIT)
}

/// The same of a path that has to fit into one call of the kernel: of what is put to /input, or comes from workers of the
/// first generation.
///
/// # Errors
/// What is wrong with it.
pub fn check_plain(path: &[u8]) -> Result<(), InvalidPath> {
    check_up_to(path, PLAIN_PATH)
}

fn check_up_to(path: &[u8], longest: usize) -> Result<(), InvalidPath> {
    if path.is_empty() {
        return Err(InvalidPath::Empty);
    }
    if path.len() > longest {
        return Err(InvalidPath::TooLong(longest));
    }
    if path.contains(&0) {
        return Err(InvalidPath::Nul);
    }
    if path[0] == b'/' {
        return Err(InvalidPath::Absolute);
    }
    if path.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(InvalidPath::Component);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_but_legal_names_are_taken() {
        let long = [b"d/".repeat(PATH_LIMIT / 2 - 1), b"xy".to_vec()].concat();
        assert_eq!((long.len(), check_plain(&long)), (PATH_LIMIT, Err(InvalidPath::TooLong(4096))));
        assert_eq!(check_plain(&long[..PLAIN_PATH - 1]), Ok(()));
        for good in
            [&b"a"[..], b"report..v2.csv", b"a b\n", b"-rf", b"...", b"\xff\xfe", b"a\\..\\b", b"d/.hidden", &long]
        {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        let long = vec![b'x'; PATH_LIMIT + 1];
        for (bad, why) in [
            (&b""[..], InvalidPath::Empty),
            (&long, InvalidPath::TooLong(PATH_LIMIT)),
            (b"a\0b", InvalidPath::Nul),
            (b"/etc/passwd", InvalidPath::Absolute),
            (b"../x", InvalidPath::Component),
            (b"a/../../x", InvalidPath::Component),
            (b"a/..", InvalidPath::Component),
            (b".", InvalidPath::Component),
            (b"a//b", InvalidPath::Component),
            (b"a/", InvalidPath::Component),
            (b"./a", InvalidPath::Component),
        ] {
            assert_eq!(check(bad), Err(why), "{bad:?}");
        }
    }
}
