//! Who is believed to be a worker: whoever shows a certificate that the authority has signed. Whether the worker still
//! belongs to the cluster is asked at every call, from the list of workers.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};

use super::authority::{Authority, RENEWAL_GRACE};
use super::certified;

/// A certificate that has run out is taken too, for as long as it may be renewed: that it may do nothing else is seen to
/// where calls are served.
#[derive(Debug)]
pub(super) struct Workers {
    verifier: RwLock<Arc<dyn ClientCertVerifier>>,
}

impl Workers {
    pub(super) fn new(authority: &Authority) -> Result<Self, rustls::Error> {
        Ok(Self { verifier: RwLock::new(verifier(authority)?) })
    }

    /// Another authority has taken over.
    pub(super) fn refresh(&self, authority: &Authority) -> Result<(), rustls::Error> {
        *self.verifier.write() = verifier(authority)?;
        Ok(())
    }

    fn inner(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier.read())
    }
}

fn verifier(authority: &Authority) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for certificate in authority.believed() {
        roots.add(certificate)?;
    }
    // Who wants to join has no certificate yet.
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), super::provider());
    let verifier = builder.allow_unauthenticated().build();
    verifier.map_err(|error| rustls::Error::General(error.to_string()))
}

impl ClientCertVerifier for Workers {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let seconds = certified::expiry(end_entity).map_or(0, |expiry| u64::try_from(expiry.0 / 1000).unwrap_or(0));
        let is_renewable = now.as_secs() <= seconds.saturating_add(RENEWAL_GRACE.as_secs());
        let at = if is_renewable { now.as_secs().min(seconds) } else { now.as_secs() };
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
        self.inner().verify_client_cert(end_entity, intermediates, at)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner().verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner().verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner().supported_verify_schemes()
    }
}
