//! What Tab offers.

use std::ffi::OsString;

use clap_complete::engine::complete;
use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};
use shared::text::printable;

use crate::args::definition;

/// Completes lines.
pub(super) struct LineHelper;

impl Completer for LineHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        Ok(candidates(&line[..position]))
    }
}

impl Hinter for LineHelper {
    type Hint = String;
}

impl Highlighter for LineHelper {}

impl Validator for LineHelper {}

impl Helper for LineHelper {}

/// Where the last word of the line begins, and what it could be.
fn candidates(line: &str) -> (usize, Vec<Pair>) {
    let start =
        line.rfind(char::is_whitespace).map_or(0, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
    let Ok(mut words) = shell_words::split(&line[..start]) else { return (start, Vec::new()) };
    let last = &line[start..];
    words.insert(0, "cloudctl".to_owned());
    words.push(spelt_out(last));
    let index = words.len() - 1;
    let words: Vec<_> = words.into_iter().map(OsString::from).collect();
    let found = complete(&mut definition(), words, index, std::env::current_dir().ok().as_deref()).unwrap_or_default();
    let pairs = found.into_iter().filter(|candidate| !candidate.is_hide_set()).map(|candidate| {
        let value = candidate.get_value().to_string_lossy().into_owned();
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        let first = help.lines().next().unwrap_or_default();
        let display = if first.is_empty() { value.clone() } else { format!("{value:<24}  {first}") };
        let is_whole = !value.ends_with(['/', '=']);
        let replacement = shell_words::quote(&value).into_owned() + if is_whole { " " } else { "" };
        Pair { display: printable(&display), replacement }
    });
    (start, pairs.collect())
}

/// `-cpu_c` as the definition has it.
fn spelt_out(word: &str) -> String {
    match word.strip_prefix('-') {
        Some(name) if !name.starts_with('-') && name.len() > 1 => format!("--{}", name.replace('_', "-")),
        _ => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(line: &str) -> (usize, Vec<String>) {
        let (start, pairs) = candidates(line);
        (start, pairs.into_iter().map(|pair| pair.replacement).collect())
    }

    #[test]
    fn commands_and_flags_are_offered() {
        assert_eq!(offered("fix"), (0, vec!["fix-resources ".to_owned()]));
        let (start, flags) = offered("task image --cpu");
        assert_eq!((start, flags), (11, vec!["--cpu-cores ".to_owned()]));
        assert_eq!(offered("task image -cpu_c").1, ["--cpu-cores "]);
        assert!(offered("").1.contains(&"status ".to_owned()));
    }

    #[test]
    fn values_are_offered_where_they_are_known() {
        assert_eq!(offered("list-tasks ru").1, ["running "]);
        assert!(offered("help exit-").1.contains(&"exit-codes ".to_owned()));
    }

    #[test]
    fn in_an_open_quote_nothing_is_offered() {
        assert!(offered("task 'a b").1.is_empty());
    }
}
