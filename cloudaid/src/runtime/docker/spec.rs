//! A [`ContainerSpec`] as the engine's create request.
//!
//! Under the `standard` profile whatever runs under a plain `docker run IMAGE` runs here too, less what no batch job needs;
//! `strict` takes everything away that a program can do without. Fields that would give a task the host (privileged, host
//! namespaces, devices, volumes of the host) are never set by what a task says, so no request can ask for them.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, DeviceRequest, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions,
    MountVolumeOptionsDriverConfig, ResourcesUlimits, RestartPolicy, RestartPolicyNameEnum,
};
use shared::confinement::Profile;
use shared::resources::{MIB, Resources};
use shared::task::Command;

use super::image::ImageSays;
use super::labels::labels;
use super::{network, strict, threads};
use crate::runtime::{ContainerSpec, RuntimeError};

/// Where a container sees its output directory.
pub(super) const OUTPUT: &str = "/output";
/// Where it sees what its user has uploaded for it.
const INPUT: &str = "/input";
/// Where it may write what nobody keeps.
pub(super) const TEMPORARY: &str = "/tmp";
/// Capabilities of Docker's default set that no batch job needs.
const DROPPED: [&str; 3] = ["NET_RAW", "MKNOD", "AUDIT_WRITE"];
/// CPU time that the start of a container takes, with room to spare; the kernel's usual period, and its longest. All in
/// microseconds.
const START_QUOTA: u64 = 25_000;
const USUAL_PERIOD: u64 = 100_000;
const LONGEST_PERIOD: u64 = 1_000_000;
/// The least shared memory, which is also Docker's own default.
const SHM_FLOOR: u64 = 64 * MIB;
const LOG_FILES: &str = "2";

/// The create request for `spec` on a host with `host_cpus` CPUs.
/// `image`: its environment and, for the strict profile, what else matters of it.
pub(super) fn body(
    spec: &ContainerSpec,
    host_cpus: u64,
    image: &ImageSays,
) -> Result<ContainerCreateBody, RuntimeError> {
    let (entrypoint, cmd) = command(&spec.command)?;
    let mut env = threads::environment(&spec.env, &image.env, spec.resources.cpu_millis.min(host_cpus * 1000));
    let is_strict = spec.confinement.profile == Profile::Strict;
    if is_strict && !spec.env.contains_key("HOME") {
        // Of all that a home could be, this can be written to.
        env.push(format!("HOME={TEMPORARY}"));
    }
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        user: is_strict.then(|| strict::user(image.user.as_deref())),
        entrypoint,
        cmd,
        env: Some(env),
        labels: Some(labels(spec)),
        stop_timeout: Some(i64::try_from(spec.limits.stop_grace.as_secs()).unwrap_or(i64::MAX)),
        host_config: Some(host_config(spec, host_cpus, image)?),
        ..ContainerCreateBody::default()
    })
}

/// Entrypoint and command. Both are given whenever the task says what runs, so that nothing of the image's remains.
#[allow(clippy::type_complexity, reason = "the two optional lists of the engine's request")]
fn command(command: &Command) -> Result<(Option<Vec<String>>, Option<Vec<String>>), RuntimeError> {
    match command {
        Command::ImageDefault => Ok((None, None)),
        Command::Shell(line) => Ok((Some(vec!["/bin/sh".to_owned(), "-c".to_owned()]), Some(vec![line.clone()]))),
        Command::Argv(argv) => match argv.split_first() {
            Some((program, arguments)) if !program.is_empty() => {
                Ok((Some(vec![program.clone()]), Some(arguments.to_vec())))
            }
            _ => Err(RuntimeError::Setup("the command is empty: name a program, or leave the command out".to_owned())),
        },
    }
}

