use std::path::Path;
use std::time::Duration;

use cloudaid_core::images::ImageRules;

use super::super::dotenv::DotEnv;
use super::super::file::FileLayer;
use super::super::machine::Machine;
use super::super::{CapacityOverrides, JoinFrom, LogFormat, Secret, TaskLogSettings};
use super::*;
use crate::master::logs::Keep;
use crate::runtime::docker::PullLimits;

fn layers() -> Layers {
    let machine = Machine {
        home: Some("/home/ada".into()),
        data_home: Some("/home/ada/.local/share".into()),
        config_home: Some("/home/ada/.config".into()),
        host: "node-7".to_owned(),
        addresses: Vec::new(),
    };
    Layers { machine, ..Layers::default() }
}

fn with_file(text: &str) -> Settings {
    let file = FileLayer::parse(text);
    assert_eq!(file.problems, []);
    Settings::new(Layers { file: Some(("c.toml".into(), file)), ..layers() })
}

fn with_env<const N: usize>(pairs: [(&str, &str); N]) -> Settings {
    let env = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Settings::new(Layers { env, ..layers() })
}

fn problems<T>(result: Result<T, ConfigError>) -> Vec<String> {
    result.err().map(|error| error.problems.iter().map(ToString::to_string).collect()).unwrap_or_default()
}

#[test]
fn a_master_starts_without_any_setting() {
    let (log, master) = Settings::new(layers()).master().expect("the defaults are valid");
    assert_eq!(log.format, LogFormat::Text);
    assert_eq!(master.data_dir, Path::new("/home/ada/.local/share/cloudai/master"));
    assert_eq!((master.http.to_string(), master.grpc.port()), ("127.0.0.1:8080".to_owned(), 50051));
    assert_eq!(master.leases.start_grace, Duration::from_secs(60));
    assert_eq!((master.print_task_logs, master.bootstrap_admin, master.infrastructure_attempts), (false, false, 3));
    assert_eq!(master.token_ttl, Duration::from_secs(900));
    assert_eq!((master.jwt_secret.clone(), master.plaintext_notice()), (None, None));
}

#[test]
fn images_and_their_pulls_have_limits() {
    let env =
        [("CLOUDAI_IMAGES_ALLOWED", "ghcr.io/acme/*, docker.io/busybox"), ("CLOUDAI_IMAGES_REQUIRE_DIGEST", "true")];
    let (_, master) = with_env(env).master().expect("valid");
    assert_eq!((master.images.allowed.len(), master.images.require_digest), (2, true));
    assert_eq!(Settings::new(layers()).master().expect("valid").1.images, ImageRules::default());
    let (_, worker) = Settings::new(layers()).worker().expect("valid");
    assert_eq!(worker.pull_limits, PullLimits::default(), "what the table says is what is meant");
    let env = [("CLOUDAI_PULL_STALL_LIMIT", "90s"), ("CLOUDAI_PULL_TIME_LIMIT", "1h")];
    let limits = with_env(env).worker().expect("valid").1.pull_limits;
    assert_eq!((limits.stall.as_secs(), limits.total.as_secs()), (90, 3600));
    for (name, value) in [("CLOUDAI_PULL_STALL_LIMIT", "0s"), ("CLOUDAI_PULL_TIME_LIMIT", "999ms")] {
        assert_eq!(problems(with_env([(name, value)]).worker()).len(), 1, "{name}");
    }
    for (name, value) in [("CLOUDAI_IMAGES_ALLOWED", "busybox"), ("CLOUDAI_IMAGES_REQUIRE_DIGEST", "maybe")] {
        assert_eq!(problems(with_env([(name, value)]).master()).len(), 1, "{name}");
    }
}

