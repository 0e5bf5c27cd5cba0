//! The command line. What each flag means stands here and nowhere else.

mod admin;
mod admission;
mod audit;
mod cluster;
mod edit;
mod files;
mod global;
mod key;
mod logs;
mod normalise;
mod pair;
mod registry;
mod session;
mod submit;
mod tasks;
mod tool;
mod users;
mod verb;

use std::ffi::OsString;
use std::io::Write;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches, Parser};
use shared::error::exit;

pub(crate) use admin::{AdminArgs, AdminVerb};
pub(crate) use admission::{
    ApproveArgs, CordonArgs, DrainArgs, UndrainArgs, UnregisterArgs, WorkerTokenArgs, WorkerTokenVerb, WorkersArgs,
};
pub(crate) use audit::AuditArgs;
pub(crate) use cluster::{QueueArgs, ShutdownArgs, StatsArgs, StatusArgs, WatchArgs};
pub(crate) use edit::{DeleteArgs, EditArgs};
pub(crate) use files::{DeleteFilesArgs, DownloadArgs, FilesArgs, FilesVerb, ListFilesArgs, OverArgs, TaskFilesArgs};
pub(crate) use global::{GlobalArgs, OutputFormat};
pub(crate) use logs::{LogsArgs, MonitorArgs, StreamName};
pub(crate) use registry::{RegistryArgs, RegistryVerb};
pub(crate) use session::{ContextArgs, ContextVerb, LoginArgs, LogoutArgs};
pub(crate) use submit::{DispatchArgs, FileType, SubmitArgs, TaskArgs};
pub(crate) use tasks::{CancelArgs, Ids, ListTasksArgs, RetryArgs, TaskIdArgs, WaitArgs};
pub(crate) use tool::{CompletionShell, CompletionsArgs, HelpArgs, ManArgs, ShellArgs};
pub(crate) use users::{PasswordArgs, RegisterArgs, TokensArgs, TokensVerb, UserArgs, UsersArgs, UsersVerb};
pub(crate) use verb::Verb;

/// The remote admin client of CloudAI.
#[derive(Debug, Parser)]
#[command(
    name = "cloudctl",
    bin_name = "cloudctl",
    version,
    propagate_version = false,
    disable_help_subcommand = true,
    disable_help_flag = true,
    subcommand_value_name = "COMMAND",
    args_override_self = true,
    help_template = "{about}\n\n{usage-heading} {usage}\n\n{before-help}Options:\n{options}{after-help}",
    after_help = crate::help::MORE
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// The definition of the whole command line.
pub(crate) fn definition() -> Command {
    Cli::command()
}

/// The same as it is shown: with the commands in groups, and of each all there is to say.
pub(crate) fn command() -> Command {
    let definition = definition();
    let overview = crate::help::overview(&definition);
    definition.before_help(overview).mut_subcommands(|command| match command.get_long_about().cloned() {
        Some(all) => command.about(all),
        None => command,
    })
}

/// Reads a command line; the first argument is the program.
///
/// # Errors
/// It is wrong, or asks for help or for the version: clap's own message and exit code.
pub(crate) fn parse(argv: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Ok(parse_with_matches(argv)?.0)
}

/// The same for a line of the shell: what it does not say itself is as `outer` says.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_within(argv: impl IntoIterator<Item = OsString>, outer: &GlobalArgs) -> Result<Cli, clap::Error> {
    let (mut cli, matches) = parse_with_matches(argv)?;
    let said = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    cli.global.inherit(outer, said);
    Ok(cli)
}

/// Says what clap has to say. Returns the exit code.
pub(crate) fn report(error: &clap::Error) -> u8 {
    // Who closed the output does not want to hear it.
    let _ = if error.kind() == ErrorKind::MissingSubcommand {
        // All there is says more than that something is missing.
        write!(std::io::stderr(), "{}", command().render_help())
    } else {
        error.print()
    };
    u8::try_from(error.exit_code()).unwrap_or(exit::USAGE)
}

fn parse_with_matches(argv: impl IntoIterator<Item = OsString>) -> Result<(Cli, ArgMatches), clap::Error> {
    let argv = normalise::normalise(argv.into_iter().collect(), definition);
    let mut command = command();
    let matches = command.try_get_matches_from_mut(argv)?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    cli.global.prefer_flags(|name| matches.value_source(name));
    cli.global.token = std::env::var("CLOUDCTL_TOKEN").ok().filter(|token| !token.is_empty());
    Ok((cli, matches))
}

