//! From what was found to the typed configuration of a role.

use shared::worker::WorkerProtocol;

use super::check::Check;
use super::layers::Layers;
use super::problem::ConfigError;
use super::table::{self, Role};
use super::{DevConfig, DoctorConfig, LogSettings, MasterConfig, WorkerConfig, parse};
use crate::tools::{Kind, Places};

/// The settings as they were found, to be checked for one role.
#[derive(Debug, Clone)]
pub struct Settings {
    pub(super) layers: Layers,
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
            let masters = match check.protocol() {
                // Its master finds it.
                Some(WorkerProtocol::Seed) => Some(Vec::new()),
                Some(WorkerProtocol::Session) | None => {
                    check.required(&table::WORKER_MASTER, "give --master HOST:PORT", parse::masters)
                }
            };
            check.worker(data_dir, masters)
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
            let master = check.master_at(master_dir);
            let grpc = master.as_ref().map(|master| vec![master.grpc.to_string()]);
            let worker = check.worker(data_dir.map(|dir| dir.join("worker")), grpc)?;
            let contexts_file = check.layers.machine.contexts_file();
            let bootstrap_worker = Some(worker.name.clone());
            Some(DevConfig {
                master: MasterConfig { bootstrap_admin: true, bootstrap_worker, ..master? },
                worker,
                contexts_file,
            })
        })
    }

    /// For `cloudaid store`: the places of both kinds of stores.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn places(&self) -> Result<(LogSettings, Places), ConfigError> {
        self.check(Role::Master, |check| {
            let data_dir = check.path(&table::MASTER_DATA_DIR);
            let kind = check.store().map(|store| store.mongodb.map_or(Kind::Sqlite, |_| Kind::Mongodb));
            let mongodb = check.mongodb();
            Some(Places { data_dir: data_dir?, mongodb: mongodb?, kind: kind? })
        })
    }

    /// For `cloudaid doctor`, as a worker reads them.
    ///
    /// # Errors
    /// Everything that is wrong with what it looks at.
    pub fn doctor(&self) -> Result<DoctorConfig, ConfigError> {
        self.check(Role::Worker, |check| check.doctor()).map(|(_, config)| config)
    }

    fn check<T>(
        &self,
        role: Role,
        build: impl FnOnce(&mut Check<'_>) -> Option<T>,
    ) -> Result<(LogSettings, T), ConfigError> {
        let mut check = Check::new(&self.layers, role);
        let log = check.log();
        let config = build(&mut check);
        match (log, config) {
            (Some(log), Some(config)) if check.problems.is_empty() => Ok((log, config)),
            _ => Err(ConfigError { problems: check.problems }),
        }
    }
}

#[cfg(test)]
mod tests;
