//! A server that answers as much as a login needs, and remembers what it got to see.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use shared::tls::Fingerprint;
use shared::version::{HEADER, PRODUCT};

const LOGIN: &str = r#"{"token":"t1","expires_at":"2099-01-01T00:00:00Z","refresh_token":"r1","username":"ann"}"#;

/// What a server shows: its certificate and that of the authority behind it.
pub(crate) struct Chain {
    pub(crate) root_pem: String,
    pub(crate) root: CertificateDer<'static>,
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) key: Vec<u8>,
}

impl Chain {
    /// A new authority, and a certificate of it for these names.
    pub(crate) fn new(names: &[&str]) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a root");
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "a master");
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, &issuer).expect("a leaf").der().clone();
        Self { root_pem: issuer.pem(), root: issuer.der().clone(), leaf, key: key.serialize_der() }
    }

    fn config(&self) -> Arc<ServerConfig> {
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        let key = PrivatePkcs8KeyDer::from(self.key.clone());
        let chain = vec![self.leaf.clone(), self.root.clone()];
        Arc::new(config.with_single_cert(chain, key.into()).expect("a certificate and its key"))
    }
}

/// One on a port of its own, until the process ends.
pub(crate) struct Server {
    pub(crate) chain: Chain,
    scheme: &'static str,
    port: u16,
    state: Arc<State>,
}

struct State {
    tls: Mutex<Option<Arc<ServerConfig>>>,
    version: Mutex<String>,
    seen: Mutex<String>,
}

impl Server {
    /// With TLS.
    pub(crate) fn tls(chain: &Chain) -> Self {
        Self::start("https", Some(chain.config()), chain)
    }

    /// Without.
    pub(crate) fn plaintext() -> Self {
        Self::start("http", None, &Chain::new(&["localhost"]))
    }

    fn start(scheme: &'static str, tls: Option<Arc<ServerConfig>>, chain: &Chain) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let state =
            Arc::new(State { tls: Mutex::new(tls), version: Mutex::new(PRODUCT.to_owned()), seen: Mutex::default() });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = shared.clone();
                thread::spawn(move || state.serve(stream));
            }
        });
        Self { chain: chain.copy(), scheme, port, state }
    }

    /// Another one in its place.
    pub(crate) fn replaced_by(self, chain: &Chain) -> Self {
        *self.state.tls.lock().expect("no panic") = Some(chain.config());
        self.state.seen.lock().expect("no panic").clear();
        Self { chain: chain.copy(), ..self }
    }

    /// From now on it is a master of this version.
    pub(crate) fn set_version(&self, version: &str) {
        *self.state.version.lock().expect("no panic") = version.to_owned();
    }

    /// Its address under this name.
    pub(crate) fn url(&self, host: &str) -> String {
        format!("{}://{host}:{}", self.scheme, self.port)
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> String {
        self.state.seen.lock().expect("no panic").clone()
    }

    /// The fingerprint of its authority.
    pub(crate) fn root(&self) -> String {
        Fingerprint::of(&self.chain.root).to_string()
    }

    /// Its own.
    pub(crate) fn leaf(&self) -> String {
        Fingerprint::of(&self.chain.leaf).to_string()
    }
}

impl Chain {
    fn copy(&self) -> Self {
        let Self { root_pem, root, leaf, key } = self;
        Self { root_pem: root_pem.clone(), root: root.clone(), leaf: leaf.clone(), key: key.clone() }
    }
}

impl State {
    /// One connection. What goes wrong with it, the other end says.
    fn serve(&self, stream: TcpStream) {
        let tls = self.tls.lock().expect("no panic").clone();
        let _ = match tls {
            None => self.answer(stream),
            Some(config) => self.answer(StreamOwned::new(ServerConnection::new(config).expect("a connection"), stream)),
        };
    }

    /// Reads a request, and answers it.
    fn answer(&self, mut stream: impl Read + Write) -> std::io::Result<()> {
        let mut request = Vec::new();
        let mut buffer = [0; 8192];
        while !is_whole(&request) {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            request.extend_from_slice(&buffer[..read]);
        }
        let request = String::from_utf8_lossy(&request).into_owned();
        self.seen.lock().expect("no panic").push_str(&request);
        let (status, body) = match request.split_whitespace().nth(1) {
            Some("/api/auth/login") => ("200 OK", LOGIN),
            Some("/api/auth/me") => ("200 OK", r#"{"username":"ann","role":"user"}"#),
            Some("/api/auth/logout") => ("204 No Content", ""),
            Some("/health/live") => ("200 OK", "{}"),
            _ => ("400 Bad Request", ""),
        };
        let (version, length) = (self.version.lock().expect("no panic").clone(), body.len());
        write!(stream, "HTTP/1.1 {status}\r\nconnection: close\r\n{HEADER}: {version}\r\n")?;
        write!(stream, "content-length: {length}\r\n\r\n{body}")?;
        stream.flush()
    }
}

/// Whether this is all of a request, or none at all.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return request.first().is_some_and(|first| !first.is_ascii_uppercase());
    };
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    body.len() >= length.unwrap_or(0)
}