#[test]
fn dev_is_both_below_one_directory() {
    let settings = with_env([("CLOUDAI_DATA_DIR", "/data"), ("CLOUDAI_MASTER", "nonsense://")]);
    let (_, dev) = settings.dev().expect("valid");
    assert_eq!(dev.master.data_dir, Path::new("/data/master"));
    assert_eq!(dev.worker.data_dir, Path::new("/data/worker"));
    assert_eq!((dev.worker.join, dev.master.bootstrap_worker.as_ref()), (None, Some(&dev.worker.name)));
    assert_eq!(dev.worker.masters, ["127.0.0.1:50051"]);
    assert_eq!(
        (dev.worker.name.as_str(), dev.master.print_task_logs, dev.master.bootstrap_admin),
        ("worker-1", true, true)
    );
    assert_eq!(dev.contexts_file.as_deref(), Some(Path::new("/home/ada/.config/cloudctl/contexts.toml")));
}

#[test]
fn a_worker_takes_everything_from_its_section() {
    let settings = with_file(
        "[worker]\nmaster = [\"m1:1\", \"m2:2\"]\nname = \"w\"\ndata_dir = \"~/w\"\njoin_file = \"/t\"\n\
         docker_host = \"/d.sock\"\ncpu = 2.5\nmemory = 8\nstorage = \"100GiB\"\ngpu = 0\nadvertise = \"w.example\"\n\
         labels = { disk = \"ssd\" }",
    );
    let (_, worker) = settings.worker().expect("valid");
    assert_eq!(worker.masters, ["m1:1", "m2:2"]);
    assert_eq!((worker.name.as_str(), worker.data_dir.as_path()), ("w", Path::new("/home/ada/w")));
    assert_eq!(worker.join, Some(JoinFrom::File("/t".into())));
    assert_eq!(worker.docker_host.as_deref(), Some("unix:///d.sock"));
    let expected = CapacityOverrides {
        cpu_millis: Some(2500),
        memory_bytes: Some(8 << 30),
        storage_bytes: Some(100 << 30),
        gpu_millis: Some(0),
    };
    assert_eq!(worker.overrides, expected);
    assert_eq!((worker.labels["disk"].as_str(), worker.advertise.as_deref()), ("ssd", Some("w.example")));
}

#[test]
fn a_worker_of_a_first_generation_master_needs_no_master() {
    let (_, worker) = with_env([("CLOUDAI_WORKER_PROTOCOL", "seed")]).worker().expect("valid");
    assert_eq!((worker.seed, worker.masters.len()), (Some("0.0.0.0:50052".parse().expect("an address")), 0));
    assert!(worker.plaintext_notice().expect("a notice").contains("can run containers here"));
    let near = [("CLOUDAI_WORKER_PROTOCOL", "seed"), ("CLOUDAI_WORKER_LISTEN", "127.0.0.1:7")];
    let (_, worker) = with_env(near).worker().expect("valid");
    assert_eq!((worker.seed.map(|listen| listen.port()), worker.plaintext_notice()), (Some(7), None));
    let (_, worker) = with_env([("CLOUDAI_JOIN", "x")]).worker().expect("valid");
    assert_eq!(worker.seed, None);
}

#[test]
fn what_is_for_the_other_protocol_is_refused() {
    for (env, problem) in [
        (
            [("CLOUDAI_WORKER_PROTOCOL", "seed"), ("CLOUDAI_MASTER", "m:1")],
            "leave this out, or give --protocol session",
        ),
        ([("CLOUDAI_JOIN", "x"), ("CLOUDAI_WORKER_LISTEN", "127.0.0.1:7")], "only with --protocol seed"),
        ([("CLOUDAI_JOIN", "x"), ("CLOUDAI_WORKER_PROTOCOL", "http")], "neither `session` nor `seed`"),
        ([("CLOUDAI_WORKER_PROTOCOL", "seed"), ("CLOUDAI_WORKER_LISTEN", "x")], "not an address to listen at"),
    ] {
        let found = problems(with_env(env).worker());
        assert!(found.len() == 1 && found[0].contains(problem), "{env:?}: {found:?}");
    }
}

#[test]
fn a_worker_may_have_joined_already_and_its_token_is_not_shown() {
    assert_eq!(Settings::new(layers()).worker().expect("valid").1.join, None);
    let (_, worker) = with_env([("CLOUDAI_JOIN", " abc\n")]).worker().expect("valid");
    assert_eq!(worker.join, Some(JoinFrom::Inline(Secret::new("abc"))));
    assert!(!format!("{worker:?}").contains("abc"));
}

