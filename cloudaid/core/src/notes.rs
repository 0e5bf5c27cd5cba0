//! What is kept of the notes of a run after which another one comes.

/// The most notes of a run, the longest of them, in bytes: an element may have many runs, and all of them are shown together.
const NOTES: usize = 8;
const LENGTH: usize = 1024;

/// The last of them, as what concerns the whole run comes last, and how many were before.
pub(crate) fn bounded(notes: &[String]) -> Vec<String> {
    let left_out = match notes.len() {
        few if few <= NOTES => 0,
        many => many - (NOTES - 1),
    };
    let more = (left_out > 0).then(|| format!("{left_out} notes before these"));
    let kept = notes[left_out..].iter().map(|note| note[..note.floor_char_boundary(LENGTH)].to_owned());
    more.into_iter().chain(kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_stay_as_they_are_and_of_many_the_last() {
        let notes: Vec<_> = (0..20).map(|number| number.to_string()).collect();
        assert_eq!(bounded(&[]), Vec::<String>::new());
        assert_eq!(bounded(&notes[..8]), notes[..8]);
        assert_eq!(bounded(&notes[..9]), ["2 notes before these", "2", "3", "4", "5", "6", "7", "8"]);
        assert_eq!(bounded(&notes), ["13 notes before these", "13", "14", "15", "16", "17", "18", "19"]);
    }

    #[test]
    fn a_long_one_is_cut_between_two_characters() {
        let kept = bounded(&["\u{20ac}".repeat(1000)]);
        assert_eq!(kept, ["\u{20ac}".repeat(341)]);
    }
}
