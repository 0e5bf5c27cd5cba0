//! References of images: which image is meant, however it is written.

use std::fmt;
use std::str::FromStr;

use crate::registry::{RegistryName, is_registry};

/// The longest name of an image, with its registry, in bytes, and the longest tag, as Docker has them.
const NAME_LIMIT: usize = 255;
const TAG_LIMIT: usize = 128;
/// Where images of the usual registry are that belong to nobody.
const OFFICIAL: &str = "library";
/// What is meant where neither a tag nor a digest is said.
const USUAL_TAG: &str = "latest";
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// An image, by the rules of `docker pull`. `busybox`, `busybox:latest` and `index.docker.io/library/busybox` are equal, and
/// shown in full: `docker.io/library/busybox:latest`. A tag beside a digest says nothing, and is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    registry: RegistryName,
    repository: String,
    version: Version,
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Version {
    Tag(String),
    /// `sha256:...`
    Digest(String),
}

impl ImageReference {
    /// Where it comes from.
    #[must_use]
    pub fn registry(&self) -> &RegistryName {
        &self.registry
    }

    /// Its path there: `library/busybox`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What its content has to be, if that is said: `sha256:` and 64 hexadecimal digits.
    #[must_use]
    pub fn digest(&self) -> Option<&str> {
        match &self.version {
            Version::Digest(digest) => Some(digest),
            Version::Tag(_) => None,
        }
    }

    /// Whether both are of the same repository of the same registry.
    #[must_use]
    pub fn is_beside(&self, other: &Self) -> bool {
        (&self.registry, &self.repository) == (&other.registry, &other.repository)
    }

    /// The one of the same repository that has this digest, whichever that may be.
    #[must_use]
    pub fn with_digest(&self, digest: &str) -> Self {
        Self { version: Version::Digest(digest.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { registry, repository, version } = self;
        match version {
            Version::Tag(tag) => write!(f, "{registry}/{repository}:{tag}"),
            Version::Digest(digest) => write!(f, "{registry}/{repository}@{digest}"),
        }
    }
}

/// Whether two texts name the same image.
#[must_use]
pub fn is_same(one: &str, other: &str) -> bool {
    let read = |text: &str| text.parse::<ImageReference>();
    one == other || matches!((read(one), read(other)), (Ok(one), Ok(other)) if one == other)
}

/// What stands before the tag and the digest of a reference.
#[must_use]
pub fn name_of(text: &str) -> &str {
    split(text).0
}

/// Name, tag and digest, as they are written.
fn split(text: &str) -> (&str, Option<&str>, Option<&str>) {
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    // A colon after the last slash begins a tag, one before it a port.
    match named.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag), digest),
        Some(_) | None => (named, None, digest),
    }
}

/// Why it is no reference; follows upon the text in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidReference {
    /// Nothing.
    #[error("is empty")]
    Empty,
    /// Its name is.
    #[error("is too long")]
    TooLong,
    /// Not a SHA-256.
    #[error("has a digest that is not sha256: and 64 hex digits")]
    Digest,
    /// Other characters than those of tags, or too many.
    #[error("has a bad tag")]
    Tag,
    /// Not a host, or a host and a port.
    #[error("has a bad registry host")]
    Host,
    /// Other characters than those of names, or in the wrong places.
    #[error("is not an image reference (names are lower case)")]
    Name,
    /// Engines have images by their ids without asking any registry, whoever pulled them.
    #[error("is the id of an image, and not its name")]
    Id,
}

impl FromStr for ImageReference {
    type Err = InvalidReference;
    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        let (name, tag, digest) = split(text);
        if text.is_empty() {
            return Err(InvalidReference::Empty);
        }
        if digest.is_some_and(|digest| !is_digest(digest)) {
            return Err(InvalidReference::Digest);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(InvalidReference::Tag);
        }
        // The beginning of one is enough for an engine.
        if is_hex(name) && name.len() == DIGITS || name == "sha256" && tag.is_some_and(is_hex) {
            return Err(InvalidReference::Id);
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if is_registry(host) => (Some(host), path),
            Some(_) | None => (None, name),
        };
        // In lower case such a host would be the name of a user.
        if host.is_some_and(|host| !host.contains(['.', ':']) && !host.eq_ignore_ascii_case("localhost")) {
            return Err(InvalidReference::Name);
        }
        if host.is_some_and(|host| !is_host(host)) {
            return Err(InvalidReference::Host);
        }
        if !path.split('/').all(is_component) {
            return Err(InvalidReference::Name);
        }
        let registry = RegistryName::of(name);
        let repository = in_full(&registry, path);
        if registry.as_str().len() + 1 + repository.len() > NAME_LIMIT {
            return Err(InvalidReference::TooLong);
        }
        let version = match digest {
            Some(digest) => Version::Digest(digest.to_owned()),
            None => Version::Tag(tag.unwrap_or(USUAL_TAG).to_owned()),
        };
        Ok(Self { registry, repository, version })
    }
}

