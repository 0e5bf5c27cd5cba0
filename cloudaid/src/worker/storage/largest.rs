//! What takes the most of what a container stores, found while everything is counted. However much that is, no more is kept
//! than the way to the present file and a few names.

use shared::task::StoredPart;

use crate::worker::outputs::shown_within;

/// How many are told.
const PARTS: usize = 3;
/// Characters of a path: it is part of a verdict, which is kept for as long as its task.
const SHOWN_LIMIT: usize = 200;

/// The largest of some places, the largest first.
#[derive(Debug, Default)]
pub(super) struct Largest(Vec<(Vec<u8>, u64)>);

impl Largest {
    /// One more place, as the container calls it. One with nothing in it is none.
    pub(super) fn add(&mut self, path: Vec<u8>, bytes: u64) {
        let place = self.0.partition_point(|(_, other)| *other >= bytes);
        if bytes > 0 && place < PARTS {
            self.0.insert(place, (path, bytes));
            self.0.truncate(PARTS);
        }
    }

    /// Those of another place.
    pub(super) fn extend(&mut self, other: Self) {
        other.0.into_iter().for_each(|(path, bytes)| self.add(path, bytes));
    }

    /// For people.
    pub(super) fn into_parts(self) -> Vec<StoredPart> {
        let part = |(path, bytes): (Vec<u8>, u64)| StoredPart { path: shown_within(SHOWN_LIMIT, &path), bytes };
        self.0.into_iter().map(part).collect()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().fold(0_u64, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }
}

/// Sums up a place by what is in it, and by what is in that, while somebody walks through it: what is in a folder comes right
/// behind the folder. Of a folder and the largest in it the one is told that says more: what has more than half of it, or
/// else the folder.
#[derive(Debug)]
pub(super) struct Tally {
    /// As the container calls it, without a `/` at its end.
    place: Vec<u8>,
    bytes: u64,
    present: Entry,
    largest: Largest,
}

/// What is directly in a place.
#[derive(Debug, Default)]
struct Entry {
    name: Vec<u8>,
    bytes: u64,
    /// What is in it that is being summed up.
    present: (Vec<u8>, u64),
    /// What is the largest in it of what was.
    largest: (Vec<u8>, u64),
}

impl Tally {
    /// Of the place that the container calls so.
    pub(super) fn of(place: &str) -> Self {
        let place = place.trim_end_matches('/').as_bytes().to_vec();
        Self { place, bytes: 0, present: Entry::default(), largest: Largest::default() }
    }

    /// A file or folder by its path below the place, and what it takes itself.
    pub(super) fn add(&mut self, path: &[u8], bytes: u64) {
        let mut names = path.splitn(3, |byte| *byte == b'/');
        let name = names.next().unwrap_or_default();
        if self.present.name != name {
            self.close();
            self.present.name = name.to_vec();
        }
        self.bytes = self.bytes.saturating_add(bytes);
        self.present.add(names.next(), bytes);
    }

    /// The largest in it. Where they are less than half of it, which has so many bytes at the least, that is told of the place
    /// as a whole.
    pub(super) fn finish(mut self, least: u64) -> Largest {
        self.close();
        let bytes = self.bytes.max(least);
        if self.largest.bytes() >= bytes / 2 {
            return self.largest;
        }
        let mut whole = Largest::default();
        whole.add(if self.place.is_empty() { b"/".to_vec() } else { self.place }, bytes);
        whole
    }

    fn close(&mut self) {
        let mut entry = std::mem::take(&mut self.present);
        entry.close();
        let mut path = [self.place.as_slice(), entry.name.as_slice()].join(&b'/');
        let (name, bytes) = entry.largest;
        if bytes > entry.bytes / 2 {
            path.push(b'/');
            path.extend_from_slice(&name);
            self.largest.add(path, bytes);
        } else {
            self.largest.add(path, entry.bytes);
        }
    }
}

impl Entry {
    /// `inner`: what it is in that is in this; none: this itself.
    fn add(&mut self, inner: Option<&[u8]>, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
        let Some(inner) = inner else { return };
        if self.present.0 != inner {
            self.close();
            self.present.0 = inner.to_vec();
        }
        self.present.1 = self.present.1.saturating_add(bytes);
    }

