//! A real server that speaks MongoDB's protocol.
//!
//! Which one: `mongod` where it is installed, or else one that `tests/run.sh` builds from Go modules (FerretDB on SQLite). It
//! is the test's own, so it may be stopped and killed. A [`Database`] may be on another one.

use std::path::{Path, PathBuf};

use cloudaid::config::Secret;
use cloudaid::store::mongo::{MongoConfig, MongoStore};

use crate::port::Port;
use crate::process::{Process, Recipe};
use crate::wait::{PATIENCE, eventually};

/// A server of the test's own.
#[derive(Debug)]
pub struct Mongo {
    /// To stop it, kill it and start it again.
    pub process: Process,
    port: Port,
}

impl Mongo {
    /// Starts it, with its files in `dir`.
    ///
    /// # Panics
    /// When it does not answer, or there is none: `tests/run.sh` builds one.
    pub async fn start(dir: &Path) -> Self {
        let port = Port::take();
        let files = dir.join("mongo");
        std::fs::create_dir_all(&files).expect("the directory of a server");
        let number = port.number.to_string();
        let files = files.display().to_string();
        let (program, args) = match mongod() {
            Some(mongod) => (
                mongod,
                vec!["--dbpath".into(), files, "--bind_ip".into(), "127.0.0.1".into(), "--port".into(), number],
            ),
            None => {
                let built = std::env::var("CLOUDAI_TEST_MONGOWIRE").expect("run ./tests/run.sh");
                (built.into(), vec!["-listen".into(), port.address(), "-dir".into(), files])
            }
        };
        Self::start_program(dir, program, args, port).await
    }

    /// The one that is built, on a PostgreSQL, whose users are its users: they prove themselves with `authMechanism=PLAIN`.
    ///
    /// # Panics
    /// When it does not answer, or was not built: `tests/run.sh` builds it.
    pub async fn on_postgres(dir: &Path, url: &str) -> Self {
        let port = Port::take();
        let built = std::env::var("CLOUDAI_TEST_MONGOWIRE").expect("run ./tests/run.sh");
        let args = vec!["-listen".into(), port.address(), "-postgres".into(), url.to_owned()];
        Self::start_program(dir, built.into(), args, port).await
    }

    async fn start_program(dir: &Path, program: PathBuf, args: Vec<String>, port: Port) -> Self {
        let recipe = Recipe { name: "mongo".to_owned(), program, args, env: Vec::new(), dir: dir.to_owned() };
        let mongo = Self { process: Process::start(recipe), port };
        mongo.ready().await;
        mongo
    }

    /// Waits until it takes connections.
    ///
    /// # Panics
    /// When it does not.
    pub async fn ready(&self) {
        eventually(PATIENCE, "MongoDB answers", || async {
            tokio::net::TcpStream::connect(self.port.address()).await.ok()
        })
        .await;
    }

    /// `127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The URI of one of its databases.
    #[must_use]
    pub fn uri(&self, database: &str) -> String {
        format!("mongodb://{}/{database}", self.address())
    }
}

fn mongod() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("mongod")).find(|program| program.is_file())
}

/// A database that nobody else uses: on the server of `MONGODB_TEST_URI`, or on one of its own.
#[derive(Debug)]
pub struct Database {
    config: MongoConfig,
    uri: String,
    _server: Option<(Mongo, tempfile::TempDir)>,
}

impl Database {
    /// An empty one.
    ///
    /// # Panics
    /// When there is no server for it.
    pub async fn new() -> Self {
        let name = format!("cloudai-{:016x}", rand::random::<u64>());
        let (uri, server) = match std::env::var("MONGODB_TEST_URI") {
            Ok(uri) => (uri, None),
            Err(_) => {
                let dir = tempfile::tempdir().expect("a directory");
                let mongo = Mongo::start(dir.path()).await;
                (mongo.uri(&name), Some((mongo, dir)))
            }
        };
        let config = MongoConfig::from_uri(&Secret::new(&uri), &name).await.expect("a URI");
        Self { config: config.with_database(&name), uri, _server: server }
    }

    /// Its URI.
    #[must_use]
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// Where it is.
    #[must_use]
    pub fn config(&self) -> &MongoConfig {
        &self.config
    }

    /// A handle on it.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open(&self) -> MongoStore {
        MongoStore::open(&self.config).await.expect("a store")
    }
}
