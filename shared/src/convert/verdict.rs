//! What workers say of an end in words that are not theirs.

use crate::task::Verdict;
use crate::text::printable_start;

/// The longest name of a process that was killed: what the kernel keeps of it, each byte of it escaped.
const PROCESS_LIMIT: usize = 150;
/// The most parts of what a run has stored that are named, and the longest path of one.
const PARTS_LIMIT: usize = 3;
const PATH_LIMIT: usize = 2048;

/// A verdict in which what a program has named is printable and short, as its worker should have made it: what is too much
/// is left out, for the end of a run is not refused for that.
pub(super) fn plain(mut verdict: Verdict) -> Verdict {
    match &mut verdict {
        Verdict::Oom { killed_process: Some(name), .. } => *name = printable_start(name, PROCESS_LIMIT),
        Verdict::Disk { largest, .. } => {
            largest.truncate(PARTS_LIMIT);
            largest.iter_mut().for_each(|part| part.path = printable_start(&part.path, PATH_LIMIT));
        }
        _ => {}
    }
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::StoredPart;

    /// A worker of another version may not have made it so.
    #[test]
    fn what_a_program_has_named_in_a_verdict_is_made_printable_and_short() {
        let hostile = format!("\u{1b}[2J\n{}", "x".repeat(10_000));
        let oom = Verdict::Oom {
            limit_bytes: 1,
            peak_bytes: None,
            exit_code: None,
            killed_process: Some(hostile.clone()),
            killed_process_bytes: None,
        };
        let Verdict::Oom { killed_process: Some(name), .. } = plain(oom) else { panic!("it was out of memory") };
        assert!(name.starts_with("\\u{1b}[2J\\nxxx") && name.len() <= PROCESS_LIMIT, "{name}");
        let part = |bytes| StoredPart { path: hostile.clone(), bytes };
        let disk = Verdict::Disk { limit_bytes: 1, used_bytes: None, largest: (0..5).map(part).collect() };
        let Verdict::Disk { largest, .. } = plain(disk) else { panic!("it stored too much") };
        assert_eq!(largest.iter().map(|part| part.bytes).collect::<Vec<_>>(), [0, 1, 2]);
        for StoredPart { path, .. } in largest {
            assert!(path.starts_with("\\u{1b}[2J\\nxxx") && path.len() <= PATH_LIMIT, "{path}");
        }
    }

    #[test]
    fn what_is_plain_stays_as_it_is() {
        let largest = vec![StoredPart { path: "/output/\u{e4} b".to_owned(), bytes: 1 }];
        let disk = Verdict::Disk { limit_bytes: 1, used_bytes: None, largest };
        assert_eq!(plain(disk.clone()), disk);
    }
}
