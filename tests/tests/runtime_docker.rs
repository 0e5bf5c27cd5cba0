//! The Docker runtime against a real engine.
//!
//! `CLOUDAI_TEST_DOCKER` is the engine's socket (`unix:///path`), `CLOUDAI_TEST_IMAGE` an image with busybox; run.sh
//! sets both. Without them these tests fail.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use bollard::models::{ContainerConfig, ContainerCreateBody};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, RenameContainerOptionsBuilder,
};
use cloudai_tests::docker;
use cloudai_tests::runtime_bench::Bench;
use cloudaid::runtime::docker::DockerRuntime;
use cloudaid::runtime::{ContainerSpec, FoundState, ImageWish, LogMark, Runtime, RuntimeError, StopSignal, contract};
use cloudaid::worker::outputs;
use futures_util::{StreamExt, TryStreamExt, stream};
use shared::confinement::Profile;
use shared::id::{AttemptKey, ClusterId, Fence};
use shared::pull::PullPolicy;
use shared::resources::MIB;
use shared::task::Command;
use ulid::Ulid;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn name(key: &AttemptKey) -> String {
    format!("cloudai-{}.{}-{}", key.task.0.to_string().to_ascii_lowercase(), key.index, key.attempt)
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let bench = Bench::new();
    contract::check(&bench.runtime, &bench.image, bench.scratch.path()).await.expect("the contract");
}

#[tokio::test]
async fn the_standard_profile_holds_inside() {
    let bench = Bench::new();
    let mut spec = bench.shell(
        "cat /proc/self/status; echo '--'; env; echo '--'; cat /proc/self/limits; id; grep /dev/shm /proc/mounts",
    );
    spec.resources.memory_bytes = 512 << 20;
    spec.env.insert("GREETING".to_owned(), "a=b c".to_owned());
    let (code, stdout, stderr) = bench.run(&spec).await;
    let stdout = text(&stdout);
    assert_eq!((code, text(&stderr).as_str()), (0, ""));
    // Docker's default set is a80425fb; without NET_RAW (13), MKNOD (27) and AUDIT_WRITE (29) it is this.
    assert!(stdout.contains("CapEff:\t00000000800405fb\n"), "{stdout}");
    assert!(stdout.contains("\nGREETING=a=b c\n"), "{stdout}");
    assert!(stdout.contains("\nOMP_NUM_THREADS=1\n"), "{stdout}");
    let core = stdout.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
    assert_eq!(core.split_whitespace().collect::<Vec<_>>(), ["Max", "core", "file", "size", "0", "0", "bytes"]);
    // A quarter of its memory.
    let shared = stdout.lines().find(|line| line.contains(" /dev/shm ")).expect("shared memory");
    assert!(shared.contains("size=131072k"), "{shared}");
}

#[tokio::test]
async fn the_standard_profile_as_the_engine_sees_it() {
    let bench = Bench::new();
    let mut spec = bench.shell("true");
    spec.resources.cpu_millis = 1_000_000;
    bench.runtime.create(&spec).await.expect("made");
    let found = bench.engine.inspect_container(&name(&spec.key), None::<InspectContainerOptions>).await.expect("made");
    let host = found.host_config.expect("a host configuration");
    assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
    assert_eq!((host.privileged, host.auto_remove, host.init), (Some(false), Some(false), Some(true)));
    assert_eq!((host.pids_limit, host.network_mode.as_deref()), (Some(4096), Some("cloudai")));
    assert!(host.nano_cpus.is_some_and(|nanos| nanos > 0 && nanos < 1_000_000_000_000), "{:?}", host.nano_cpus);
    let log = host.log_config.expect("a log driver");
    assert_eq!(log.typ.as_deref(), Some("local"));
    let labels = found.config.and_then(|config| config.labels).expect("labels");
    assert_eq!(labels.get("cloudai.fence").map(String::as_str), Some("5"));
    assert_eq!(labels.get("cloudai.task"), Some(&spec.key.task.to_string()));
    bench.runtime.remove(&spec.key).await.expect("removed");
}

