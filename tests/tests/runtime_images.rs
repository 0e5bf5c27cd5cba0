//! Images on a real engine, from a registry of the test's own.
//!
//! `CLOUDAI_TEST_DOCKER` and `CLOUDAI_TEST_IMAGE` as in `runtime_docker.rs`.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::io::{Read, copy, repeat};
use std::sync::Arc;
use std::time::Duration;

use bollard::query_parameters::RemoveImageOptions;
use cloudai_tests::docker;
use cloudai_tests::registry::{Registry, SLOW_BYTES};
use cloudai_tests::runtime_bench::Bench;
use cloudai_tests::wait::{PATIENCE, eventually};
use cloudaid::runtime::docker::{DockerRuntime, PullLimits};
use cloudaid::runtime::{ContainerSpec, ImageWish, Logins, Runtime, RuntimeError};
use shared::pull::{PullPolicy, RegistryLogin};
use shared::resources::MIB;
use shared::task::Command;

#[tokio::test]
async fn images_are_pulled_once() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let image = registry.image("empty:1");
    let wish = ImageWish::new(&image, PullPolicy::Missing);
    let pulls = (0..6).map(|_| bench.runtime.prepare_image(&wish));
    let mut contents = Vec::new();
    for result in futures_util::future::join_all(pulls).await {
        contents.push(result.expect("pulled").expect("it came from a registry"));
    }
    assert_eq!(registry.pulls(), 1);
    assert!(contents[0].starts_with(&format!("{}/empty@sha256:", registry.address)), "{contents:?}");
    assert!(contents.iter().all(|content| *content == contents[0]), "{contents:?}");
    // It can be had by that, and it is the same.
    let again = bench.runtime.prepare_image(&ImageWish::new(&contents[0], PullPolicy::Missing)).await.expect("there");
    assert_eq!(again, Some(contents[0].clone()));
    let local = bench.runtime.prepare_image(&ImageWish::new(&bench.image, PullPolicy::Missing)).await.expect("there");
    assert_eq!(local, None, "it was made here");

    // Six that want it fresh at once are content with one pull or two, and one that comes later is not.
    let wish = ImageWish::new(&image, PullPolicy::Always);
    let pulls = (0..6).map(|_| bench.runtime.prepare_image(&wish));
    for result in futures_util::future::join_all(pulls).await {
        result.expect("pulled");
    }
    let so_far = registry.pulls();
    bench.runtime.prepare_image(&ImageWish::new(&image, PullPolicy::Always)).await.expect("pulled");
    let before = registry.pulls();
    assert!((2..=3).contains(&so_far) && before > so_far, "{so_far}, {before} pulls");
    bench.runtime.prepare_image(&ImageWish::new(&image, PullPolicy::Never)).await.expect("it is there");
    let missing = bench.runtime.prepare_image(&ImageWish::new(&registry.image("empty:2"), PullPolicy::Never)).await;
    assert!(
        matches!(&missing, Err(RuntimeError::ImageNotFound(why)) if why.contains("does not want it pulled")),
        "{missing:?}"
    );
    assert_eq!(registry.pulls(), before);

    // Removed behind our back: that is said when a container is to be made of it, and it is fetched again.
    bench.engine.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
    let spec = ContainerSpec { image: image.clone(), ..bench.spec(Command::ImageDefault) };
    let gone = bench.runtime.create(&spec).await;
    assert!(matches!(&gone, Err(RuntimeError::ImageUnavailable(why)) if why.contains("was removed")), "{gone:?}");
    bench.runtime.prepare_image(&ImageWish::new(&image, PullPolicy::Missing)).await.expect("pulled");
    bench.runtime.create(&spec).await.expect("made");
    assert_eq!(registry.pulls(), before + 1);
    bench.runtime.remove(&spec.key).await.expect("removed");
    bench.engine.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
}

#[tokio::test]
async fn pulls_that_fail_say_whether_to_try_again() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    for image in ["nosuch:1", "forbidden:1"] {
        let error = bench.runtime.prepare_image(&ImageWish::new(&registry.image(image), PullPolicy::Missing)).await;
        assert!(matches!(error, Err(RuntimeError::ImageNotFound(_))), "{image}: {error:?}");
    }
    for image in ["busy:1", "broken:1"] {
        let error = bench.runtime.prepare_image(&ImageWish::new(&registry.image(image), PullPolicy::Missing)).await;
        assert!(matches!(error, Err(RuntimeError::ImageUnavailable(_))), "{image}: {error:?}");
    }
    let said: Vec<_> = bench.runtime.pulling().into_iter().filter_map(|pulling| pulling.progress.failure).collect();
    assert_eq!(said.iter().map(|failure| failure.tries).collect::<Vec<_>>(), [1, 1], "{said:?}");
    assert!(said[0].message.contains("503") && said[1].message.to_lowercase().contains("toomanyrequests"), "{said:?}");
    let error = bench.runtime.prepare_image(&ImageWish::new("127.0.0.1:1/none:1", PullPolicy::Missing)).await;
    assert!(matches!(error, Err(RuntimeError::ImageUnavailable(_))), "{error:?}");
    let error = bench.runtime.prepare_image(&ImageWish::new("UPPER/case", PullPolicy::Missing)).await;
    assert!(matches!(error, Err(RuntimeError::ImageNotFound(_))), "{error:?}");
}

