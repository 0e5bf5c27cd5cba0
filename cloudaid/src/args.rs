//! The command line. What a flag is called and does stands in the table of settings, [`crate::config::table`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command as ClapCommand, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::config::table::{self, DEV, EVERY, Fallback, MASTER, Role, Setting, Shape, WORKER};
use crate::tools::Kind;

/// The CloudAI daemon: master, worker, or both in one process.
#[derive(Debug, Parser)]
#[command(name = "cloudaid", version, max_term_width = 110, arg_required_else_help = true)]
pub struct Args {
    /// Configuration file (TOML)
    #[arg(long, global = true, value_name = "FILE", env = "CLOUDAI_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// A role, or a question about the configuration.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the control plane
    Master(Flags<MASTER>),
    /// Run tasks of a master on this machine
    Worker(Flags<WORKER>),
    /// Run a master and a worker in one process, ready to use from this machine
    Dev(Flags<DEV>),
    /// Show the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at this machine and its container engine: what is as a worker needs it, what is not, and what to do
    Doctor(DoctorArgs),
    /// Check, back up, restore and copy the store of a master
    #[command(subcommand)]
    Store(StoreCommand),
}

/// What to look at, and how to print it.
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {
    /// How to print it
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// The same as --output json
    #[arg(long, conflicts_with = "output")]
    pub json: bool,
    /// As the worker takes them, to see what it would find.
    #[command(flatten)]
    pub flags: Flags<WORKER>,
}

/// What to do with a store.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Look for what contradicts itself; nothing is changed, and a master may be running
    Check(StoreArgs),
    /// Write one state of the store to a file; a master may be running
    Backup(FileArgs),
    /// Bring a backup back into an empty store, and raise the epoch
    Restore(FileArgs),
    /// Copy everything from one kind of store to the other, and compare; no master runs
    Copy(CopyArgs),
}

/// Which store, and how to print.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// Which kind [default: as configured]
    #[arg(long, value_enum)]
    pub store: Option<Kind>,
    /// Where it is, and how to print.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Where the embedded store is, and how to print.
#[derive(Debug, clap::Args)]
pub struct PlaceArgs {
    /// The data directory of the master [env: CLOUDAI_DATA_DIR]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// How to print the result
    #[arg(long, short, value_enum, default_value_t = Output::Table)]
    pub output: Output,
}

/// A store and a file.
#[derive(Debug, clap::Args)]
pub struct FileArgs {
    /// The backup
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which store.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Two stores.
#[derive(Debug, clap::Args)]
pub struct CopyArgs {
    /// The source
    #[arg(long, value_enum)]
    pub from: Kind,
    /// The target, which is empty, or a copy that was not finished
    #[arg(long, value_enum)]
    pub to: Kind,
    /// Where they are.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// Questions about the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print each setting, its value and where that came from; secrets are masked
    Show(ShowArgs),
}

/// What to show.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Only what this role reads, checked as at its start
    #[arg(long)]
    pub role: Option<Role>,
    /// How to print it
    #[arg(long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// As the roles take them, to see what they would do.
    #[command(flatten)]
    pub flags: Flags<EVERY>,
}

/// How to print a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Columns, for people
    Table,
    /// For machines
    Json,
}

/// The flags of the roles whose bits are `ROLES`, as they were given: texts by flag name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags<const ROLES: u8>(pub BTreeMap<&'static str, String>);

/// One row per flag. Rows of several roles can share one.
fn rows(roles: u8) -> impl Iterator<Item = (&'static str, &'static Setting)> {
    let rows = table::ALL.iter().filter(move |row| row.roles & roles != 0);
    let by_flag: BTreeMap<_, _> = rows.clone().rev().filter_map(|row| Some((row.flag?, row.name))).collect();
    rows.filter_map(move |row| Some((row.flag?, *row))).filter(move |(flag, row)| by_flag.get(flag) == Some(&row.name))
}

impl<const ROLES: u8> clap::Args for Flags<ROLES> {
    fn augment_args(command: ClapCommand) -> ClapCommand {
        rows(ROLES).fold(command, |command, (flag, row)| command.arg(argument(flag, row)))
    }

    fn augment_args_for_update(command: ClapCommand) -> ClapCommand {
        Self::augment_args(command)
    }
}

impl<const ROLES: u8> FromArgMatches for Flags<ROLES> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for (flag, _) in rows(ROLES) {
            if let Some(values) = matches.get_many::<String>(flag) {
                self.0.insert(flag, values.map(String::as_str).collect::<Vec<_>>().join(","));
            }
        }
        Ok(())
    }
}

fn argument(flag: &'static str, row: &'static Setting) -> Arg {
    let default = match row.default {
        Fallback::Text("false") | Fallback::Unset | Fallback::Computed(_) => String::new(),
        Fallback::Text(text) | Fallback::Borrowed(_, text) => format!(" [default: {text}]"),
    };
    let argument = Arg::new(flag).long(flag).help(format!("{} [env: {}]{default}", row.doc, row.env));
    match row.shape {
        Shape::One(value) | Shape::Token(value) => argument.value_name(value),
        Shape::Many(value) => argument.value_name(value).action(ArgAction::Append),
        Shape::Switch => argument.value_name("true|false").num_args(0..=1).default_missing_value("true"),
        Shape::Secret => argument.hide(true),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn flags_are_taken_as_texts_by_their_names() {
        let args =
            parse("cloudaid worker --master a:1 --master b:2 --label x=1 --cpu 2.5 --config f.toml").expect("valid");
        assert_eq!(args.config, Some("f.toml".into()));
        let Command::Worker(Flags(flags)) = args.command else { panic!("{args:?}") };
        let expected = [("cpu", "2.5"), ("label", "x=1"), ("master", "a:1,b:2")];
        assert_eq!(flags, expected.map(|(flag, value)| (flag, value.to_owned())).into());
    }

    #[test]
    fn a_switch_may_stand_alone() {
        for (line, expected) in [
            ("cloudaid dev --plaintext --http 1.1.1.1:1", "true"),
            ("cloudaid dev --plaintext false", "false"),
            ("cloudaid dev --plaintext=true", "true"),
        ] {
            let Command::Dev(Flags(flags)) = parse(line).expect(line).command else { panic!("{line}") };
            assert_eq!(flags["plaintext"], expected, "{line}");
        }
    }

    #[test]
    fn a_doctor_takes_what_the_worker_takes() {
        let line = "cloudaid doctor --master a:1 --docker-host unix:///d --json";
        let Command::Doctor(args) = parse(line).expect(line).command else { panic!("{line}") };
        assert!(args.json && args.flags.0["docker-host"] == "unix:///d");
        assert!(parse("cloudaid doctor --json --output table").is_err());
    }

    #[test]
    fn each_role_has_its_own_flags() {
        for bad in
            ["cloudaid master --name w", "cloudaid worker --http 127.0.0.1:1", "cloudaid dev --master a:1", "cloudaid"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for good in
            ["cloudaid dev --http 127.0.0.1:0 --name w --data-dir d", "cloudaid config show --role worker --name w"]
        {
            assert!(parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn help_names_the_variable_and_the_default() {
        let mut command = Args::command();
        let master = command.find_subcommand_mut("master").expect("there is one");
        let help = master.render_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("[env: CLOUDAI_HTTP] [default: 127.0.0.1:8080]"), "{help}");
        assert!(help.contains("--print-task-logs") && !help.contains("JWT"), "{help}");
    }
}
