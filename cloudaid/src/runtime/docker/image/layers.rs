//! How far a pull is, from what the engine says of each layer.

use std::collections::BTreeMap;

use bollard::models::CreateImageInfo;
use shared::pull::PullProgress;

/// What a layer takes on disk, at the most that is common, for each byte of it that is fetched: layers are compressed, and
/// while one is unpacked it is there twice.
const UNPACKED: u64 = 3;

/// The layers that are fetched, by their ids. Those that were there already cost nothing.
#[derive(Debug, Default)]
pub(super) struct Layers(BTreeMap<String, Layer>);

/// In bytes, as they are fetched.
#[derive(Debug, Clone, Copy, Default)]
struct Layer {
    total: u64,
    fetched: u64,
    unpacked: u64,
    /// How far it has ever been, with the bytes of that stage: what is fetched again after an error gets no further.
    furthest: (Stage, u64),
}

/// What becomes of a layer, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
enum Stage {
    #[default]
    Waiting,
    Fetching,
    Fetched,
    Unpacking,
    There,
}

/// What the engine has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// There is more to fetch than was known.
    pub(super) is_more: bool,
    /// A layer is further than it has ever been.
    pub(super) has_moved: bool,
}

impl Layers {
    /// Takes what the engine says.
    pub(super) fn see(&mut self, info: &CreateImageInfo) -> Seen {
        let (Some(id), Some(status)) = (&info.id, info.status.as_deref()) else { return Seen::default() };
        let stage = match status {
            "Pulling fs layer" | "Waiting" => Stage::Waiting,
            "Downloading" => Stage::Fetching,
            "Verifying Checksum" | "Download complete" => Stage::Fetched,
            "Extracting" => Stage::Unpacking,
            "Pull complete" | "Already exists" => Stage::There,
            // Also that it tries again, which it says every second.
            _ => return Seen::default(),
        };
        let detail = info.progress_detail.as_ref();
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let current = detail.and_then(|detail| number(detail.current)).unwrap_or(0);
        let total = detail.and_then(|detail| number(detail.total)).unwrap_or(0);
        let is_new = !self.0.contains_key(id);
        // Of small ones, which are there at once, the engine never says how large they are.
        let layer = self.0.entry(id.clone()).or_default();
        let known = layer.total;
        let mut bytes = 0;
        match stage {
            Stage::Waiting => {}
            Stage::Fetching => {
                layer.total = layer.total.max(total);
                layer.fetched = current.min(layer.total);
                bytes = current;
            }
            Stage::Fetched => layer.fetched = layer.total,
            Stage::Unpacking => {
                layer.fetched = layer.total;
                layer.unpacked = current.min(layer.total);
                bytes = current;
            }
            Stage::There => (layer.fetched, layer.unpacked) = (layer.total, layer.total),
        }
        let has_moved = is_new || (stage, bytes) > layer.furthest;
        if has_moved {
            layer.furthest = (stage, bytes);
        }
        Seen { is_more: layer.total > known, has_moved }
    }

    /// Whether the registry has something still to send. Before it has said what there is, it has.
    pub(super) fn waits_for_registry(&self) -> bool {
        self.0.is_empty() || self.0.values().any(|layer| layer.furthest.0 < Stage::Fetched)
    }

    /// Whether any of it is on the disk, or comes there, and is not all there yet.
    pub(super) fn takes_room(&self) -> bool {
        let is_coming = |layer: &Layer| (Stage::Fetching..Stage::There).contains(&layer.furthest.0);
        self.0.values().any(is_coming)
    }

    /// How much of it has been fetched.
    pub(super) fn progress(&self) -> PullProgress {
        let sum = |of: fn(&Layer) -> u64| self.0.values().map(of).fold(0, u64::saturating_add);
        PullProgress { done_bytes: sum(|layer| layer.fetched), total_bytes: sum(|layer| layer.total), failure: None }
    }

    /// What it will still take of the disk.
    pub(super) fn still_needs(&self) -> u64 {
        let of = |layer: &Layer| {
            let done = layer.fetched.saturating_add(layer.unpacked.saturating_mul(UNPACKED - 1));
            layer.total.saturating_mul(UNPACKED).saturating_sub(done)
        };
        self.0.values().map(of).fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn see(layers: &mut Layers, id: &str, status: &str, progress: Option<(i64, i64)>) -> Seen {
        layers.see(&CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: progress
                .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
            error_detail: None,
        })
    }

