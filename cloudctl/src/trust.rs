//! How a master proves that it is the one: what was said with a call, and what a context remembers.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use shared::context::Context;
use shared::error::exit;
use shared::tls::Fingerprint;
use url::Url;

use crate::args::GlobalArgs;
use crate::context::{given, is_local};
use crate::exit::CtlError;

/// Larger than any list of authorities.
const FILE_LIMIT: u64 = 1 << 20;
/// Around each certificate in a file.
const FENCES: [&str; 2] = ["-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"];

/// Whose word a certificate needs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Trust {
    /// That of an authority that this machine trusts.
    #[default]
    System,
    /// That of one of these authorities, in PEM.
    Authorities(String),
    /// Nobody's: it, or that of its authority, is this one.
    Pinned(Fingerprint),
}

impl Trust {
    /// What this call says, if it does.
    ///
    /// # Errors
    /// It says two things, or what cannot be; or there will be no certificate, and anybody could answer.
    pub(crate) fn given(global: &GlobalArgs, server: &Url) -> Result<Option<Self>, CtlError> {
        let ca = global.ca.as_deref().filter(|path| !path.as_os_str().is_empty());
        let trust = match (ca, given(global.fingerprint.as_deref())) {
            (None, None) => return Ok(None),
            (Some(_), Some(_)) => {
                return Err(CtlError::usage("--ca and --fingerprint are two ways to trust", "give one of them"));
            }
            (Some(path), None) => Self::Authorities(read(path)?),
            (None, Some(text)) => Self::Pinned(text.parse().map_err(|error| {
                CtlError::usage(
                    format!("--fingerprint {}: {error}", text.escape_debug()),
                    "copy `Certificate fingerprint` from the master's log",
                )
            })?),
        };
        if server.scheme() == "http" && !is_local(server) {
            let message = format!("{server} is not encrypted: it shows no certificate that could be trusted");
            let hint = format!("name it as {}, or leave out --ca and --fingerprint", with_scheme(server, "https"));
            return Err(CtlError::usage(message, hint));
        }
        Ok(Some(trust))
    }

    /// What a context remembers.
    pub(crate) fn of_context(context: &Context) -> Result<Self, CtlError> {
        let broken = |what: String| {
            let hint = "mend the file of contexts, or run `cloudctl login` with --ca or --fingerprint";
            CtlError::refused(exit::CONFIG, format!("the context of {}: {what}", context.server), hint)
        };
        if let Some(fingerprint) = given(context.fingerprint.as_deref()) {
            return fingerprint.parse().map(Self::Pinned).map_err(|error| broken(format!("fingerprint: {error}")));
        }
        match given(context.ca.as_deref()) {
            None => Ok(Self::System),
            Some(pem) => {
                roots(pem).map(|_| Self::Authorities(pem.to_owned())).map_err(|error| broken(format!("ca: {error}")))
            }
        }
    }

    /// The context that remembers it.
    pub(crate) fn keep_in(&self, context: Context) -> Context {
        let (ca, fingerprint) = match self {
            Self::System => (None, None),
            Self::Authorities(pem) => (Some(pem.clone()), None),
            Self::Pinned(fingerprint) => (None, Some(fingerprint.to_string())),
        };
        Context { ca, fingerprint, ..context }
    }
}

/// The same address with another scheme, as a person writes it.
pub(crate) fn with_scheme(server: &Url, scheme: &str) -> String {
    let rest = server.as_str().split_once("://").map_or(server.as_str(), |(_, rest)| rest);
    format!("{scheme}://{}", rest.trim_end_matches('/'))
}

/// The authorities of a list.
pub(crate) fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("a certificate cannot be read: {error}"))?;
        roots.add(certificate).map_err(|error| format!("a certificate cannot be used: {error}"))?;
    }
    if roots.is_empty() { Err("there is no certificate in it".to_owned()) } else { Ok(roots) }
}

/// The certificates in a file, without all else that may be in it: a private key is not to be kept.
fn read(path: &Path) -> Result<String, CtlError> {
    let mut text = String::new();
    let what = || format!("cannot read {}", path.display());
    let file = File::open(path).map_err(CtlError::local(what()))?;
    file.take(FILE_LIMIT + 1).read_to_string(&mut text).map_err(CtlError::local(what()))?;
    let refuse = |cause: String| {
        let hint = "give a file with certificates in PEM: `-----BEGIN CERTIFICATE-----` ...";
        CtlError::usage(format!("--ca {}: {cause}", path.display()), hint)
    };
    if text.len() as u64 > FILE_LIMIT {
        return Err(refuse(format!("it is larger than {FILE_LIMIT} bytes")));
    }
    let pem = certificates(&text);
    roots(&pem).map_err(refuse)?;
    Ok(pem)
}

