//! What a look at a machine means. The names of the checks are for scripts, and stay.

use std::path::Path;

use shared::resources::{Bytes, GIB};
use shared::time::WallTime;

use super::facts::Facts;
use super::{Finding, Level, runc};
use crate::runtime::{EngineFacts, Limit};
use crate::worker::health;

/// 2025-01-01: no clock of a machine that runs this is right before.
const EARLIEST: WallTime = WallTime(1_735_689_600_000);
/// How far the clocks of the engine and this process may be apart, in milliseconds: an answer takes its time.
const APART: u64 = 5_000;
/// Less than this of the worker's disk is worth a word: it is what a task may store that says nothing.
const SCARCE: u64 = GIB;

/// All that was looked at, in this order.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![socket(facts)];
    match &facts.engine {
        Some(Ok(engine)) => {
            let version = engine.version.as_deref().unwrap_or("of unknown version");
            findings.push(Finding::ok("engine", format!("Docker {version} answers")));
            findings.extend(self::engine(engine, facts.clock));
        }
        Some(Err(problem)) => findings.push(Finding::new(
            "engine",
            Level::Problem,
            problem,
            "start it (for Docker: `systemctl start docker`, as root), or name its socket with --docker-host",
        )),
        None => {}
    }
    findings.push(machine_clock(facts.clock));
    findings.push(user(facts.is_root));
    findings.push(firewall(&facts.firewall));
    findings.push(data_dir(facts));
    findings.push(output(&facts.volumes));
    findings.extend(disks(facts));
    findings.push(gpus(&facts.gpus));
    findings
}

/// What an engine says of itself. `clock` is what this process' clock says.
pub(super) fn engine(facts: &EngineFacts, clock: WallTime) -> Vec<Finding> {
    vec![
        open(facts),
        live_restore(facts),
        runc_version(facts),
        seccomp(facts),
        userns(facts),
        cgroups(facts),
        limits(facts),
        engine_clock(facts, clock),
    ]
}

fn socket(facts: &Facts) -> Finding {
    match &facts.address {
        Ok(address) => Finding::ok("socket", format!("the engine is reached at {address}, from this machine only")),
        Err(problem) => Finding::new(
            "socket",
            Level::Problem,
            problem,
            "name the engine's socket with --docker-host, and run the worker on the engine's machine",
        ),
    }
}

fn open(facts: &EngineFacts) -> Finding {
    if facts.open.is_empty() {
        return Finding::ok(
            "engine_api",
            "the engine takes orders from nobody on the network without asking who it is",
        );
    }
    Finding::new(
        "engine_api",
        Level::Problem,
        format!("whoever reaches the engine over the network owns this machine; it says: {}", facts.open.join("; ")),
        "take `-H tcp://...` or `hosts` out of its configuration, or give it --tlsverify with certificates",
    )
}

fn live_restore(facts: &EngineFacts) -> Finding {
    match facts.live_restore {
        Some(true) => Finding::ok("live_restore", "live-restore is on: containers outlive the engine"),
        Some(false) => Finding::new(
            "live_restore",
            Level::Warning,
            "live-restore is off: when the engine stops, crashes or is updated, every container ends with it",
            "write \"live-restore\": true to /etc/docker/daemon.json and `systemctl reload docker`",
        ),
        None => unknown("live_restore", "whether live-restore is on"),
    }
}

fn runc_version(facts: &EngineFacts) -> Finding {
    let Some(version) = &facts.runc else { return unknown("runc", "which runc it has") };
    match runc::flaws_of(version) {
        None => Finding::new(
            "runc",
            Level::Note,
            format!("runc is of version {version}, which cannot be judged"),
            format!("it should be {}", runc::MENDED),
        ),
        Some(flaws) if flaws.is_empty() => Finding::ok("runc", format!("runc {version} has no known way out")),
        Some(flaws) => Finding::new(
            "runc",
            Level::Warning,
            format!("runc {version} may let containers get at this machine: {}", flaws.join(", ")),
            format!(
                "update it to {}; a distribution may have mended its older version, as its security notices say",
                runc::MENDED
            ),
        ),
    }
}

/// An option is `name=seccomp`, or that and more behind commas.
fn security<'a>(facts: &'a EngineFacts, name: &str) -> Option<&'a str> {
    let is_it = |option: &&String| option.split(',').next().and_then(|first| first.strip_prefix("name=")) == Some(name);
    facts.security.iter().find(is_it).map(String::as_str)
}

