//! How the engine is set up, in our words.

use bollard::models::{SystemInfo, SystemVersion};

use super::errors::{Failure, within};
use super::{CALL_LIMIT, DockerRuntime, network};
use crate::runtime::{EngineFacts, Limit, RuntimeError};

/// How an engine begins to say that it listens where everybody may give it orders.
const OPEN: &str = "API is accessible on";

impl DockerRuntime {
    pub(super) async fn ask_how_it_is_set_up(&self) -> Result<EngineFacts, RuntimeError> {
        let engine = self.engine()?;
        let info = within(CALL_LIMIT, engine.info()).await.map_err(Failure::of_engine)?;
        let version = within(CALL_LIMIT, engine.version()).await.map_err(Failure::of_engine)?;
        Ok(facts(info, version))
    }

    /// Whether this process can have rules of the firewall for tasks, as it needs them to keep addresses from them.
    ///
    /// # Errors
    /// It cannot, in words.
    pub async fn firewall() -> Result<(), String> {
        network::firewall().await
    }
}

fn facts(info: SystemInfo, version: SystemVersion) -> EngineFacts {
    let runc = version.components.unwrap_or_default().into_iter().find(|component| component.name == "runc");
    let warnings = info.warnings.unwrap_or_default().into_iter();
    let missing = [
        (Limit::Memory, info.memory_limit),
        (Limit::Swap, info.swap_limit),
        (Limit::Cpu, info.cpu_cfs_quota),
        (Limit::Pids, info.pids_limit),
    ];
    EngineFacts {
        version: info.server_version,
        runc: runc.map(|runc| runc.version).filter(|version| !version.is_empty()),
        live_restore: info.live_restore_enabled,
        security: info.security_options.unwrap_or_default(),
        open: warnings.filter(|warning| warning.contains(OPEN)).collect(),
        cgroup_version: info.cgroup_version.map(|version| version.to_string()).filter(|version| !version.is_empty()),
        cgroup_driver: info.cgroup_driver.map(|driver| driver.to_string()).filter(|driver| !driver.is_empty()),
        missing: missing.into_iter().filter(|(_, has)| *has == Some(false)).map(|(limit, _)| limit).collect(),
        clock: info.system_time.as_deref().and_then(|text| text.parse().ok()),
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::{SystemInfoCgroupDriverEnum, SystemInfoCgroupVersionEnum, SystemVersionComponents};

    use shared::time::WallTime;

    use super::*;

    #[test]
    fn what_matters_is_found_in_what_an_engine_says() {
        let component = |name: &str, version: &str| SystemVersionComponents {
            name: name.to_owned(),
            version: version.to_owned(),
            details: None,
        };
        let components = Some(vec![component("containerd", "1.6.20~ds1"), component("runc", "1.1.5+ds1")]);
        let insecure = "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.";
        let info = SystemInfo {
            server_version: Some("20.10.24+dfsg1".to_owned()),
            live_restore_enabled: Some(false),
            security_options: Some(vec!["name=seccomp,profile=default".to_owned()]),
            warnings: Some(vec!["WARNING: No swap limit support".to_owned(), insecure.to_owned()]),
            cgroup_version: Some(SystemInfoCgroupVersionEnum::_1),
            cgroup_driver: Some(SystemInfoCgroupDriverEnum::CGROUPFS),
            memory_limit: Some(true),
            swap_limit: Some(false),
            system_time: Some("1970-01-01T00:00:01.5+00:00".to_owned()),
            ..SystemInfo::default()
        };
        let found = facts(info, SystemVersion { components, ..SystemVersion::default() });
        let expected = EngineFacts {
            version: Some("20.10.24+dfsg1".to_owned()),
            runc: Some("1.1.5+ds1".to_owned()),
            live_restore: Some(false),
            security: vec!["name=seccomp,profile=default".to_owned()],
            open: vec![insecure.to_owned()],
            cgroup_version: Some("1".to_owned()),
            cgroup_driver: Some("cgroupfs".to_owned()),
            missing: vec![Limit::Swap],
            clock: Some(WallTime(1500)),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn an_engine_that_says_nothing_is_not_blamed_for_it() {
        assert_eq!(facts(SystemInfo::default(), SystemVersion::default()), EngineFacts::default());
    }
}