#[cfg(test)]
mod tests {
    use shared::resources::Quantity;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        super::parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example() {
        for command in command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let line = format!("cloudctl {}", command.get_name());
            assert!(help.contains(&line), "{} has no example", command.get_name());
        }
    }

    #[test]
    fn whatever_reads_a_password_from_stdin_says_so() {
        for line in [
            "login --username a --password-stdin",
            "register --username a --password-stdin",
            "password --password-stdin",
            "users create a --password-stdin",
            "users set-password a --password-stdin",
            "registry login ghcr.io --username a --password-stdin",
        ] {
            let cli = parse(&format!("cloudctl {line}")).unwrap_or_else(|error| panic!("{line}: {error}"));
            assert_eq!(cli.verb.reads_stdin(), Some("--password-stdin"), "{line}");
        }
    }

    #[test]
    fn the_line_of_the_specification_is_understood() {
        let cli = parse("cloudctl task u/g:latest -name ml -cpu_cores 4.0 -mem 8.0 -gpu_cores 1.0 -- -mem 1");
        let Verb::Task(task) = cli.expect("parses").verb else { panic!("another verb") };
        assert_eq!(task.image.as_deref(), Some("u/g:latest"));
        assert_eq!(task.options.name.as_deref(), Some("ml"));
        assert_eq!(task.options.mem, Some(Quantity::Text("8.0".into())));
        assert_eq!(task.options.argv, ["-mem", "1"]);
    }

    #[test]
    fn global_flags_stand_before_and_after_the_verb() {
        for line in ["cloudctl -o json --server http://s status", "cloudctl status --output json --server http://s"] {
            let cli = parse(line).expect(line);
            assert_eq!(cli.global.format_name(), OutputFormat::Json);
            assert_eq!(cli.global.server.as_deref(), Some("http://s"));
        }
    }

    #[test]
    fn a_line_of_the_shell_is_as_the_shell_unless_it_says_otherwise() {
        let outer = super::parse(["cloudctl", "-ojson", "--server", "http://s", "--raw", "shell"].map(OsString::from));
        let outer = outer.expect("parses").global;
        let line = |line: &str| parse_within(line.split(' ').map(OsString::from), &outer).expect(line).global;
        let same = line("cloudctl status");
        assert_eq!(
            (same.server.as_deref(), same.format_name(), same.raw),
            (Some("http://s"), OutputFormat::Json, true)
        );
        let other = line("cloudctl status -q --server http://t");
        assert_eq!((other.server.as_deref(), other.format_name()), (Some("http://t"), OutputFormat::Quiet));
        assert_eq!(line("cloudctl status --format x").format.as_deref(), Some("x"));
    }

    #[test]
    fn a_negative_quantity_reaches_the_check_that_explains_it() {
        let Verb::Task(task) = parse("cloudctl task a -cpu_cores -1").expect("parses").verb else { panic!("verb") };
        assert_eq!(task.options.cpu_cores, Some(Quantity::Text("-1".into())));
    }

    #[test]
    fn what_is_out_of_range_is_told_the_range_and_not_that_it_is_no_flag() {
        for (line, why) in [
            ("task a --retries -1", "0..=100"),
            ("task a --retries 101", "0..=100"),
            ("task a --count -1", "-1 is not in 0.."),
            ("task a --time-limit -1s", "90s, 10m or 2h"),
            ("task a --queue-time-limit -1", "90s, 10m or 2h"),
            ("task a --stop-grace -5m", "90s, 10m or 2h"),
            ("task a --backoff -1s..5m", "invalid value '-1s..5m'"),
            ("task a --storage 0", "leave it out"),
            ("task a --storage 0MiB", "leave it out"),
            ("logs task-01arz3ndektsv4rrffq69g5fav --tail -1", "0..=10000"),
            ("queue --limit -1", "1..=1000"),
            ("wait task-01arz3ndektsv4rrffq69g5fav --timeout -1s", "90s, 10m or 2h"),
            ("drain w1 --deadline -1s", "90s, 10m or 2h"),
            ("worker-token create --ttl -15m", "90s, 10m or 2h"),
            ("worker-token create --uses -1", "invalid value '-1'"),
        ] {
            let error = parse(&format!("cloudctl {line}")).expect_err(line);
            let said = error.to_string();
            assert!(error.exit_code() == 2 && said.contains(why) && !said.contains("'-- "), "{line}: {said}");
        }
    }

    #[test]
    fn a_log_is_followed_by_its_short_flag_too() {
        for flag in ["-f", "--follow", "-follow"] {
            let cli = parse(&format!("cloudctl logs task-01arz3ndektsv4rrffq69g5fav {flag}")).expect(flag);
            assert!(matches!(cli.verb, Verb::Logs(args) if args.follow), "{flag}");
        }
    }

    #[test]
    fn a_worker_is_registered_as_in_the_first_generation_and_else_an_account() {
        let Verb::Register(args) = parse("cloudctl register worker-1 192.168.1.100:50052").expect("parses").verb else {
            panic!("another verb")
        };
        assert_eq!(args.worker.map(|worker| worker.to_string()).as_deref(), Some("worker-1"));
        assert_eq!(args.address.as_deref(), Some("192.168.1.100:50052"));
        let Verb::Register(args) = parse("cloudctl register -username ann").expect("parses").verb else {
            panic!("another verb")
        };
        assert_eq!((args.worker, args.username.as_deref()), (None, Some("ann")));
        let error = parse("cloudctl register worker-1").expect_err("one is missing").to_string();
        assert!(error.contains("<IP:PORT>") && error.contains("cloudctl register [OPTIONS] <WORKER>"), "{error}");
        assert!(matches!(parse("cloudctl unregister worker-1").expect("parses").verb, Verb::Unregister(_)));
    }

    #[test]
    fn wrong_calls_are_refused() {
        const ID: &str = "task-01arz3ndektsv4rrffq69g5fav";
        for line in [
            "cloudctl",
            "cloudctl stat",
            "cloudctl show nonsense",
            "cloudctl list-tasks sleeping",
            "cloudctl cancel",
            "cloudctl task",
            "cloudctl task a --env X",
            "cloudctl task a --command x -- y",
            "cloudctl task a --file jobs.toml",
            "cloudctl status -o json --format x",
            "cloudctl register worker-1",
            "cloudctl register ../x 1.2.3.4:5",
            "cloudctl register worker-1 1.2.3.4:5 --username ann",
            "cloudctl unregister",
            "cloudctl approve",
            "cloudctl worker-token create --uses many",
            &format!("cloudctl cancel {ID} --all"),
            &format!("cloudctl monitor {ID} --attempt 0"),
            &format!("cloudctl wait {ID} --any --all"),
            &format!("cloudctl wait {ID} --timeout soon"),
        ] {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
    }
}
