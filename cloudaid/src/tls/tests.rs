//! Who is believed by whom, with real handshakes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cloudaid_core::admission::IdentityId;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use shared::id::{ClusterId, WorkerId};
use shared::tls::{Fingerprint, MASTER_NAME, Pinned};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::{Authority, AuthorityError, BadRequest};
use super::certified::Certified;
use super::own::OwnFiles;
use super::server::ServerTls;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn cluster() -> ClusterId {
    "01arz3ndektsv4rrffq69g5fav".parse().expect("an id")
}

fn worker(name: &str) -> WorkerId {
    name.parse().expect("a name")
}

fn authority(directory: &Path) -> Authority {
    lasting(directory, DAY)
}

fn lasting(directory: &Path, ttl: Duration) -> Authority {
    Authority::open(directory, cluster(), &["box".to_owned(), "10.0.0.1".to_owned()], ttl).expect("an authority")
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A certificate for a worker, with its key.
struct Worker {
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Worker {
    fn of(authority: &Authority, name: &str, identity: u64) -> Self {
        let key = KeyPair::generate().expect("a key");
        let csr = CertificateParams::default().serialize_request(&key).expect("a request");
        let issued = authority.issue(csr.der(), &worker(name), IdentityId(identity)).expect("a certificate");
        Self { certificate: issued.certificate, key }
    }

    /// Connects, believing who `believed` says, and returns what the server has seen of it.
    async fn connect(
        &self,
        tls: &ServerTls,
        believed: &[CertificateDer<'static>],
    ) -> Result<Option<Certified>, String> {
        let mut roots = RootCertStore::empty();
        believed.iter().for_each(|certificate| roots.add(certificate.clone()).expect("a root"));
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let config = super::client_builder().expect("a client").with_root_certificates(roots);
        let config = config.with_client_auth_cert(vec![self.certificate.clone()], key).expect("a client");
        handshake(tls, config, MASTER_NAME).await
    }
}

/// What the server sees of a client with this configuration.
async fn handshake(tls: &ServerTls, client: ClientConfig, name: &'static str) -> Result<Option<Certified>, String> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let acceptor = TlsAcceptor::from(tls.for_workers().map_err(|error| error.to_string())?);
    let server = async move {
        let mut stream = acceptor.accept(far).await.map_err(|error| format!("server: {error}"))?;
        stream.write_all(b"hello").await.map_err(|error| format!("server: {error}"))?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        Ok(shown.and_then(|certificate| Certified::read(certificate, cluster())))
    };
    let client = async move {
        let name = ServerName::try_from(name).expect("a name");
        let connected = TlsConnector::from(Arc::new(client)).connect(name, near).await;
        let mut stream = connected.map_err(|error| format!("client: {error}"))?;
        // In TLS 1.3 a client hears only after the handshake that it was refused.
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).await.map(|_| ()).map_err(|error| format!("client: {error}"))
    };
    let (seen, heard) = tokio::join!(server, client);
    seen.and_then(|seen| heard.map(|()| seen))
}

fn nobody(believed: &[CertificateDer<'static>]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    believed.iter().for_each(|certificate| roots.add(certificate.clone()).expect("a root"));
    super::client_builder().expect("a client").with_root_certificates(roots).with_no_client_auth()
}

fn pinned(fingerprint: Fingerprint) -> ClientConfig {
    let verifier = Arc::new(Pinned::new(Some(fingerprint)));
    let builder = super::client_builder().expect("a client").dangerous().with_custom_certificate_verifier(verifier);
    builder.with_no_client_auth()
}

#[tokio::test]
async fn a_worker_is_who_its_certificate_says() {
    let directory = scratch();
    let authority = authority(directory.path());
    let tls = ServerTls::new(authority.clone(), None).expect("TLS");
    let ours = Worker::of(&authority, "w1", 77);
    let seen = ours.connect(&tls, &authority.believed()).await.expect("believed").expect("a worker");
    assert_eq!((seen.worker, seen.identity), (worker("w1"), IdentityId(77)));
    assert_eq!(handshake(&tls, nobody(&authority.believed()), MASTER_NAME).await, Ok(None), "who wants to join");
}

#[tokio::test]
async fn an_authority_outlives_its_process() {
    let directory = scratch();
    let first = authority(directory.path());
    let ours = Worker::of(&first, "w1", 1);
    let again = authority(directory.path());
    assert_eq!(again.fingerprint(), first.fingerprint());
    let tls = ServerTls::new(again, None).expect("TLS");
    assert!(ours.connect(&tls, &first.believed()).await.expect("believed").is_some());
}

#[tokio::test]
async fn nobody_believes_a_stranger() {
    let (one, two) = (scratch(), scratch());
    let (ours, theirs) = (authority(one.path()), authority(two.path()));
    let tls = ServerTls::new(ours.clone(), None).expect("TLS");
    let stranger = Worker::of(&theirs, "w1", 1);
    let refused = stranger.connect(&tls, &ours.believed()).await.expect_err("another authority's");
    assert!(refused.contains("server: "), "{refused}");
    let refused = Worker::of(&ours, "w1", 1).connect(&tls, &theirs.believed()).await.expect_err("another master");
    assert!(refused.contains("UnknownIssuer") || refused.contains("server: "), "{refused}");
    assert!(handshake(&tls, pinned(theirs.fingerprint()), MASTER_NAME).await.is_err());
    assert_eq!(handshake(&tls, pinned(ours.fingerprint()), MASTER_NAME).await, Ok(None));
}

/// What a worker has is good for being a worker only.
#[tokio::test]
async fn a_worker_cannot_be_taken_for_a_master_nor_sign_for_others() {
    let directory = scratch();
    let authority = authority(directory.path());
    let ours = Worker::of(&authority, "w1", 1);
    let (_, parsed) = x509_parser::parse_x509_certificate(&ours.certificate).expect("a certificate");
    assert!(!parsed.is_ca());
    let usage = parsed.extended_key_usage().expect("readable").expect("there").value;
    assert!(usage.client_auth && !usage.server_auth && !usage.any);
}

#[test]
fn what_a_request_says_besides_its_key_does_not_count() {
    let directory = scratch();
    let authority = authority(directory.path());
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec![MASTER_NAME.to_owned()]).expect("names");
    params
        .subject_alt_names
        .push(SanType::URI(format!("spiffe://{}/worker/other", cluster()).try_into().expect("a URI")));
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let csr = params.serialize_request(&key).expect("a request");
    let issued = authority.issue(csr.der(), &worker("w1"), IdentityId(1 << 62)).expect("a certificate");
    for identity in [1, 0xff, 1 << 55, 1 << 56, (1 << 63) - 1, 1 << 63, u64::MAX] {
        let issued = authority.issue(csr.der(), &worker("w1"), IdentityId(identity)).expect("a certificate");
        let seen = Certified::read(&issued.certificate, cluster()).expect("a worker's");
        assert_eq!(seen.identity, IdentityId(identity), "{identity:x}");
    }
    let seen = Certified::read(&issued.certificate, cluster()).expect("a worker's");
    assert_eq!((seen.worker, seen.identity), (worker("w1"), IdentityId(1 << 62)));
    let (_, parsed) = x509_parser::parse_x509_certificate(&issued.certificate).expect("a certificate");
    assert!(!parsed.is_ca() && !parsed.extended_key_usage().expect("readable").expect("there").value.server_auth);
}

#[test]
fn a_request_that_is_none_is_refused() {
    let directory = scratch();
    let authority = authority(directory.path());
    let key = KeyPair::generate().expect("a key");
    let good = CertificateParams::default().serialize_request(&key).expect("a request").der().to_vec();
    let mut forged = good.clone();
    *forged.last_mut().expect("bytes") ^= 1;
    let mut long = good.clone();
    long.extend(vec![0; 9000]);
    for bad in [&[][..], b"x", &good[..good.len() - 1], &forged, &long] {
        let issued = authority.issue(bad, &worker("w1"), IdentityId(1));
        assert_eq!(issued.err(), Some(BadRequest), "{} bytes", bad.len());
    }
}

#[tokio::test]
async fn a_certificate_that_ran_out_comes_through_so_that_it_can_be_renewed() {
    let directory = scratch();
    let authority = lasting(directory.path(), Duration::ZERO);
    let tls = ServerTls::new(authority.clone(), None).expect("TLS");
    let ours = Worker::of(&authority, "w1", 1);
    let seen = ours.connect(&tls, &authority.believed()).await.expect("it comes through").expect("a worker");
    assert!(seen.expires_at <= crate::clock::wall());
}

#[tokio::test]
async fn when_another_authority_takes_over_nobody_is_locked_out() {
    let directory = scratch();
    let authority = authority(directory.path());
    let tls = ServerTls::new(authority.clone(), None).expect("TLS");
    let (before, fingerprint) = (authority.believed(), authority.fingerprint());
    let old = Worker::of(&authority, "w1", 1);
    tls.rotate().expect("rotated");
    assert_ne!(authority.fingerprint(), fingerprint);
    assert_eq!(authority.retired(), Some(fingerprint));
    // Who knows only the old one believes the new one, and is believed.
    assert!(old.connect(&tls, &before).await.expect("believed").is_some());
    assert_eq!(handshake(&tls, pinned(fingerprint), MASTER_NAME).await, Ok(None));
    assert_eq!(handshake(&tls, pinned(authority.fingerprint()), MASTER_NAME).await, Ok(None));
    let new = Worker::of(&authority, "w1", 1);
    assert!(new.connect(&tls, &authority.believed()).await.expect("believed").is_some());
    assert!(new.connect(&tls, &authority.believed()[..1]).await.expect("believed").is_some(), "without the old one");
    // The same after a restart.
    let again = ServerTls::new(lasting(directory.path(), DAY), None).expect("TLS");
    assert!(old.connect(&again, &before).await.expect("believed").is_some());
    assert!(new.connect(&again, &authority.believed()).await.expect("believed").is_some());
    // The one before the one before is over.
    tls.rotate().expect("rotated");
    assert!(old.connect(&tls, &before).await.is_err());
}

#[test]
fn an_authority_that_others_can_read_is_not_used() {
    use std::os::unix::fs::PermissionsExt;
    let directory = scratch();
    authority(directory.path());
    let path = directory.path().join("tls/authority.pem");
    let mode = std::fs::metadata(&path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("opened");
    let opened = Authority::open(directory.path(), cluster(), &[], DAY);
    assert!(matches!(opened, Err(AuthorityError::Io { .. })), "{opened:?}");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("closed");
    for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        std::fs::write(&path, broken).expect("written");
        let opened = Authority::open(directory.path(), cluster(), &[], DAY);
        assert!(matches!(opened, Err(AuthorityError::Broken { .. })), "{opened:?}");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), broken, "it is left as it is");
    }
}

