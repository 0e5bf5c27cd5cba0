//! Texts that must not be shown.

use std::fmt;
use std::sync::Arc;

/// The least length of a signing secret, in bytes.
const SECRET_MIN: usize = 32;

/// Secrets that stand in documentation and examples: everybody knows them.
const SAMPLES: [&str; 12] = [
    "your-secret-key",
    "your-secret",
    "your_secret_key",
    "your-jwt-secret",
    "vishvboda",
    "password123",
    "password",
    "changeme",
    "change-me",
    "supersecret",
    "jwt-secret",
    "secret",
];

/// Fewer different bytes than this are no randomness: 32 random hex digits have 14 of 16.
const DIFFERENT_MIN: usize = 8;

/// A text that neither `Debug` nor a log line shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The text, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// A secret that signs logins, if it is one.
pub(super) fn signing_secret(text: &str) -> Result<Secret, String> {
    const HINT: &str = "make one with `openssl rand -hex 32`, or leave it unset and the master makes its own";
    let folded = text.trim().to_ascii_lowercase();
    let sample = SAMPLES.iter().find(|sample| folded.replace(*sample, "").is_empty() && !folded.is_empty());
    if let Some(sample) = sample {
        return Err(format!("`{sample}` is a sample that everybody knows; {HINT}"));
    }
    if text.len() < SECRET_MIN {
        return Err(format!("it has {} bytes, and {SECRET_MIN} are the least; {HINT}", text.len()));
    }
    let different = text.bytes().collect::<std::collections::BTreeSet<_>>().len();
    if different < DIFFERENT_MIN {
        return Err(format!("it has only {different} different characters; {HINT}"));
    }
    Ok(Secret::new(text))
}

/// A password of another program's, if it is none that everybody knows.
pub(super) fn password(text: &str) -> Result<Secret, String> {
    let folded = text.trim().to_ascii_lowercase();
    match SAMPLES.iter().find(|sample| **sample == folded) {
        Some(sample) => Err(format!(
            "`{sample}` is a sample that everybody knows; give its user another one, as from `openssl rand -hex 16`"
        )),
        None => Ok(Secret::new(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_and_short_secrets_are_refused_and_not_repeated() {
        for sample in ["your-secret-key", "vishvboda", "password123", "changeme", "Secret"] {
            let error = signing_secret(sample).expect_err(sample);
            assert!(error.contains("sample"), "{error}");
        }
        assert!(signing_secret(&"changeme".repeat(5)).expect_err("a sample").contains("`changeme`"));
        let short = "0123456789abcdef0123456789abcde";
        let error = signing_secret(short).expect_err("31 bytes");
        assert!(error.contains("31 bytes") && !error.contains(short), "{error}");
        assert!(signing_secret(&"ab".repeat(20)).is_err());
        assert!(signing_secret("").is_err());
    }

    #[test]
    fn a_random_secret_is_taken_and_hidden() {
        let secret = signing_secret("0123456789abcdef0123456789abcdef").expect("32 bytes");
        assert_eq!(secret.expose().len(), 32);
        assert_eq!(format!("{secret:?}"), "Secret(***)");
    }
}
