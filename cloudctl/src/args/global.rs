//! Flags of every command.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::parser::ValueSource;
use clap::{ArgAction, Args, ValueEnum};

/// Flags of every command.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// The master, for example https://master:8080.
    #[arg(long, global = true, value_name = "URL", env = "CLOUDCTL_SERVER", hide_env_values = true)]
    pub(crate) server: Option<String>,
    /// The context to use instead of the current one.
    #[arg(long, global = true, value_name = "NAME", env = "CLOUDCTL_CONTEXT", hide_env_values = true,
        add = clap_complete::ArgValueCandidates::new(crate::complete::contexts))]
    pub(crate) context: Option<String>,
    /// Authorities (PEM) to trust instead of those of this machine.
    #[arg(long, global = true, value_name = "FILE", env = "CLOUDCTL_CA", hide_env_values = true,
        value_hint = clap::ValueHint::FilePath, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub(crate) ca: Option<PathBuf>,
    /// SHA-256 of the certificate to trust, or of its authority.
    #[arg(long, global = true, value_name = "HEX", env = "CLOUDCTL_FINGERPRINT", hide_env_values = true)]
    pub(crate) fingerprint: Option<String>,
    /// How results are written [default: table].
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        hide_possible_values = true,
        value_enum,
        help = "table, json, yaml, jsonl or quiet (see `cloudctl help output`) [default: table]"
    )]
    pub(crate) output: Option<OutputFormat>,
    /// The same as `--output quiet`: ids only, one a line.
    #[arg(short, long, global = true, conflicts_with = "output")]
    pub(crate) quiet: bool,
    /// A line of your own for each result, such as '{{.task_id}} {{.state}}'.
    #[arg(long, global = true, value_name = "TEMPLATE", conflicts_with_all = ["output", "quiet"])]
    pub(crate) format: Option<String>,
    /// Exact times and sizes, and text as it is, also if a terminal would take it for commands.
    #[arg(long, global = true)]
    pub(crate) raw: bool,
    /// Print help.
    #[arg(short, long, global = true, action = ArgAction::HelpShort)]
    pub(crate) help: Option<bool>,
    /// What `CLOUDCTL_TOKEN` says. Never an argument: everybody on a machine can see those.
    #[arg(skip)]
    pub(crate) token: Option<String>,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people.
    #[default]
    Table,
    /// One document, the API's own.
    Json,
    /// The same in YAML.
    Yaml,
    /// One line of JSON for each item, as soon as it is known.
    Jsonl,
    /// Ids only.
    Quiet,
}

impl GlobalArgs {
    /// Takes over from `outer` what was not said here.
    pub(super) fn inherit(&mut self, outer: &Self, said: impl Fn(&str) -> bool) {
        if !said("server") {
            self.server.clone_from(&outer.server);
        }
        if !said("context") {
            self.context.clone_from(&outer.context);
        }
        if !["ca", "fingerprint"].into_iter().any(&said) {
            self.ca.clone_from(&outer.ca);
            self.fingerprint.clone_from(&outer.fingerprint);
        }
        if !["output", "quiet", "format"].into_iter().any(&said) {
            (self.output, self.quiet) = (outer.output, outer.quiet);
            self.format.clone_from(&outer.format);
        }
        self.raw |= outer.raw;
    }

    /// Of the two ways to trust, a flag wins over the variable of the other.
    pub(super) fn prefer_flags(&mut self, source: impl Fn(&str) -> Option<ValueSource>) {
        match (source("ca"), source("fingerprint")) {
            (Some(ValueSource::CommandLine), Some(ValueSource::EnvVariable)) => self.fingerprint = None,
            (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => self.ca = None,
            _ => {}
        }
    }

    /// What was asked for, however it was written.
    pub(crate) fn format_name(&self) -> OutputFormat {
        if self.quiet { OutputFormat::Quiet } else { self.output.unwrap_or_default() }
    }
}