fn host_config(spec: &ContainerSpec, host_cpus: u64, image: &ImageSays) -> Result<HostConfig, RuntimeError> {
    let Resources { cpu_millis, memory_bytes, gpu_millis, .. } = spec.resources;
    let memory = Some(signed(memory_bytes)).filter(|bytes| *bytes > 0);
    // The engine refuses more CPUs than the host has.
    let share = CpuShare::of(cpu_millis.min(host_cpus * 1000));
    let host = HostConfig {
        // Equal: none of it is swap.
        memory,
        memory_swap: memory,
        nano_cpus: share.nanos,
        cpu_period: share.period,
        cpu_quota: share.quota,
        shm_size: Some(signed((memory_bytes / 4).max(SHM_FLOOR))),
        pids_limit: Some(spec.confinement.profile.processes().into()),
        ulimits: Some(vec![ulimit("core", 0)]),
        cap_drop: Some(DROPPED.map(str::to_owned).to_vec()),
        privileged: Some(false),
        // Without it, TERM does nothing to a shell that is process 1.
        init: Some(true),
        restart_policy: Some(RestartPolicy { name: Some(RestartPolicyNameEnum::NO), maximum_retry_count: None }),
        auto_remove: Some(false),
        network_mode: Some(network::name(spec.confinement.network).to_owned()),
        mounts: Some(mounts(spec)?),
        device_requests: (gpu_millis > 0).then(|| vec![gpus(&spec.gpus, gpu_millis)]),
        ..HostConfig::default()
    };
    Ok(match spec.confinement.profile {
        Profile::Standard => host,
        Profile::Strict => strict::confine(host, &image.volumes),
    })
}

pub(super) fn ulimit(name: &str, limit: i64) -> ResourcesUlimits {
    ResourcesUlimits { name: Some(name.to_owned()), soft: Some(limit), hard: Some(limit) }
}

/// How a share of the CPU is asked for.
#[derive(Debug, PartialEq, Eq, Default)]
struct CpuShare {
    nanos: Option<i64>,
    /// In microseconds, both.
    period: Option<i64>,
    quota: Option<i64>,
}

impl CpuShare {
    /// By default the kernel deals CPU time out every 100 ms, and a small share is so short then that the container's own
    /// start has to wait for the next, and the next. The same share of a longer period lets it start in one go.
    fn of(millis: u64) -> Self {
        let period = (START_QUOTA * 1000).checked_div(millis).unwrap_or(0).min(LONGEST_PERIOD);
        if period <= USUAL_PERIOD {
            return Self { nanos: Some(signed(millis) * 1_000_000).filter(|nanos| *nanos > 0), ..Self::default() };
        }
        Self { nanos: None, period: Some(signed(period)), quota: Some(signed(period * millis / 1000)) }
    }
}

fn mounts(spec: &ContainerSpec) -> Result<Vec<Mount>, RuntimeError> {
    let output = match &spec.output_device {
        Some(device) => volume(device)?,
        None => mount(&spec.output, OUTPUT, false)?,
    };
    let mut mounts = vec![output];
    if let Some(input) = &spec.input {
        mounts.push(mount(input, INPUT, true)?);
    }
    Ok(mounts)
}

/// The engine's own driver of volumes mounts the device, wherever the engine sees it, and unmounts it at the end. The volume
/// has no name, so that it goes with its container.
fn volume(device: &Path) -> Result<Mount, RuntimeError> {
    let device = device.to_str().ok_or_else(|| RuntimeError::Engine("a device whose name is not UTF-8".to_owned()))?;
    let options = [("type", "ext4"), ("device", device), ("o", "nosuid,nodev,noexec")];
    let driver = MountVolumeOptionsDriverConfig {
        name: Some("local".to_owned()),
        options: Some(options.map(|(name, value)| (name.to_owned(), value.to_owned())).into()),
    };
    Ok(Mount {
        typ: Some(MountType::VOLUME),
        target: Some(OUTPUT.to_owned()),
        // What the image has there, and whose it is, is not for this.
        volume_options: Some(MountVolumeOptions {
            no_copy: Some(true),
            driver_config: Some(driver),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    })
}

/// A mount and not a bind string: a colon in the path would end a bind string, and a missing directory would be made.
fn mount(source: &Path, target: &str, read_only: bool) -> Result<Mount, RuntimeError> {
    let source = source.to_str().ok_or_else(|| {
        RuntimeError::Setup(format!("{} is not UTF-8: give the worker another data directory", source.display()))
    })?;
    Ok(Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_owned()),
        target: Some(target.to_owned()),
        read_only: Some(read_only),
        ..Mount::default()
    })
}

