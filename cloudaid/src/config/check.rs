//! From texts to the typed configuration of a role, all problems found together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use shared::id::WorkerId;
use shared::resources::{InvalidQuantity, Quantity};

use super::layers::{Layers, Value};
use super::problem::{ConfigError, Problem};
use super::table::{self, Role, Setting};
use super::{
    CapacityOverrides, DevConfig, LeaseSettings, LogFormat, LogSettings, MasterConfig, Secret, WorkerConfig,
    WorkerToken, parse, secret,
};
use crate::observe;

/// No interval of a lease is shorter: it would only keep the machine busy.
const LEASE_MIN: Duration = Duration::from_millis(10);
/// No interval of a lease is longer: a lost worker would hold its tasks for more than a day.
const LEASE_MAX: Duration = Duration::from_secs(86_400);
/// A login lasts at least this long.
const TTL_MIN: Duration = Duration::from_secs(1);
/// And at most this long, as there is no other end to a stolen token.
const TTL_MAX: Duration = Duration::from_secs(30 * 86_400);

/// The settings as they were found, to be checked for one role.
#[derive(Debug, Clone)]
pub struct Settings {
    layers: Layers,
}

impl Settings {
    /// Of what was read.
    #[must_use]
    pub fn new(layers: Layers) -> Self {
        Self { layers }
    }

    /// Where they came from.
    #[must_use]
    pub fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Worth a line in the log each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.layers.warnings
    }

    /// For `cloudaid master`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn master(&self) -> Result<(LogSettings, MasterConfig), ConfigError> {
        self.check(Role::Master, |check| check.master())
    }

    /// For `cloudaid worker`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn worker(&self) -> Result<(LogSettings, WorkerConfig), ConfigError> {
        self.check(Role::Worker, |check| {
            let data_dir = check.path(&table::WORKER_DATA_DIR);
            let masters = check.required(&table::WORKER_MASTER, "give --master HOST:PORT", parse::masters);
            let token = check.token();
            check.worker(data_dir, masters, token)
        })
    }

    /// For `cloudaid dev`.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn dev(&self) -> Result<(LogSettings, DevConfig), ConfigError> {
        self.check(Role::Dev, |check| {
            let data_dir = check.path(&table::DEV_DATA_DIR);
            let master_dir = data_dir.as_ref().map(|dir| dir.join("master"));
            let token = master_dir.as_ref().map(|dir| WorkerToken::File(dir.join("worker.token")));
            let master = check.master_at(master_dir);
            let grpc = master.as_ref().map(|master| vec![format!("http://{}", master.grpc)]);
            let worker = check.worker(data_dir.map(|dir| dir.join("worker")), grpc, token);
            let contexts_file = check.layers.machine.contexts_file();
            Some(DevConfig {
                master: MasterConfig { bootstrap_admin: true, ..master? },
                worker: worker?,
                contexts_file,
            })
        })
    }

    fn check<T>(
        &self,
        role: Role,
        build: impl FnOnce(&mut Check<'_>) -> Option<T>,
    ) -> Result<(LogSettings, T), ConfigError> {
        let mut check = Check { layers: &self.layers, role, problems: self.layers.problems.clone() };
        let log = check.log();
        let config = build(&mut check);
        match (log, config) {
            (Some(log), Some(config)) if check.problems.is_empty() => Ok((log, config)),
            _ => Err(ConfigError { problems: check.problems }),
        }
    }
}

