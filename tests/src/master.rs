//! A master as a process.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::{fs, io};

use shared::view::{LoginView, SetupRequest};

use crate::api::Api;
use crate::port::Port;
use crate::process::{Process, Recipe, program};
use crate::wait::{PATIENCE, eventually};

/// The first admin of every cluster.
pub const ADMIN: &str = "admin";
/// Their password.
pub const ADMIN_PASSWORD: &str = "correct horse battery";

/// What a test changes about a master.
#[derive(Debug, Clone, Default)]
pub struct MasterOptions {
    /// Whether workers may come from other networks than this machine's own.
    pub reachable: bool,
    /// More arguments.
    pub args: Vec<String>,
    /// Environment, for example `CLOUDAI_LEASES_REASSIGN`.
    pub env: Vec<(String, String)>,
}

impl MasterOptions {
    /// A master on a MongoDB, without which it does not start.
    #[must_use]
    pub fn on_mongo(uri: &str) -> Self {
        let env = [("MONGODB_URI", uri), ("CLOUDAI_MONGODB_REQUIRED", "true")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Self { args: vec!["--store".to_owned(), "mongodb".to_owned()], env, ..Self::default() }
    }
}

/// A master that was set up, with its first admin.
#[derive(Debug)]
pub struct Master {
    /// The process.
    pub process: Process,
    http: Port,
    grpc: Port,
    data_dir: PathBuf,
    token: String,
}

impl Master {
    /// Starts a master with a fresh data directory below `dir`, waits until it is ready, and makes the first admin.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn start(dir: &Path, options: &MasterOptions) -> Self {
        let mut master = Self::spawn(dir, options).await;
        master.token = master.set_up().await;
        master
    }

    /// Starts a master on a store that has accounts already, with the keys of the master in `keys`, and waits until it is
    /// ready. The admin logs in.
    ///
    /// # Panics
    /// When it does not become ready.
    pub async fn with_token(dir: &Path, options: &MasterOptions, keys: &Path) -> Self {
        let data_dir = dir.join("data");
        fs::create_dir_all(&data_dir).expect("a directory");
        for entry in fs::read_dir(keys).expect("the keys").flatten() {
            let name = entry.file_name();
            if entry.path().is_dir() && name == "tls" || entry.path().is_file() && name != "lock" {
                let copied = std::process::Command::new("cp").arg("-r").arg(entry.path()).arg(&data_dir).status();
                assert!(copied.expect("cp").success());
            }
        }
        let mut master = Self::spawn(dir, options).await;
        master.token = master.api().log_in(ADMIN).await.token;
        master
    }

    async fn spawn(dir: &Path, options: &MasterOptions) -> Self {
        let (http, grpc) = (Port::take(), Port::take());
        let data_dir = dir.join("data");
        let mut args: Vec<String> = ["master", "--data-dir"].map(String::from).into();
        args.push(data_dir.display().to_string());
        let for_workers =
            if options.reachable { grpc.address().replace("127.0.0.1", "0.0.0.0") } else { grpc.address() };
        args.extend(["--http".to_owned(), http.address(), "--grpc".to_owned(), for_workers]);
        args.extend(options.args.iter().cloned());
        let recipe = Recipe {
            name: "master".to_owned(),
            program: program("cloudaid"),
            args,
            env: options.env.clone(),
            dir: dir.to_owned(),
        };
        let process = Process::start(recipe);
        let mut master = Self { process, http, grpc, data_dir, token: String::new() };
        master.ready().await;
        master
    }

    /// Waits until it answers that it is ready.
    ///
    /// # Panics
    /// When it ends instead, or takes too long.
    pub async fn ready(&mut self) {
        let api = self.api();
        let process = &mut self.process;
        eventually(PATIENCE, "the master is ready", || {
            process.assert_runs();
            let ready = api.is_ready();
            async move { ready.await.then_some(()) }
        })
        .await;
    }

    async fn set_up(&self) -> String {
        let setup_token = self.read("setup.token").expect("the setup token");
        let request = SetupRequest { setup_token, username: ADMIN.to_owned(), password: ADMIN_PASSWORD.to_owned() };
        let login: LoginView = self.api().post("/api/auth/setup", &request).await.expect("set-up");
        login.token
    }

    fn read(&self, file: &str) -> io::Result<String> {
        fs::read_to_string(self.data_dir.join(file)).map(|text| text.trim().to_owned())
    }

    /// Kills it.
    pub fn kill9(&mut self) {
        self.process.kill9();
    }

    /// Starts it again on the same data and ports, and waits until it is ready.
    pub async fn restart(&mut self) {
        self.process.start_again();
        self.ready().await;
    }

    /// Kills it, and starts it again.
    pub async fn restart_after_kill(&mut self) {
        self.kill9();
        self.restart().await;
    }

    /// Asks it to stop, and waits until it has.
    pub async fn term(&mut self) -> ExitStatus {
        self.process.term().await
    }

    /// A client with the admin's token.
    #[must_use]
    pub fn api(&self) -> Api {
        Api::new(self.url(), self.token.clone())
    }

    /// `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http.address())
    }

    /// Where workers connect.
    #[must_use]
    pub fn grpc_address(&self) -> String {
        self.grpc.address()
    }

    /// The admin's token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }
}