fn certificates(text: &str) -> String {
    let [begin, end] = FENCES;
    let mut inside = false;
    let mut pem = String::new();
    for line in text.lines().map(str::trim) {
        inside |= line == begin;
        if inside {
            pem.extend([line, "\n"]);
        }
        inside &= line != end;
    }
    pem
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::context::parse_server;

    const PIN: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn pem() -> String {
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = rcgen::CertificateParams::new(vec!["box".into()]).expect("names").self_signed(&key);
        format!("{}{}", key.serialize_pem(), certificate.expect("a certificate").pem())
    }

    fn given(ca: Option<&Path>, fingerprint: Option<&str>, server: &str) -> Result<Option<Trust>, CtlError> {
        let (ca, fingerprint) = (ca.map(Path::to_owned), fingerprint.map(str::to_owned));
        let global = GlobalArgs { ca, fingerprint, ..GlobalArgs::default() };
        Trust::given(&global, &parse_server(server).expect("a server"))
    }

    #[test]
    fn what_is_said_is_what_is_trusted() {
        let pinned = Trust::Pinned(PIN.parse().expect("a fingerprint"));
        assert_eq!(given(None, Some(PIN), "https://h").expect("right"), Some(pinned.clone()));
        assert_eq!(given(None, Some(PIN), "127.0.0.1").expect("right"), Some(pinned));
        assert_eq!(given(Some(Path::new("")), Some(""), "https://h").expect("nothing"), None);
        for (fingerprint, server, said) in
            [("sha256:7", "https://h", "no fingerprint"), (PIN, "http://h:1", "not encrypted")]
        {
            let error = given(None, Some(fingerprint), server).expect_err(said);
            assert!(error.to_string().contains(said) && error.exit() == exit::USAGE, "{error}");
        }
        assert!(given(None, Some(PIN), "http://h:1").expect_err("plain").hint().contains("https://h:1,"));
    }

    #[test]
    fn of_a_file_only_the_certificates_are_kept() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("ca.pem");
        let (one, two) = (pem(), pem());
        fs::write(&path, format!("a comment\n{one}\r\n{two}")).expect("written");
        let Some(Trust::Authorities(kept)) = given(Some(&path), None, "https://h").expect("right") else {
            panic!("something else")
        };
        assert_eq!(kept.matches(FENCES[0]).count(), 2);
        assert!(!kept.contains("PRIVATE") && !kept.contains("comment"), "{kept}");
        assert!(given(Some(&path), Some(PIN), "https://h").is_err(), "two ways at once");
        let context = Trust::Authorities(kept.clone()).keep_in(Context::default());
        fs::remove_file(&path).expect("removed");
        assert_eq!(Trust::of_context(&context).expect("kept"), Trust::Authorities(kept));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let path = home.path().join("ca.pem");
        let [begin, end] = FENCES;
        for (content, said) in [
            (String::new(), "no certificate"),
            (format!("{begin}\nAAAA\n{end}\n"), "cannot be used"),
            (format!("{begin}\n?\n{end}\n"), "cannot be read"),
            ("x".repeat(FILE_LIMIT as usize + 1), "larger than"),
        ] {
            fs::write(&path, content).expect("written");
            let error = given(Some(&path), None, "https://h").expect_err(said);
            assert!(error.to_string().contains(said) && error.exit() == exit::USAGE, "{error}");
        }
        let error = given(Some(&home.path().join("nowhere")), None, "https://h").expect_err("no file");
        assert_eq!(error.exit(), exit::NOT_FOUND);
    }

    #[test]
    fn a_context_remembers_and_forgets() {
        let pinned = Trust::Pinned(PIN.parse().expect("a fingerprint"));
        let context = pinned.keep_in(Context { ca: Some("old".into()), ..Context::default() });
        assert_eq!((context.fingerprint.as_deref(), context.ca.as_deref()), (Some(PIN), None));
        assert_eq!(Trust::of_context(&context).expect("kept"), pinned);
        assert_eq!(Trust::of_context(&Trust::System.keep_in(context)).expect("kept"), Trust::System);
        for broken in [
            Context { fingerprint: Some("sha256:7".into()), ..Context::default() },
            Context { ca: Some("nonsense".into()), ..Context::default() },
        ] {
            assert_eq!(Trust::of_context(&broken).expect_err("broken").exit(), exit::CONFIG);
        }
    }

    #[test]
    fn an_address_gets_another_scheme_and_keeps_its_port() {
        let server = parse_server("http://h:443/cloud").expect("a server");
        assert_eq!(with_scheme(&server, "https"), "https://h:443/cloud");
    }
}
