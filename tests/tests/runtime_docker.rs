//! The Docker runtime against a real engine.
//!
//! `CLOUDAI_TEST_DOCKER` is the engine's socket (`unix:///path`), `CLOUDAI_TEST_IMAGE` an image with busybox; run.sh
//! sets both. Without them these tests fail.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{InspectContainerOptions, RemoveImageOptions, RenameContainerOptionsBuilder};
use cloudaid::runtime::docker::DockerRuntime;
use cloudaid::runtime::{ContainerSpec, FoundState, Runtime, RuntimeError, contract};
use futures_util::{StreamExt, TryStreamExt, stream};
use shared::id::{AttemptKey, ClusterId, Fence, TaskId};
use shared::link::{LogStream, RunLimits};
use shared::pull::PullPolicy;
use shared::resources::{MIB, Resources};
use shared::task::Command;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use ulid::Ulid;

/// An engine, and what tests of it need.
struct Bench {
    runtime: DockerRuntime,
    engine: Docker,
    image: String,
    scratch: TempDir,
    cluster: ClusterId,
}

impl Bench {
    fn new() -> Self {
        let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("set {name}, as tests/run.sh does"));
        let host = variable("CLOUDAI_TEST_DOCKER");
        let path = host.trim_start_matches("unix://");
        Self {
            runtime: DockerRuntime::connect(Some(&host)).expect("an engine"),
            engine: Docker::connect_with_unix(path, 60, bollard::API_DEFAULT_VERSION).expect("an engine"),
            image: variable("CLOUDAI_TEST_IMAGE"),
            scratch: tempfile::tempdir().expect("a directory"),
            cluster: ClusterId(Ulid::generate()),
        }
    }

    fn spec(&self, command: Command) -> ContainerSpec {
        ContainerSpec {
            key: AttemptKey { task: TaskId(Ulid::generate()), index: 0, attempt: 1, fence: Fence(5) },
            cluster: self.cluster,
            worker: "w-1".parse().expect("a name"),
            name: Some("a test".to_owned()),
            image: self.image.clone(),
            pull: shared::pull::PullPolicy::Missing,
            confinement: Default::default(),
            gpus: Vec::new(),
            command,
            env: BTreeMap::new(),
            resources: Resources { cpu_millis: 1000, memory_bytes: 64 * MIB, ..Resources::default() },
            output: self.scratch.path().to_owned(),
            input: None,
            limits: RunLimits {
                memory_bytes: 0,
                storage_bytes: 0,
                stop_grace: Duration::from_secs(1),
                time_limit: None,
                at_most_once: false,
            },
        }
    }

    fn shell(&self, line: &str) -> ContainerSpec {
        self.spec(Command::Shell(line.to_owned()))
    }

    async fn start(&self, spec: &ContainerSpec) {
        self.runtime.create(spec).await.expect("made");
        self.runtime.start(&spec.key).await.expect("started");
    }

    /// Exit code, stdout and stderr.
    async fn run(&self, spec: &ContainerSpec) -> (i32, Vec<u8>, Vec<u8>) {
        self.start(spec).await;
        let (stdout, stderr) = self.log(&spec.key).await;
        let code = self.runtime.wait(&spec.key).await.expect("an end").code;
        self.runtime.remove(&spec.key).await.expect("removed");
        (code, stdout, stderr)
    }

    async fn log(&self, key: &AttemptKey) -> (Vec<u8>, Vec<u8>) {
        let mut log = self.runtime.logs(key).await.expect("a log");
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some((stream, bytes)) = log.try_next().await.expect("a whole log") {
            match stream {
                LogStream::Stdout => stdout.extend_from_slice(&bytes),
                LogStream::Stderr => stderr.extend_from_slice(&bytes),
            }
        }
        (stdout, stderr)
    }
}

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
    let mut spec = bench.shell("cat /proc/self/status; echo '--'; env; echo '--'; cat /proc/self/limits; id");
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

/// A registry of one image without content, and of several kinds of trouble. The digests are those of the texts.
struct Registry {
    address: String,
    pulls: AtomicU32,
}

const CONFIG: &str = concat!(
    r#"{"architecture":"amd64","os":"linux","config":{"Cmd":["/nothing"]},"#,
    r#""rootfs":{"type":"layers","diff_ids":["sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"]}}"#
);
const CONFIG_DIGEST: &str = "sha256:4be3f30149baab50ffd2cd5119f4a6e0c4c5c8240faf7ca4e0f876fd72f128bb";
const LAYER_DIGEST: &str = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";

