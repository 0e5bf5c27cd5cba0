//! Which names an output file may have.

/// The longest path, in bytes: what Linux takes.
const PATH_LIMIT: usize = 4096;

/// A path that no file below /output can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Nothing.
    #[error("it is empty")]
    Empty,
    /// More than 4,096 bytes.
    #[error("it is longer than {PATH_LIMIT} bytes")]
    TooLong,
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

/// Checks a path relative to /output or /input. Any bytes are good but those that say another place or none.
///
/// # Errors
/// What is wrong with it. The check keeps manifests sane for clients; on the master such a path is never opened.
pub fn check(path: &[u8]) -> Result<(), InvalidPath> {
    if path.is_empty() {
        return Err(InvalidPath::Empty);
    }
    if path.len() > PATH_LIMIT {
        return Err(InvalidPath::TooLong);
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
        let long = vec![b'x'; PATH_LIMIT];
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
            (&long, InvalidPath::TooLong),
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
