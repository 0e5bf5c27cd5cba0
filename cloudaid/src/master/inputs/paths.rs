//! Which files can stand in one folder.

use shared::error::{ApiError, ErrorCode};

use crate::master::files::{InvalidPath, check_path, show_path};

/// The longest name of a file or folder that Linux makes, in bytes.
const NAME_LIMIT: usize = 255;

/// Whether files of these paths can stand in one folder.
///
/// # Errors
/// Which cannot, and why.
pub fn check_paths<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Result<(), ApiError> {
    let refuse = |path: &[u8], why: &str| {
        let message = format!("path: `{}` is refused: {why}", show_path(path));
        ApiError::new(ErrorCode::InvalidArgument, message, "give paths below /input, such as `data/a.csv`, each once")
    };
    let mut all = Vec::new();
    for path in paths {
        check_path(path).map_err(|why: InvalidPath| refuse(path, &why.to_string()))?;
        if path.split(|byte| *byte == b'/').any(|name| name.len() > NAME_LIMIT) {
            return Err(refuse(path, &format!("a name in it is longer than {NAME_LIMIT} bytes")));
        }
        // No path has a NUL: with it for the slash, a folder stands right before what is in it.
        all.push(path.iter().map(|byte| if *byte == b'/' { 0 } else { *byte }).collect::<Vec<u8>>());
    }
    all.sort_unstable();
    for pair in all.windows(2) {
        let [first, second] = pair else { continue };
        let Some(rest) = second.strip_prefix(&first[..]) else { continue };
        let path: Vec<u8> = first.iter().map(|byte| if *byte == 0 { b'/' } else { *byte }).collect();
        match rest.first() {
            None => return Err(refuse(&path, "it is there twice")),
            Some(0) => return Err(refuse(&path, "it is a file and a folder")),
            Some(_) => {}
        }
    }
    if all.is_empty() {
        return Err(ApiError::new(ErrorCode::InvalidArgument, "there are no files", "give at least one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_stand_together_are_refused() {
        let check = |paths: &[&[u8]]| check_paths(paths.iter().copied()).map_err(|error| error.message);
        assert_eq!(check(&[b"a", b"a-b", b"b/c", b"b/d/e", b"\xff"]), Ok(()));
        let long = vec![b'x'; NAME_LIMIT + 1];
        for (bad, why) in [
            (&[][..], "no files"),
            (&[&b"a"[..], b"b", b"a"], "twice"),
            (&[b"a/b", b"a-", b"a"], "`a` is refused: it is a file and a folder"),
            (&[b"x/y/z", b"x/y"], "`x/y` is refused"),
            (&[b"x/y", b"x-", b"x/\x01", b"x", b"x!"], "`x` is refused: it is a file and a folder"),
            (&[b"../x"], "component"),
            (&[&long], "longer than 255"),
        ] {
            let message = check(bad).expect_err(why);
            assert!(message.contains(why), "{message}");
        }
        assert_eq!(check(&[&long[..NAME_LIMIT]]), Ok(()));
    }
}