#[tokio::test]
async fn containers_do_not_reach_each_other() {
    let bench = Bench::new();
    let server = bench.shell("sleep 60");
    bench.start(&server).await;
    let found =
        bench.engine.inspect_container(&name(&server.key), None::<InspectContainerOptions>).await.expect("runs");
    let networks = found.network_settings.and_then(|settings| settings.networks).expect("networks");
    assert_eq!(networks.keys().collect::<Vec<_>>(), ["cloudai"]);
    let network = bench.engine.inspect_network("cloudai", None).await.expect("the network");
    let options = network.options.expect("options");
    assert_eq!(options.get("com.docker.network.bridge.enable_icc").map(String::as_str), Some("false"));
    let bridge = options.get("com.docker.network.bridge.name").expect("a name of its own");
    assert!(bridge.starts_with("cai-") && bridge.len() <= 15, "{bridge}");
    bench.runtime.remove(&server.key).await.expect("removed");
}

#[tokio::test]
async fn what_a_container_has_used_is_known_to_its_end() {
    let bench = Bench::new();
    // Wherever the engine has its own.
    let groups = |key: &AttemptKey| {
        let name = name(key);
        let found = std::process::Command::new("find").args(["/sys/fs/cgroup", "-name", &name]).output();
        text(&found.expect("it is searched").stdout).lines().count()
    };
    // Nothing, then a second of work with 24 MiB.
    let mut used = Vec::new();
    for line in
        ["true", "head -c 24m /dev/zero | tail -c 24m > /dev/null; i=0; while [ $i -lt 1000000 ]; do i=$((i+1)); done"]
    {
        let spec = bench.shell(line);
        bench.start(&spec).await;
        used.push(bench.runtime.wait(&spec.key).await.expect("an end").usage.expect("this engine and its kernel tell"));
        assert!(groups(&spec.key) > 0);
        bench.runtime.remove(&spec.key).await.expect("removed");
        assert_eq!(groups(&spec.key), 0, "nothing is left behind");
    }
    assert!(used[0].cpu_ms < used[1].cpu_ms && used[1].cpu_ms > 100, "{used:?}");
    assert!((24 * MIB..64 * MIB).contains(&used[1].memory_peak_bytes), "{used:?}");
    assert!(used[0].memory_peak_bytes < 24 * MIB, "{used:?}");
}

#[tokio::test]
async fn volumes_of_an_image_are_known_and_go_with_the_container() {
    let bench = Bench::new();
    let config = ContainerConfig { volumes: Some(vec!["/data".to_owned()]), ..ContainerConfig::default() };
    docker::build("cloudai-test/kept:1", "mkdir /data", config).await;
    let line = "head -c 3m /dev/zero > /data/f; exec 3>/gone; rm /gone; head -c 5m /dev/zero >&3; echo ready; sleep 60";
    let spec = ContainerSpec { image: "cloudai-test/kept:1".to_owned(), ..bench.shell(line) };
    bench.start(&spec).await;
    let mut log = bench.runtime.logs(&spec.key, LogMark::default()).await.expect("a log");
    log.try_next().await.expect("a log").expect("it is ready");
    let found = bench.engine.inspect_container(&name(&spec.key), None::<InspectContainerOptions>).await.expect("runs");
    let mounts = found.mounts.expect("what is mounted");
    let volume = mounts.into_iter().find_map(|mount| mount.name).expect("a volume with a name");
    let stored = bench.runtime.stored(&spec.key).await.expect("it is measured");
    let [place] = &stored.volumes[..] else { panic!("{stored:?}") };
    assert!(place.host.ends_with(format!("{volume}/_data")) && place.inside == "/data", "{stored:?}");
    if rustix::process::geteuid().is_root() {
        assert!((3 * MIB..4 * MIB).contains(&outputs::used(&place.host, u64::MAX, |_, _| {})), "{stored:?}");
        let nameless = stored.nameless.as_ref().expect("its processes can be asked").bytes();
        assert!(stored.bytes < MIB && (5 * MIB..6 * MIB).contains(&nameless), "{nameless} and {stored:?}");
    }
    bench.engine.inspect_volume(&volume).await.expect("it is there");
    bench.runtime.remove(&spec.key).await.expect("removed");
    bench.engine.inspect_volume(&volume).await.expect_err("nobody could name it");
}