/// Collects what is wrong. A method returns nothing only after it has said why.
struct Check<'a> {
    layers: &'a Layers,
    role: Role,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn log(&mut self) -> Option<LogSettings> {
        let format = self.required(&table::LOG_FORMAT, "", |text| match text.trim() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("`{}` is neither `text` nor `json`", parse::shown(other))),
        });
        let filter = self.required(&table::LOG_LEVEL, "", observe::filter);
        Some(LogSettings { format: format?, filter: filter? })
    }

    fn master(&mut self) -> Option<MasterConfig> {
        let data_dir = self.path(&table::MASTER_DATA_DIR);
        self.master_at(data_dir)
    }

    fn master_at(&mut self, data_dir: Option<PathBuf>) -> Option<MasterConfig> {
        let plaintext = self.required(&table::PLAINTEXT, "", parse::switch);
        let http = self.listen(&table::HTTP, plaintext);
        let grpc = self.listen(&table::GRPC, plaintext);
        if let (Some(http), Some(grpc)) = (http, grpc)
            && http == grpc
            && http.port() != 0
        {
            self.refuse(&table::GRPC, format!("`{grpc}` is master.http already; give each a port of its own"));
        }
        let jwt_secret = self.optional(&table::JWT_SECRET, secret::signing_secret);
        let token_ttl = self.required(&table::TOKEN_TTL, "", |text| parse::duration(text, TTL_MIN, TTL_MAX));
        let print_task_logs = self.required(&table::PRINT_TASK_LOGS, "", parse::switch);
        let leases = self.leases();
        let attempts = self.required(&table::INFRASTRUCTURE_ATTEMPTS, "", |text| parse::whole(text, 1..=100));
        Some(MasterConfig {
            data_dir: data_dir?,
            http: http?,
            grpc: grpc?,
            jwt_secret,
            token_ttl: token_ttl?,
            print_task_logs: print_task_logs?,
            leases: leases?,
            infrastructure_attempts: attempts?,
            bootstrap_admin: false,
        })
    }

    fn listen(&mut self, row: &'static Setting, plaintext: Option<bool>) -> Option<SocketAddr> {
        let address = self.required(row, "", parse::listen)?;
        // Where `plaintext` itself is wrong, one complaint is enough.
        if plaintext == Some(false) && !parse::is_loopback(address.ip()) {
            let message = format!(
                "`{address}` is open to the network and nothing is encrypted; listen on 127.0.0.1 behind a proxy with \
                 TLS, or give --plaintext if everybody on that network may read along"
            );
            self.refuse(row, message);
        }
        Some(address)
    }

    fn leases(&mut self) -> Option<LeaseSettings> {
        let mut read = |row| self.required(row, "", |text| parse::duration(text, LEASE_MIN, LEASE_MAX));
        let (heartbeat, suspect) = (read(&table::HEARTBEAT), read(&table::SUSPECT));
        let (lease, reassign) = (read(&table::LEASE), read(&table::REASSIGN));
        let start_grace = read(&table::START_GRACE);
        let leases = LeaseSettings {
            heartbeat: heartbeat?,
            suspect: suspect?,
            lease: lease?,
            reassign: reassign?,
            start_grace: start_grace?,
        };
        let order = [
            (&table::HEARTBEAT, leases.heartbeat),
            (&table::SUSPECT, leases.suspect),
            (&table::LEASE, leases.lease),
            (&table::REASSIGN, leases.reassign),
        ];
        for pair in order.windows(2) {
            if let [(shorter, short), (row, long)] = pair
                && short >= long
            {
                let (long, short) = (parse::in_words(*long), parse::in_words(*short));
                let message = format!(
                    "`{long}` is not longer than {}, which is {short}; heartbeat < suspect < lease < reassign must hold",
                    shorter.name
                );
                self.refuse(row, message);
            }
        }
        Some(leases)
    }

    fn worker(
        &mut self,
        data_dir: Option<PathBuf>,
        masters: Option<Vec<String>>,
        token: Option<WorkerToken>,
    ) -> Option<WorkerConfig> {
        let name =
            self.required(&table::WORKER_NAME, "the host name is no valid worker name; give --name NAME", |text| {
                text.trim().parse::<WorkerId>().map_err(|error| error.to_string())
            });
        let docker_host = self.optional(&table::DOCKER_HOST, parse::docker_host);
        let overrides = CapacityOverrides {
            cpu_millis: self.amount(&table::CPU, Quantity::to_millis, 1),
            memory_bytes: self.amount(&table::MEMORY, Quantity::to_bytes, 1),
            storage_bytes: self.amount(&table::STORAGE, Quantity::to_bytes, 0),
            gpu_millis: self.amount(&table::GPU, Quantity::to_millis, 0),
        };
        let labels: BTreeMap<_, _> = self.optional(&table::LABELS, parse::labels).unwrap_or_default();
        let advertise = self.optional(&table::ADVERTISE, parse::advertise);
        Some(WorkerConfig {
            masters: masters?,
            name: name?,
            data_dir: data_dir?,
            token: token?,
            docker_host,
            overrides,
            labels,
            advertise,
        })
    }

    /// The token that stands on the higher layer; two on one layer are a contradiction.
    fn token(&mut self) -> Option<WorkerToken> {
        let file = self.layers.value(&table::TOKEN_FILE, self.role);
        let inline = self.layers.value(&table::WORKER_TOKEN, self.role);
        match (file, inline) {
            (None, None) => {
                let message = "a worker proves itself with a secret; give --token-file FILE or CLOUDAI_WORKER_TOKEN. The \
                               master keeps it as `worker.token` in its data directory";
                self.push(&table::TOKEN_FILE, message.to_owned(), None, true);
                None
            }
            (Some(file), Some(inline)) if file.origin.layer() == inline.origin.layer() => {
                let message = format!("it is set, and so is {}; keep one of the two", inline.origin);
                self.push(&table::TOKEN_FILE, message, Some(file.origin.to_string()), false);
                None
            }
            (Some(file), inline) if inline.as_ref().is_none_or(|inline| inline.origin < file.origin) => {
                Some(WorkerToken::File(absolute(&self.layers.machine.expand(&file.text))))
            }
            (_, inline) => inline.map(|inline| WorkerToken::Inline(Secret::new(inline.text.trim()))),
        }
    }

    fn path(&mut self, row: &'static Setting) -> Option<PathBuf> {
        let machine = &self.layers.machine;
        self.required(row, "there is no home directory to put it into; give --data-dir DIR", |text| {
            Ok(absolute(&machine.expand(text)))
        })
    }

    fn amount(
        &mut self,
        row: &'static Setting,
        convert: fn(&Quantity, &str) -> Result<u64, InvalidQuantity>,
        least: u64,
    ) -> Option<u64> {
        let key = row.name.rsplit('.').next().unwrap_or(row.name);
        self.optional(row, |text| match convert(&Quantity::Text(text.to_owned()), key) {
            Ok(amount) if amount < least => {
                Err("a worker without it can run nothing; leave it unset to offer all".into())
            }
            Ok(amount) => Ok(amount),
            // The message begins with the setting's name anyway.
            Err(error) => Err(error.to_string().trim_start_matches(&format!("{key}: ")).to_owned()),
        })
    }

    fn required<T>(
        &mut self,
        row: &'static Setting,
        missing: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match self.layers.value(row, self.role) {
            Some(value) => self.parsed(row, &value, parse),
            None => {
                self.push(row, missing.to_owned(), None, true);
                None
            }
        }
    }

    fn optional<T>(&mut self, row: &'static Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let value = self.layers.value(row, self.role)?;
        self.parsed(row, &value, parse)
    }

    fn parsed<T>(
        &mut self,
        row: &'static Setting,
        value: &Value,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(&value.text) {
            Ok(parsed) => Some(parsed),
            Err(message) => {
                self.push(row, message, Some(value.origin.to_string()), false);
                None
            }
        }
    }

    fn refuse(&mut self, row: &'static Setting, message: String) {
        let origin = self.layers.value(row, self.role).map(|value| value.origin.to_string());
        self.push(row, message, origin, false);
    }

    fn push(&mut self, row: &'static Setting, message: String, origin: Option<String>, missing: bool) {
        self.problems.push(Problem { setting: row.name.to_owned(), message, origin, missing });
    }
}

/// Messages and other programs get a path that means the same in every directory.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
