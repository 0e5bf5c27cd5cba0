//! The commands by what they are about.

use clap::Command;

/// Below the overview.
pub(crate) const MORE: &str = "\
Topics:
  output        The formats of results, and templates
  json          The fields of results, and what stays as it is
  exit-codes    The exit codes, and what each stands for
  task-file     Many tasks from a file or a pipe
  arrays        Tasks that run many times, and how to name their parts
  environment   Variables and files that cloudctl heeds

`cloudctl help COMMAND` and `cloudctl help TOPIC` say more. A flag may also be
written with one dash and with underscores: `-cpu_cores 4.0`.";

/// Every command once, in the order in which it is shown.
const GROUPS: [(&str, &[&str]); 5] = [
    (
        "Tasks",
        &[
            "task",
            "dispatch",
            "list-tasks",
            "show",
            "why",
            "wait",
            "cancel",
            "retry",
            "edit",
            "delete",
            "monitor",
            "logs",
        ],
    ),
    ("Files", &["files", "task-files", "download"]),
    (
        "Cluster",
        &[
            "status",
            "workers",
            "stats",
            "worker-token",
            "registry",
            "approve",
            "cordon",
            "drain",
            "undrain",
            "unregister",
            "queue",
            "watch",
            "internal-state",
            "fix-resources",
            "shutdown",
        ],
    ),
    ("Access", &["login", "logout", "register", "password", "whoami", "users", "tokens", "audit", "admin", "context"]),
    ("cloudctl itself", &["shell", "version", "completions", "man", "help"]),
];

/// The commands in groups, each with its one line.
pub(crate) fn overview(root: &Command) -> String {
    let mut text = String::new();
    for (heading, names) in GROUPS {
        text.push_str(&format!("{heading}:\n"));
        for name in names {
            let about = root.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            text.push_str(&format!("  {name:<15} {}\n", about.unwrap_or_default()));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_command_is_in_one_group() {
        let command = crate::args::command();
        let shown: Vec<_> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let known: BTreeSet<_> = command.get_subcommands().map(Command::get_name).collect();
        assert_eq!(shown.iter().copied().collect::<BTreeSet<_>>(), known);
        assert_eq!(shown.len(), known.len());
    }

    #[test]
    fn every_topic_is_named() {
        for topic in super::super::topic::TOPICS {
            assert!(MORE.contains(&format!("  {:<13} {}\n", topic.name, topic.about)), "{}", topic.name);
        }
        assert!(MORE.contains(&format!("  exit-codes    {}", "The exit codes")));
    }
}
