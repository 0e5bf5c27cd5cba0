//! Which images the cluster runs.

use std::fmt;
use std::str::FromStr;

use shared::reference::{self, ImageReference};
use shared::registry::RegistryName;

use crate::reject::Reject;

/// What an admin asks of every image when a task is submitted. By default nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageRules {
    /// One of these has to match; empty: any image is run.
    pub allowed: Vec<ImagePattern>,
    /// Whether an image has to be named by its digest.
    pub require_digest: bool,
}

impl ImageRules {
    /// Whether an image may be run. It is judged by what it is called in full, so that it does not matter how it is written.
    pub(crate) fn check(&self, image: &str) -> Result<(), Reject> {
        let Self { allowed, require_digest } = self;
        if allowed.is_empty() && !require_digest {
            return Ok(());
        }
        let reference = image.parse::<ImageReference>().ok();
        let is_allowed = |reference: &ImageReference| allowed.iter().any(|pattern| pattern.matches(reference));
        if !allowed.is_empty() && !reference.as_ref().is_some_and(is_allowed) {
            let full = reference.map_or_else(|| image.to_owned(), |reference| reference.to_string());
            return Err(Reject::ImageNotAllowed { image: full, allowed: allowed.clone() });
        }
        match reference.as_ref().and_then(ImageReference::digest) {
            None if *require_digest => Err(Reject::NoDigest(image.to_owned())),
            Some(_) | None => Ok(()),
        }
    }
}

/// Images of some repositories, such as `ghcr.io/acme/*`, `docker.io/library/python`, `registry.example:5000` (all there are).
///
/// `*` stands for any characters: before the first slash for those of one host and its port, so that `*.example/x` is no
/// `evil.io/a.example/x`; after it for those of the whole path, so that `ghcr.io/acme/*` is everything below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImagePattern {
    registry: String,
    /// None: all.
    repository: Option<String>,
}

impl ImagePattern {
    /// Whether an image is of one of the repositories. Its tag and its digest do not matter.
    #[must_use]
    pub fn matches(&self, image: &ImageReference) -> bool {
        let is_there = |pattern: &String| matches(pattern, image.repository());
        matches(&self.registry, image.registry().as_str()) && self.repository.as_ref().is_none_or(is_there)
    }
}

impl fmt::Display for ImagePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.repository {
            Some(repository) => write!(f, "{}/{repository}", self.registry),
            None => write!(f, "{}", self.registry),
        }
    }
}

/// Not such a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "give REGISTRY or REGISTRY/REPOSITORY, without tag and digest, such as docker.io/library/*, ghcr.io/acme/* or \
     registry.example:5000"
)]
pub struct InvalidImagePattern;

impl FromStr for ImagePattern {
    type Err = InvalidImagePattern;
    fn from_str(text: &str) -> Result<Self, InvalidImagePattern> {
        let (host, path) = text.split_once('/').map_or((text, None), |(host, path)| (host, Some(path)));
        let is_of_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]*".contains(c);
        // Otherwise it would be the name of a user, or of an image, of the usual registry.
        let is_named = host.contains(['.', ':', '*']) || host == "localhost";
        // Where no star stands for something, there has to be something of that name.
        let is_right = host.contains('*') || reference::is_host(host);
        let is_of_path = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-*".contains(c);
        let is_part = |part: &str| match part.contains('*') {
            true => part.chars().all(is_of_path),
            false => reference::is_component(part),
        };
        let is_path = |path: &str| path.split('/').all(is_part);
        if !is_named || !is_right || !host.chars().all(is_of_host) || path.is_some_and(|path| !is_path(path)) {
            return Err(InvalidImagePattern);
        }
        if host.contains('*') {
            return Ok(Self { registry: host.to_ascii_lowercase(), repository: path.map(str::to_owned) });
        }
        let registry = RegistryName::of(&format!("{host}/image"));
        let in_full =
            |path: &str| if path.starts_with('*') { path.to_owned() } else { reference::in_full(&registry, path) };
        let repository = path.map(in_full);
        Ok(Self { registry: registry.to_string(), repository })
    }
}

