use std::fs::{self, File};

use super::*;
use crate::runtime::fake::{Behaviour, FakeRuntime};
use crate::worker::tests::key;

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
