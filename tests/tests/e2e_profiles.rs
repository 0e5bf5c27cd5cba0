//! Images in the shapes that people have them, under both container profiles.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};

use bollard::models::ContainerConfig;
use cloudai_tests::api::Api;
use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker;
use cloudai_tests::master::MasterOptions;
use cloudai_tests::netns::Netns;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudai_tests::worker::WorkerOptions;
use shared::confinement::{Confinement, NetworkAccess, Profile};
use shared::resources::{MIB, Quantity};
use shared::submit::SubmitRequest;
use shared::task::Verdict;
use shared::view::TaskView;

const USERS: &str = "mkdir -p /etc /home/app; echo root:x:0:0::/root:/bin/sh > /etc/passwd; \
    echo app:x:1234:1234::/home/app:/bin/sh >> /etc/passwd; echo app:x:1234: > /etc/group; chown 1234:1234 /home/app";

fn list(items: &[&str]) -> Option<Vec<String>> {
    Some(items.iter().map(|item| (*item).to_owned()).collect())
}

/// Runs it to its end: how it ended, and what it wrote to stdout and stderr.
async fn run(api: &Api, task: &SubmitRequest) -> (TaskView, String) {
    let id = api.submit(task).await.expect("accepted").task_id;
    let ended = api.ended(PATIENCE, &id).await;
    let log = api.get_bytes(&format!("/api/tasks/{id}/logs")).await.expect("a log");
    (ended, String::from_utf8_lossy(&log).into_owned())
}

fn of(image: &str, line: &str, profile: Profile) -> SubmitRequest {
    SubmitRequest { image: image.to_owned(), profile: Some(profile), ..shell_task(line) }
}

async fn succeeds(api: &Api, task: &SubmitRequest, expected: &str) {
    let (ended, log) = run(api, task).await;
    assert_eq!((ended.verdict, log.as_str()), (Some(Verdict::Success), expected), "{task:?}");
}

#[tokio::test]
async fn images_of_all_shapes_run_as_under_docker_and_without_root_where_that_is_wanted() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let number = ContainerConfig { user: Some("1000".to_owned()), cmd: list(&["true"]), ..Default::default() };
    docker::build("cloudai-test/number:1", "true", number).await;
    let named = ContainerConfig { user: Some("app".to_owned()), cmd: list(&["true"]), ..Default::default() };
    docker::build("cloudai-test/named:1", USERS, named).await;

    // Whoever it is has /output, /tmp and, if it has one, a home.
    let line = "id -u; echo kept > /output/r; cat /output/r; echo lost > /tmp/t; cat /tmp/t";
    succeeds(&api, &of("cloudai-test/number:1", line, Profile::Standard), "1000\nkept\nlost\n").await;
    succeeds(&api, &of("cloudai-test/number:1", line, Profile::Strict), "1000\nkept\nlost\n").await;
    succeeds(&api, &of(&docker::image(), line, Profile::Strict), "65534\nkept\nlost\n").await;
    let home = "id -u; cd; pwd; echo set > .config; cat ~/.config";
    succeeds(&api, &of("cloudai-test/named:1", home, Profile::Standard), "1234\n/home/app\nset\n").await;
    succeeds(&api, &of("cloudai-test/named:1", home, Profile::Strict), "65534\n/tmp\nset\n").await;

    // What package managers do: other owners, modes, links, all over the root file system.
    let install = "set -e; mkdir -p /pkg/usr/lib/tool /pkg/etc; cp /bin/busybox /pkg/usr/lib/tool/tool; \
        chmod 4755 /pkg/usr/lib/tool/tool; echo a=1 > /pkg/etc/tool.conf; chown -R 33:33 /pkg/usr/lib/tool; \
        tar -c -C /pkg -f /pkg.tar .; rm -r /pkg; tar -x -p -C / -f /pkg.tar; ln -s ../lib/tool/tool /usr/tool; \
        stat -c '%u %a' /usr/lib/tool/tool; cat /etc/tool.conf";
    succeeds(&api, &of(&docker::image(), install, Profile::Standard), "33 755\na=1\n").await;
    let (ended, log) = run(&api, &of(&docker::image(), "mkdir /pkg", Profile::Strict)).await;
    assert!(ended.verdict != Some(Verdict::Success) && log.contains("Read-only file system"), "{log}");
}

