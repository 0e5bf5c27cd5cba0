//! The master's settings.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use cloudaid_core::files::FileUsage;
use cloudaid_core::images::ImageRules;
use shared::confinement::NetworkAccess;

use super::{Check, absolute};
use crate::config::table;
use crate::config::{
    FileSettings, LeaseSettings, MasterConfig, Registration, Secret, TaskLogSettings, TlsSettings, parse, secret,
};
use crate::http::Site;
use crate::master::files::S3Config;
use crate::master::logs::{KEEP_MIN, Keep};
use crate::tls::own::OwnFiles;

/// No interval of a lease is shorter: it would only keep the machine busy.
const LEASE_MIN: Duration = Duration::from_millis(10);
/// No interval of a lease is longer: a lost worker would hold its tasks for more than a day.
const LEASE_MAX: Duration = Duration::from_secs(86_400);
/// A worker's certificate is good for at least this long: it is renewed after two thirds of it.
const CERTIFICATE_MIN: Duration = Duration::from_secs(3);
/// And at most this long, as NIST SP 800-57 and others ask of keys that nobody looks after.
const CERTIFICATE_MAX: Duration = Duration::from_secs(90 * 86_400);
/// A token lets in for at least this long.
const TTL_MIN: Duration = Duration::from_secs(1);
/// And at most this long: whoever steals one has nothing that renews it.
const TTL_MAX: Duration = Duration::from_secs(86_400);

/// NIST SP 800-63B-4 asks for 8 characters at least; and nobody remembers a password that is longer than the other end.
const PASSWORD_LENGTH: RangeInclusive<u32> = 8..=128;

/// Files stay for at least this long: whoever has uploaded some needs a moment to submit.
const RETENTION_MIN: Duration = Duration::from_secs(1);
const RETENTION_MAX: Duration = Duration::from_secs(36_500 * 86_400);

