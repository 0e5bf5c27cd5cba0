//! Trust in a server whose certificate no public authority vouches for: by the SHA-256 of a certificate, which a person or a
//! join token has brought here on another way.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// The name that every certificate of a master carries beside the names of its machine. Only the cluster's own authority
/// gives it, so whoever has such a certificate is a master of that cluster, whatever address it was reached at. Also what
/// workers ask for, so that a master shows them this certificate also where browsers see another. (`.internal` is
/// reserved by ICANN for private use.)
pub const MASTER_NAME: &str = "master.cloudai.internal";

/// The SHA-256 of a certificate in DER, as `openssl x509 -fingerprint -sha256` shows it. Written `sha256:<64 hex digits>`;
/// read also without the prefix, in capitals, and with colons between the bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Of a certificate in DER.
    #[must_use]
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no fingerprint: give sha256: and 64 hex digits, as the master's log shows it")]
pub struct NoFingerprint;

impl FromStr for Fingerprint {
    type Err = NoFingerprint;
    fn from_str(text: &str) -> Result<Self, NoFingerprint> {
        let text = text.trim().to_ascii_lowercase();
        let digits = text.strip_prefix("sha256:").unwrap_or(&text).replace(':', "");
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoFingerprint);
        }
        let mut bytes = [0; 32];
        for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&digits[place..place + 2], 16).map_err(|_| NoFingerprint)?;
        }
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Fingerprint {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <String as serde::Deserialize>::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The certificate of a chain that a person should know the server by: the authority that signed itself, if it is shown,
/// else the server's own. None: the chain is empty.
#[must_use]
pub fn known_by(chain: &[CertificateDer<'_>]) -> Option<Fingerprint> {
    let signed_itself = chain.iter().find(|certificate| {
        x509_parser::parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| parsed.subject() == parsed.issuer())
    });
    signed_itself.or_else(|| chain.first()).map(|certificate| Fingerprint::of(certificate))
}

/// Trusts whoever shows the certificate with one fingerprint: the server itself, which may then have any name, or the
/// authority that vouches for the server.
#[derive(Debug)]
pub struct Pinned {
    pin: Option<Fingerprint>,
    provider: Arc<CryptoProvider>,
    shown: Mutex<Option<Fingerprint>>,
}

impl Pinned {
    /// Trusts who shows this certificate; without one nobody, which still tells what was [shown](Self::shown).
    #[must_use]
    pub fn new(pin: Option<Fingerprint>) -> Self {
        Self { pin, provider: Arc::new(aws_lc_rs::default_provider()), shown: Mutex::default() }
    }

    /// What the last server is [known by](known_by).
    #[must_use]
    pub fn shown(&self) -> Option<Fingerprint> {
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = known_by(&chain);
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let pin = self.pin.ok_or_else(unknown)?;
        if Fingerprint::of(end_entity) == pin {
            return Ok(ServerCertVerified::assertion());
        }
        let authority = intermediates.iter().find(|certificate| Fingerprint::of(certificate) == pin);
        let mut roots = RootCertStore::empty();
        roots.add(authority.ok_or_else(unknown)?.clone())?;
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &roots, intermediates, now, algorithms)?;
        let master = ServerName::try_from(MASTER_NAME).map_err(|_| unknown())?;
        verify_server_name(&certificate, &master).or_else(|_| verify_server_name(&certificate, server_name))?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

    use super::*;

    struct Chain {
        root: CertificateDer<'static>,
        leaf: CertificateDer<'static>,
    }

    fn chain(names: &[&str]) -> Chain {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(rcgen::DnType::CommonName, "a server");
        let leaf = params.signed_by(&KeyPair::generate().expect("a key"), &issuer).expect("a leaf");
        Chain { root: issuer.der().clone(), leaf: leaf.der().clone() }
    }

    fn verify(pin: Option<Fingerprint>, chain: &Chain, name: &str) -> Result<(), rustls::Error> {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let rest = [chain.root.clone()];
        Pinned::new(pin).verify_server_cert(&chain.leaf, &rest, &name, &[], UnixTime::now()).map(|_| ())
    }

    #[test]
    fn fingerprints_are_read_as_tools_write_them() {
        let of = Fingerprint::of(b"abc");
        let text = of.to_string();
        assert_eq!(text, "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let digits = &text["sha256:".len()..];
        let colons: Vec<_> = (0..64).step_by(2).map(|place| digits[place..place + 2].to_uppercase()).collect();
        for spelling in [text.clone(), digits.to_owned(), colons.join(":"), format!(" {text}\n")] {
            assert_eq!(spelling.parse(), Ok(of), "{spelling}");
        }
        for bad in ["", "sha256:", "sha1:abc", &digits[1..], &digits.replace('b', "g"), "é"] {
            assert_eq!(bad.parse::<Fingerprint>(), Err(NoFingerprint), "{bad}");
        }
    }

    #[test]
    fn who_shows_the_pinned_certificate_is_trusted_and_nobody_else() {
        let (ours, other) = (chain(&["box"]), chain(&["box"]));
        let (root, leaf) = (Fingerprint::of(&ours.root), Fingerprint::of(&ours.leaf));
        assert_eq!(verify(Some(root), &ours, "box"), Ok(()));
        assert_eq!(verify(Some(leaf), &ours, "elsewhere"), Ok(()), "the server itself may have any name");
        assert!(verify(None, &ours, "box").is_err());
        assert!(verify(Some(root), &other, "box").is_err());
        // It shows our root, which did not sign it.
        let liar = Chain { root: ours.root.clone(), leaf: other.leaf };
        assert!(verify(Some(root), &liar, "box").is_err());
    }

    #[test]
    fn an_authority_vouches_for_names() {
        let ours = chain(&["box"]);
        let root = Some(Fingerprint::of(&ours.root));
        assert!(verify(root, &ours, "another").is_err());
        let master = chain(&["box", MASTER_NAME]);
        assert_eq!(verify(Some(Fingerprint::of(&master.root)), &master, "another"), Ok(()), "a master of that cluster");
    }

    #[test]
    fn what_a_server_is_known_by_is_told_also_where_it_is_not_trusted() {
        let ours = chain(&["box"]);
        let curious = Pinned::new(None);
        let name = ServerName::try_from("box").expect("a name");
        let verified =
            curious.verify_server_cert(&ours.leaf, std::slice::from_ref(&ours.root), &name, &[], UnixTime::now());
        assert!(verified.is_err());
        assert_eq!(curious.shown(), Some(Fingerprint::of(&ours.root)));
        assert_eq!(known_by(std::slice::from_ref(&ours.leaf)), Some(Fingerprint::of(&ours.leaf)));
        assert_eq!(known_by(&[]), None);
    }
}