/// A certificate that signs itself, as operators make them.
fn own(directory: &Path, name: &str) -> OwnFiles {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(vec![name.to_owned()]).expect("names").self_signed(&key).expect("signed");
    let files = OwnFiles { certificate: directory.join("own.pem"), key: directory.join("own.key") };
    std::fs::write(&files.certificate, certificate.pem()).expect("written");
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    files
}

#[tokio::test]
async fn the_operators_certificate_is_for_people_and_the_built_in_one_for_workers() {
    let directory = scratch();
    let authority = authority(directory.path());
    let files = own(directory.path(), "cloudai.example");
    let tls = ServerTls::new(authority.clone(), Some(files.clone())).expect("TLS");
    let ours = Worker::of(&authority, "w1", 1);
    assert!(ours.connect(&tls, &authority.believed()).await.expect("believed").is_some());
    let first = tls.fingerprint();
    assert_ne!(first, authority.fingerprint());
    assert_eq!(handshake(&tls, pinned(first), "cloudai.example").await, Ok(None));
    // It is replaced while the master runs.
    own(directory.path(), "cloudai.example");
    tls.look().expect("the new one is good");
    assert_ne!(tls.fingerprint(), first);
    assert!(handshake(&tls, pinned(first), "cloudai.example").await.is_err());
    assert_eq!(handshake(&tls, pinned(tls.fingerprint()), "cloudai.example").await, Ok(None));
    // What cannot be used changes nothing.
    let second = tls.fingerprint();
    std::fs::write(&files.certificate, "nonsense").expect("written");
    assert!(tls.look().is_err());
    assert_eq!(tls.fingerprint(), second);
    assert!(tls.look().is_ok(), "it is said once");
}

#[test]
fn a_key_that_does_not_fit_is_found_at_the_start() {
    let directory = scratch();
    let authority = authority(directory.path());
    let files = own(directory.path(), "a");
    std::fs::write(&files.key, KeyPair::generate().expect("a key").serialize_pem()).expect("written");
    let error = ServerTls::new(authority.clone(), Some(files.clone())).expect_err("another's key").to_string();
    assert!(error.contains("own.key") && error.contains("not the key of the certificate"), "{error}");
    std::fs::remove_file(&files.certificate).expect("removed");
    assert!(ServerTls::new(authority, Some(files)).expect_err("none").to_string().contains("own.pem"));
}