fn seccomp(facts: &EngineFacts) -> Finding {
    match security(facts, "seccomp") {
        Some(option) if !option.contains("profile=unconfined") => {
            Finding::ok("seccomp", "containers are kept from system calls that they have no use for (seccomp)")
        }
        Some(_) | None => Finding::new(
            "seccomp",
            Level::Warning,
            "containers may make every system call: seccomp is off",
            "take `seccomp-profile` out of the engine's configuration; a kernel needs CONFIG_SECCOMP",
        ),
    }
}

fn userns(facts: &EngineFacts) -> Finding {
    if ["userns", "rootless"].iter().any(|name| security(facts, name).is_some()) {
        return Finding::ok("userns", "root in a container is nobody on this machine");
    }
    Finding::new(
        "userns",
        Level::Note,
        "root in a container is root on this machine, should it get out",
        "recommended where tasks are strict: \"userns-remap\": \"default\" in /etc/docker/daemon.json; the engine then begins \
         with no images",
    )
}

fn cgroups(facts: &EngineFacts) -> Finding {
    let (version, driver) = (facts.cgroup_version.as_deref(), facts.cgroup_driver.as_deref());
    if driver == Some("none") {
        return Finding::new(
            "cgroups",
            Level::Problem,
            "the engine has no control groups: no limit of a task is kept",
            "run it as root, or give its user control groups (Docker: \"Rootless mode\", \"Limiting resources\")",
        );
    }
    let text = format!("control groups of version {}, driver {}", version.unwrap_or("1"), driver.unwrap_or("unknown"));
    Finding::ok("cgroups", text)
}

fn limits(facts: &EngineFacts) -> Finding {
    let of = |limit| facts.missing.contains(&limit);
    let advice = "see the `WARNING` lines of `docker info`; the kernel, or its command line, has to allow it";
    if of(Limit::Memory) {
        let message = "the engine cannot limit memory: one task may take all that the machine has";
        return Finding::new("limits", Level::Problem, message, advice);
    }
    let words = [(Limit::Cpu, "CPU time"), (Limit::Pids, "processes"), (Limit::Swap, "swap")];
    let missing: Vec<_> = words.into_iter().filter(|(limit, _)| of(*limit)).map(|(_, word)| word).collect();
    match missing.as_slice() {
        [] => Finding::ok("limits", "tasks are held to their memory, swap, CPU time and processes"),
        ["swap"] => Finding::new(
            "limits",
            Level::Note,
            "the engine cannot limit swap: a task may use more of it than its memory",
            "on Debian and Ubuntu with control groups of version 1: `swapaccount=1` on the kernel's command line",
        ),
        some => {
            let message = format!("the engine cannot limit {}", some.join(", "));
            Finding::new("limits", Level::Warning, message, advice)
        }
    }
}

fn engine_clock(facts: &EngineFacts, clock: WallTime) -> Finding {
    let Some(engine) = facts.clock else { return unknown("engine_clock", "what time it is there") };
    let apart = engine.0.abs_diff(clock.0);
    if apart <= APART {
        return Finding::ok("engine_clock", "the engine's clock says the same as this one");
    }
    Finding::new(
        "engine_clock",
        Level::Warning,
        format!("the engine's clock is {} s from this one: logs are read by it", apart / 1000),
        "set both by NTP; an engine in a virtual machine needs it there",
    )
}

fn machine_clock(clock: WallTime) -> Finding {
    if clock >= EARLIEST {
        return Finding::ok("clock", "this machine's clock may be right");
    }
    Finding::new(
        "clock",
        Level::Problem,
        "this machine's clock is years behind: no certificate is good by it, and the worker cannot join",
        "set it, and keep it by NTP (`timedatectl set-ntp true`)",
    )
}

fn user(is_root: bool) -> Finding {
    if is_root {
        return Finding::ok("user", "this is root, as what is looked at here asks for");
    }
    Finding::new(
        "user",
        Level::Note,
        "this is not root: what follows is so for a worker of this user, and what containers write as root into folders of \
         their own in /output stays on its disk when they are over",
        "run it as the user that the worker runs as; only one that is root removes everything",
    )
}

fn firewall(firewall: &Result<(), String>) -> Finding {
    match firewall {
        Ok(()) => {
            Finding::ok("firewall", "tasks are kept from the metadata address, and from private ones if they are to be")
        }
        Err(problem) => Finding::new(
            "firewall",
            Level::Warning,
            format!(
                "tasks reach 169.254.169.254, where clouds hand out the machine's credentials, and those with the network \
                 `public` do not run here: {problem}"
            ),
            "run the worker as root, install iptables, and leave the engine's own use of it on",
        ),
    }
}

