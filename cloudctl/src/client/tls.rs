//! TLS with a server as it is trusted, and what is said where that fails.

use std::error::Error;
use std::io;
use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CertificateError, InvalidMessage};
use shared::error::exit;
use shared::tls::{Fingerprint, Pinned};
use url::Url;

use super::{build, transport};
use crate::exit::CtlError;
use crate::trust::{Trust, roots, with_scheme};

/// What is spoken over TLS by requests.
pub(super) const HTTP: &[&str] = &["h2", "http/1.1"];
/// By those that become something else.
pub(super) const UPGRADE: &[&str] = &["http/1.1"];

/// Sees to it that a server is the one.
#[derive(Clone)]
pub(super) struct Guard {
    trust: Trust,
    pinned: Option<Arc<Pinned>>,
}

impl Guard {
    pub(super) fn new(trust: &Trust) -> Self {
        let pinned = match trust {
            Trust::Pinned(pin) => Some(Arc::new(Pinned::new(Some(*pin)))),
            Trust::System | Trust::Authorities(_) => None,
        };
        Self { trust: trust.clone(), pinned }
    }

    /// Lets connections be made to whom is trusted only.
    pub(super) fn apply(&self, builder: ClientBuilder, speaks: &[&str]) -> Result<ClientBuilder, CtlError> {
        let verifier: Arc<dyn ServerCertVerifier> = match (&self.trust, &self.pinned) {
            (Trust::Authorities(pem), _) => {
                let roots = roots(pem).map_err(|error| no_tls(&error))?;
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
                    .build()
                    .map_err(|error| no_tls(&error))?
            }
            (_, Some(pinned)) => pinned.clone(),
            // What reqwest does by itself.
            (_, None) => return Ok(builder),
        };
        configure(builder, verifier, speaks)
    }

    /// What a failed connection says of trust, if it says something.
    pub(super) fn explain(&self, server: &Url, error: &reqwest::Error) -> Option<CtlError> {
        if server.scheme() == "http" {
            return find::<hyper::Error>(error).filter(|error| error.is_parse()).map(|_| wants_tls(server));
        }
        match find::<rustls::Error>(error)? {
            rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
                let message = format!("{} answers in plaintext and not with TLS", name(server));
                let hint =
                    format!("if whoever is on the way may read all of it, name it as {}", with_scheme(server, "http"));
                Some(CtlError::refused(exit::PROTOCOL, message, hint))
            }
            rustls::Error::InvalidCertificate(error) => {
                let (cause, hint) = self.distrust(server, error);
                Some(CtlError::Untrusted { server: name(server), cause, hint })
            }
            _ => None,
        }
    }

    /// Why a certificate is not trusted, and what to do.
    fn distrust(&self, server: &Url, error: &CertificateError) -> (String, String) {
        let login = format!("cloudctl login --server {}", name(server));
        let cause = in_words(error);
        match (&self.trust, self.pinned.as_ref().and_then(|pinned| pinned.shown())) {
            (Trust::Pinned(pin), Some(shown)) if *pin != shown => (
                format!("it shows {shown}, and trusted is {pin}"),
                format!(
                    "somebody may be in between. Only if the master's log says the same at its start, \
                     `Certificate fingerprint: {shown}`, trust it anew: `{login} --fingerprint {shown}`"
                ),
            ),
            (Trust::Pinned(_), _) => (cause, "see the master's log: it needs another certificate".to_owned()),
            (Trust::Authorities(_), _) => {
                let hint = format!(
                    "give the authority of the master: `{login} --ca FILE`; a certificate that vouches for itself is \
                     trusted by its fingerprint: `{login} --fingerprint sha256:...`"
                );
                (cause, hint)
            }
            (Trust::System, _) => {
                (cause, format!("`{login}` shows its fingerprint and asks; or give --ca or --fingerprint"))
            }
        }
    }
}

/// What is wrong with a certificate.
fn in_words(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "no authority that is trusted vouches for it".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has run out".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not good yet: is a clock wrong?".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name".to_owned()
        }
        CertificateError::BadSignature => "its certificate is not signed by who it says".to_owned(),
        // What other libraries say is for those who wrote them.
        CertificateError::Other(_) => {
            "the certificates that it shows cannot be followed to one that is trusted".to_owned()
        }
        other => other.to_string(),
    }
}

/// A server that was asked in plaintext, and does not answer so.
pub(super) fn wants_tls(server: &Url) -> CtlError {
    let message = format!("{} does not answer in plaintext: it may want TLS", name(server));
    CtlError::refused(exit::PROTOCOL, message, format!("name it as {}", with_scheme(server, "https")))
}

/// What a server is known by, whoever it is. Nothing is sent to it.
pub(crate) async fn fingerprint_of(server: &Url) -> Result<Fingerprint, CtlError> {
    let curious = Arc::new(Pinned::new(None));
    let http = build(configure(transport(server), curious.clone(), HTTP)?)?;
    let answer = http.get(server.clone()).send().await;
    curious.shown().ok_or_else(|| CtlError::Unreachable {
        server: name(server),
        cause: answer.err().map_or_else(|| "it shows no certificate".to_owned(), |error| super::last_source(&error)),
    })
}

/// As a person writes it.
pub(super) fn name(server: &Url) -> String {
    server.as_str().trim_end_matches('/').to_owned()
}

fn configure(
    builder: ClientBuilder,
    verifier: Arc<dyn ServerCertVerifier>,
    speaks: &[&str],
) -> Result<ClientBuilder, CtlError> {
    let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = config
        .map_err(|error| no_tls(&error))?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = speaks.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(builder.tls_backend_preconfigured(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

fn no_tls(cause: &dyn std::fmt::Display) -> CtlError {
    CtlError::refused(exit::CONFIG, format!("cannot set up TLS: {cause}"), "check --ca and the file of contexts")
}

/// The error of this type that stands behind another.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // What such an error wraps is not its source.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn Error + 'static)).or_else(|| error.source());
    }
    None
}
