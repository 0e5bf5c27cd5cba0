//! What `cloudctl` says, word for word: the scripts in `tests/scripts`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

use cloudai_tests::golden::script::{Item, Script};

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        /// So that the word stands in their names.
        mod golden {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                cloudai_tests::golden::check(stringify!($name)).await;
            })*
        }
        const ALL: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts!(
    admin,
    approve,
    audit,
    cancel,
    completions,
    delete,
    context,
    cordon,
    dispatch,
    download,
    drain,
    edit,
    empty_cluster,
    errors,
    failing_tasks,
    files,
    fix_resources,
    help,
    inputs,
    internal_state,
    list_tasks,
    login,
    logout,
    logs,
    man,
    monitor,
    password,
    queue,
    register,
    registry,
    retry,
    shell,
    show,
    shutdown,
    stats,
    status,
    task,
    task_file,
    task_files,
    usage,
    tokens,
    undrain,
    unregister,
    users,
    version,
    wait,
    waiting,
    watch,
    whoami,
    why,
    worker_token,
    workers,
);

#[test]
fn every_script_is_played() {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")).expect("the scripts");
    let names = files.map(|file| {
        let path = file.expect("a script").path();
        path.file_stem().expect("a name").to_string_lossy().into_owned()
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), ALL.iter().map(ToString::to_string).collect());
}

/// Each command has a script of its own, with a table, JSON and a wrong call of it.
#[tokio::test]
async fn every_command_has_a_script() {
    let directory = tempfile::tempdir().expect("a directory");
    let ctl = cloudai_tests::ctl::Ctl::new(directory.path().to_owned(), String::new(), String::new());
    let page = ctl.run(&["man"]).await.ok();
    let commands: Vec<_> = page
        .lines()
        .filter_map(|line| line.strip_prefix("cloudctl\\-")?.strip_suffix("(1)"))
        .map(|name| name.replace('\\', ""))
        .collect();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let name = command.replace('-', "_");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(format!("{name}.txt"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let steps = Script::parse(&text).items.into_iter().filter_map(|item| match item {
            Item::Step { line, answer } => Some((line, answer)),
            Item::Text(_) => None,
        });
        let call = format!("cloudctl {command} ");
        let own: Vec<_> = steps.filter(|(line, _)| format!("{line} ").contains(&call)).collect();
        let has = |what: &dyn Fn(&str, &[String]) -> bool| own.iter().any(|(line, answer)| what(line, answer));
        let works = |answer: &[String]| answer.last().is_some_and(|last| !last.starts_with("? "));
        assert!(has(&|_, answer| answer.last().is_some_and(|last| last == "? 2")), "{name}: no wrong call");
        // A screen has no other form, and needs a terminal: `e2e_terminal`. Who can be approved is no program of ours.
        if !["watch", "approve"].contains(&command.as_str()) {
            assert!(has(&|line, answer| line.contains("-o json") && works(answer)), "{name}: no JSON");
            let is_table = |line: &str| !line.contains(" -o ") && !line.contains(" -q");
            assert!(has(&|line, answer| is_table(line) && works(answer)), "{name}: no table");
        }
    }
}