#[tokio::test]
async fn an_entrypoint_changes_its_user_where_it_is_root_and_goes_on_where_it_is_not() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let script = "#!/bin/sh\nif [ \"$(id -u)\" = 0 ]; then chown app /output; exec su app -s /bin/sh -c \"$0\"; fi\n\
                  id -u; echo data > /output/r; cat /output/r\n";
    let setup = format!("{USERS}; printf '%s' '{script}' > /entry.sh; chmod 755 /entry.sh");
    let config = ContainerConfig { entrypoint: list(&["/entry.sh"]), cmd: Some(Vec::new()), ..Default::default() };
    docker::build("cloudai-test/entry:1", &setup, config).await;
    for (profile, user) in [(Profile::Standard, 1234), (Profile::Strict, 65534)] {
        let task = SubmitRequest { command: None, ..of("cloudai-test/entry:1", "", profile) };
        succeeds(&api, &task, &format!("{user}\ndata\n")).await;
    }
}

#[tokio::test]
async fn a_strict_container_has_nothing_to_break_out_with() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    let look = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; ulimit -n; ulimit -c; ls /sys/class/net; \
        cp /bin/busybox /tmp/x 2>&1; /tmp/x true 2>&1 || echo no exec";
    let mut task = of(&docker::image(), look, Profile::Strict);
    let (ended, log) = run(&api, &task).await;
    assert_eq!(ended.verdict, Some(Verdict::Success), "{log}");
    let lines: Vec<_> = log.lines().map(|line| line.replace('\t', " ")).collect();
    assert_eq!(lines[..2], ["CapEff: 0000000000000000", "CapBnd: 0000000000000000"].map(str::to_owned), "{log}");
    assert!(lines.contains(&"NoNewPrivs: 1".to_owned()) && lines.contains(&"Seccomp: 2".to_owned()), "{log}");
    let rest = lines.iter().position(|line| line == "1024").expect("its limit of open files");
    assert_eq!(lines[rest + 1..rest + 3], ["0", "lo"].map(str::to_owned), "{log}");
    assert_eq!(lines.last().map(String::as_str), Some("no exec"), "{log}");
    assert_eq!(ended.confinement, Confinement { profile: Profile::Strict, network: NetworkAccess::None });
    // No more than 256 processes.
    task = of(&docker::image(), "i=0; while [ $i -lt 300 ]; do sleep 60 & i=$((i+1)); done", Profile::Strict);
    // Their memory is not what ends it.
    task.mem = Some(Quantity::Text("256MiB".to_owned()));
    let (ended, log) = run(&api, &task).await;
    assert!(log.contains("can't fork"), "{:?} {log}", ended.verdict);
    // And without a network only.
    let line = "ls /sys/class/net; touch /x && echo written";
    task = SubmitRequest { network: Some(NetworkAccess::None), ..of(&docker::image(), line, Profile::Standard) };
    succeeds(&api, &task, "lo\nwritten\n").await;
}

