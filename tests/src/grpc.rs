//! gRPC calls as another program makes them: Python's grpcio, from the same proto files.

use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use crate::peer;

/// What a call came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Called {
    /// The name of the status: `OK`, `UNAUTHENTICATED` and so on.
    pub code: String,
    /// What the status says.
    pub message: String,
    /// An object, or a list of them where answers are streamed.
    pub answer: Value,
}

/// How a caller connects and proves who it is.
#[derive(Debug, Clone, Default)]
pub struct As {
    args: Vec<String>,
}

impl As {
    /// In plaintext.
    #[must_use]
    pub fn plaintext() -> Self {
        Self::default()
    }

    /// Over TLS, believing whoever answers, and without a certificate.
    #[must_use]
    pub fn stranger() -> Self {
        Self { args: vec!["--insecure-tls".to_owned()] }
    }

    /// Over TLS, with what this file holds: a key, a certificate for it, and whom to believe.
    #[must_use]
    pub fn holder(credentials: &Path) -> Self {
        let file = credentials.display().to_string();
        let args = ["--ca", &file, "--cert", &file, "--key", &file, "--server-name", shared::tls::MASTER_NAME];
        Self { args: args.map(str::to_owned).into() }
    }

    /// The same, with a user's token.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.args.extend(["--token".to_owned(), token.to_owned()]);
        self
    }
}

/// Talks with `method`, of which both sides are streams: says all `requests`, and hangs up when so many answers have come.
///
/// # Panics
/// As [`call`].
pub async fn converse(address: &str, method: &str, requests: &Value, caller: &As, answers: usize) -> Called {
    let mut caller = caller.clone();
    caller.args.extend(["--answers".to_owned(), answers.to_string()]);
    call(address, method, requests, &caller).await
}

/// Calls `method` (`package.Service/Method`) with `request`: an object, or a list of them where requests are streamed.
///
/// # Panics
/// When there is no such method, or Python cannot make the call.
pub async fn call(address: &str, method: &str, request: &Value, caller: &As) -> Called {
    let request = request.to_string();
    let mut args = vec![address, method, &request, "--timeout", "20"];
    args.extend(caller.args.iter().map(String::as_str));
    let printed = peer::call(&args).await;
    let text = |name: &str| printed[name].as_str().unwrap_or_default().to_owned();
    Called { code: text("code"), message: text("message"), answer: printed["answer"].clone() }
}

/// A key that asks for certificates, as a worker does.
#[derive(Debug)]
pub struct Applicant {
    key: KeyPair,
}

impl Default for Applicant {
    /// With a fresh key.
    fn default() -> Self {
        Self { key: KeyPair::generate().expect("a key") }
    }
}

impl Applicant {
    /// Its request, in base64.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn csr(&self) -> String {
        let request = CertificateParams::default().serialize_request(&self.key).expect("a request");
        let pem = request.pem().expect("PEM");
        pem.lines().filter(|line| !line.starts_with("-----")).collect()
    }

    /// Asks to join under a name.
    pub async fn join(&self, address: &str, token: &str, name: &str) -> Called {
        let request = json!({"token": token, "worker_id": name, "csr": self.csr()});
        call(address, "cloudai.v1.WorkerIdentity/Join", &request, &As::stranger()).await
    }

    /// Keeps what it was given in a file of `dir`, for [`As::holder`].
    ///
    /// # Panics
    /// Nothing was given.
    #[must_use]
    pub fn keep(&self, dir: &Path, given: &Called) -> PathBuf {
        assert_eq!(given.code, "OK", "{given:?}");
        let field = |name: &str| given.answer[name].as_str().map(str::to_owned);
        let authorities = given.answer["authorities"].as_array().expect("authorities");
        let certificates = authorities.iter().map(|authority| authority.as_str().expect("base64").to_owned());
        let certificates = field("certificate").into_iter().chain(certificates).map(|base64| pem(&base64));
        let text = self.key.serialize_pem() + &certificates.collect::<String>();
        let path = dir.join(format!("{}.pem", ulid::Ulid::generate()));
        std::fs::write(&path, text).expect("written");
        path
    }
}

fn pem(base64: &str) -> String {
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