#[tokio::test]
async fn a_pull_says_how_far_it_is_and_leaves_room() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let image = registry.image("slow:1");
    let scratch = tempfile::tempdir().expect("a directory");
    let wish = ImageWish::new(&image, PullPolicy::Missing);
    let narrow = DockerRuntime::connect(Some(&docker::host())).expect("an engine");
    let narrow = narrow.keeping_images(scratch.path().join("narrow"), u64::MAX);
    let refused = narrow.prepare_image(&wish).await;
    assert!(matches!(&refused, Err(RuntimeError::NoRoom(why)) if why.contains("there is no room")), "{refused:?}");
    assert_eq!(narrow.pulling(), [], "it is over");

    let pull = bench.runtime.prepare_image(&wish);
    let some = eventually(PATIENCE, "some of it is there", || async {
        let pulling = bench.runtime.pulling();
        pulling.into_iter().find(|pulling| pulling.progress.done_bytes > 0)
    });
    let watch = async {
        let some = some.await;
        assert_eq!(some.image, image);
        let progress = some.progress;
        assert!(
            progress.total_bytes as usize > SLOW_BYTES && progress.done_bytes < progress.total_bytes,
            "{progress:?}"
        );
        registry.open();
    };
    let (pulled, ()) = tokio::join!(pull, watch);
    pulled.expect("pulled");
    assert_eq!(bench.runtime.pulling(), []);
    bench.engine.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
}

#[tokio::test]
async fn an_image_is_pulled_once_however_its_name_is_written() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let image = registry.image("empty:1");
    let wish = |image: &str| ImageWish::new(image, PullPolicy::Missing);
    let content = bench.runtime.prepare_image(&wish(&image)).await.expect("pulled").expect("it came from a registry");
    bench.engine.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
    let before = registry.fetches();
    let digest = content.split_once('@').expect("by its digest").1;
    let tagged = format!("{image}@{digest}");
    // Another process: this one has seen that the image was there.
    let fresh = DockerRuntime::connect(Some(&docker::host())).expect("an engine");
    let wishes: Vec<_> = [&content, &tagged, &content, &tagged].map(|image| wish(image)).into();
    let pulls = wishes.iter().map(|wish| fresh.prepare_image(wish));
    for result in futures_util::future::join_all(pulls).await {
        assert_eq!(result.expect("pulled"), Some(content.clone()));
    }
    assert_eq!(registry.fetches(), before + 1);
    bench.engine.remove_image(&content, None::<RemoveImageOptions>, None).await.expect("removed");
}

fn limited(stall: Duration, total: Duration) -> DockerRuntime {
    let runtime = DockerRuntime::connect(Some(&docker::host())).expect("an engine");
    runtime.with_pull_limits(PullLimits { stall, total })
}

#[tokio::test]
async fn a_pull_that_stands_still_is_given_up_and_can_be_tried_again() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let wish = ImageWish::new(&registry.image("slow:1"), PullPolicy::Missing);
    let stalls = limited(Duration::from_secs(1), Duration::from_secs(3600));
    let given_up = tokio::time::timeout(PATIENCE, stalls.prepare_image(&wish)).await.expect("it is given up");
    assert!(
        matches!(&given_up, Err(RuntimeError::ImageUnavailable(why)) if why.contains("sent nothing for 1 s")),
        "{given_up:?}"
    );
    let failure = stalls.pulling().pop().and_then(|pulling| pulling.progress.failure).expect("it is told");
    assert!(failure.message.contains("sent nothing for 1 s"), "{failure:?}");
    registry.open();
    bench.runtime.prepare_image(&wish).await.expect("pulled");
    bench.engine.remove_image(&wish.image, None::<RemoveImageOptions>, None).await.expect("removed");
}

#[tokio::test]
async fn a_pull_that_creeps_is_borne_for_as_long_as_pulls_may_take_in_all() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let wish = ImageWish::new(&registry.image("creep:1"), PullPolicy::Missing);
    let too_long = limited(Duration::from_secs(3600), Duration::from_secs(1));
    let given_up = too_long.prepare_image(&wish).await;
    assert!(
        matches!(&given_up, Err(RuntimeError::ImageUnavailable(why)) if why.contains("after 1 s of pulling")),
        "{given_up:?}"
    );
    // It takes longer than that, and never stands still for so long.
    let moves = limited(Duration::from_secs(2), Duration::from_secs(3600));
    moves.prepare_image(&wish).await.expect("pulled");
    bench.engine.remove_image(&wish.image, None::<RemoveImageOptions>, None).await.expect("removed");
}

