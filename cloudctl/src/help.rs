//! What `cloudctl help` knows beside the commands themselves.

mod exit_codes;
mod fields;
mod overview;
mod topic;

use clap::builder::StyledStr;
use clap_complete::CompletionCandidate;

use crate::args::{command, definition};
use crate::exit::CtlError;

pub(crate) use exit_codes::{ExitCodeView, exit_codes};
pub(crate) use fields::{OUTPUT_VERSION, fields};
pub(crate) use overview::{MORE, overview};

use topic::TOPICS;

/// What there is to read about something.
#[derive(Debug)]
pub(crate) enum Help {
    /// In words.
    Text(String),
    /// The exit codes, which scripts may want as data.
    ExitCodes(Vec<ExitCodeView>),
}

/// Finds a command or a topic; the overview if nothing is named.
pub(crate) fn find(words: &[impl AsRef<str>]) -> Result<Help, CtlError> {
    let mut root = command();
    root.build();
    let Some((about, below)) = words.split_first() else { return Ok(Help::Text(plain(&root.render_help()))) };
    let about = about.as_ref();
    if about == "exit-codes" {
        return Ok(Help::ExitCodes(exit_codes()));
    }
    if let Some(topic) = TOPICS.iter().find(|topic| topic.name == about) {
        return Ok(Help::Text(topic.text.to_owned()));
    }
    match root.find_subcommand_mut(about) {
        Some(command) => of_command(command, about, below),
        None => {
            let known: Vec<_> = names().iter().map(|name| name.get_value().to_string_lossy().into_owned()).collect();
            let message = format!("there is no command and no topic `{}`", about.escape_debug());
            Err(CtlError::usage(message, nearest(about, &known)))
        }
    }
}

/// Of a command, or of one of its own.
fn of_command(command: &mut clap::Command, name: &str, below: &[impl AsRef<str>]) -> Result<Help, CtlError> {
    let Some((next, below)) = below.split_first() else { return Ok(Help::Text(plain(&command.render_help()))) };
    let next = next.as_ref();
    let known: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    match command.find_subcommand_mut(next) {
        Some(command) => of_command(command, &format!("{name} {next}"), below),
        None => {
            let message = format!("`{name}` has no command `{}`", next.escape_debug());
            let hint = match known.as_slice() {
                [] => format!("`cloudctl help {name}` tells all of it"),
                known => format!("it has {}", known.join(", ")),
            };
            Err(CtlError::usage(message, hint))
        }
    }
}

/// The names of all commands and topics.
pub(crate) fn names() -> Vec<CompletionCandidate> {
    let commands = definition();
    let commands = commands
        .get_subcommands()
        .map(|command| CompletionCandidate::new(command.get_name()).help(command.get_about().cloned()));
    let topics = TOPICS.iter().map(|topic| (topic.name, topic.about));
    let topics = topics.chain([("exit-codes", exit_codes::ABOUT)]);
    commands.chain(topics.map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into())))).collect()
}

fn plain(text: &StyledStr) -> String {
    text.to_string()
}

/// What may have been meant.
fn nearest(about: &str, known: &[String]) -> String {
    let close =
        |name: &&String| name.starts_with(about) || about.starts_with(name.as_str()) || differ_little(about, name);
    match known.iter().find(close) {
        Some(name) => format!("did you mean `cloudctl help {name}`? `cloudctl help` lists all"),
        None => "`cloudctl help` lists all".to_owned(),
    }
}

/// Whether one letter added, left out or changed makes one of the other.
fn differ_little(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let head = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let tail = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let longer = a.len().max(b.len());
    a.len().abs_diff(b.len()) <= 1 && head + tail + 1 >= longer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_topics_are_found() {
        let text = |about: Option<&str>| match find(about.as_slice()).expect("found") {
            Help::Text(text) => text,
            Help::ExitCodes(codes) => format!("{} codes", codes.len()),
        };
        assert!(text(None).contains("Tasks:"));
        assert!(text(Some("task")).contains("--cpu-cores"));
        assert!(text(Some("exit")).contains("Stop the master"));
        for topic in TOPICS {
            assert!(!text(Some(topic.name)).is_empty());
        }
    }

    #[test]
    fn the_nearest_is_named() {
        for (wrong, right) in
            [("exit-code", "exit-codes"), ("tsk", "task"), ("outputt", "output"), ("list", "list-tasks")]
        {
            let hint = find(&[wrong]).expect_err("wrong").hint();
            assert!(hint.contains(&format!("help {right}`")), "{hint}");
        }
        assert!(!find(&["xyzzy"]).expect_err("wrong").hint().contains("mean"));
    }

    #[test]
    fn commands_of_commands_are_found_too() {
        let Help::Text(text) = find(&["worker-token", "create"]).expect("found") else { panic!("no text") };
        assert!(text.contains("--pool"), "{text}");
        let hint = find(&["worker-token", "make"]).expect_err("wrong").hint();
        assert!(hint.contains("create"), "{hint}");
        assert!(find(&["task", "x"]).is_err());
    }

    #[test]
    fn a_name_is_a_command_or_a_topic_and_not_both() {
        let mut names: Vec<_> = names().iter().map(|name| name.get_value().to_owned()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
