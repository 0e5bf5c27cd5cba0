use std::fs::{self, File};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use shared::id::ClusterId;
use shared::link::RunLimits;
use ulid::Ulid;

use super::*;
use crate::runtime::ContainerSpec;
use crate::runtime::fake::{Behaviour, FakeRuntime};
use crate::worker::tests::{assignment, key};

const MIB: u64 = 1 << 20;

fn told(excess: &Excess) -> Vec<(&str, u64)> {
    excess.largest.iter().map(|part| (part.path.as_str(), part.bytes)).collect()
}

#[tokio::test]
async fn who_stores_too_much_is_told_what_takes_the_most() {
    let output = tempfile::tempdir().expect("a directory");
    fs::create_dir(output.path().join("checkpoints")).expect("a folder");
    for (path, bytes) in [("checkpoints/a", 2 * MIB), ("checkpoints/b", 2 * MIB), ("log", MIB)] {
        let bytes = usize::try_from(bytes).expect("a length");
        fs::write(output.path().join(path), vec![1; bytes]).expect("a file");
    }
    let watch = StorageWatch {
        key: key(0),
        runtime: Arc::new(FakeRuntime::with(|_| Behaviour::endless())),
        calls: Arc::new(Semaphore::new(1)),
        looks: Arc::new(Semaphore::new(1)),
        output: output.path().to_owned(),
        limit_bytes: 4 * MIB,
    };
    let excess = watch.seen(false).await;
    let told = told(&excess);
    assert_eq!(told.iter().map(|(path, _)| *path).collect::<Vec<_>>(), ["/output/checkpoints", "/output/log"]);
    assert!(told[0].1 >= 4 * MIB && told[1].1 >= MIB, "{told:?}");
    assert_eq!(excess.used_bytes, told[0].1 + told[1].1);
}

#[tokio::test]
async fn its_own_layer_is_looked_into_where_it_can_be_seen() {
    let place = tempfile::tempdir().expect("a directory");
    fs::create_dir(place.path().join("tmp")).expect("a folder");
    // As the engine counts: a hole too.
    let large = File::create(place.path().join("tmp/large")).expect("a file");
    large.set_len(3 * MIB).expect("a length");
    let (seen, gone) = (place.path().to_owned(), place.path().join("nowhere"));
    for (place, path) in [(Some(seen), "/tmp/large"), (Some(gone), "/"), (None, "/")] {
        let mut layer = Layer { bytes: 4 * MIB, own: (place, 3 * MIB), ..Layer::due_at(Instant::now()) };
        layer.largest.add(NAMELESS.as_bytes().to_vec(), MIB);
        let excess = excess(Seen::default(), Some(layer)).await;
        assert_eq!((excess.used_bytes, told(&excess)), (4 * MIB, vec![(path, 3 * MIB), ("(deleted)", MIB)]));
    }
}

#[tokio::test]
async fn who_looks_at_what_is_held_holds_up_who_looks_too_and_no_call_of_the_engine() {
    let scratch = tempfile::tempdir().expect("a directory");
    let assignment = assignment(0);
    let spec = ContainerSpec {
        key: key(0),
        cluster: ClusterId(Ulid(1)),
        worker: "w".parse().expect("a name"),
        name: None,
        image: assignment.image.clone(),
        confinement: assignment.confinement,
        command: assignment.command.clone(),
        env: assignment.env.clone(),
        resources: assignment.resources,
        gpus: Vec::new(),
        output: scratch.path().join("output"),
        output_device: None,
        input: None,
        limits: RunLimits::of(&assignment),
    };
    let fake = FakeRuntime::with(|_| Behaviour { layer: 7, ..Behaviour::endless() });
    fake.create(&spec).await.expect("made");
    // A list of processes that is not told before somebody writes it.
    let list = scratch.path().join("cgroup.procs");
    mknodat(CWD, &list, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a FIFO");
    fake.set_nameless(&key(0), Nameless::of(scratch.path().to_owned(), "container".to_owned()));
    let (calls, turns) = (Arc::new(Semaphore::new(1)), Arc::new(Semaphore::new(1)));
    let watch = StorageWatch {
        key: key(0),
        runtime: Arc::new(fake),
        calls: Arc::clone(&calls),
        looks: Arc::clone(&turns),
        output: spec.output,
        limit_bytes: 1,
    };
    let looks = tokio::spawn(async move {
        let mut layer = Layer::due_at(Instant::now());
        watch.measure(&mut layer, u64::MAX).await;
        (layer.bytes, layer.own)
    });
    // It opens when the other side reads.
    let written = tokio::task::spawn_blocking(|| File::options().write(true).open(list)).await;
    let written = written.expect("no panic").expect("it is read");
    assert_eq!(calls.available_permits(), 1, "it still has its turn at the engine");
    assert_eq!(turns.available_permits(), 0, "all look at once");
    drop(written);
    assert_eq!(looks.await.expect("no panic"), (7, (None, 7)));
    assert_eq!(turns.available_permits(), 1, "it is the next one's turn");
}
