//! What the certificate of a worker says.

use cloudaid_core::admission::IdentityId;
use shared::id::{ClusterId, WorkerId};
use shared::time::WallTime;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

/// Serial numbers of workers' certificates: 8 bytes of identity, 8 random ones.
pub(super) const SERIAL_BYTES: usize = 16;

/// Who a certificate is about. The handshake has shown that its owner is at the other end, and that the authority gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certified {
    /// Which worker.
    pub(crate) worker: WorkerId,
    /// What it got when it joined.
    pub(crate) identity: IdentityId,
    /// When the certificate runs out.
    pub(crate) expires_at: WallTime,
}

/// The name of a worker in its certificate, as SPIFFE writes names.
pub(super) fn uri(cluster: ClusterId, worker: &WorkerId) -> String {
    format!("spiffe://{cluster}/worker/{worker}")
}

/// The cluster that a worker's certificate is of.
pub(crate) fn cluster_of(certificate: &[u8]) -> Option<ClusterId> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let names = parsed.subject_alternative_name().ok()??;
    let [GeneralName::URI(name)] = names.value.general_names.as_slice() else { return None };
    name.strip_prefix("spiffe://")?.split_once("/worker/")?.0.parse().ok()
}

impl Certified {
    /// Reads a certificate; none: it is not one of a worker of this cluster.
    pub(crate) fn read(certificate: &[u8], cluster: ClusterId) -> Option<Self> {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok()??;
        let [GeneralName::URI(name)] = names.value.general_names.as_slice() else { return None };
        let worker = name.strip_prefix(&format!("spiffe://{cluster}/worker/"))?.parse().ok()?;
        let identity = IdentityId(identity(parsed.raw_serial())?);
        Some(Self { worker, identity, expires_at: expiry(certificate)? })
    }
}

/// The first half of a serial number, which is written without leading zeros, and with one before a byte above 127.
fn identity(serial: &[u8]) -> Option<u64> {
    let written = serial.strip_prefix(&[0]).filter(|rest| rest.len() == SERIAL_BYTES).unwrap_or(serial);
    let mut whole = [0; SERIAL_BYTES];
    whole[SERIAL_BYTES.checked_sub(written.len())?..].copy_from_slice(written);
    Some(u64::from_be_bytes(whole[..8].try_into().ok()?))
}

/// When a certificate runs out.
pub(crate) fn expiry(certificate: &[u8]) -> Option<WallTime> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    Some(WallTime(parsed.validity().not_after.timestamp().checked_mul(1000)?))
}