#[tokio::test]
async fn a_task_is_as_strict_as_the_cluster_wants_it() {
    let env = vec![("CLOUDAI_TASKS_PROFILE".to_owned(), "strict".to_owned())];
    let options = MasterOptions { env, ..MasterOptions::default() };
    let cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    for task in [shell_task("id -u"), of(&docker::image(), "id -u", Profile::Standard)] {
        succeeds(&api, &task, "65534\n").await;
    }
    let seen = cluster.ctl().run(&["task", &docker::image(), "--wait", "--", "id", "-u"]).await;
    assert_eq!((seen.code, seen.stdout.trim_end().lines().last()), (0, Some("65534")), "{}", seen.stderr);
    let refused = cluster.ctl().run(&["task", "a", "--profile", "privileged"]).await;
    assert!(refused.code == 2 && refused.stderr.contains("give standard or strict"), "{}", refused.stderr);
    let refused = cluster.ctl().run(&["task", "a", "--network", "public"]).await;
    let (code, stderr) = (refused.code, refused.stderr);
    assert!(code != 0 && stderr.contains("strict tasks have none on this cluster"), "{stderr}");
    let refused = cluster.ctl().run(&["task", "a", "--profile", "strict", "--network", "outgoing"]).await;
    assert!(refused.code != 0 && refused.stderr.contains("a strict task has none, or public"), "{}", refused.stderr);
}

#[tokio::test]
async fn a_task_is_as_strict_as_the_pool_of_its_worker_wants_it() {
    let env = vec![("CLOUDAI_TASKS_STRICT_POOLS".to_owned(), "edge,gpu".to_owned())];
    let options = MasterOptions { env, ..MasterOptions::default() };
    for (pool, user, profile) in [("main", "0\n", Profile::Standard), ("edge", "65534\n", Profile::Strict)] {
        let args = vec!["--label".to_owned(), format!("pool={pool}")];
        let cluster = Cluster::start_with(&options, 1, &WorkerOptions { args, ..WorkerOptions::default() }).await;
        let (ended, log) = run(&cluster.api(), &shell_task("id -u")).await;
        assert_eq!((ended.verdict, log.as_str()), (Some(Verdict::Success), user));
        assert_eq!(ended.confinement.profile, profile, "it is shown as it ran");
    }
}

/// Somebody who answers HTTP at another machine, or at this one.
struct Server(Child);