#[tokio::test]
async fn an_image_whose_user_or_place_is_not_in_it_is_no_trouble_of_the_engine() {
    let bench = Bench::new();
    let user = |user: &str| ContainerConfig { user: Some(user.to_owned()), ..ContainerConfig::default() };
    let place = |place: &str| ContainerConfig { working_dir: Some(place.to_owned()), ..ContainerConfig::default() };
    for (number, config) in [user("ghost"), user("0:ghost"), place("/file"), place("/file/x")].into_iter().enumerate() {
        let image = format!("cloudai-test/odd-{number}:1");
        docker::build(&image, "echo > /file", config.clone()).await;
        let spec = ContainerSpec { image, ..bench.shell("true") };
        let refused = match bench.runtime.create(&spec).await {
            Ok(()) => bench.runtime.start(&spec.key).await,
            refused => refused,
        };
        assert!(matches!(refused, Err(RuntimeError::Setup(_))), "{config:?}: {refused:?}");
        bench.runtime.remove(&spec.key).await.expect("removed");
    }
}

#[tokio::test]
async fn an_engine_that_cannot_start_a_container_says_that_it_has_not() {
    let bench = Bench::new();
    let spec = ContainerSpec { output_device: Some("/dev/cloudai-nowhere".into()), ..bench.shell("true") };
    bench.runtime.create(&spec).await.expect("made");
    for _ in 0..2 {
        let refused = bench.runtime.start(&spec.key).await;
        assert!(matches!(refused, Err(RuntimeError::NotStarted(_))), "{refused:?}");
    }
    bench.runtime.remove(&spec.key).await.expect("removed");
}

#[tokio::test]
async fn a_container_is_asked_to_end_as_its_image_says() {
    let bench = Bench::new();
    let line = "trap 'exit 5' QUIT; trap 'exit 6' TERM; echo ready; while true; do sleep 0.1; done";
    for (image, signal, code) in [("cloudai-test/asked:quit", Some("SIGQUIT"), 5), ("cloudai-test/asked:term", None, 6)]
    {
        let config = ContainerConfig { stop_signal: signal.map(str::to_owned), ..ContainerConfig::default() };
        docker::build(image, "true", config).await;
        let spec = ContainerSpec { image: image.to_owned(), ..bench.shell(line) };
        bench.start(&spec).await;
        let mut log = bench.runtime.logs(&spec.key, LogMark::default()).await.expect("a log");
        log.try_next().await.expect("a log").expect("it is ready");
        bench.runtime.signal(&spec.key, StopSignal::Term).await.expect("asked");
        assert_eq!(bench.runtime.wait(&spec.key).await.expect("an end").code, code, "{image}");
        bench.runtime.remove(&spec.key).await.expect("removed");
    }
}

#[tokio::test]
async fn what_an_image_says_of_threads_stays() {
    let bench = Bench::new();
    let image = "cloudai-test/threads:1";
    let env = Some(vec!["OMP_NUM_THREADS=3".to_owned()]);
    docker::build(image, "true", ContainerConfig { env, ..ContainerConfig::default() }).await;
    let spec = ContainerSpec { image: image.to_owned(), ..bench.shell("echo $OMP_NUM_THREADS $MKL_NUM_THREADS") };
    // By a process that has looked at the image before, and by one that has not.
    for is_prepared in [true, false] {
        let bench = Bench::new();
        if is_prepared {
            bench.runtime.prepare_image(&ImageWish::new(image, PullPolicy::Never)).await.expect("it is there");
        }
        let (code, stdout, _) = bench.run(&spec).await;
        assert_eq!((code, text(&stdout).as_str()), (0, "3 1\n"));
    }
}

