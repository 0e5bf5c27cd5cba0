//! Which versions of runc let containers out.

/// Flaws by which a container gets at its host: the oldest series of versions that is judged by it, and the versions that are
/// mended. Each series has its own; one after the last of them was mended before its first release. As in runc's CHANGELOG.
const FLAWS: [(&str, Series, &[Version]); 3] = [
    ("CVE-2024-21626", (0, 0), &[(1, 1, 12)]),
    ("CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", (0, 0), &[(1, 2, 8), (1, 3, 3)]),
    // No version before is without it, and the layer that Docker puts over an image keeps it from being of use there.
    ("CVE-2026-41579", (1, 3), &[(1, 3, 6), (1, 4, 3)]),
];

/// What to update to.
pub(super) const MENDED: &str = "1.2.8, 1.3.6, 1.4.3 or newer";

type Series = (u32, u32);
type Version = (u32, u32, u32);

/// The flaws of a version as runc writes it, such as `1.1.5+ds1`; none: that is no version.
pub(super) fn flaws_of(text: &str) -> Option<Vec<&'static str>> {
    let version = parse(text)?;
    let series = (version.0, version.1);
    let has_flaw = |from: Series, mended: &[Version]| {
        let of_series = mended.iter().filter(|first| (first.0, first.1) == series);
        // What is older than all of them is not mended, what is newer is.
        series >= from && of_series.chain(mended.first()).next().is_some_and(|first| version < *first)
    };
    Some(FLAWS.iter().filter(|(_, from, mended)| has_flaw(*from, mended)).map(|(name, ..)| *name).collect())
}

fn parse(text: &str) -> Option<Version> {
    let text = text.trim().trim_start_matches('v');
    let plain = text.find(|c: char| !c.is_ascii_digit() && c != '.').map_or(text, |end| &text[..end]);
    let mut numbers = plain.split('.').map_while(|number| number.parse().ok());
    Some((numbers.next()?, numbers.next()?, numbers.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_series_is_mended_by_a_version_of_its_own() {
        for (version, count) in [
            ("1.0.0-rc93", 2),
            ("1.1.5+ds1", 2),
            ("1.1.11", 2),
            ("1.1.12", 1),
            ("1.1.15", 1),
            ("1.2.7", 1),
            ("1.2.8", 0),
            ("1.3.2", 2),
            ("1.3.3", 1),
            ("1.3.5", 1),
            ("1.3.6", 0),
            ("1.4.2", 1),
            ("v1.4.3", 0),
            ("1.5.0", 0),
            ("2.0.0", 0),
        ] {
            let flaws = flaws_of(version).expect(version);
            assert_eq!(flaws.len(), count, "{version}: {flaws:?}");
        }
        assert_eq!(flaws_of("1.1.11").expect("a version")[0], "CVE-2024-21626");
        assert_eq!(flaws_of("1.4.2"), Some(vec!["CVE-2026-41579"]));
    }

    #[test]
    fn what_is_no_version_is_not_judged() {
        for text in ["", "1", "1.2", "unknown", "1.x.3"] {
            assert_eq!(flaws_of(text), None, "{text}");
        }
    }
}
