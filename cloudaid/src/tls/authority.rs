//! The cluster's own certificate authority: made at the first start, kept in the data directory, replaced in time.
//!
//! ```text
//! tls/authority.pem  its certificate and its key
//! tls/retired.pem    the certificate of the one before, and the new one's as the old one has signed it
//! ```
//!
//! Whoever trusts the authority of before also trusts the new one for a while, by what the old one has signed, and is told
//! of the new one when it next comes for a certificate. The old key is gone: it can sign nothing any more.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::admission::IdentityId;
use parking_lot::RwLock;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer};
use shared::id::{ClusterId, WorkerId};
use shared::time::WallTime;
use shared::tls::{Fingerprint, MASTER_NAME};
use time::OffsetDateTime;

use super::certified::{self, SERIAL_BYTES};
use super::keep;
use crate::clock;

/// How long after the end of its certificate a worker may still come back for the next one, so that a weekend off locks
/// nobody out.
pub const RENEWAL_GRACE: Duration = Duration::from_secs(30 * 24 * 3600);
/// How long an authority is good, and how long before its end the next one takes over.
const AUTHORITY_TTL: Duration = Duration::from_secs(5 * 366 * 24 * 3600);
const AUTHORITY_RENEWAL: Duration = Duration::from_secs(366 * 24 * 3600);
/// How long the master's own certificate is good; a new one is made at every start, and in time.
const MASTER_TTL: Duration = Duration::from_secs(90 * 24 * 3600);
/// How long before its end it is replaced.
const MASTER_RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Clocks of other machines may be this far behind.
const BACKDATE: Duration = Duration::from_secs(3600);
/// What a certificate ends with in PEM.
const END: &str = "-----END CERTIFICATE-----\n";
/// The largest request for a certificate.
const CSR_LIMIT: usize = 8 * 1024;

/// Why the authority cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its file cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its file does not hold what it should.
    #[error("{path} is not the file of an authority: {problem}")]
    Broken {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No certificate could be made.
    #[error("no certificate could be made: {0}")]
    Make(#[from] rcgen::Error),
}

/// A worker's request cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request is not PKCS #10 in DER, signed with its own key")]
pub struct BadRequest;

/// A certificate for a worker.
#[derive(Debug)]
pub struct Issued {
    /// In DER.
    pub certificate: CertificateDer<'static>,
    /// When the worker shall come back: after two thirds of its time.
    pub renew_at: WallTime,
}

/// Signs for the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Authority {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    cluster: ClusterId,
    /// Of this machine.
    names: Vec<SanType>,
    /// How long a worker's certificate is good.
    worker_ttl: Duration,
    present: RwLock<Present>,
}

/// What counts now.
#[derive(Debug)]
struct Present {
    certificate: CertificateDer<'static>,
    pem: String,
    issuer: Issuer<'static, KeyPair>,
    retired: Option<Retired>,
}

/// A new authority, its name, and the text of its file.
struct Made {
    present: Present,
    name: DistinguishedName,
    text: String,
}

/// The authority of before.
#[derive(Debug, Clone)]
struct Retired {
    certificate: CertificateDer<'static>,
    /// The present one, signed by it.
    cross: CertificateDer<'static>,
}

/// The master's own certificate, with all that others need to believe it.
pub(super) struct MasterCertificate {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

impl Authority {
    /// Reads it, or makes it if there is none. `names` are those of this machine, for the master's own
    /// certificate; `worker_ttl` is how long a worker's certificate is good.
    ///
    /// # Errors
    /// Its files are open to others, broken, or cannot be read or made.
    pub fn open(
        data_dir: &Path,
        cluster: ClusterId,
        names: &[String],
        worker_ttl: Duration,
    ) -> Result<Self, AuthorityError> {
        let directory = data_dir.join("tls");
        let present = match read_pem(&directory.join("authority.pem"))? {
            Some(text) => Present::read(&directory, &text)?,
            None => {
                let Made { present, text, .. } = Made::new(cluster)?;
                write_pem(&directory.join("authority.pem"), &text)?;
                present
            }
        };
        let names = std::iter::once(MASTER_NAME).chain(names.iter().map(String::as_str)).filter_map(san).collect();
        Ok(Self { inner: Arc::new(Inner { directory, cluster, names, worker_ttl, present: RwLock::new(present) }) })
    }