impl Server {
    fn start(mut command: Command, address: &str) -> Self {
        let port = address.rsplit(':').next().expect("a port");
        let (host, dir) = (address.trim_end_matches(port).trim_end_matches(':'), env!("CARGO_MANIFEST_DIR"));
        command.args(["-m", "http.server", port, "--bind", host, "--directory", dir]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a server"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_strict_task_that_may_reach_the_internet_reaches_nothing_private() {
    let env = vec![("CLOUDAI_TASKS_STRICT_NETWORK".to_owned(), "public".to_owned())];
    let options = MasterOptions { env, ..MasterOptions::default() };
    let cluster = Cluster::start_with(&options, 1, &WorkerOptions::default()).await;
    let api = cluster.api();
    // Addresses for documentation are no private ones.
    let internet = Netns::at("198.51.100.1".to_owned(), "198.51.100.2");
    let site = Netns::at("10.77.0.1".to_owned(), "10.77.0.2");
    // The third is of the machine itself, in its end of the first wire.
    let (far, near, own) = ("198.51.100.2:8000", "10.77.0.2:8000", "198.51.100.1:8000");
    let _servers = [
        Server::start(internet.command("python3"), far),
        Server::start(site.command("python3"), near),
        Server::start(Command::new("python3"), own),
    ];
    let reach = |address: &str| format!("nc -w 3 {} </dev/null 2>/dev/null", address.replace(':', " "));
    let ask = |address: &str| format!("{} && echo {address}; ", reach(address));
    let line = [far, near, own].map(ask).concat() + "true";
    let all = [far, near, own].map(reach).join(" && ");
    let until_up = format!("until {all}; do sleep 0.1; done; {line}");
    // Who is trusted reaches all of them.
    let (ended, log) = run(&api, &of(&docker::image(), &until_up, Profile::Standard)).await;
    assert_eq!((ended.verdict, log), (Some(Verdict::Success), format!("{far}\n{near}\n{own}\n")));
    for profile in Profile::ALL {
        let task = SubmitRequest { network: Some(NetworkAccess::Public), ..of(&docker::image(), &line, profile) };
        let (ended, log) = run(&api, &task).await;
        assert_eq!((ended.verdict, log), (Some(Verdict::Success), format!("{far}\n")));
        assert_eq!(ended.confinement, Confinement { profile, network: NetworkAccess::Public });
    }
    let (ended, log) = run(&api, &of(&docker::image(), "ls /sys/class/net", Profile::Strict)).await;
    assert_eq!((ended.verdict, log.as_str()), (Some(Verdict::Success), "lo\n"), "nobody asked for more");
}

/// Whether this machine can give each strict task a file system.
fn has_volumes() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists()
}

async fn nothing_is_mounted(cluster: &Cluster) {
    let below = cluster.dir().display().to_string();
    eventually(PATIENCE, "what is left of the runs is removed", || async {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        (!mounts.contains(&below)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn output_of_a_strict_task_is_as_large_as_it_asked_for() {
    let cluster = Cluster::start(1).await;
    let api = cluster.api();
    // The kernel takes a large piece that has no room back as a whole.
    for (piece, count, code) in [("64k", 1000, 3), ("256k", 256, 1), ("1M", 64, 1), ("8M", 8, 1)] {
        let fill = format!("dd if=/dev/zero of=/output/f bs={piece} count={count} || exit {code}");
        let line = format!("grep ' /output ' /proc/mounts; {fill}");
        let storage = Some(Quantity::Text("16MiB".to_owned()));
        let task = SubmitRequest { storage, ..of(&docker::image(), &line, Profile::Strict) };
        let (ended, log) = run(&api, &task).await;
        let Some(Verdict::Disk { limit_bytes, used_bytes, largest }) = ended.verdict else {
            panic!("{ended:?}, {log}")
        };
        assert_eq!((limit_bytes, used_bytes.is_none()), (16 * MIB, has_volumes()), "{log}");
        let files = api.files(&ended.task_id).await.expect("a list").files;
        let notes = ended.output_notes.join("; ");
        if has_volumes() {
            for word in [" ext4 ", "nosuid", "nodev", "noexec"] {
                assert!(log.lines().next().is_some_and(|mount| mount.contains(word)), "{log}");
            }
            assert!(log.contains("No space left on device"), "{log}");
            assert!(notes.contains("its /output was full"), "{notes}");
            assert!(notes.contains(&format!("it ended with exit code {code}")), "{notes}");
            assert_eq!(files.len(), 1);
            assert!((16 * MIB..24 * MIB).contains(&files[0].size), "{files:?}");
            let [part] = &largest[..] else { panic!("{largest:?}") };
            assert!(part.path == "/output/f" && part.bytes >= files[0].size, "{part:?}");
        } else {
            assert!(notes.contains("as the worker measured them"), "{notes}");
        }
    }
    nothing_is_mounted(&cluster).await;
}

#[tokio::test]
async fn output_of_a_strict_task_outlives_its_worker_and_what_it_had_mounted() {
    let mut cluster = Cluster::start(1).await;
    let api = cluster.api();
    let line = "echo kept > /output/r; while [ ! -e /output/go ]; do sleep 0.1; done";
    let id = api.submit(&of(&docker::image(), line, Profile::Strict)).await.expect("accepted").task_id;
    let runs = cluster.workers[0].data_dir().join("runs");
    let output = eventually(PATIENCE, "it writes", || async {
        let run = std::fs::read_dir(&runs).ok()?.next()?.ok()?.path();
        run.join("output/r").exists().then(|| run.join("output"))
    })
    .await;
    std::fs::write(output.join("go"), "").expect("it sees what we write");
    cluster.workers[0].kill9();
    if has_volumes() {
        let unmounted = Command::new("umount").arg("--lazy").arg(&output).status().expect("umount");
        assert!(unmounted.success() && !output.join("r").exists());
    }
    cluster.workers[0].restart();
    let ended = api.ended(PATIENCE, &id).await;
    assert_eq!((ended.verdict, ended.attempts.len()), (Some(Verdict::Success), 1));
    let files = api.files(&id).await.expect("a list").files;
    assert_eq!(files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(), ["go", "r"]);
    nothing_is_mounted(&cluster).await;
}