    fn says(layers: &mut Layers, id: &str, status: &str, progress: Option<(i64, i64)>) -> bool {
        see(layers, id, status, progress).is_more
    }

    #[test]
    fn only_what_brings_a_layer_further_than_ever_is_progress() {
        let mut layers = Layers::default();
        let mut moved = |status: &str, progress| see(&mut layers, "a", status, progress).has_moved;
        assert!(!moved("Pulling from library/busybox", None));
        assert!(moved("Pulling fs layer", None));
        assert!(!moved("Waiting", None));
        assert!(moved("Downloading", Some((0, 100))) && moved("Downloading", Some((60, 100))));
        assert!(!moved("Downloading", Some((60, 100))), "nothing has come");
        assert!(!moved("Retrying in 5 seconds", None) && !moved("Retrying in 4 seconds", None));
        assert!(!moved("Downloading", Some((10, 100))), "it had as much before");
        assert!(moved("Downloading", Some((61, 100))));
        assert!(moved("Verifying Checksum", None) && !moved("Download complete", None));
        assert!(moved("Extracting", Some((1, 100))) && moved("Extracting", Some((2, 100))));
        assert!(!moved("Extracting", Some((2, 100))));
        assert!(moved("Pull complete", None) && !moved("Pull complete", None));
    }

    #[test]
    fn what_is_waited_for_is_the_registry_until_all_is_fetched() {
        let mut layers = Layers::default();
        assert!(layers.waits_for_registry() && !layers.takes_room());
        says(&mut layers, "old", "Already exists", None);
        assert!(!layers.waits_for_registry() && !layers.takes_room());
        says(&mut layers, "a", "Pulling fs layer", None);
        assert!(layers.waits_for_registry() && !layers.takes_room());
        says(&mut layers, "a", "Downloading", Some((1, 100)));
        assert!(layers.waits_for_registry() && layers.takes_room());
        says(&mut layers, "a", "Extracting", Some((100, 100)));
        assert!(!layers.waits_for_registry() && layers.takes_room());
        says(&mut layers, "a", "Pull complete", None);
        assert!(!layers.takes_room());
    }

    #[test]
    fn bytes_are_counted_as_they_come_and_room_until_they_are_unpacked() {
        let mut layers = Layers::default();
        assert!(!says(&mut layers, "1.36", "Pulling from library/busybox", None));
        assert!(!says(&mut layers, "old", "Already exists", None));
        assert!(!says(&mut layers, "a", "Pulling fs layer", None));
        assert!(says(&mut layers, "a", "Downloading", Some((10, 100))));
        assert!(says(&mut layers, "b", "Downloading", Some((0, 50))));
        assert!(!says(&mut layers, "a", "Downloading", Some((60, 100))));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 60, total_bytes: 150, failure: None });
        assert_eq!(layers.still_needs(), 390);
        says(&mut layers, "a", "Download complete", None);
        says(&mut layers, "a", "Extracting", Some((50, 100)));
        assert_eq!((layers.progress().done_bytes, layers.still_needs()), (100, 250));
        says(&mut layers, "a", "Pull complete", None);
        says(&mut layers, "b", "Pull complete", None);
        assert_eq!((layers.progress().done_bytes, layers.still_needs()), (150, 0));
    }

    #[test]
    fn what_makes_no_sense_counts_nothing() {
        let mut layers = Layers::default();
        says(&mut layers, "a", "Downloading", Some((-1, -1)));
        says(&mut layers, "b", "Downloading", Some((100, 10)));
        says(&mut layers, "c", "Extracting", Some((1, 1)));
        assert_eq!(layers.progress(), PullProgress { done_bytes: 10, total_bytes: 10, failure: None });
        for id in ["d", "e", "f"] {
            says(&mut layers, id, "Downloading", Some((0, i64::MAX)));
        }
        assert_eq!((layers.progress().total_bytes, layers.still_needs()), (u64::MAX, u64::MAX));
    }
}