    /// By which it can be known.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.inner.present.read().certificate)
    }

    /// The cluster that it signs for.
    #[must_use]
    pub fn cluster(&self) -> ClusterId {
        self.inner.cluster
    }

    /// When it runs out. Another takes over a year before.
    #[must_use]
    pub fn expires_at(&self) -> WallTime {
        certified::expiry(&self.inner.present.read().certificate).unwrap_or(WallTime(0))
    }

    /// The one before it, while that is still believed.
    #[must_use]
    pub fn retired(&self) -> Option<Fingerprint> {
        let present = self.inner.present.read();
        present.retired.as_ref().filter(|retired| retired.is_believed()).map(|r| Fingerprint::of(&r.certificate))
    }

    /// Whose signatures count: its own, and those of the one before it for a while.
    #[must_use]
    pub fn believed(&self) -> Vec<CertificateDer<'static>> {
        let present = self.inner.present.read();
        let retired = present.retired.iter().filter(|retired| retired.is_believed());
        std::iter::once(&present.certificate).chain(retired.map(|retired| &retired.certificate)).cloned().collect()
    }

    /// Signs for a worker. Only the key is the worker's choice.
    ///
    /// # Errors
    /// The request cannot be read, or is not signed with its key.
    pub fn issue(&self, csr: &[u8], worker: &WorkerId, identity: IdentityId) -> Result<Issued, BadRequest> {
        if csr.len() > CSR_LIMIT {
            return Err(BadRequest);
        }
        let mut request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr))
            .map_err(|_| BadRequest)?;
        let now = clock::wall();
        let ttl = self.inner.worker_ttl;
        let mut params = lasting(now, ttl);
        params.distinguished_name.push(DnType::CommonName, worker.as_str());
        let name = certified::uri(self.inner.cluster, worker);
        params.subject_alt_names = vec![SanType::URI(name.try_into().map_err(|_| BadRequest)?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let mut serial = [0; SERIAL_BYTES];
        serial[..8].copy_from_slice(&identity.0.to_be_bytes());
        serial[8..].copy_from_slice(&rand::random::<[u8; 8]>());
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        request.params = params;
        let present = self.inner.present.read();
        let signed = request.signed_by(&present.issuer).map_err(|_| BadRequest)?;
        Ok(Issued { certificate: signed.der().clone(), renew_at: now + ttl * 2 / 3 })
    }

    /// Another authority takes over. The old one is believed until nobody can have a certificate of it that may be renewed.
    ///
    /// # Errors
    /// The files cannot be written; then nothing has changed.
    pub fn rotate(&self) -> Result<(), AuthorityError> {
        let Made { present: mut next, name, text } = Made::new(self.inner.cluster)?;
        let mut present = self.inner.present.write();
        let params = authority_params(name, self.inner.worker_ttl + RENEWAL_GRACE, 0);
        let cross = params.signed_by(next.issuer.key(), &present.issuer)?;
        let retired_text = format!("{}{}", present.pem, cross.pem());
        let retired = Retired { certificate: present.certificate.clone(), cross: cross.der().clone() };
        // In this order: a crash between the two leaves a retired authority that is still the present one, and is not
        // looked at.
        write_pem(&self.inner.directory.join("retired.pem"), &retired_text)?;
        write_pem(&self.inner.directory.join("authority.pem"), &text)?;
        next.retired = Some(retired);
        *present = next;
        Ok(())
    }

    /// Whether it is time for another authority.
    #[must_use]
    pub fn is_ageing(&self) -> bool {
        self.expires_at() <= clock::wall() + AUTHORITY_RENEWAL
    }

    /// A certificate for this master.
    pub(super) fn master_certificate(&self) -> Result<MasterCertificate, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = lasting(clock::wall(), MASTER_TTL);
        params.distinguished_name.push(DnType::CommonName, MASTER_NAME);
        params.subject_alt_names.clone_from(&self.inner.names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let present = self.inner.present.read();
        let mut chain = vec![params.signed_by(&key, &present.issuer)?.der().clone()];
        if let Some(retired) = present.retired.as_ref().filter(|retired| retired.is_believed()) {
            chain.extend([retired.cross.clone(), present.certificate.clone(), retired.certificate.clone()]);
        } else {
            chain.push(present.certificate.clone());
        }
        Ok(MasterCertificate { chain, key: key.into() })
    }
}

