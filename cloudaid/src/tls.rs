//! TLS on both ports: the cluster's own certificate authority, who is shown which certificate, and who is believed.
//!
//! Workers are let in by certificates of the built-in authority only, and it is the only one that they believe. Browsers and
//! `cloudctl` see the operator's certificate where there is one.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::version::TLS13;
use rustls::{ClientConfig, ConfigBuilder, WantsVerifier};

pub mod authority;
pub mod own;
pub mod server;

pub(crate) mod certified;
pub(crate) mod connection;
pub(crate) mod keep;

mod verifier;

#[cfg(test)]
mod tests;

/// The one crypto back-end.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// For a client that speaks to masters over gRPC: TLS 1.3 and nothing older.
pub(crate) fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])
}

/// What gRPC needs besides: HTTP/2.
pub(crate) fn for_grpc(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// A certificate in PEM.
pub(crate) fn pem(certificate: &[u8]) -> String {
    ::pem::encode_config(
        &::pem::Pem::new("CERTIFICATE", certificate),
        ::pem::EncodeConfig::new().set_line_ending(::pem::LineEnding::LF),
    )
}
