//! The master's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Check;
use crate::config::table::{self, Setting};
use crate::config::{LeaseSettings, MasterConfig, Registration, parse, secret};
use crate::http::Site;

/// No interval of a lease is shorter: it would only keep the machine busy.
const LEASE_MIN: Duration = Duration::from_millis(10);
/// No interval of a lease is longer: a lost worker would hold its tasks for more than a day.
const LEASE_MAX: Duration = Duration::from_secs(86_400);
/// A token lets in for at least this long.
const TTL_MIN: Duration = Duration::from_secs(1);
/// And at most this long: whoever steals one has nothing that renews it.
const TTL_MAX: Duration = Duration::from_secs(86_400);

impl Check<'_> {
    pub(in crate::config) fn master(&mut self) -> Option<MasterConfig> {
        let data_dir = self.path(&table::MASTER_DATA_DIR);
        self.master_at(data_dir)
    }

    pub(in crate::config) fn master_at(&mut self, data_dir: Option<PathBuf>) -> Option<MasterConfig> {
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
        let previous_jwt_secret = self.optional(&table::PREVIOUS_JWT_SECRET, secret::signing_secret);
        if previous_jwt_secret.is_some() && jwt_secret.is_none() {
            let message = "there is no JWT_SECRET that it was replaced by; set both or none".to_owned();
            self.refuse(&table::PREVIOUS_JWT_SECRET, message);
        }
        let site = self.site();
        let access_log = self.required(&table::ACCESS_LOG, "", parse::switch);
        let token_ttl = self.required(&table::TOKEN_TTL, "", |text| parse::duration(text, TTL_MIN, TTL_MAX));
        let registration = self.required(&table::REGISTRATION, "", |text| match text.trim() {
            "closed" => Ok(Registration::Closed),
            "invite" => Ok(Registration::Invite),
            "open" => Ok(Registration::Open),
            other => Err(format!("`{}` is not `closed`, `invite` or `open`", parse::shown(other))),
        });
        let print_task_logs = self.required(&table::PRINT_TASK_LOGS, "", parse::switch);
        let leases = self.leases();
        let attempts = self.required(&table::INFRASTRUCTURE_ATTEMPTS, "", |text| parse::whole(text, 1..=100));
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

    fn site(&mut self) -> Option<Site> {
        let named = self.optional(&table::HOSTS, parse::hosts);
        let machine = self.layers.machine.host.to_ascii_lowercase();
        let hosts = named.unwrap_or_default().into_iter().chain(Some(machine).filter(|host| !host.is_empty()));
        let origins = self.optional(&table::ORIGINS, parse::origins).unwrap_or_default();
        let encrypted = self.required(&table::TLS_PROXY, "", parse::switch)?;
        Some(Site { hosts: hosts.collect(), origins, encrypted })
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
}