/// Whether it is time for the next certificate of this master.
pub(super) fn is_ageing(certificate: &CertificateDer<'_>) -> bool {
    certified::expiry(certificate).is_none_or(|expires_at| expires_at <= clock::wall() + MASTER_RENEWAL)
}

impl Made {
    fn new(cluster: ClusterId) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut name = DistinguishedName::new();
        name.push(DnType::OrganizationName, cluster.to_string());
        // Two authorities of one cluster must be told apart by their names too.
        name.push(DnType::CommonName, format!("CloudAI {}", hex::encode(rand::random::<[u8; 4]>())));
        // Below it stands the next one for a while.
        let params = authority_params(name.clone(), AUTHORITY_TTL, 1);
        let certificate = params.self_signed(&key)?;
        let pem = certificate.pem();
        let text = format!("{pem}{}", key.serialize_pem());
        let certificate = certificate.der().clone();
        Ok(Self { present: Present { certificate, pem, issuer: Issuer::new(params, key), retired: None }, name, text })
    }
}

impl Present {
    fn read(directory: &Path, text: &str) -> Result<Self, AuthorityError> {
        let path = directory.join("authority.pem");
        let broken = |problem: String| AuthorityError::Broken { path: path.clone(), problem };
        let certificate = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|error| broken(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| broken(error.to_string()))?;
        let key = KeyPair::try_from(&key).map_err(|error| broken(error.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(|error| broken(error.to_string()))?;
        let pem = text.split_inclusive(END).next().unwrap_or_default().to_owned();
        let retired = Retired::read(&directory.join("retired.pem"))?;
        // See `rotate`.
        let retired = retired.filter(|retired| retired.certificate != certificate);
        Ok(Self { certificate, pem, issuer, retired })
    }
}

impl Retired {
    fn read(path: &Path) -> Result<Option<Self>, AuthorityError> {
        let Some(text) = read_pem(path)? else { return Ok(None) };
        let broken = |problem: String| AuthorityError::Broken { path: path.to_owned(), problem };
        let both: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
        match <[CertificateDer<'static>; 2]>::try_from(both.map_err(|error| broken(error.to_string()))?) {
            Ok([certificate, cross]) => Ok(Some(Self { certificate, cross })),
            Err(_) => Err(broken("it does not hold two certificates".to_owned())),
        }
    }

    /// Until what it has signed of the present one runs out.
    fn is_believed(&self) -> bool {
        certified::expiry(&self.cross).is_some_and(|until| clock::wall() < until)
    }
}

fn authority_params(name: DistinguishedName, ttl: Duration, below: u8) -> CertificateParams {
    let mut params = lasting(clock::wall(), ttl);
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn lasting(from: WallTime, ttl: Duration) -> CertificateParams {
    let at = |time: WallTime| OffsetDateTime::from_unix_timestamp(time.0.div_euclid(1000));
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let begin = WallTime(from.0 - i64::try_from(BACKDATE.as_millis()).unwrap_or(0));
    params.not_before = at(begin).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.not_after = at(from + ttl).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.use_authority_key_identifier_extension = true;
    params
}

fn san(name: &str) -> Option<SanType> {
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => Some(SanType::IpAddress(address)),
        Err(_) => name.to_owned().try_into().ok().map(SanType::DnsName),
    }
}

fn read_pem(path: &Path) -> Result<Option<String>, AuthorityError> {
    keep::read(path).map_err(|source| AuthorityError::Io { path: path.to_owned(), source })
}

fn write_pem(path: &Path, text: &str) -> Result<(), AuthorityError> {
    keep::write(path, text).map_err(|source| AuthorityError::Io { path: path.to_owned(), source })
}
