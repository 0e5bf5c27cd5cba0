//! Image references.

use super::{IMAGE_LIMIT, invalid};
use crate::error::ApiError;

/// The shape of an image reference; whether it exists is for the engine to find out.
pub(super) fn check(image: &str) -> Result<(), ApiError> {
    const HINT: &str = "give a reference such as docker.io/library/alpine:3.20 or ubuntu@sha256:<64 hex digits>";
    let shown: String = image.chars().take(80).collect::<String>().escape_debug().to_string();
    let refuse = |why: &str| Err(invalid(format!("image: `{shown}` {why}"), HINT));
    if image.is_empty() {
        return refuse("is empty");
    }
    if image.len() > IMAGE_LIMIT {
        return refuse("is too long");
    }
    let (name, digest) = match image.split_once('@') {
        None => (image, None),
        Some((name, digest)) => (name, Some(digest)),
    };
    if let Some(digest) = digest {
        let hex = digest.strip_prefix("sha256:").unwrap_or("");
        if hex.len() != 64 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return refuse("has a digest that is not sha256: and 64 hex digits");
        }
    }
    // A colon after the last slash begins a tag, one before it a port.
    let (path, tag) = match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    };
    if let Some(tag) = tag {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let good = !tag.is_empty() && tag.len() <= 128 && tag.bytes().all(|b| word(b) || b".-".contains(&b));
        if !good || !tag.bytes().next().is_some_and(word) {
            return refuse("has a bad tag");
        }
    }
    let mut parts = path.split('/').peekable();
    let first = parts.peek().copied().unwrap_or_default();
    let is_host = path.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if is_host {
        let host = parts.next().unwrap_or_default();
        let begins = host.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'[');
        if !begins || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b)) {
            return refuse("has a bad registry host");
        }
    }
    for part in parts {
        let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
        let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        if !part.bytes().all(good) || !ends(part.bytes().next()) || !ends(part.bytes().last()) {
            return refuse("is not an image reference (names are lower case)");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references() {
        let digest = "a".repeat(64);
        for good in ["ubuntu", "docker.io/u/sample-task:latest", "localhost:5000/x/y:1", "a.b/c", "x_y/z.w-v:T_1.0-x"] {
            assert!(check(good).is_ok(), "{good}");
            assert!(check(&format!("{good}@sha256:{digest}")).is_ok(), "{good}");
        }
        for bad in [
            "",
            " ",
            "Ubuntu",
            "a b",
            "-x",
            "x:",
            "x:-t",
            "a//b",
            "/a",
            "a/",
            "x@sha256:00",
            "x\n",
            "http://a/b",
            "../x",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }
}