    fn close(&mut self) {
        let present = std::mem::take(&mut self.present);
        if present.1 > self.largest.1 {
            self.largest = present;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(largest: Largest) -> Vec<(String, u64)> {
        largest.into_parts().into_iter().map(|part| (part.path, part.bytes)).collect()
    }

    /// What is told of a place with these.
    fn of(place: &str, files: &[(&str, u64)]) -> Vec<(String, u64)> {
        let mut tally = Tally::of(place);
        files.iter().for_each(|(path, bytes)| tally.add(path.as_bytes(), *bytes));
        told(tally.finish(0))
    }

    fn expected<const N: usize>(parts: [(&str, u64); N]) -> Vec<(String, u64)> {
        parts.map(|(path, bytes)| (path.to_owned(), bytes)).to_vec()
    }

    #[test]
    fn a_folder_is_told_or_what_has_most_of_it() {
        let epochs = [("c", 4), ("c/1", 30), ("c/2", 4), ("c/2/weights", 30), ("c/3", 30), ("log", 5)];
        assert_eq!(of("/output", &epochs), expected([("/output/c", 98), ("/output/log", 5)]));
        let one = [("c", 4), ("c/best", 4), ("c/best/weights", 90), ("c/old", 9)];
        assert_eq!(of("/output", &one), expected([("/output/c/best", 94)]));
        assert_eq!(of("/", &[("tmp/large", 9)]), expected([("/tmp/large", 9)]));
        assert_eq!(of("/data/", &[("f", 9)]), expected([("/data/f", 9)]));
        assert!(of("/output", &[]).is_empty());
    }

    #[test]
    fn only_the_largest_are_kept_and_many_small_ones_are_one() {
        let files = [("a", 10), ("b", 40), ("c", 20), ("d", 30)];
        assert_eq!(of("/output", &files), expected([("/output/b", 40), ("/output/d", 30), ("/output/c", 20)]));
        let names: Vec<_> = (0..1000).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (name.as_str(), 2)).collect();
        assert_eq!(of("/output", &many), expected([("/output", 2000)]));
        let mut tally = Tally::of("/output");
        for number in 0..1000 {
            tally.add(format!("{number}/x").as_bytes(), 1);
        }
        assert_eq!(tally.largest.0.len(), PARTS, "no more is held meanwhile");
    }

    #[test]
    fn what_could_not_be_looked_into_is_told_as_a_whole() {
        let seen = |bytes| {
            let mut tally = Tally::of("/");
            tally.add(b"tmp/large", bytes);
            told(tally.finish(100))
        };
        assert_eq!(seen(60), expected([("/tmp/large", 60)]));
        assert_eq!(seen(40), expected([("/", 100)]));
        assert_eq!(told(Tally::of("/").finish(100)), expected([("/", 100)]));
    }

    #[test]
    fn names_of_any_bytes_are_made_printable_and_short() {
        let mut tally = Tally::of("/output");
        tally.add(b"\x1b[2J\n\xff", 9);
        tally.add(&[b'n'; 255], 8);
        tally.add(&[[b'm'; 200].as_slice(), b"/", &[b'k'; 200]].concat(), 7);
        let told = told(tally.finish(0));
        assert_eq!(told[0], ("/output/\\u{1b}[2J\\n\u{fffd}".to_owned(), 9));
        for (path, _) in &told[1..] {
            assert!(path.ends_with("...") && path.len() == SHOWN_LIMIT + 3, "{path}");
        }
    }

    #[test]
    fn places_are_told_together() {
        let mut largest = Largest::default();
        for (path, bytes) in [("/output", 3), ("(deleted)", 0), ("/data", 7), ("/tmp", 5), ("/var", 1)] {
            let mut other = Largest::default();
            other.add(path.as_bytes().to_vec(), bytes);
            largest.extend(other);
        }
        assert_eq!(told(largest), expected([("/data", 7), ("/tmp", 5), ("/output", 3)]));
    }
}
