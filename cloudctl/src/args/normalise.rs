//! The single-dash spelling of `task` and `dispatch` (`-cpu_cores 4.0`), turned into what clap knows.

use std::ffi::{OsStr, OsString};

/// What has the single-dash spelling.
const NAMES: [(&str, &str); 6] = [
    ("-name", "--name"),
    ("-cpu_cores", "--cpu-cores"),
    ("-cpu-cores", "--cpu-cores"),
    ("-mem", "--mem"),
    ("-storage", "--storage"),
    ("-gpu_cores", "--gpu-cores"),
];

/// Global flags that take the next argument as their value.
const VALUED_GLOBALS: [&str; 5] = ["--server", "--token", "--context", "--output", "-o"];

/// `argv` with the single-dash names spelt out, for the two subcommands that have them, up to `--`: what follows is the
/// task's own.
pub(crate) fn normalise(argv: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut argv: Vec<OsString> = argv.into_iter().collect();
    let Some(subcommand) = find_subcommand(&argv) else { return argv };
    if argv[subcommand] != "task" && argv[subcommand] != "dispatch" {
        return argv;
    }
    for argument in argv.iter_mut().skip(subcommand + 1).take_while(|argument| *argument != "--") {
        if let Some(long) = spell_out(argument) {
            *argument = long;
        }
    }
    argv
}

/// The place of the first argument that is neither a flag nor the value of one.
fn find_subcommand(argv: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(argument) = argv.get(at) {
        if VALUED_GLOBALS.iter().any(|flag| argument == flag) {
            at += 2;
        } else if argument.as_encoded_bytes().starts_with(b"-") {
            at += 1;
        } else {
            return Some(at);
        }
    }
    None
}

fn spell_out(argument: &OsStr) -> Option<OsString> {
    let text = argument.to_str()?;
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (text, None),
    };
    let (_, long) = NAMES.iter().find(|(short, _)| *short == name)?;
    Some(match value {
        Some(value) => format!("{long}={value}").into(),
        None => (*long).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(before: &str, after: &str) {
        let argv = normalise(before.split(' ').map(OsString::from));
        let argv: Vec<_> = argv.iter().map(|argument| argument.to_string_lossy()).collect();
        assert_eq!(argv.join(" "), after);
    }

    #[test]
    fn single_dash_names_of_task_are_spelt_out() {
        check(
            "cloudctl task u/gpu:latest -name ml -cpu_cores 4.0 -mem 8.0 -storage 2 -gpu_cores 1.0",
            "cloudctl task u/gpu:latest --name ml --cpu-cores 4.0 --mem 8.0 --storage 2 --gpu-cores 1.0",
        );
        check("cloudctl dispatch worker-1 ubuntu -mem=4.0", "cloudctl dispatch worker-1 ubuntu --mem=4.0");
    }

    #[test]
    fn what_follows_the_double_dash_is_the_tasks_own() {
        check("cloudctl task a -mem 1 -- prog -mem 2", "cloudctl task a --mem 1 -- prog -mem 2");
    }

    #[test]
    fn global_flags_may_come_first() {
        check("cloudctl -o json --server http://x task a -mem 1", "cloudctl -o json --server http://x task a --mem 1");
        check("cloudctl --output=json task a -mem 1", "cloudctl --output=json task a --mem 1");
        // `task` is a value here, and `show` the subcommand.
        check("cloudctl --context task show -mem", "cloudctl --context task show -mem");
    }

    #[test]
    fn other_subcommands_and_other_flags_stay() {
        check("cloudctl cancel -name", "cloudctl cancel -name");
        check("cloudctl task a -o json -memory 1", "cloudctl task a -o json -memory 1");
        check("cloudctl", "cloudctl");
    }
}
