//! Image registries, and who we are there.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Where images come from that name no registry.
const USUAL: &str = "docker.io";
/// The longest name of a host, and a port.
const LENGTH_LIMIT: usize = 253 + 6;

/// A registry as images name it: `ghcr.io`, `registry.example:5000`, `docker.io`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = String))]
#[serde(into = "String", try_from = "String")]
pub struct RegistryName(Arc<str>);

impl RegistryName {
    /// The registry of an image.
    #[must_use]
    pub fn of(image: &str) -> Self {
        let host = image.split_once('/').map(|(host, _)| host);
        let name = host.filter(|host| is_registry(host)).unwrap_or(USUAL).to_ascii_lowercase();
        Self(if name == "index.docker.io" { USUAL.into() } else { name.into() })
    }

    /// Whether images come from it that name no registry.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        self.as_str() == USUAL
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether what stands before the first slash of an image is a registry: it has a dot, a colon or a capital in it, or is
/// `localhost`, as the reference grammar of Docker has it.
pub(crate) fn is_registry(host: &str) -> bool {
    host.contains(|c: char| c == '.' || c == ':' || c.is_uppercase()) || host == "localhost"
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<RegistryName> for String {
    fn from(name: RegistryName) -> Self {
        name.0.to_string()
    }
}

impl TryFrom<String> for RegistryName {
    type Error = InvalidRegistry;
    fn try_from(text: String) -> Result<Self, InvalidRegistry> {
        text.parse()
    }
}

/// No such name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is no name of a registry: give HOST or HOST:PORT as it stands before the first slash of an image, or docker.io"
)]
pub struct InvalidRegistry;

impl FromStr for RegistryName {
    type Err = InvalidRegistry;
    fn from_str(text: &str) -> Result<Self, InvalidRegistry> {
        let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let is_label = |label: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
        };
        let is_host = host.split('.').all(is_label);
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
        // Otherwise it is the first part of the name of an image of the usual registry.
        let is_named = host.contains('.') || port.is_some() || host == "localhost";
        if text.len() > LENGTH_LIMIT || !is_host || !is_port || !is_named {
            return Err(InvalidRegistry);
        }
        Ok(Self::of(&format!("{text}/image")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_says_where_it_comes_from() {
        for (image, registry) in [
            ("busybox", "docker.io"),
            ("library/busybox:1", "docker.io"),
            ("index.docker.io/a/b", "docker.io"),
            ("ghcr.io/a/b@sha256:0", "ghcr.io"),
            ("GHCR.io/a/b", "ghcr.io"),
            ("localhost/a", "localhost"),
            ("EVIL/a", "evil"),
            ("registry:5000/a", "registry:5000"),
            ("user/app:1.2", "docker.io"),
        ] {
            assert_eq!(RegistryName::of(image).as_str(), registry, "{image}");
        }
    }

    #[test]
    fn what_stands_before_no_image_is_no_registry() {
        for good in ["ghcr.io", "docker.io", "localhost", "registry:5000", "10.0.0.1:80", "a-b.example"] {
            assert_eq!(good.parse::<RegistryName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        assert_eq!("Index.Docker.io".parse::<RegistryName>().map(String::from), Ok("docker.io".to_owned()));
        let long = format!("{}.io", "a".repeat(300));
        for bad in
            ["", "ghcr", "https://ghcr.io", "ghcr.io/a", "a b.io", "-a.io", "a..io", "a.io:", "a.io:0", "a.io:x", &long]
        {
            assert_eq!(bad.parse::<RegistryName>(), Err(InvalidRegistry), "{bad}");
        }
    }
}