#[tokio::test]
async fn a_pull_ends_before_the_disk_is_full_whoever_fills_it() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let wish = ImageWish::new(&registry.image("slow:1"), PullPolicy::Missing);
    let scratch = tempfile::tempdir().expect("a directory");
    let root = bench.runtime.info().await.expect("it answers").root.expect("a directory of this machine");
    let free = || {
        let disk = rustix::fs::statvfs(&root).expect("a disk");
        disk.f_bavail * disk.f_frsize
    };
    let floor = free() - 512 * MIB;
    let runtime = DockerRuntime::connect(Some(&docker::host())).expect("an engine");
    let runtime = runtime.keeping_images(scratch.path().join("images"), floor);
    let pull = async { tokio::time::timeout(PATIENCE, runtime.prepare_image(&wish)).await.expect("it ends") };
    let fill = async {
        eventually(PATIENCE, "some of it is there", || async {
            runtime.pulling().into_iter().find(|pulling| pulling.progress.done_bytes > 0)
        })
        .await;
        let mut file = tempfile::tempfile_in(root.parent().expect("a directory")).expect("a file beside the engine's");
        while free() >= floor {
            copy(&mut repeat(7).take(64 * MIB), &mut file).expect("there is room");
        }
        file
    };
    let (refused, _file) = tokio::join!(pull, fill);
    assert!(
        matches!(&refused, Err(RuntimeError::NoRoom(why)) if why.contains("have to stay free")),
        "the registry never sends the rest: {refused:?}"
    );
}

#[tokio::test]
async fn what_tasks_used_longest_ago_makes_room_and_nothing_else() {
    let bench = Bench::new();
    let registry = Registry::serve().await;
    let image = registry.image("empty:1");
    let scratch = tempfile::tempdir().expect("a directory");
    let kept = scratch.path().join("images");
    let runtime = |floor| {
        let runtime = DockerRuntime::connect(Some(&docker::host())).expect("an engine");
        runtime.keeping_images(kept.clone(), floor)
    };
    let is_there = async || bench.engine.inspect_image(&image).await.is_ok();
    runtime(0).prepare_image(&ImageWish::new(&image, PullPolicy::Missing)).await.expect("pulled");
    runtime(u64::MAX).keep_room().await.expect("looked");
    assert!(is_there().await, "it was used just now");

    // Long ago, but a container is made of it.
    std::fs::write(&kept, format!("{{\"{image}\":{{\"used\":0,\"content\":null}}}}")).expect("written");
    let spec = ContainerSpec { image: image.clone(), ..bench.spec(Command::ImageDefault) };
    bench.runtime.create(&spec).await.expect("made");
    runtime(u64::MAX).keep_room().await.expect("looked");
    assert!(is_there().await, "a container needs it");

    bench.runtime.remove(&spec.key).await.expect("removed");
    runtime(0).keep_room().await.expect("looked");
    assert!(is_there().await, "there is room");
    runtime(u64::MAX).keep_room().await.expect("looked");
    assert!(!is_there().await, "it makes room");
    assert!(bench.engine.inspect_image(&bench.image).await.is_ok(), "what was not pulled for tasks stays");
    assert_eq!(std::fs::read_to_string(&kept).expect("written"), "{}");
}

#[tokio::test]
async fn a_private_image_is_for_who_has_the_password() {
    let bench = Bench::new();
    let registry = Registry::serve_privately().await;
    let image = registry.image("empty:1");
    let login = |password: &'static str| ImageWish {
        logins: Some(Arc::new(Says(password))),
        ..ImageWish::new(&image, PullPolicy::Missing)
    };
    let refused = bench.runtime.prepare_image(&login("wrong")).await;
    assert!(matches!(refused, Err(RuntimeError::ImageNotFound(_))), "{refused:?}");
    bench.runtime.prepare_image(&login("secret")).await.expect("pulled");
    // What is there needs no password.
    bench.runtime.prepare_image(&login("never asked for")).await.expect("there");
    bench.engine.remove_image(&image, None::<RemoveImageOptions>, None).await.expect("removed");
}

/// Somebody who knows a password; the right one or not.
#[derive(Debug)]
struct Says(&'static str);

#[async_trait::async_trait]
impl Logins for Says {
    async fn login(&self) -> Result<Option<RegistryLogin>, RuntimeError> {
        assert_ne!(self.0, "never asked for");
        Ok(Some(RegistryLogin { username: "ann".to_owned(), password: self.0.to_owned() }))
    }
}
