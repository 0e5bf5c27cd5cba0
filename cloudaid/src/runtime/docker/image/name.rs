//! Images by their names: as tasks write them, and which ones they are.

use shared::reference::{self, ImageReference};

use crate::runtime::RuntimeError;

/// An image that a task names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    /// For the engine and for people: as the task has it, and with its tag, as without one the engine would pull every tag
    /// there is.
    full: String,
    reference: ImageReference,
}

impl Name {
    /// It becomes part of a request's path, so nothing passes that is no reference.
    pub(super) fn parse(image: &str) -> Result<Self, RuntimeError> {
        let Ok(reference) = image.parse::<ImageReference>() else {
            let image: String = image.chars().take(80).collect();
            return Err(RuntimeError::ImageNotFound(format!(
                "`{}` is not an image reference: write it as for `docker pull`, for example `python:3.13-slim`",
                image.escape_debug()
            )));
        };
        let is_bare = reference::name_of(image).len() == image.len();
        let full = if is_bare { format!("{image}:latest") } else { image.to_owned() };
        Ok(Self { full, reference })
    }

    pub(super) fn as_str(&self) -> &str {
        &self.full
    }

    /// The same of all names of this image: of what is told apart by names each is there once.
    pub(super) fn key(&self) -> String {
        self.reference.to_string()
    }

    /// The key of what is in this repository by this digest.
    pub(super) fn key_of_content(&self, digest: &str) -> String {
        self.reference.with_digest(digest).to_string()
    }

    /// How the task would write what is in this repository by this digest.
    pub(super) fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", reference::name_of(&self.full))
    }

    /// The digest that it has in its own repository, of those that the engine has it by: it may have come from several.
    pub(super) fn digest_among(&self, digests: &[String]) -> Option<String> {
        if let Some(digest) = self.reference.digest() {
            return Some(digest.to_owned());
        }
        let others = digests.iter().filter_map(|other| other.parse::<ImageReference>().ok());
        let own = others.filter(|other| other.is_beside(&self.reference));
        own.filter_map(|other| other.digest().map(str::to_owned)).min()
    }
}

/// The key of what an engine or a file names. What is no reference is nobody's image, and its own key.
pub(super) fn key_of(name: &str) -> String {
    name.parse::<ImageReference>().map_or_else(|_| name.to_owned(), |reference| reference.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(image: &str) -> Name {
        Name::parse(image).expect("a reference")
    }

    #[test]
    fn a_missing_tag_is_latest() {
        let digest = format!("a@sha256:{}", "0".repeat(64));
        for (image, full) in [
            ("busybox", "busybox:latest"),
            ("busybox:1.36", "busybox:1.36"),
            ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
            ("localhost:5000/a/b:c", "localhost:5000/a/b:c"),
            (digest.as_str(), digest.as_str()),
        ] {
            assert_eq!(name(image).as_str(), full);
        }
    }

    #[test]
    fn however_it_is_written_it_has_one_key_and_stays_as_it_is_written() {
        for image in ["busybox", "busybox:latest", "docker.io/library/busybox", "index.docker.io/busybox:latest"] {
            assert_eq!(name(image).key(), "docker.io/library/busybox:latest");
            assert_eq!(name(image).key_of_content("sha256:1"), "docker.io/library/busybox@sha256:1");
            assert_eq!(name(image).with_digest("sha256:1"), format!("{}@sha256:1", image.trim_end_matches(":latest")));
        }
        assert_eq!(key_of("busybox"), "docker.io/library/busybox:latest");
        assert_eq!(key_of("<none>:<none>"), "<none>:<none>");
    }

    #[test]
    fn an_image_is_known_by_the_digest_of_its_own_repository() {
        let sha = |digit: &str| format!("sha256:{}", digit.repeat(64));
        let digests = ["other", "busybox", "localhost:5000/a/b"];
        let digests: Vec<_> =
            digests.iter().zip(["1", "2", "3"]).map(|(name, at)| format!("{name}@{}", sha(at))).collect();
        for (image, expected) in [
            ("busybox:latest", Some("2")),
            ("docker.io/library/busybox:1.36", Some("2")),
            ("localhost:5000/a/b:c", Some("3")),
            ("localhost:5000/a/c:c", None),
            ("ada/other", None),
        ] {
            assert_eq!(name(image).digest_among(&digests), expected.map(sha), "{image}");
        }
        assert_eq!(name(&format!("x:1@{}", sha("9"))).digest_among(&digests), Some(sha("9")));
        assert_eq!(name("busybox").digest_among(&[]), None, "it came from no registry");
    }

    #[test]
    fn what_cannot_be_an_image_never_reaches_the_engine() {
        for image in ["", "a b", "a?x=1", "a#b", "../containers", "a/../b", "/a", "a/", "ü", "a\n", "a%2fb", "./a"] {
            assert!(matches!(Name::parse(image), Err(RuntimeError::ImageNotFound(_))), "{image:?}");
        }
    }
}