/// The `local` driver keeps every byte as it was but for the newlines of long lines, which `logs::long_lines` puts back;
/// `json-file` replaces those that are not UTF-8.
pub(super) fn log_config(file: u64) -> HostConfigLogConfig {
    let config = [("max-size", file.to_string()), ("max-file", LOG_FILES.to_owned()), ("compress", "false".to_owned())];
    let config = config.map(|(name, value)| (name.to_owned(), value));
    HostConfigLogConfig { typ: Some("local".to_owned()), config: Some(HashMap::from(config)) }
}

/// The variable by which NVIDIA's runtime is asked for GPUs.
const ASKS_FOR_GPUS: &str = "NVIDIA_VISIBLE_DEVICES=";

/// Where an engine's usual runtime is NVIDIA's, images and users could have any GPU by a variable: only what is requested
/// is given, and to who has none, none.
pub(super) fn keep_gpus(env: &mut Option<Vec<String>>, has_some: bool) {
    let env = env.get_or_insert_default();
    env.retain(|variable| !variable.starts_with(ASKS_FOR_GPUS));
    if !has_some {
        env.push(format!("{ASKS_FOR_GPUS}void"));
    }
}

/// These GPUs. Where nobody knows which, whole ones: the engine cannot split one.
fn gpus(uuids: &[String], millis: u64) -> DeviceRequest {
    let by_number = uuids.is_empty();
    DeviceRequest {
        count: by_number.then(|| signed(millis.div_ceil(1000))),
        device_ids: (!by_number).then(|| uuids.to_vec()),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    }
}