#[test]
fn the_token_on_the_higher_layer_counts() {
    let inline = [("CLOUDAI_JOIN", "abc")];
    let mut settings = with_env(inline);
    settings.layers.flags.insert("join-file", "/flag".into());
    assert_eq!(settings.worker().expect("valid").1.join, Some(JoinFrom::File("/flag".into())));
    let mut settings = with_env(inline);
    settings.layers.dotenv = DotEnv::parse("CLOUDAI_JOIN_FILE=/dotenv");
    assert_eq!(settings.worker().expect("valid").1.join, Some(JoinFrom::Inline(Secret::new("abc"))));
    let both = with_env([("CLOUDAI_JOIN", "abc"), ("CLOUDAI_JOIN_FILE", "/t")]);
    assert!(problems(both.worker())[0].contains("so is env CLOUDAI_JOIN; keep one"));
}

#[test]
fn all_problems_come_at_once_each_with_its_origin() {
    let mut settings =
        with_file("[master]\nhttp = 8080\n[limits]\ninfrastructure_attempts = 0\n[log]\nformat = \"xml\"");
    settings.layers.env =
        [("JWT_SECRET", "your-secret-key"), ("CLOUDAI_LOG", "cloudaid=loud")].map(|(a, b)| (a.into(), b.into())).into();
    settings.layers.flags.insert("print-task-logs", "maybe".into());
    let found = problems(settings.master());
    let expected = [
        ("log.format: `xml`", "(from file c.toml)"),
        ("log.level: ", "(from env CLOUDAI_LOG)"),
        ("master.http: `8080`", "(from file c.toml)"),
        ("auth.jwt_secret: `your-secret-key` is a sample", "(from env JWT_SECRET)"),
        ("master.print_task_logs: `maybe`", "(from flag --print-task-logs)"),
        ("limits.infrastructure_attempts: `0`", "(from file c.toml)"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, (start, end)) in found.iter().zip(expected) {
        assert!(found.starts_with(start) && found.ends_with(end), "{found}");
    }
}

#[test]
fn beyond_this_machine_everything_is_encrypted_unless_asked_otherwise() {
    let (_, master) = with_env([("CLOUDAI_HTTP", "127.0.0.1:80")]).master().expect("valid");
    assert!(!master.tls.http && !master.site.encrypted);
    let (_, master) = with_env([("CLOUDAI_HTTP", "0.0.0.0:80")]).master().expect("valid");
    assert!(master.tls.http && master.site.encrypted);
    assert_eq!(master.plaintext_notice(), None);
    let (_, master) =
        with_env([("CLOUDAI_HTTP", "0.0.0.0:80"), ("CLOUDAI_PLAINTEXT", "true")]).master().expect("valid");
    assert!(!master.tls.http && !master.site.encrypted);
    assert!(master.plaintext_notice().expect("a notice").contains("0.0.0.0:80"));
    let (_, master) = with_env([("CLOUDAI_ALLOW_PLAINTEXT_WORKERS", "true")]).master().expect("valid");
    assert!(master.plaintext_notice().expect("a notice").contains("127.0.0.1:50051"));
}

#[test]
fn the_certificate_names_this_machine() {
    let mut settings = with_env([("CLOUDAI_HTTP", "10.0.0.1:80"), ("CLOUDAI_HOSTS", "cloudai.example")]);
    settings.layers.machine.addresses = vec!["192.168.1.5".parse().expect("an address")];
    let names = |settings: &Settings| settings.master().expect("valid").1.tls.names;
    assert_eq!(names(&settings), ["10.0.0.1", "127.0.0.1", "::1", "cloudai.example", "localhost", "node-7"]);
    settings.layers.flags.insert("grpc", "0.0.0.0:50051".into());
    assert!(names(&settings).contains(&"192.168.1.5".to_owned()));
}

#[test]
fn a_certificate_comes_with_its_key() {
    for (name, value) in [("CLOUDAI_TLS_CERTIFICATE", "/c.pem"), ("CLOUDAI_TLS_KEY", "/k.pem")] {
        let found = problems(with_env([(name, value)]).master());
        assert!(matches!(found.as_slice(), [one] if one.contains("set both or none")), "{found:?}");
    }
    let both = [("CLOUDAI_TLS_CERTIFICATE", "/c.pem"), ("CLOUDAI_TLS_KEY", "/k.pem")];
    let (_, master) = with_env(both).master().expect("valid");
    assert!(master.tls.http, "also on an address of this machine only");
    let mut settings = with_env(both);
    settings.layers.flags.insert("plaintext", "true".into());
    assert!(problems(settings.master())[0].contains("keep one of the two"));
}

#[test]
fn two_ports_are_needed() {
    let same = [("CLOUDAI_HTTP", "127.0.0.1:7"), ("CLOUDAI_GRPC", "127.0.0.1:7")];
    assert_eq!(problems(with_env(same).master()).len(), 1);
    let free = [("CLOUDAI_HTTP", "127.0.0.1:0"), ("CLOUDAI_GRPC", "127.0.0.1:0")];
    assert!(with_env(free).master().is_ok());
}

#[test]
fn lease_times_keep_their_order() {
    let found = problems(with_file("[leases]\nheartbeat = \"15s\"\nreassign = \"10s\"").master());
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].starts_with("leases.suspect: `15s` is not longer than leases.heartbeat, which is 15s;"),
        "{found:?}"
    );
    assert!(found[1].starts_with("leases.reassign: `10s` is not longer than leases.lease, which is 30s;"), "{found:?}");
    let quick =
        "[leases]\nheartbeat=\"50ms\"\nsuspect=\"150ms\"\nlease=\"300ms\"\nreassign=\"450ms\"\nstart_grace=\"1s\"";
    let (_, master) = with_file(quick).master().expect("valid");
    assert_eq!(master.leases.reassign, Duration::from_millis(450));
}