#[tokio::test]
async fn what_a_container_was_refused_is_known_to_its_end() {
    let bench = Bench::new();
    let line = "i=0; while [ $i -lt 1000 ]; do sleep 60 & i=$((i+1)); done";
    let mut bomb = bench.shell(line);
    bomb.confinement.profile = Profile::Strict;
    bomb.resources.memory_bytes = 512 * MIB;
    bench.start(&bomb).await;
    let exit = bench.runtime.wait(&bomb.key).await.expect("an end");
    let usage = exit.usage.expect("this engine and its kernel tell");
    assert!(exit.code != 0 && !exit.oom && usage.forks_refused > 0 && usage.oom_kills == 0, "{exit:?}");
    bench.runtime.remove(&bomb.key).await.expect("removed");
    // The shell goes on without the one that was killed.
    for code in [0, 3] {
        let spec = bench.shell(&format!("sh -c 'exec tail /dev/zero'; exit {code}"));
        bench.start(&spec).await;
        let exit = bench.runtime.wait(&spec.key).await.expect("an end");
        let usage = exit.usage.expect("this engine and its kernel tell");
        assert!(exit.code == code && exit.oom && usage.oom_kills > 0 && usage.forks_refused == 0, "{exit:?}");
        // Nobody asks who it was where it did not matter.
        let is_asked = code != 0 && std::fs::File::open("/dev/kmsg").is_ok();
        let killed = exit.killed.as_ref().map(|killed| killed.name.as_str());
        assert_eq!(killed, is_asked.then_some("tail"), "{exit:?}");
        bench.runtime.remove(&spec.key).await.expect("removed");
    }
}

#[tokio::test]
async fn commands_replace_the_images_own() {
    let bench = Bench::new();
    let argv = |items: &[&str]| Command::Argv(items.iter().map(|item| (*item).to_owned()).collect());
    let (code, stdout, _) = bench.run(&bench.spec(argv(&["echo", "a  b", "$HOME", ";"]))).await;
    assert_eq!((code, text(&stdout).as_str()), (0, "a  b $HOME ;\n"));
    let (code, stdout, _) = bench.run(&bench.spec(argv(&["sh", "-c", "echo $0 $1; exit 4", "x", "y"]))).await;
    assert_eq!((code, text(&stdout).as_str()), (4, "x y\n"));
    let empty = bench.runtime.create(&bench.spec(argv(&[]))).await;
    assert!(matches!(empty, Err(RuntimeError::Setup(_))), "{empty:?}");
}

#[tokio::test]
async fn logs_are_exact() {
    let bench = Bench::new();
    // NULs, bytes that are not UTF-8, no newline at the end, an empty line.
    let spec = bench.shell(r"echo -ne 'a\0\xff\xfe\r\n\n\x1b[31mend'; echo -ne 'no newline' >&2");
    let (code, stdout, stderr) = bench.run(&spec).await;
    assert_eq!(code, 0);
    assert_eq!(stdout, b"a\0\xff\xfe\r\n\n\x1b[31mend");
    assert_eq!(stderr, b"no newline");
    // More than any buffer, and one line only.
    let (_, stdout, _) = bench.run(&bench.shell("head -c 3000000 /dev/zero")).await;
    assert_eq!(stdout.len(), 3_000_000);
    assert!(stdout.iter().all(|byte| *byte == 0));
    // What is written last of all, while somebody reads along.
    let (_, stdout, stderr) = bench.run(&bench.shell("echo a; sleep 1; echo -n b >&2; echo -n tail")).await;
    assert_eq!((text(&stdout).as_str(), text(&stderr).as_str()), ("a\ntail", "b"));
    let (_, stdout, _) = bench.run(&bench.shell("yes 0123456789 | head -n 200000")).await;
    assert_eq!(stdout, b"0123456789\n".repeat(200_000));
}

#[tokio::test]
async fn lines_longer_than_the_frames_of_the_engine_keep_their_newlines() {
    let bench = Bench::new();
    let lengths = [16_383, 16_384, 16_385, 20_000, 32_768, 40_000];
    let list = lengths.map(|length| length.to_string()).join(" ");
    let line = format!("for n in {list}; do head -c $n /dev/zero | tr '\\0' x; echo; done; echo; echo after");
    let (_, stdout, _) = bench.run(&bench.shell(&line)).await;
    let lines = lengths.map(|length| "x".repeat(length) + "\n").concat();
    assert!(stdout == format!("{lines}\nafter\n").as_bytes(), "{} bytes", stdout.len());
}