/// The path of a repository in full: what belongs to nobody is in a place of its own at the usual registry.
#[must_use]
pub fn in_full(registry: &RegistryName, path: &str) -> String {
    if registry.is_usual() && !path.contains('/') { format!("{OFFICIAL}/{path}") } else { path.to_owned() }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|digits| is_hex(digits) && digits.len() == DIGITS)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_inner = |byte: u8| is_word(byte) || byte == b'.' || byte == b'-';
    text.len() <= TAG_LIMIT && text.bytes().next().is_some_and(is_word) && text.bytes().all(is_inner)
}

/// A name or an address, and perhaps a port.
#[must_use]
pub fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let is_number = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_label = |label: &str| {
        let has_ends = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        has_ends && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_name = match inner {
        Some(address) => !address.is_empty() && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':'),
        None => host.split('.').all(is_label),
    };
    is_name && port.is_none_or(is_number)
}

/// Lower-case letters and digits; between them a dot, one or two underscores, or any number of dashes.
#[must_use]
pub fn is_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_between = |part: &str| matches!(part, "." | "_" | "__") || part.bytes().all(|byte| byte == b'-');
    text.starts_with(is_word) && text.ends_with(is_word) && text.split(is_word).all(is_between)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(text: &str) -> Result<String, InvalidReference> {
        text.parse::<ImageReference>().map(|reference| reference.to_string())
    }

    #[test]
    fn one_image_has_one_name_however_it_is_written() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, expected) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("busybox:latest", "docker.io/library/busybox:latest"),
            ("library/busybox", "docker.io/library/busybox:latest"),
            ("docker.io/busybox", "docker.io/library/busybox:latest"),
            ("docker.io/library/busybox:latest", "docker.io/library/busybox:latest"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest"),
            ("index.docker.io/library/busybox", "docker.io/library/busybox:latest"),
            ("Docker.IO/busybox:1.36", "docker.io/library/busybox:1.36"),
            ("ada/tool:T_1.0-x", "docker.io/ada/tool:T_1.0-x"),
            ("docker.io", "docker.io/library/docker.io:latest"),
            ("localhost", "docker.io/library/localhost:latest"),
            ("localhost/tool", "localhost/tool:latest"),
            ("localhost:5000/a/b/c:1", "localhost:5000/a/b/c:1"),
            ("registry:5000/tool", "registry:5000/tool:latest"),
            ("ghcr.io/a_b/c__d/e.f/g--h", "ghcr.io/a_b/c__d/e.f/g--h:latest"),
            ("10.0.0.1/x", "10.0.0.1/x:latest"),
            ("[fd00::A]:5000/x", "[fd00::a]:5000/x:latest"),
            ("[fd00::1]/x:2", "[fd00::1]/x:2"),
            ("hosts/x", "docker.io/hosts/x:latest"),
            ("LOCALHOST/x", "localhost/x:latest"),
            ("deadbeef", "docker.io/library/deadbeef:latest"),
        ] {
            assert_eq!(full(text).as_deref(), Ok(expected), "{text}");
            let by_digest = format!("{}@{digest}", name_of(expected));
            assert_eq!(full(&format!("{text}@{digest}")), Ok(by_digest), "{text}");
        }
        assert!(is_same("busybox", "index.docker.io/library/busybox:latest") && is_same("?", "?"));
        assert!(!is_same("busybox", "busybox:1") && !is_same("busybox", "ghcr.io/library/busybox"));
        let reference: ImageReference = "ghcr.io/a/b:1".parse().expect("a reference");
        assert_eq!((reference.registry().as_str(), reference.repository()), ("ghcr.io", "a/b"));
        assert_eq!(reference.digest(), None);
        let other = reference.with_digest(&digest);
        assert!(other.is_beside(&reference) && other.digest() == Some(digest.as_str()));
        assert_eq!(other.to_string(), format!("ghcr.io/a/b@{digest}"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        use InvalidReference::{Digest, Empty, Host, Id, Name, Tag};
        let id = "0a".repeat(32);
        let (by_id, sha512) = (format!("sha256:{id}"), format!("x@sha512:{id}"));
        let (upper, twice) = (format!("x@sha256:{}", id.to_uppercase()), format!("x@{by_id}@{by_id}"));
        for (text, why) in [
            ("", Empty),
            (" ", Name),
            ("Ubuntu", Name),
            ("ghcr.io/Ada/x", Name),
            ("Hosts/x", Name),
            ("a b", Name),
            ("a\n", Name),
            ("\u{fc}", Name),
            ("-x", Name),
            ("x-", Name),
            ("x.", Name),
            ("a..b", Name),
            ("a._b", Name),
            ("a___b", Name),
            ("a//b", Name),
            ("/a", Name),
            ("a/", Name),
            ("docker.io/", Name),
            ("a/../b", Name),
            ("a?x=1", Name),
            ("a%2fb", Name),
            ("../x", Host),
            ("./x", Host),
            ("http://a/b", Host),
            ("a_b.c/d", Host),
            ("-a.b/c", Host),
            ("a.b:/c", Host),
            ("a.b:+1/c", Host),
            ("a.b:70000/c", Host),
            ("a:1:2/c", Host),
            ("[]:1/c", Host),
            ("[g::1]/c", Host),
            ("[x]/c.d", Name),
            ("x:", Tag),
            ("x:-t", Tag),
            ("x:.t", Tag),
            ("x:a b", Tag),
            (":latest", Name),
            ("@", Digest),
            ("x@", Digest),
            ("x@sha256:00", Digest),
            (sha512.as_str(), Digest),
            (upper.as_str(), Digest),
            (twice.as_str(), Digest),
            (id.as_str(), Id),
            (by_id.as_str(), Id),
            ("sha256:0a0a0a0a0a0a", Id),
            ("sha256:dead", Id),
            (&by_id[..by_id.len() - 1], Id),
        ] {
            assert_eq!(full(text), Err(why), "{text:?}");
        }
    }

    #[test]
    fn names_and_tags_one_below_at_and_above_their_limits() {
        let rest = NAME_LIMIT - "docker.io/library/".len();
        assert!(full(&"a".repeat(rest - 1)).is_ok() && full(&"a".repeat(rest)).is_ok());
        assert_eq!(full(&"a".repeat(rest + 1)), Err(InvalidReference::TooLong));
        let elsewhere = |length: usize| format!("ghcr.io/{}", "a".repeat(length - "ghcr.io/".len()));
        assert!(full(&elsewhere(NAME_LIMIT)).is_ok());
        assert_eq!(full(&elsewhere(NAME_LIMIT + 1)), Err(InvalidReference::TooLong));
        let tagged = |length: usize| full(&format!("a:{}", "t".repeat(length)));
        assert!(tagged(TAG_LIMIT - 1).is_ok() && tagged(TAG_LIMIT).is_ok());
        assert_eq!(tagged(TAG_LIMIT + 1), Err(InvalidReference::Tag));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back_as_the_same(
            text in "([a-zA-Z.\\[\\]:-]{0,8}/)?[a-z0-9._-]{0,6}(/[a-z0-9._-]{1,6})?(:[a-zA-Z0-9_.-]{0,5})?(@sha256:[0-9a-f]{64})?",
        ) {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let shown = reference.to_string();
                prop_assert!(is_same(&text, &shown));
                prop_assert_eq!(shown.parse::<ImageReference>(), Ok(reference));
            }
        }

        #[test]
        fn no_text_is_more_than_refused(text in "\\PC{0,40}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                prop_assert!(text.is_ascii() && reference.to_string().len() <= NAME_LIMIT + 1 + TAG_LIMIT);
            }
        }
    }
}