fn data_dir(facts: &Facts) -> Finding {
    let (path, can_write) = (facts.data.0.display(), &facts.data.1);
    match can_write {
        Ok(()) => Finding::ok("data_dir", format!("{path} can be written")),
        Err(problem) => Finding::new(
            "data_dir",
            Level::Problem,
            format!("{path} cannot be written: {problem}"),
            "give it to the worker's user, or name another one with --data-dir",
        ),
    }
}

fn output(volumes: &Result<(), String>) -> Finding {
    match volumes {
        Ok(()) => {
            Finding::ok("output", "/output of a strict task is a file system of its own, as large as it asks for")
        }
        Err(problem) => Finding::new(
            "output",
            Level::Note,
            format!("/output of a strict task is measured, and cannot be a file system of its own: {problem}"),
            "for that the worker needs root, loop devices and mkfs.ext4",
        ),
    }
}

fn disks(facts: &Facts) -> Vec<Finding> {
    let data = facts.free.map(|free| disk("disk", &facts.data.0, free, SCARCE, "make room there"));
    let advice = "make room there: images of tasks go by themselves, others with `docker image prune`";
    let engine = facts.engine_disk.as_ref();
    let engine = engine.map(|(root, free)| disk("engine_disk", root, *free, facts.image_room, advice));
    data.into_iter().chain(engine).collect()
}

fn disk(check: &'static str, place: &Path, free: u64, scarce: u64, advice: &str) -> Finding {
    let (path, left) = (place.display(), Bytes(free));
    if free < health::FULL {
        let message = format!("the disk of {path} is full: {left} are left, and no new tasks are taken");
        return Finding::new(check, Level::Problem, message, advice);
    }
    if free < scarce {
        return Finding::new(check, Level::Warning, format!("the disk of {path} has {left} left"), advice);
    }
    Finding::ok(check, format!("the disk of {path} has {left} left"))
}

fn gpus(gpus: &Result<Option<usize>, String>) -> Finding {
    match gpus {
        Ok(None) => Finding::ok("gpus", "no GPUs: NVIDIA's library is not here"),
        Ok(Some(count)) => Finding::ok("gpus", format!("GPUs of NVIDIA, or slices of them: {count}")),
        Err(problem) => Finding::new(
            "gpus",
            Level::Warning,
            format!("GPUs cannot be counted: {problem}"),
            "see that `nvidia-smi` works here, and what CLOUDAI_NVML says; --gpu 0 goes on without them",
        ),
    }
}