/// Whether `*` can be read so that the pattern is the text.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    let Some(mut text) = text.strip_prefix(first) else { return false };
    // Each as early as it can be leaves the most to those after it.
    for part in middle.split('*') {
        let Some((_, after)) = text.split_once(part) else { return false };
        text = after;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allowed: &[&str], require_digest: bool) -> ImageRules {
        let allowed = allowed.iter().map(|pattern| pattern.parse().expect("a pattern")).collect();
        ImageRules { allowed, require_digest }
    }

    #[test]
    fn an_image_is_judged_by_what_it_is_in_full() {
        let rules =
            rules(&["docker.io/library/*", "ghcr.io/acme/*", "Docker.io/tool", "*.lab.example/x", "r:5000"], false);
        for image in [
            "busybox",
            "library/busybox:1",
            "index.docker.io/busybox",
            "tool:3",
            "ghcr.io/acme/a",
            "GHCR.io/acme/a/b/c:1",
            "a.lab.example/x",
            "r:5000/any/thing",
        ] {
            assert_eq!(rules.check(image), Ok(()), "{image}");
        }
        for image in [
            "ada/busybox",
            "ghcr.io/acme",
            "ghcr.io/acme2/a",
            "ghcr.io/library/busybox",
            "evil.io/a.lab.example/x",
            "a.lab.example:80/x",
            "a.lab.example/x/y",
            "lab.example/x",
            "r:5001/any/thing",
            "r/any/thing",
            "docker.io.evil.io/library/busybox",
            "Not An Image",
        ] {
            assert!(matches!(rules.check(image), Err(Reject::ImageNotAllowed { .. })), "{image}");
        }
        assert_eq!(ImageRules::default().check("Not An Image"), Ok(()), "nobody asks");
    }

    #[test]
    fn a_digest_can_be_asked_for() {
        let exact = format!("busybox:1@sha256:{}", "0".repeat(64));
        let asks = rules(&[], true);
        assert_eq!(
            (asks.check(&exact), asks.check("busybox:1")),
            (Ok(()), Err(Reject::NoDigest("busybox:1".to_owned())))
        );
        let both = rules(&["ghcr.io"], true);
        assert!(matches!(both.check(&exact), Err(Reject::ImageNotAllowed { .. })));
        assert_eq!(both.check(&format!("ghcr.io/a@sha256:{}", "0".repeat(64))), Ok(()));
    }

    #[test]
    fn a_star_is_any_characters() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "ab"),
            ("a*", "a"),
            ("a*c", "abbc"),
            ("a*b*c", "aXbYbc"),
            ("*ab*", "ab"),
            ("**", "x"),
            ("a", "a"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [("a*a", "a"), ("a*b*a", "aba2"), ("*ab*ab", "ab"), ("a", "ab"), ("", "a"), ("a*", "ba")]
        {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn patterns_are_shown_as_they_are_understood() {
        for (text, shown) in [
            ("docker.io/busybox", "docker.io/library/busybox"),
            ("index.docker.io/py*", "docker.io/library/py*"),
            ("docker.io/*", "docker.io/*"),
            ("GHCR.io", "ghcr.io"),
            ("*/tools/*", "*/tools/*"),
            ("*/tool", "*/tool"),
            ("localhost:5000/*", "localhost:5000/*"),
            ("*", "*"),
        ] {
            assert_eq!(text.parse::<ImagePattern>().map(|pattern| pattern.to_string()).as_deref(), Ok(shown));
        }
        for bad in [
            "",
            "busybox",
            "acme/*",
            "ghcr.io/",
            "ghcr.io//a",
            "ghcr.io/a:1",
            "ghcr.io/A",
            "a b.c",
            "ghcr.io/a@x",
            "ghcr.io.",
            "a..b",
            "ghcr.io:",
            "ghcr.io:99999",
            "ghcr.io/acme/..",
            "ghcr.io/-x",
        ] {
            assert_eq!(bad.parse::<ImagePattern>(), Err(InvalidImagePattern), "{bad}");
        }
    }
}