fn signed(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use shared::confinement::{Confinement, NetworkAccess};
    use shared::resources::GIB;

    use super::super::labels::tests::spec;
    use super::*;

    fn host(change: impl FnOnce(&mut ContainerSpec)) -> HostConfig {
        let mut spec = spec();
        change(&mut spec);
        body(&spec, 2, &ImageSays::default()).expect("a body").host_config.expect("a host configuration")
    }

    #[test]
    fn the_standard_profile() {
        let config = host(|spec| spec.resources.memory_bytes = GIB);
        assert_eq!((config.memory, config.memory_swap), (Some(1 << 30), Some(1 << 30)));
        assert_eq!(config.shm_size, Some(1 << 28));
        assert_eq!(config.nano_cpus, Some(1_000_000_000));
        assert_eq!(config.pids_limit, Some(4096));
        assert_eq!(config.init, Some(true));
        assert_eq!(config.privileged, Some(false));
        assert_eq!(config.auto_remove, Some(false));
        assert_eq!(config.network_mode.as_deref(), Some("cloudai"));
        assert_eq!(config.cap_drop.as_deref(), Some(&DROPPED.map(str::to_owned)[..]));
        assert_eq!(config.security_opt, None);
        assert_eq!(config.binds, None);
        assert_eq!(config.device_requests, None);
    }

    #[test]
    fn the_strict_profile() {
        let config =
            host(|spec| spec.confinement = Confinement::default().at_least(Profile::Strict, NetworkAccess::None));
        assert_eq!(config.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(config.cap_add, None);
        assert_eq!(config.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!((config.readonly_rootfs, config.pids_limit), (Some(true), Some(256)));
        assert_eq!(config.network_mode.as_deref(), Some("none"));
        assert_eq!(config.ulimits, Some(vec![ulimit("core", 0), ulimit("nofile", 1024)]));
        assert_eq!(config.tmpfs.expect("a /tmp")["/tmp"], "rw,noexec,nosuid,nodev,size=67108864,mode=1777");
        assert_eq!((config.privileged, config.binds, config.init), (Some(false), None, Some(true)));
        let of = |user: &str| ImageSays {
            user: Some(user.to_owned()),
            volumes: vec!["/data".to_owned()],
            ..ImageSays::default()
        };
        let mut spec = spec();
        assert_eq!(body(&spec, 2, &of("root")).expect("a body").user, None, "the image's own");
        spec.confinement = spec.confinement.at_least(Profile::Strict, NetworkAccess::None);
        let strict = body(&spec, 2, &ImageSays::default()).expect("a body");
        assert_eq!(strict.user.as_deref(), Some("65534:65534"));
        assert!(strict.env.expect("an environment").contains(&"HOME=/tmp".to_owned()));
        let volumes =
            body(&spec, 2, &of("app")).expect("a body").host_config.and_then(|host| host.tmpfs).expect("places");
        assert_eq!(
            volumes.keys().collect::<std::collections::BTreeSet<_>>(),
            [&"/data".to_owned(), &"/tmp".to_owned()].into()
        );
        spec.env.insert("HOME".to_owned(), "/output".to_owned());
        let env = body(&spec, 2, &of("1000")).expect("a body").env.expect("an environment");
        assert!(env.contains(&"HOME=/output".to_owned()) && !env.contains(&"HOME=/tmp".to_owned()), "{env:?}");
    }

    #[test]
    fn a_container_may_have_no_network_and_everything_else() {
        let config = host(|spec| spec.confinement.network = NetworkAccess::None);
        assert_eq!((config.network_mode.as_deref(), config.readonly_rootfs), (Some("none"), None));
    }

    #[test]
    fn small_memory_keeps_the_usual_shared_memory() {
        assert_eq!(host(|spec| spec.resources.memory_bytes = 6 * MIB).shm_size, Some(64 << 20));
    }

    #[test]
    fn cpus_stop_at_those_of_the_host() {
        assert_eq!(host(|spec| spec.resources.cpu_millis = 64_000).nano_cpus, Some(2_000_000_000));
        assert_eq!(host(|spec| spec.resources.cpu_millis = u64::MAX).nano_cpus, Some(2_000_000_000));
        assert_eq!(CpuShare::of(0), CpuShare::default());
    }

    #[test]
    fn small_shares_have_longer_periods() {
        let long = |period, quota| CpuShare { nanos: None, period: Some(period), quota: Some(quota) };
        assert_eq!(CpuShare::of(250), CpuShare { nanos: Some(250_000_000), period: None, quota: None });
        assert_eq!(CpuShare::of(50), long(500_000, 25_000));
        assert_eq!(CpuShare::of(10), long(1_000_000, 10_000));
    }

    #[test]
    fn part_of_a_gpu_takes_a_whole_one() {
        let requests = host(|spec| spec.resources.gpu_millis = 1001).device_requests.expect("a request");
        assert_eq!(requests.iter().map(|request| request.count).collect::<Vec<_>>(), [Some(2)]);
    }

    #[test]
    fn gpus_that_are_leased_are_asked_for_by_name() {
        let leased = |spec: &mut ContainerSpec| {
            spec.resources.gpu_millis = 500;
            spec.gpus = vec!["GPU-1".to_owned()];
        };
        let requests = host(leased).device_requests.expect("a request");
        let asked: Vec<_> = requests.into_iter().map(|request| (request.count, request.device_ids)).collect();
        assert_eq!(asked, [(None, Some(vec!["GPU-1".to_owned()]))]);
    }

    #[test]
    fn nobody_gets_gpus_by_a_variable() {
        let env = || Some(vec!["A=1".to_owned(), "NVIDIA_VISIBLE_DEVICES=all".to_owned()]);
        let kept = |has_some| {
            let mut env = env();
            keep_gpus(&mut env, has_some);
            env.unwrap_or_default()
        };
        assert_eq!(kept(false), ["A=1", "NVIDIA_VISIBLE_DEVICES=void"]);
        assert_eq!(kept(true), ["A=1"], "the request for devices says which");
    }

    #[test]
    fn what_runs_replaces_all_of_the_image() {
        let list = |items: &[&str]| Some(items.iter().map(|item| (*item).to_owned()).collect::<Vec<_>>());
        let argv = |items: &[&str]| Command::Argv(items.iter().map(|item| (*item).to_owned()).collect());
        assert_eq!(command(&Command::ImageDefault), Ok((None, None)));
        let shell = Command::Shell("exit 3".to_owned());
        assert_eq!(command(&shell), Ok((list(&["/bin/sh", "-c"]), list(&["exit 3"]))));
        assert_eq!(command(&argv(&["ls", "-l"])), Ok((list(&["ls"]), list(&["-l"]))));
        assert_eq!(command(&argv(&["ls"])), Ok((list(&["ls"]), list(&[]))));
        for empty in [argv(&[]), argv(&[""])] {
            assert!(matches!(command(&empty), Err(RuntimeError::Setup(_))));
        }
    }
}