impl Registry {
    async fn serve() -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let registry = Arc::new(Self { address, pulls: AtomicU32::new(0) });
        let served = Arc::clone(&registry);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&served).answer(connection));
            }
        });
        registry
    }

    async fn answer(self: Arc<Self>, mut connection: TcpStream) {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match connection.read_u8().await {
                // The engine tries TLS first, which begins so.
                Ok(0x16) if request.is_empty() => return,
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let path = text(&request).split(' ').nth(1).unwrap_or_default().to_owned();
        let head_only = request.starts_with(b"HEAD");
        if path == "/v2/empty/manifests/1" && !head_only {
            self.pulls.fetch_add(1, Ordering::SeqCst);
        }
        let (status, kind, body) = Self::find(&path);
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        let _gone = connection.write_all(head.as_bytes()).await;
        if !head_only {
            let _gone = connection.write_all(&body).await;
        }
    }

    fn find(path: &str) -> (&'static str, &'static str, Vec<u8>) {
        let trouble = |status, code: &str| {
            (
                status,
                "application/json",
                format!(r#"{{"errors":[{{"code":"{code}","message":"{code}"}}]}}"#).into_bytes(),
            )
        };
        match path {
            "/v2/" => ("200 OK", "application/json", b"{}".to_vec()),
            path if path.starts_with("/v2/empty/manifests/") => ("200 OK", MANIFEST_TYPE, manifest().into_bytes()),
            path if path.ends_with(CONFIG_DIGEST) => ("200 OK", "application/octet-stream", CONFIG.as_bytes().to_vec()),
            path if path.ends_with(LAYER_DIGEST) => ("200 OK", "application/octet-stream", vec![0; 1024]),
            "/v2/busy/manifests/1" => trouble("429 Too Many Requests", "TOOMANYREQUESTS"),
            "/v2/broken/manifests/1" => trouble("503 Service Unavailable", "UNAVAILABLE"),
            "/v2/private/manifests/1" => trouble("403 Forbidden", "DENIED"),
            _ => trouble("404 Not Found", "MANIFEST_UNKNOWN"),
        }
    }
}

fn manifest() -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{MANIFEST_TYPE}","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"{CONFIG_DIGEST}"}},"layers":[{{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","size":1024,"digest":"{LAYER_DIGEST}"}}]}}"#,
        CONFIG.len()
    )
}

#[tokio::test]
async fn images_are_pulled_once() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let image = format!("{}/empty:1", registry.address);
    let pulls = (0..6).map(|_| bench.runtime.prepare_image(&image, PullPolicy::Missing));
    let mut contents = Vec::new();
    for result in futures_util::future::join_all(pulls).await {
        contents.push(result.expect("pulled").expect("it came from a registry"));
    }
    assert_eq!(registry.pulls.load(Ordering::SeqCst), 1);
    assert!(contents[0].starts_with(&format!("{}/empty@sha256:", registry.address)), "{contents:?}");
    assert!(contents.iter().all(|content| *content == contents[0]), "{contents:?}");
    // It can be had by that, and it is the same.
    let again = bench.runtime.prepare_image(&contents[0], PullPolicy::Missing).await.expect("there");
    assert_eq!(again, Some(contents[0].clone()));
    let local = bench.runtime.prepare_image(&bench.image, PullPolicy::Missing).await.expect("there");
    assert_eq!(local, None, "it was made here");

    // Six that want it fresh at once are content with one pull or two, and one that comes later is not.
    let pulls = (0..6).map(|_| bench.runtime.prepare_image(&image, PullPolicy::Always));
    for result in futures_util::future::join_all(pulls).await {
        result.expect("pulled");
    }
    let so_far = registry.pulls.load(Ordering::SeqCst);
    bench.runtime.prepare_image(&image, PullPolicy::Always).await.expect("pulled");
    let before = registry.pulls.load(Ordering::SeqCst);
    assert!((2..=3).contains(&so_far) && before > so_far, "{so_far}, {before} pulls");
    bench.runtime.prepare_image(&image, PullPolicy::Never).await.expect("it is there");
    let missing = bench.runtime.prepare_image(&format!("{}/empty:2", registry.address), PullPolicy::Never).await;
    assert!(
        matches!(&missing, Err(RuntimeError::ImageNotFound(why)) if why.contains("does not want it pulled")),
        "{missing:?}"
    );
    assert_eq!(registry.pulls.load(Ordering::SeqCst), before);

    // Removed behind our back: it is fetched again when a container is made of it.
    bench.engine.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
    let spec = ContainerSpec { image: image.clone(), ..bench.spec(Command::ImageDefault) };
    bench.runtime.create(&spec).await.expect("made");
    assert_eq!(registry.pulls.load(Ordering::SeqCst), before + 1);
    bench.runtime.remove(&spec.key).await.expect("removed");
    bench.engine.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
}

#[tokio::test]
async fn pulls_that_fail_say_whether_to_try_again() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    for image in ["nosuch:1", "private:1"] {
        let error = bench.runtime.prepare_image(&format!("{}/{image}", registry.address), PullPolicy::Missing).await;
        assert!(matches!(error, Err(RuntimeError::ImageNotFound(_))), "{image}: {error:?}");
    }
    for image in ["busy:1", "broken:1"] {
        let error = bench.runtime.prepare_image(&format!("{}/{image}", registry.address), PullPolicy::Missing).await;
        assert!(matches!(error, Err(RuntimeError::ImageUnavailable(_))), "{image}: {error:?}");
    }
    let error = bench.runtime.prepare_image("127.0.0.1:1/none:1", PullPolicy::Missing).await;
    assert!(matches!(error, Err(RuntimeError::ImageUnavailable(_))), "{error:?}");
    let error = bench.runtime.prepare_image("UPPER/case", PullPolicy::Missing).await;
    assert!(matches!(error, Err(RuntimeError::ImageNotFound(_))), "{error:?}");
}