#[tokio::test]
async fn short_containers_lose_no_output() {
    let bench = Bench::new();
    let results = stream::iter(0..24).map(|number| {
        let spec = bench.shell(&format!("echo {number}; echo e{number} >&2"));
        let bench = &bench;
        async move { (number, bench.run(&spec).await) }
    });
    let results: Vec<_> = results.buffer_unordered(4).collect().await;
    for (number, (code, stdout, stderr)) in results {
        assert_eq!((code, text(&stdout), text(&stderr)), (0, format!("{number}\n"), format!("e{number}\n")));
    }
}

#[tokio::test]
async fn want_of_memory_is_said() {
    let bench = Bench::new();
    let mut spec = bench.shell("x=0123456789abcdef; while :; do x=$x$x; done");
    spec.resources.memory_bytes = 16 * MIB;
    bench.start(&spec).await;
    let exit = bench.runtime.wait(&spec.key).await.expect("an end");
    assert!(exit.oom, "{exit:?}");
    assert!(exit.started_at.is_some() && exit.finished_at >= exit.started_at, "{exit:?}");
    bench.runtime.remove(&spec.key).await.expect("removed");
}

/// The witness is in the output directory: one line for each run of the command.
#[tokio::test]
async fn another_worker_process_adopts_and_does_not_start_again() {
    let bench = Bench::new();
    let spec = bench.shell("echo ran >> /output/witness");
    bench.start(&spec).await;
    bench.runtime.wait(&spec.key).await.expect("an end");
    let again = Bench::new();
    again.runtime.create(&spec).await.expect("adopted");
    again.runtime.start(&spec.key).await.expect("has run");
    assert_eq!(again.runtime.wait(&spec.key).await.expect("an end").code, 0);
    let found = again.runtime.inventory(spec.cluster, &spec.worker).await.expect("a list");
    assert_eq!(
        found.iter().map(|found| (found.key, found.state)).collect::<Vec<_>>(),
        [(spec.key, FoundState::Exited)]
    );
    let witness = std::fs::read_to_string(spec.output.join("witness")).expect("a witness");
    assert_eq!(witness, "ran\n");
    again.runtime.remove(&spec.key).await.expect("removed");
}

#[tokio::test]
async fn many_starts_at_once_are_one() {
    let bench = Bench::new();
    let spec = bench.shell("echo ran >> /output/many");
    bench.runtime.create(&spec).await.expect("made");
    let starts = (0..8).map(|_| bench.runtime.start(&spec.key));
    for result in futures_util::future::join_all(starts).await {
        result.expect("started once, by one of them");
    }
    bench.runtime.wait(&spec.key).await.expect("an end");
    assert_eq!(std::fs::read_to_string(spec.output.join("many")).expect("a witness"), "ran\n");
    bench.runtime.remove(&spec.key).await.expect("removed");
}

#[tokio::test]
async fn an_older_fence_is_replaced_and_a_newer_one_is_not() {
    let bench = Bench::new();
    let old = bench.shell("sleep 60");
    bench.start(&old).await;
    let newer = ContainerSpec { key: AttemptKey { fence: Fence(6), ..old.key }, ..bench.shell("echo new") };
    let other = Bench::new();
    // The labels of the container that has the name are not those of the newer life: it is left alone.
    assert_eq!(other.runtime.wait(&newer.key).await, Err(RuntimeError::NotFound));
    other.runtime.remove(&newer.key).await.expect("nothing of this life");
    assert_eq!(bench.runtime.inventory(bench.cluster, &old.worker).await.expect("a list").len(), 1);
    let (code, stdout, _) = other.run(&ContainerSpec { cluster: old.cluster, ..newer.clone() }).await;
    assert_eq!((code, text(&stdout).as_str()), (0, "new\n"));

    let newer = ContainerSpec { cluster: old.cluster, ..newer };
    other.runtime.create(&newer).await.expect("made");
    let refused = Bench::new().runtime.create(&old).await;
    assert!(matches!(refused, Err(RuntimeError::Setup(_))), "{refused:?}");
    let foreign = ContainerSpec { cluster: ClusterId(Ulid::generate()), ..newer.clone() };
    let refused = Bench::new().runtime.create(&foreign).await;
    assert!(matches!(refused, Err(RuntimeError::Setup(_))), "{refused:?}");
    other.runtime.remove(&newer.key).await.expect("removed");
}

