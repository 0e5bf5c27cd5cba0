//! What `cloudctl` says, word for word: the scripts in `tests/scripts`.
#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::path::Path;

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            cloudai_tests::golden::check(stringify!($name)).await;
        })*
        const ALL: &[&str] = &[$(stringify!($name)),*];
    };
}

scripts!(dispatch, empty_cluster, errors, failing_tasks, task, usage, waiting, workers);

#[test]
fn every_script_is_played() {
    let files = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")).expect("the scripts");
    let names = files.map(|file| {
        let path = file.expect("a script").path();
        path.file_stem().expect("a name").to_string_lossy().into_owned()
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), ALL.iter().map(ToString::to_string).collect());
}
