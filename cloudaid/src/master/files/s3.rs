//! A bucket that speaks S3.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::prefix::PrefixStore;
use object_store::{ClientOptions, ObjectStore, RetryConfig};

use super::failed;
use crate::config::Secret;

/// One request may take this long; a piece is small.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// And all tries of one together this long.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const RETRIES: usize = 5;

/// Where the bucket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Config {
    /// Its name.
    pub bucket: String,
    /// Only objects below it are ours.
    pub prefix: Option<String>,
    /// As `https://host:port`; none: Amazon's own.
    pub endpoint: Option<String>,
    /// Where Amazon keeps it; others take any.
    pub region: String,
    /// None: what the machine is allowed to by itself.
    pub credentials: Option<(Secret, Secret)>,
    /// What belongs to credentials that are for a while only.
    pub session: Option<Secret>,
}

/// Opens the bucket, and looks into it.
pub(super) async fn connect(config: &S3Config) -> io::Result<Arc<dyn ObjectStore>> {
    let retry = RetryConfig { max_retries: RETRIES, retry_timeout: RETRY_TIMEOUT, ..RetryConfig::default() };
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&config.bucket)
        .with_region(&config.region)
        .with_retry(retry)
        .with_client_options(ClientOptions::new().with_timeout(REQUEST_TIMEOUT));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
    }
    if let Some((id, key)) = &config.credentials {
        builder = builder.with_access_key_id(id.expose()).with_secret_access_key(key.expose());
        if let Some(session) = &config.session {
            builder = builder.with_token(session.expose());
        }
    }
    let bucket: Arc<dyn ObjectStore> = Arc::new(builder.build().map_err(failed)?);
    let objects: Arc<dyn ObjectStore> = match &config.prefix {
        Some(prefix) => Arc::new(PrefixStore::new(bucket, ObjectPath::from(prefix.as_str()))),
        None => bucket,
    };
    match objects.list(None).next().await {
        Some(Err(error)) => Err(failed(error)),
        Some(Ok(_)) | None => Ok(objects),
    }
}