#[tokio::test]
async fn a_container_of_the_same_name_and_labels_is_the_same_only_if_it_is_made_of_the_same() {
    let bench = Bench::new();
    let spec = bench.shell("exit 3");
    let standing = || async {
        bench.engine.inspect_container(&name(&spec.key), None::<InspectContainerOptions>).await.expect("it is there")
    };
    bench.runtime.create(&spec).await.expect("made");
    let first = standing().await;
    Bench::new().runtime.create(&spec).await.expect("it is found");
    assert_eq!(standing().await.id, first.id);
    let other = ContainerSpec { command: Command::Shell("exit 5".to_owned()), ..spec.clone() };
    let again = Bench::new();
    again.runtime.create(&other).await.expect("made instead");
    assert_ne!(standing().await.id, first.id);
    again.runtime.start(&other.key).await.expect("started");
    assert_eq!(again.runtime.wait(&other.key).await.expect("an end").code, 5);
    again.runtime.remove(&other.key).await.expect("removed");

    // An earlier version has said it in its own way, or not at all.
    for told in [Some("0123456789abcdef"), None] {
        let config = first.config.clone().expect("a configuration");
        let mut labels = config.labels.expect("labels");
        labels.remove("cloudai.spec").expect("it is said");
        labels.extend(told.map(|told| ("cloudai.spec".to_owned(), told.to_owned())));
        let body = ContainerCreateBody { image: config.image, labels: Some(labels), ..ContainerCreateBody::default() };
        let options = CreateContainerOptionsBuilder::default().name(&name(&spec.key)).build();
        let earlier = bench.engine.create_container(Some(options), body).await.expect("made by hand");
        Bench::new().runtime.create(&spec).await.expect("it is found");
        assert_eq!(standing().await.id, Some(earlier.id), "{told:?}");
        Bench::new().runtime.remove(&spec.key).await.expect("removed");
    }
}

#[tokio::test]
async fn a_container_that_somebody_renamed_is_still_the_same() {
    let bench = Bench::new();
    let spec = bench.shell("sleep 60");
    bench.start(&spec).await;
    let options = RenameContainerOptionsBuilder::default().name(&format!("renamed-{}", spec.key.task)).build();
    bench.engine.rename_container(&name(&spec.key), options).await.expect("renamed");
    let again = Bench::new();
    let found = again.runtime.inventory(spec.cluster, &spec.worker).await.expect("a list");
    let found: Vec<_> = found.into_iter().map(|found| (found.key, found.state)).collect();
    assert_eq!(found, [(spec.key, FoundState::Running)]);
    again.runtime.remove(&spec.key).await.expect("removed");
    assert!(bench.runtime.inventory(spec.cluster, &spec.worker).await.expect("a list").is_empty());
}

#[tokio::test]
async fn a_container_removed_by_hand_is_not_found() {
    let bench = Bench::new();
    let spec = bench.shell("sleep 60");
    bench.start(&spec).await;
    Bench::new().runtime.remove(&spec.key).await.expect("removed");
    assert_eq!(bench.runtime.wait(&spec.key).await, Err(RuntimeError::NotFound));
    assert_eq!(bench.runtime.start(&spec.key).await, Err(RuntimeError::NotFound));
    bench.runtime.remove(&spec.key).await.expect("gone already");
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_an_engine_error() {
    let gone = tempfile::tempdir().expect("a directory");
    let socket = gone.path().join("docker.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let runtime = DockerRuntime::connect(Some(&format!("unix://{}", socket.display()))).expect("a client");
    let error = runtime.info().await.map(|_| ());
    assert!(matches!(error, Err(RuntimeError::Engine(_))), "{error:?}");
}
