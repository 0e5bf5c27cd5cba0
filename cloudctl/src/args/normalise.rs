//! Spellings that people bring along (`-cpu_cores 4.0`, `--cpu_cores`), turned into what clap knows.

use std::ffi::{OsStr, OsString};

use clap::{Arg, Command};

/// `argv` with its flags spelt as clap knows them, up to `--`: what follows is the task's own. A flag may have one dash
/// or two, and `_` for `-`.
pub(super) fn normalise(mut argv: Vec<OsString>, root: impl FnOnce() -> Command) -> Vec<OsString> {
    if !argv.iter().skip(1).any(|argument| is_odd(argument)) {
        return argv;
    }
    // With the global flags in every command.
    let mut root = root();
    root.build();
    let mut command = &root;
    let mut at = 1;
    while let Some(argument) = argv.get(at) {
        if argument == "--" {
            break;
        }
        if let Some(flag) = Flag::parse(argument, command) {
            at += 1 + usize::from(flag.takes_next);
            if let Some(spelt) = flag.spelt {
                argv[at - 1 - usize::from(flag.takes_next)] = spelt;
            }
            continue;
        }
        if command.has_subcommands() {
            match argument.to_str().and_then(|name| command.find_subcommand(name)) {
                Some(subcommand) => command = subcommand,
                None => break,
            }
        }
        at += 1;
    }
    argv
}

/// Whether the argument may need another spelling. Most calls have none, and need no look at the definition.
fn is_odd(argument: &OsStr) -> bool {
    let bytes = argument.as_encoded_bytes();
    let name = bytes.split(|&byte| byte == b'=').next().unwrap_or_default();
    match name {
        [b'-', b'-', ..] => name.contains(&b'_'),
        [b'-', first, ..] => name.len() > 2 && first.is_ascii_alphabetic(),
        _ => false,
    }
}

/// An argument that is a flag.
struct Flag {
    /// As clap knows it, where that is another spelling.
    spelt: Option<OsString>,
    /// Whether its value is the next argument.
    takes_next: bool,
}

impl Flag {
    /// None if it is no flag.
    fn parse(argument: &OsStr, command: &Command) -> Option<Self> {
        let text = argument.to_str()?;
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let (dashes, bare) = match name.strip_prefix("--") {
            Some(bare) => (2, bare),
            None => (1, name.strip_prefix('-')?),
        };
        if !bare.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let long = bare.replace('_', "-");
        let spell = || {
            let spelt = value.map_or_else(|| format!("--{long}"), |value| format!("--{long}={value}"));
            (spelt != text).then(|| OsString::from(spelt))
        };
        if let Some(arg) = find_long(command, &long).filter(|_| dashes == 2 || bare.len() > 1) {
            return Some(Self { spelt: spell(), takes_next: value.is_none() && takes_value(arg) });
        }
        if dashes == 1
            && let Some(cluster) = Self::shorts(bare, command)
        {
            return Some(cluster);
        }
        // Unknown: as a long name, so that the nearest right one can be found.
        let is_word = bare.len() > 1 && bare.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
        Some(Self { spelt: if is_word { spell() } else { None }, takes_next: false })
    }

    /// `-q`, `-qy`, `-o json`, `-ojson`. None if it begins with what is no short flag.
    fn shorts(cluster: &str, command: &Command) -> Option<Self> {
        for (at, c) in cluster.char_indices() {
            let Some(arg) = command.get_arguments().find(|arg| arg.get_short() == Some(c)) else {
                return (at > 0).then_some(Self { spelt: None, takes_next: false });
            };
            if takes_value(arg) {
                let is_last = at + c.len_utf8() == cluster.len();
                return Some(Self { spelt: None, takes_next: is_last });
            }
        }
        Some(Self { spelt: None, takes_next: false })
    }
}

fn find_long<'a>(command: &'a Command, long: &str) -> Option<&'a Arg> {
    let is_it = |arg: &&Arg| {
        arg.get_long() == Some(long) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&long))
    };
    command.get_arguments().find(is_it)
}

fn takes_value(arg: &Arg) -> bool {
    arg.get_action().takes_values()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::definition;

    fn check(before: &str, after: &str) {
        let argv = normalise(before.split(' ').map(OsString::from).collect(), definition);
        let argv: Vec<_> = argv.iter().map(|argument| argument.to_string_lossy()).collect();
        assert_eq!(argv.join(" "), after);
    }

    #[test]
    fn single_dashes_and_underscores_are_spelt_out() {
        check(
            "cloudctl task u/gpu:latest -name ml -cpu_cores 4.0 -mem 8.0 -storage 2 -gpu_cores 1.0",
            "cloudctl task u/gpu:latest --name ml --cpu-cores 4.0 --mem 8.0 --storage 2 --gpu-cores 1.0",
        );
        check("cloudctl dispatch worker-1 ubuntu -mem=4.0", "cloudctl dispatch worker-1 ubuntu --mem=4.0");
        check("cloudctl task a --cpu_cores 1 -env A_B=c", "cloudctl task a --cpu-cores 1 --env A_B=c");
    }

    #[test]
    fn what_follows_the_double_dash_is_the_tasks_own() {
        check("cloudctl task a -mem 1 -- prog -mem 2", "cloudctl task a --mem 1 -- prog -mem 2");
    }

    #[test]
    fn values_stay_as_they_are() {
        check("cloudctl task a --command -mem -name x", "cloudctl task a --command -mem --name x");
        check("cloudctl -o json --server http://x task a -mem 1", "cloudctl -o json --server http://x task a --mem 1");
        check("cloudctl task a -cpu_cores -1", "cloudctl task a --cpu-cores -1");
        // `task` is a value here, and `show` the command.
        check("cloudctl --context task show -server x", "cloudctl --context task show --server x");
    }

    #[test]
    fn short_flags_stay_short() {
        for line in
            ["cloudctl list-tasks -ojson", "cloudctl task a -o json -q", "cloudctl shutdown -yq", "cloudctl -hV"]
        {
            check(line, line);
        }
        check("cloudctl status -output json", "cloudctl status --output json");
    }

    #[test]
    fn an_unknown_word_becomes_a_long_flag_so_that_the_nearest_is_named() {
        check("cloudctl task a -cpu_core 4", "cloudctl task a --cpu-core 4");
        check("cloudctl nonsense -x_y", "cloudctl nonsense -x_y");
    }
}
