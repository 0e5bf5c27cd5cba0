//! A PostgreSQL of a test's own, with users: a server that speaks MongoDB's protocol on it has real passwords and rights.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::port::Port;
use crate::process::{Process, Recipe};
use crate::wait::{PATIENCE, eventually};

/// The password of everybody.
pub const PASSWORD: &str = "correct-horse";
/// It refuses to run as root.
const AS_POSTGRES: [&str; 4] = ["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"];

/// A running server.
#[derive(Debug)]
pub struct Postgres {
    port: Port,
    bin: PathBuf,
    _process: Process,
}

impl Postgres {
    /// Starts it, with its files below `dir`.
    ///
    /// # Panics
    /// When it is not installed or does not start: `tests/run.sh` installs it.
    pub async fn start(dir: &Path) -> Self {
        let bin = std::fs::read_dir("/usr/lib/postgresql").expect("run ./tests/run.sh").flatten();
        let bin = bin.map(|version| version.path().join("bin")).max().expect("run ./tests/run.sh");
        let home = dir.join("postgres");
        std::fs::create_dir_all(&home).expect("a directory");
        std::fs::write(home.join("password"), PASSWORD).expect("a password");
        let mut parent = Some(home.as_path());
        while let Some(directory) =
            parent.filter(|path| path.starts_with(std::env::temp_dir()) && *path != std::env::temp_dir())
        {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory, mode).expect("others may pass");
            parent = directory.parent();
        }
        run(Command::new("chown").args(["-R", "postgres:postgres"]).arg(&home));
        let data = home.join("data");
        let mut initdb = Command::new("setpriv");
        initdb.args(AS_POSTGRES).arg(bin.join("initdb")).arg("-D").arg(&data);
        run(initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-N", "--pwfile"]).arg(home.join("password")));
        let port = Port::take();
        let mut args: Vec<String> = AS_POSTGRES.map(str::to_owned).into();
        args.extend([bin.join("postgres").display().to_string(), "-D".to_owned(), data.display().to_string()]);
        args.extend(["-h", "127.0.0.1", "-p"].map(str::to_owned));
        args.extend([port.number.to_string(), "-k".to_owned(), home.display().to_string()]);
        let name = "postgres".to_owned();
        let recipe = Recipe { name, program: "/usr/bin/setpriv".into(), args, env: Vec::new(), dir: dir.to_owned() };
        let postgres = Self { port, bin, _process: Process::start(recipe) };
        eventually(PATIENCE, "PostgreSQL answers", || async { postgres.try_sql("SELECT 1").then_some(()) }).await;
        postgres
    }

    /// As the owner of everything.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres:{PASSWORD}@{}/postgres", self.port.address())
    }

    /// Runs statements as the owner of everything.
    ///
    /// # Panics
    /// When they fail.
    pub fn sql(&self, statements: &str) {
        assert!(self.try_sql(statements), "{statements}");
    }

    fn try_sql(&self, statements: &str) -> bool {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-qAt", "-v", "ON_ERROR_STOP=1", "-d"]).arg(self.url()).args(["-c", statements]);
        psql.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        psql.status().expect("psql").success()
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