impl Check<'_> {
    pub(in crate::config) fn master(&mut self) -> Option<MasterConfig> {
        let data_dir = self.path(&table::MASTER_DATA_DIR);
        self.master_at(data_dir)
    }

    pub(in crate::config) fn master_at(&mut self, data_dir: Option<PathBuf>) -> Option<MasterConfig> {
        let plaintext = self.required(&table::PLAINTEXT, "", parse::switch);
        let http = self.required(&table::HTTP, "", parse::listen);
        let grpc = self.required(&table::GRPC, "", parse::listen);
        if let (Some(http), Some(grpc)) = (http, grpc)
            && http == grpc
            && http.port() != 0
        {
            self.refuse(&table::GRPC, format!("`{grpc}` is master.http already; give each a port of its own"));
        }
        let jwt_secret = self.optional(&table::JWT_SECRET, secret::signing_secret);
        let previous_jwt_secret = self.optional(&table::PREVIOUS_JWT_SECRET, secret::signing_secret);
        if previous_jwt_secret.is_some() && jwt_secret.is_none() {
            let message = "there is no JWT_SECRET that it was replaced by; set both or none".to_owned();
            self.refuse(&table::PREVIOUS_JWT_SECRET, message);
        }
        let own = self.own_certificate(plaintext);
        let http_tls = match (http, plaintext) {
            (Some(http), Some(plaintext)) => !plaintext && (own.is_some() || !parse::is_loopback(http.ip())),
            _ => false,
        };
        let site = self.site(http_tls);
        let names = self.names(site.as_ref(), [http, grpc]);
        let certificate_ttl = self.required(&table::WORKER_CERTIFICATE_TTL, "", |text| {
            parse::duration(text, CERTIFICATE_MIN, CERTIFICATE_MAX)
        });
        let allow_plaintext_workers = self.required(&table::ALLOW_PLAINTEXT_WORKERS, "", parse::switch);
        let open_admission = self.required(&table::ADMISSION, "", |text| match text.trim() {
            "approve" => Ok(false),
            "open" => Ok(true),
            other => Err(format!("`{}` is neither `approve` nor `open`", parse::shown(other))),
        });
        let access_log = self.required(&table::ACCESS_LOG, "", parse::switch);
        let token_ttl = self.required(&table::TOKEN_TTL, "", |text| parse::duration(text, TTL_MIN, TTL_MAX));
        let registration = self.required(&table::REGISTRATION, "", |text| match text.trim() {
            "closed" => Ok(Registration::Closed),
            "invite" => Ok(Registration::Invite),
            "open" => Ok(Registration::Open),
            other => Err(format!("`{}` is not `closed`, `invite` or `open`", parse::shown(other))),
        });
        let least_password_chars =
            self.required(&table::PASSWORD_LENGTH, "", |text| parse::whole(text, PASSWORD_LENGTH));
        let print_task_logs = self.required(&table::PRINT_TASK_LOGS, "", parse::switch);
        let leases = self.leases();
        let attempts = self.required(&table::INFRASTRUCTURE_ATTEMPTS, "", |text| parse::whole(text, 1..=100));
        let task_profile = self.required(&table::TASK_PROFILE, "", |text| {
            text.trim().parse().map_err(|error| format!("`{}`: {error}", parse::shown(text)))
        });
        let strict_users = self.optional(&table::STRICT_USERS, parse::users).unwrap_or_default();
        let strict_pools = self.optional(&table::STRICT_POOLS, parse::pools).unwrap_or_default();
        let strict_network = self.required(&table::STRICT_NETWORK, "", |text| match text.trim() {
            "none" => Ok(NetworkAccess::None),
            "public" => Ok(NetworkAccess::Public),
            other => Err(format!("`{}` is not `none` or `public`", parse::shown(other))),
        });
        let allowed = self.optional(&table::IMAGES_ALLOWED, parse::images).unwrap_or_default();
        let require_digest = self.required(&table::IMAGES_REQUIRE_DIGEST, "", parse::switch);
        let files = self.files();
        let task_logs = self.task_logs();
        let store = self.store();
        Some(MasterConfig {
            data_dir: data_dir?,
            http: http?,
            grpc: grpc?,
            jwt_secret,
            previous_jwt_secret,
            site: site?,
            access_log: access_log?,
            token_ttl: token_ttl?,
            registration: registration?,
            least_password_chars: least_password_chars? as usize,
            print_task_logs: print_task_logs?,
            leases: leases?,
            infrastructure_attempts: attempts?,
            task_profile: task_profile?,
            strict_users,
            strict_pools,
            strict_network: strict_network?,
            images: ImageRules { allowed, require_digest: require_digest? },
            files: files?,
            task_logs: task_logs?,
            store: store?,
            tls: TlsSettings { http: http_tls, own, names },
            worker_certificate_ttl: certificate_ttl?,
            allow_plaintext_workers: allow_plaintext_workers?,
            open_admission: open_admission?,
            bootstrap_admin: false,
            bootstrap_worker: None,
        })
    }

    fn files(&mut self) -> Option<FileSettings> {
        let is_remote = self.required(&table::FILES_STORE, "", |text| match text.trim() {
            "local" => Ok(false),
            "s3" => Ok(true),
            other => Err(format!("`{}` is neither `local` nor `s3`", parse::shown(other))),
        })?;
        let s3 = if is_remote { Some(self.bucket()?) } else { None };
        let mut read = |row| self.required(row, "", |text| parse::retention(text, RETENTION_MIN, RETENTION_MAX));
        let (retention, input_retention) = (read(&table::RETENTION), read(&table::INPUT_RETENTION));
        let bytes = self.required(&table::USER_BYTES, "", parse::bytes);
        let files = self.required(&table::USER_FILES, "", |text| parse::whole(text, 0..=u32::MAX));
        let quota = FileUsage { bytes: bytes?, files: u64::from(files?) };
        Some(FileSettings { s3, retention: retention?, input_retention: input_retention?, quota })
    }

    fn task_logs(&mut self) -> Option<TaskLogSettings> {
        let keep = self.required(&table::LOGS_KEEP, "", |text| parse::size_or_all(text, KEEP_MIN));
        let total = self.required(&table::LOGS_TOTAL, "", |text| parse::size_or_all(text, KEEP_MIN));
        let read = |text: &str| parse::retention(text, RETENTION_MIN, RETENTION_MAX);
        let retention = self.required(&table::LOGS_RETENTION, "", read);
        let failed_retention = self.optional(&table::LOGS_FAILED_RETENTION, read).or(retention);
        Some(TaskLogSettings {
            keep: keep?.map_or(Keep::ALL, Keep::at_most),
            total: total?,
            retention: retention?,
            failed_retention: failed_retention?,
        })
    }

    fn bucket(&mut self) -> Option<S3Config> {
        let name = |text: &str| match text.trim() {
            "" => Err("it is empty".to_owned()),
            name => Ok(name.to_owned()),
        };
        let bucket = self.required(&table::S3_BUCKET, "give the bucket that files.store = \"s3\" is about", name);
        let prefix = self.optional(&table::S3_PREFIX, name);
        let endpoint = self.optional(&table::S3_ENDPOINT, parse::endpoint);
        let region = self.required(&table::S3_REGION, "", name);
        let secret = |text: &str| Ok(Secret::new(text));
        let credentials = match (self.optional(&table::S3_KEY_ID, secret), self.optional(&table::S3_KEY, secret)) {
            (Some(id), Some(key)) => Some((id, key)),
            (None, None) => None,
            (Some(_), None) => {
                self.refuse(&table::S3_KEY, "there is an AWS_ACCESS_KEY_ID without it; set both or none".to_owned());
                None
            }
            (None, Some(_)) => {
                self.refuse(
                    &table::S3_KEY_ID,
                    "there is an AWS_SECRET_ACCESS_KEY without it; set both or none".to_owned(),
                );
                None
            }
        };
        let session = self.optional(&table::S3_SESSION, secret);
        Some(S3Config { bucket: bucket?, prefix, endpoint, region: region?, credentials, session })
    }

    /// Two files, or none.
    fn own_certificate(&mut self, plaintext: Option<bool>) -> Option<OwnFiles> {
        let machine = self.layers.machine.clone();
        let path = |text: &str| Ok(absolute(&machine.expand(text.trim())));
        match (self.optional(&table::TLS_CERTIFICATE, path), self.optional(&table::TLS_KEY, path)) {
            (Some(_), Some(_)) if plaintext == Some(true) => {
                let message = "there is a certificate, and --plaintext says not to use it; keep one of the two";
                self.refuse(&table::TLS_CERTIFICATE, message.to_owned());
                None
            }
            (Some(certificate), Some(key)) => Some(OwnFiles { certificate, key }),
            (None, None) => None,
            (Some(_), None) => {
                self.refuse(&table::TLS_CERTIFICATE, "there is no tls.key for it; set both or none".to_owned());
                None
            }
            (None, Some(_)) => {
                self.refuse(&table::TLS_KEY, "there is no tls.certificate for it; set both or none".to_owned());
                None
            }
        }
    }

    /// What this machine is called, and its addresses, where it does not listen on one of them only.
    fn names(&self, site: Option<&Site>, listening: [Option<SocketAddr>; 2]) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        names.extend(site.into_iter().flat_map(|site| site.hosts.iter().cloned()));
        for address in listening.into_iter().flatten().map(|address| address.ip()) {
            match address.is_unspecified() {
                true => names.extend(self.layers.machine.addresses.iter().map(ToString::to_string)),
                false => names.push(address.to_string()),
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    fn site(&mut self, tls: bool) -> Option<Site> {
        let named = self.optional(&table::HOSTS, parse::hosts);
        let machine = self.layers.machine.host.to_ascii_lowercase();
        let hosts = named.unwrap_or_default().into_iter().chain(Some(machine).filter(|host| !host.is_empty()));
        let origins = self.optional(&table::ORIGINS, parse::origins).unwrap_or_default();
        let encrypted = self.required(&table::TLS_PROXY, "", parse::switch)? || tls;
        Some(Site { hosts: hosts.collect(), origins, encrypted })
    }

    fn leases(&mut self) -> Option<LeaseSettings> {
        let mut read = |row| self.required(row, "", |text| parse::duration(text, LEASE_MIN, LEASE_MAX));
        let (heartbeat, suspect) = (read(&table::HEARTBEAT), read(&table::SUSPECT));
        let (lease, reassign) = (read(&table::LEASE), read(&table::REASSIGN));
        let (start_grace, mass_loss_hold) = (read(&table::START_GRACE), read(&table::MASS_LOSS_HOLD));
        let leases = LeaseSettings {
            heartbeat: heartbeat?,
            suspect: suspect?,
            lease: lease?,
            reassign: reassign?,
            start_grace: start_grace?,
            mass_loss_hold: mass_loss_hold?,
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
}
