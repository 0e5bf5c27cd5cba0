//! The worker's settings.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use shared::id::WorkerId;
use shared::resources::{InvalidQuantity, Quantity};
use shared::worker::WorkerProtocol;

use super::{Check, absolute};
use crate::config::layers::Origin;
use crate::config::table::{self, Role, Setting};
use crate::config::{CapacityOverrides, DoctorConfig, GpuSettings, JoinFrom, OnStop, Secret, WorkerConfig, parse};
use crate::runtime::docker::PullLimits;

/// A pull is looked at once a second.
const PULL_LIMIT_MIN: Duration = Duration::from_secs(1);

impl Check<'_> {
    pub(in crate::config) fn worker(
        &mut self,
        data_dir: Option<PathBuf>,
        masters: Option<Vec<String>>,
    ) -> Option<WorkerConfig> {
        let join = self.join();
        let name =
            self.required(&table::WORKER_NAME, "the host name is no valid worker name; give --name NAME", |text| {
                text.trim().parse::<WorkerId>().map_err(|error| error.to_string())
            });
        let docker_host = self.optional(&table::DOCKER_HOST, parse::docker_host);
        let registry_patience = self.up_to_a_week(&table::REGISTRY_PATIENCE, Duration::ZERO);
        let stall = self.up_to_a_week(&table::PULL_STALL_LIMIT, PULL_LIMIT_MIN);
        let total = self.up_to_a_week(&table::PULL_TIME_LIMIT, PULL_LIMIT_MIN);
        let on_stop = self.optional(&table::ON_STOP, |text| match text.trim() {
            "keep" => Ok(OnStop::Keep),
            "finish" => Ok(OnStop::Finish),
            "hand-back" => Ok(OnStop::HandBack),
            other => Err(format!("`{}` is no way to stop; give keep, finish or hand-back", parse::shown(other))),
        });
        let overrides = CapacityOverrides {
            cpu_millis: self.amount(&table::CPU, Quantity::to_millis, 1),
            memory_bytes: self.amount(&table::MEMORY, Quantity::to_bytes, 1),
            storage_bytes: self.amount(&table::STORAGE, Quantity::to_bytes, 0),
            gpu_millis: self.amount(&table::GPU, Quantity::to_millis, 0),
        };
        let image_room = self.required(&table::IMAGE_ROOM, "", parse::bytes);
        let gpus = self.gpus();
        let labels: BTreeMap<_, _> = self.optional(&table::LABELS, parse::labels).unwrap_or_default();
        let advertise = self.optional(&table::ADVERTISE, parse::advertise);
        let seed = self.seed();
        Some(WorkerConfig {
            masters: masters?,
            name: name?,
            data_dir: data_dir?,
            join,
            docker_host,
            registry_patience: registry_patience?,
            pull_limits: PullLimits { stall: stall?, total: total? },
            on_stop: on_stop.unwrap_or_default(),
            overrides,
            image_room: image_room?,
            gpus: gpus?,
            labels,
            advertise,
            seed,
        })
    }

    /// What is looked at where nothing runs yet: what else is wrong with the settings does not matter.
    pub(in crate::config) fn doctor(&mut self) -> Option<DoctorConfig> {
        let data_dir = self.path(&table::WORKER_DATA_DIR);
        let docker_host = self.required(&table::DOCKER_HOST, "", |text| Ok(parse::docker_host(text)));
        let image_room = self.required(&table::IMAGE_ROOM, "", parse::bytes);
        let gpus = self.gpus();
        Some(DoctorConfig { data_dir: data_dir?, docker_host: docker_host?, image_room: image_room?, gpus: gpus? })
    }

    fn gpus(&mut self) -> Option<GpuSettings> {
        let library = self.optional(&table::NVML, |text| Ok(PathBuf::from(text.trim())));
        let quarantine = self.up_to_a_week(&table::GPU_QUARANTINE, Duration::ZERO);
        Some(GpuSettings { library: library.map(|path| absolute(&path)), quarantine: quarantine? })
    }

    fn up_to_a_week(&mut self, row: &'static Setting, least: Duration) -> Option<Duration> {
        self.required(row, "", |text| parse::duration(text, least, Duration::from_secs(7 * 86_400)))
    }

    /// How the worker talks with its master. What is only for the other protocol would have no effect, so it is refused.
    pub(in crate::config) fn protocol(&mut self) -> Option<WorkerProtocol> {
        let protocol = self.required(&table::WORKER_PROTOCOL, "", |text| match text.trim() {
            "session" => Ok(WorkerProtocol::Session),
            "seed" => Ok(WorkerProtocol::Seed),
            other => Err(format!("`{}` is neither `session` nor `seed`", parse::shown(other))),
        })?;
        let (row, message) = match protocol {
            WorkerProtocol::Session => {
                (&table::WORKER_LISTEN, "a worker listens only with --protocol seed; give that too, or leave this out")
            }
            WorkerProtocol::Seed => (
                &table::WORKER_MASTER,
                "with --protocol seed the master says where it is when it registers the worker; leave this out, or give \
                 --protocol session",
            ),
        };
        if self.layers.value(row, self.role).is_some_and(|value| value.origin != Origin::Default) {
            self.refuse(row, message.to_owned());
        }
        Some(protocol)
    }

    /// Where a master of the first generation reaches the worker, if it is to have one.
    fn seed(&mut self) -> Option<SocketAddr> {
        let protocol = self.layers.value(&table::WORKER_PROTOCOL, self.role)?;
        let is_seed = self.role == Role::Worker && protocol.text.trim() == WorkerProtocol::Seed.as_str();
        is_seed.then(|| self.required(&table::WORKER_LISTEN, "", parse::listen)).flatten()
    }

    /// The join token that stands on the higher layer; two on one layer are a contradiction. A worker that has joined needs
    /// none.
    fn join(&mut self) -> Option<JoinFrom> {
        let file = self.layers.value(&table::JOIN_FILE, self.role);
        let inline = self.layers.value(&table::JOIN, self.role);
        match (file, inline) {
            (None, None) => None,
            (Some(file), Some(inline)) if file.origin.layer() == inline.origin.layer() => {
                let message = format!("it is set, and so is {}; keep one of the two", inline.origin);
                self.push(&table::JOIN_FILE, message, Some(file.origin.to_string()), false);
                None
            }
            (Some(file), inline) if inline.as_ref().is_none_or(|inline| inline.origin < file.origin) => {
                Some(JoinFrom::File(absolute(&self.layers.machine.expand(&file.text))))
            }
            (_, inline) => inline.map(|inline| JoinFrom::Inline(Secret::new(inline.text.trim()))),
        }
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
}