#[test]
fn amounts_are_checked() {
    for (variable, value) in
        [("CLOUDAI_CPU", "0"), ("CLOUDAI_CPU", "-1"), ("CLOUDAI_MEMORY", "lots"), ("CLOUDAI_GPU", "NaN")]
    {
        let found = problems(with_env([("CLOUDAI_JOIN", "x"), (variable, value)]).worker());
        assert!(found.len() == 1 && found[0].contains(&format!("(from env {variable})")), "{found:?}");
    }
}

#[test]
fn without_a_home_directory_a_data_directory_must_be_named() {
    let mut settings = Settings::new(Layers { machine: Machine::default(), ..Layers::default() });
    let found = problems(settings.master());
    assert!(matches!(found.as_slice(), [one] if one.contains("give --data-dir DIR")), "{found:?}");
    settings.layers.flags.insert("data-dir", "/d".into());
    assert!(settings.master().is_ok());
}

#[test]
fn logs_are_kept_as_much_and_as_long_as_is_said() {
    let (_, master) = Settings::new(layers()).master().expect("the defaults are valid");
    let logs = TaskLogSettings { keep: Keep::at_most(1 << 30), total: None, retention: None, failed_retention: None };
    assert_eq!(master.task_logs, logs);
    let week = Some(Duration::from_secs(7 * 86_400));
    fn read<const N: usize>(settings: [(&str, &str); N]) -> Result<TaskLogSettings, ConfigError> {
        with_env(settings).master().map(|(_, master)| master.task_logs)
    }
    let all = read([("CLOUDAI_TASK_LOGS_KEEP", "all"), ("CLOUDAI_TASK_LOGS_RETENTION", "7d")]).expect("valid");
    assert_eq!(all, TaskLogSettings { keep: Keep::ALL, total: None, retention: week, failed_retention: week });
    let failed = [("CLOUDAI_TASK_LOGS_FAILED_RETENTION", "7d"), ("CLOUDAI_TASK_LOGS_TOTAL", "2TiB")];
    assert_eq!(read(failed).expect("valid"), TaskLogSettings { failed_retention: week, total: Some(2 << 40), ..logs });
    for (name, value, problem) in [
        ("CLOUDAI_TASK_LOGS_KEEP", "1KiB", "less than 65536 bytes"),
        ("CLOUDAI_TASK_LOGS_KEEP", "none", "or `all`"),
        ("CLOUDAI_TASK_LOGS_TOTAL", "0", "less than"),
        ("CLOUDAI_TASK_LOGS_RETENTION", "soon", "or `never`"),
        ("CLOUDAI_TASK_LOGS_FAILED_RETENTION", "7", "is not a time"),
    ] {
        let found = problems(read([(name, value)]));
        assert!(matches!(found.as_slice(), [one] if one.contains(problem) && one.contains(name)), "{found:?}");
    }
}