fn unknown(check: &'static str, what: &str) -> Finding {
    Finding { check, level: Level::Note, message: format!("the engine does not say {what}"), advice: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(EARLIEST.0 + 1_000_000);

    fn good_engine() -> EngineFacts {
        EngineFacts {
            version: Some("29.0.0".to_owned()),
            runc: Some("1.4.3".to_owned()),
            live_restore: Some(true),
            security: ["name=seccomp,profile=builtin", "name=userns"].map(str::to_owned).into(),
            open: Vec::new(),
            cgroup_version: Some("2".to_owned()),
            cgroup_driver: Some("systemd".to_owned()),
            missing: Vec::new(),
            clock: Some(NOW),
        }
    }

    fn good() -> Facts {
        Facts {
            address: Ok("unix:///run/docker.sock".to_owned()),
            engine: Some(Ok(good_engine())),
            firewall: Ok(()),
            data: ("/data".into(), Ok(())),
            free: Some(100 * GIB),
            engine_disk: Some(("/docker".into(), 100 * GIB)),
            image_room: 2 * GIB,
            volumes: Ok(()),
            gpus: Ok(None),
            clock: NOW,
            is_root: true,
        }
    }

    /// What is not as it should be.
    fn seen(facts: &Facts) -> Vec<(&'static str, Level)> {
        let findings = all(facts);
        for finding in &findings {
            let is_quiet = finding.level == Level::Ok || finding.message.contains("does not say");
            assert_eq!(finding.advice.is_none(), is_quiet, "{finding:?}");
        }
        let bad = findings.into_iter().filter(|finding| finding.level > Level::Ok);
        bad.map(|finding| (finding.check, finding.level)).collect()
    }

    fn with(change: impl FnOnce(&mut Facts)) -> Vec<(&'static str, Level)> {
        let mut facts = good();
        change(&mut facts);
        seen(&facts)
    }

    fn with_engine(change: impl FnOnce(&mut EngineFacts)) -> Vec<(&'static str, Level)> {
        with(|facts| {
            let mut engine = good_engine();
            change(&mut engine);
            facts.engine = Some(Ok(engine));
        })
    }

    #[test]
    fn each_check_is_there_once_and_a_good_machine_has_nothing_to_see_to() {
        let checks: Vec<_> = all(&good()).iter().map(|finding| finding.check).collect();
        let expected = [
            "socket",
            "engine",
            "engine_api",
            "live_restore",
            "runc",
            "seccomp",
            "userns",
            "cgroups",
            "limits",
            "engine_clock",
            "clock",
            "user",
            "firewall",
            "data_dir",
            "output",
            "disk",
            "engine_disk",
            "gpus",
        ];
        assert_eq!(checks, expected);
        assert_eq!(seen(&good()), []);
    }

    #[test]
    fn what_the_engine_lacks() {
        use Level::{Note, Problem, Warning};
        let text = |text: &str| Some(text.to_owned());
        let open = "WARNING: API is accessible on http://0.0.0.0:2375 without encryption.".to_owned();
        assert_eq!(with_engine(|engine| engine.open.push(open)), [("engine_api", Problem)]);
        assert_eq!(with_engine(|engine| engine.live_restore = Some(false)), [("live_restore", Warning)]);
        assert_eq!(with_engine(|engine| engine.live_restore = None), [("live_restore", Note)]);
        assert_eq!(with_engine(|engine| engine.runc = text("1.1.5+ds1")), [("runc", Warning)]);
        assert_eq!(with_engine(|engine| engine.runc = text("unknown")), [("runc", Note)]);
        assert_eq!(with_engine(|engine| engine.runc = None), [("runc", Note)]);
        assert_eq!(with_engine(|engine| drop(engine.security.remove(0))), [("seccomp", Warning)]);
        let unconfined = "name=seccomp,profile=unconfined".to_owned();
        assert_eq!(with_engine(|engine| engine.security[0] = unconfined), [("seccomp", Warning)]);
        assert_eq!(with_engine(|engine| engine.security.truncate(1)), [("userns", Note)]);
        assert_eq!(with_engine(|engine| engine.security[1] = "name=rootless".to_owned()), []);
        assert_eq!(with_engine(|engine| engine.cgroup_driver = text("none")), [("cgroups", Problem)]);
        assert_eq!(with_engine(|engine| engine.missing = vec![Limit::Swap]), [("limits", Note)]);
        assert_eq!(with_engine(|engine| engine.missing = vec![Limit::Pids]), [("limits", Warning)]);
        assert_eq!(with_engine(|engine| engine.missing = vec![Limit::Swap, Limit::Cpu]), [("limits", Warning)]);
        assert_eq!(with_engine(|engine| engine.missing = vec![Limit::Pids, Limit::Memory]), [("limits", Problem)]);
        assert_eq!(with_engine(|engine| engine.clock = Some(WallTime(NOW.0 - 6_000))), [("engine_clock", Warning)]);
        assert_eq!(with_engine(|engine| engine.clock = Some(WallTime(NOW.0 + 5_000))), []);
        assert_eq!(with_engine(|engine| engine.clock = None), [("engine_clock", Note)]);
    }

    #[test]
    fn what_the_machine_lacks() {
        use Level::{Note, Problem, Warning};
        let error = || Err("no".to_owned());
        let no_address = with(|facts| (facts.address, facts.engine) = (Err("tcp".to_owned()), None));
        assert_eq!(no_address, [("socket", Problem)]);
        assert_eq!(with(|facts| facts.engine = Some(Err("no".to_owned()))), [("engine", Problem)]);
        assert_eq!(with(|facts| facts.is_root = false), [("user", Note)]);
        assert_eq!(with(|facts| facts.firewall = error()), [("firewall", Warning)]);
        assert_eq!(with(|facts| facts.data.1 = error()), [("data_dir", Problem)]);
        assert_eq!(with(|facts| facts.volumes = error()), [("output", Note)]);
        assert_eq!(with(|facts| facts.free = Some(SCARCE - 1)), [("disk", Warning)]);
        assert_eq!(with(|facts| facts.free = Some(health::FULL - 1)), [("disk", Problem)]);
        assert_eq!(with(|facts| (facts.free, facts.engine_disk) = (None, None)), []);
        let room = |free| with(|facts| facts.engine_disk = Some(("/docker".into(), free)));
        assert_eq!((room(2 * GIB - 1), room(2 * GIB)), (vec![("engine_disk", Warning)], vec![]));
        assert_eq!(with(|facts| facts.gpus = Err("no".to_owned())), [("gpus", Warning)]);
        assert_eq!(with(|facts| facts.gpus = Ok(Some(2))), []);
        let early = |facts: &mut Facts| {
            (facts.clock, facts.engine) = (WallTime(EARLIEST.0 - 1), None);
        };
        assert_eq!(with(early), [("clock", Problem)]);
    }
}
