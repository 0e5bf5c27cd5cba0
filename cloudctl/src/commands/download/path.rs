//! The path of an output file, as the server tells it: hostile until it was looked at.

use shared::error::exit;
use shared::files_of::PATH_LIMIT;
use shared::text::printable;
use shared::view::FileView;

use crate::exit::CtlError;

/// The limit of Linux.
const NAME_LIMIT: usize = 255;

/// The bytes that the task itself named the file by.
pub(super) fn exact_path(file: &FileView) -> Result<Vec<u8>, CtlError> {
    match &file.path_hex {
        None => Ok(file.path.clone().into_bytes()),
        Some(hex) => hex::decode(hex).map_err(|_| refuse(hex.as_bytes(), "is not hexadecimal")),
    }
}

/// Refuses a path that could lead out of the directory, and one that no file has. What is taken is one name or more.
pub(super) fn check(path: &[u8]) -> Result<(), CtlError> {
    if path.is_empty() {
        return Err(refuse(path, "is empty"));
    }
    if path.starts_with(b"/") {
        return Err(refuse(path, "is absolute"));
    }
    if path.contains(&0) {
        return Err(refuse(path, "contains NUL"));
    }
    if path.len() > PATH_LIMIT {
        return Err(refuse(path, "is too long"));
    }
    for name in path.split(|&byte| byte == b'/') {
        match name {
            b"" => return Err(refuse(path, "has an empty component")),
            b"." | b".." => return Err(refuse(path, "is not a plain path")),
            name if name.len() > NAME_LIMIT => return Err(refuse(path, "has a name that is too long")),
            _ => {}
        }
    }
    Ok(())
}

fn refuse(path: &[u8], why: &str) -> CtlError {
    let shown: String = printable(&String::from_utf8_lossy(path)).chars().take(80).collect();
    CtlError::refused(exit::IO, format!("the path `{shown}` {why}"), "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_of_any_bytes_are_taken() {
        for path in
            [&b"r.txt"[..], b"a/b/c", b"report..v2.csv", b"...", b"-rf", b"a b\n", b"\xff\xfe", b"a\\..\\b", b"%2e%2e"]
        {
            assert!(check(path).is_ok(), "{path:?}");
        }
        let longest = [b"d/".repeat(PATH_LIMIT / 2 - 1), b"xy".to_vec()].concat();
        assert_eq!(longest.len(), PATH_LIMIT);
        assert!(check(&longest).is_ok());
    }

    #[test]
    fn nothing_leads_out_of_the_directory() {
        let long = [b'x'; 256];
        let deep = [b"a/".repeat(PATH_LIMIT / 2), b"a".to_vec()].concat();
        for path in [
            &b""[..],
            b"/etc/passwd",
            b"..",
            b"../x",
            b"a/../../x",
            b"a/..",
            b".",
            b"./a",
            b"a/./b",
            b"a//b",
            b"a/",
            b"a\0b",
            &long,
            &deep,
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn exact_bytes_come_in_hex() {
        let mut file = FileView {
            path: "a\u{fffd}".into(),
            path_hex: Some("61ff".into()),
            size: 0,
            blake3: String::new(),
            index: 0,
            attempt: 1,
        };
        assert_eq!(exact_path(&file).expect("hex"), b"a\xff");
        file.path_hex = Some("zz".into());
        assert!(exact_path(&file).is_err());
        file.path_hex = None;
        assert_eq!(exact_path(&file).expect("text"), "a\u{fffd}".as_bytes());
    }
}
