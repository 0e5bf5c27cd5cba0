//! Tasks that are named one by one, or on stdin.

use std::io;

use shared::id::TaskRef;

use crate::args::Ids;
use crate::exit::CtlError;

/// All of them, in their order, each once.
pub(super) fn read_ids(ids: &[Ids]) -> Result<Vec<TaskRef>, CtlError> {
    let mut all = Vec::new();
    for id in ids {
        match id {
            Ids::One(id) => all.push(*id),
            Ids::Stdin => {
                let text = io::read_to_string(io::stdin()).map_err(CtlError::local("cannot read ids from stdin"))?;
                all.append(&mut parse_ids(&text)?);
            }
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    all.retain(|id| seen.insert(*id));
    Ok(all)
}

fn parse_ids(text: &str) -> Result<Vec<TaskRef>, CtlError> {
    let parse = |(number, word): (usize, &str)| {
        word.parse::<TaskRef>().map_err(|error| {
            CtlError::usage(
                format!("stdin, line {}: {error}", number + 1),
                "give one id a line, such as `cloudctl list-tasks -o quiet` prints",
            )
        })
    };
    let words = text.lines().enumerate().flat_map(|(number, line)| line.split_whitespace().map(move |w| (number, w)));
    words.map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stand_between_blanks_and_line_ends() {
        let id = "task-01arz3ndektsv4rrffq69g5fav";
        let ids = parse_ids(&format!("{id}\n\n {id}.7 {id}.0-9\n")).expect("ids");
        assert_eq!(ids.len(), 3);
        let error = parse_ids(&format!("{id}\nnonsense\n")).expect_err("no id");
        assert!(error.to_string().contains("line 2"), "{error}");
        assert_eq!(error.exit(), 2);
    }
}