#[test]
fn files_are_kept_in_a_directory_or_a_bucket() {
    let (_, master) = Settings::new(layers()).master().expect("the defaults are valid");
    assert_eq!(master.files.s3, None);
    assert_eq!((master.files.retention, master.files.input_retention), (None, Some(Duration::from_secs(7 * 86_400))));
    assert_eq!((master.files.quota.bytes, master.files.quota.files), (100 << 30, 1_000_000));
    let bucket = [("CLOUDAI_FILES_STORE", "s3"), ("CLOUDAI_FILES_S3_BUCKET", "b")];
    let (_, master) = with_env(bucket).master().expect("valid");
    let s3 = master.files.s3.expect("a bucket");
    assert_eq!((s3.bucket.as_str(), s3.region.as_str(), s3.endpoint, s3.credentials), ("b", "us-east-1", None, None));
    for (name, value, problem) in [
        ("CLOUDAI_FILES_STORE", "ftp", "neither `local` nor `s3`"),
        ("CLOUDAI_FILES_S3_BUCKET", " ", "it is empty"),
        ("CLOUDAI_FILES_S3_ENDPOINT", "minio:9000", "give https://HOST"),
        ("CLOUDAI_FILES_S3_ENDPOINT", "https://me:secret@minio", "give https://HOST"),
        ("AWS_ACCESS_KEY_ID", "id", "set both or none"),
        ("AWS_SECRET_ACCESS_KEY", "key", "set both or none"),
        ("CLOUDAI_FILES_RETENTION", "soon", "or `never`"),
        ("CLOUDAI_LIMITS_USER_BYTES", "much", "much"),
        ("CLOUDAI_LIMITS_USER_FILES", "-1", "whole number"),
    ] {
        let mut env: std::collections::BTreeMap<_, _> = bucket.into_iter().collect();
        env.insert(name, value);
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let found = problems(Settings::new(Layers { env, ..layers() }).master());
        assert!(found.len() == 1 && found[0].contains(problem), "{name}={value}: {found:?}");
    }
    assert!(problems(with_env([("CLOUDAI_FILES_STORE", "s3")]).master())[0].contains("files.s3_bucket"));
}

#[test]
fn a_doctor_looks_where_a_worker_would_and_is_kept_from_it_by_nothing_else() {
    let settings = with_env([("CLOUDAI_DOCKER_HOST", "/d.sock"), ("CLOUDAI_CPU", "many"), ("CLOUDAI_NAME", "a b")]);
    let config = settings.doctor().expect("neither is its business");
    assert_eq!(config.data_dir, Path::new("/home/ada/.local/share/cloudai/worker"));
    assert_eq!((config.docker_host, config.image_room), (Ok("unix:///d.sock".to_owned()), 2 << 30));
    // What is wrong with the engine's address is what it has to say, and no reason to say nothing.
    let config = with_env([("DOCKER_HOST", "tcp://10.0.0.1:2375")]).doctor().expect("valid");
    assert!(config.docker_host.expect_err("not used").contains("owns its machine"));
    assert_eq!(problems(with_env([("CLOUDAI_IMAGE_ROOM", "x")]).doctor()).len(), 1);
}
