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
}

impl Layers {
    /// Takes what the engine says. Returns whether there is more to fetch than was known.
    pub(super) fn see(&mut self, info: &CreateImageInfo) -> bool {
        let (Some(id), Some(status)) = (&info.id, info.status.as_deref()) else { return false };
        let detail = info.progress_detail.as_ref();
        let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok());
        let current = detail.and_then(|detail| number(detail.current)).unwrap_or(0);
        let total = detail.and_then(|detail| number(detail.total)).unwrap_or(0);
        match status {
            "Downloading" => {
                let layer = self.0.entry(id.clone()).or_default();
                let is_more = total > layer.total;
                layer.total = layer.total.max(total);
                layer.fetched = current.min(layer.total);
                return is_more;
            }
            "Verifying Checksum" | "Download complete" => {
                self.change(id, |layer| layer.fetched = layer.total);
            }
            "Extracting" => self.change(id, |layer| {
                layer.fetched = layer.total;
                layer.unpacked = current.min(layer.total);
            }),
            "Pull complete" => self.change(id, |layer| (layer.fetched, layer.unpacked) = (layer.total, layer.total)),
            _ => {}
        }
        false
    }

    /// Small ones are there at once: the engine never says how large they are.
    fn change(&mut self, id: &str, change: impl FnOnce(&mut Layer)) {
        if let Some(layer) = self.0.get_mut(id) {
            change(layer);
        }
    }

    /// How much of it has been fetched.
    pub(super) fn progress(&self) -> PullProgress {
        let sum = |of: fn(&Layer) -> u64| self.0.values().map(of).fold(0, u64::saturating_add);
        PullProgress { done_bytes: sum(|layer| layer.fetched), total_bytes: sum(|layer| layer.total) }
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

    fn says(layers: &mut Layers, id: &str, status: &str, progress: Option<(i64, i64)>) -> bool {
        layers.see(&CreateImageInfo {
            id: Some(id.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: progress
                .map(|(current, total)| ProgressDetail { current: Some(current), total: Some(total) }),
            error_detail: None,
        })
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
        assert_eq!(layers.progress(), PullProgress { done_bytes: 60, total_bytes: 150 });
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
        assert_eq!(layers.progress(), PullProgress { done_bytes: 10, total_bytes: 10 });
        for id in ["d", "e", "f"] {
            says(&mut layers, id, "Downloading", Some((0, i64::MAX)));
        }
        assert_eq!((layers.progress().total_bytes, layers.still_needs()), (u64::MAX, u64::MAX));
    }
}
