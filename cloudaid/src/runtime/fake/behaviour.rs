//! What a container of the fake runtime does.

use std::time::Duration;

use bytes::Bytes;
use shared::link::LogStream;
use shared::task::Command;

use crate::runtime::{ContainerSpec, RuntimeError};

/// How long it is before a fleeting flood begins.
const FLEETING_AFTER: Duration = Duration::from_secs(3);

/// What a container does once it is made, and started. Made by [`Behaviour::of`], or in steps:
/// `Behaviour::exit(3).after(second).printing(LogStream::Stdout, "hi\n")`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// It cannot be made.
    pub create_error: Option<RuntimeError>,
    /// It cannot be started.
    pub start_error: Option<RuntimeError>,
    /// What it writes. Written only if it lives that long.
    pub output: Vec<Piece>,
    /// Bytes of stdout that it writes then, as fast as they are read: see [`super::flood()`].
    pub flood: u64,
    /// Whether the engine keeps nothing of what was read of all that.
    pub fleeting: bool,
    /// Files that it leaves in the output directory, at its start.
    pub files: Vec<(String, Bytes)>,
    /// Bytes that it writes to its own layer.
    pub layer: u64,
    /// How long it runs; without, until it is stopped.
    pub duration: Option<Duration>,
    /// If nothing stops it.
    pub exit_code: i32,
    /// Whether its end is put down to want of memory.
    pub oom: bool,
    /// Whether TERM does nothing to it.
    pub ignores_term: bool,
}

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// After the start.
    pub after: Duration,
    /// Where to.
    pub stream: LogStream,
    /// What.
    pub bytes: Bytes,
}

impl Behaviour {
    /// Ends at once with this code.
    #[must_use]
    pub fn exit(code: i32) -> Self {
        Self {
            create_error: None,
            start_error: None,
            output: Vec::new(),
            flood: 0,
            fleeting: false,
            files: Vec::new(),
            layer: 0,
            duration: Some(Duration::ZERO),
            exit_code: code,
            oom: false,
            ignores_term: false,
        }
    }

    /// Runs until it is stopped.
    #[must_use]
    pub fn endless() -> Self {
        Self { duration: None, ..Self::exit(0) }
    }

    /// Cannot be started.
    #[must_use]
    pub fn broken(message: &str) -> Self {
        Self { start_error: Some(RuntimeError::Setup(message.to_owned())), ..Self::exit(127) }
    }

    /// Runs for so long.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self { duration: Some(duration), ..self }
    }

    /// Writes this at its end, or at its start if it has none.
    #[must_use]
    pub fn printing(mut self, stream: LogStream, bytes: impl Into<Bytes>) -> Self {
        let after = self.duration.unwrap_or_default();
        self.output.push(Piece { after, stream, bytes: bytes.into() });
        self
    }

    /// Leaves this file in the output directory.
    #[must_use]
    pub fn writing(mut self, path: &str, bytes: impl Into<Bytes>) -> Self {
        self.files.push((path.to_owned(), bytes.into()));
        self
    }

    /// What the image or the command says.
    ///
    /// An image `fake/WORD:ARG` says it alone: `fake/exit:3`, `fake/sleep:0.5` (seconds), `fake/endless`,
    /// `fake/print:text`, `fake/flood:BYTES`, `fake/fleeting:BYTES` (`ready`, and after three seconds `go` and a flood, of which
    /// the engine keeps nothing that was read), `fake/layer:BYTES` (and then endless), `fake/oom`, `fake/broken`, `fake/uncreatable` (see also `fake/missing` and
    /// `fake/unavailable`, which cannot be prepared). With any other image the command does, in a small part of the
    /// shell's language: steps joined by `;` or `&&`, each `exit N`, `echo TEXT`, `echo TEXT >&2`,
    /// `echo TEXT > /output/FILE`, `sleep SECONDS`, `true`, `false` or `trap '' TERM`. A program that it does not know
    /// is not there.
    #[must_use]
    pub fn of(spec: &ContainerSpec) -> Self {
        if let Some(word) = spec.image.strip_prefix("fake/") {
            return Self::of_image(word);
        }
        match &spec.command {
            Command::ImageDefault => Self::exit(0),
            Command::Shell(line) => Self::of_line(line),
            Command::Argv(argv) => match argv.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                ["sh" | "/bin/sh", "-c", line] => Self::of_line(line),
                ["true" | "false" | "echo" | "sleep", ..] => Self::of_line(&argv.join(" ")),
                [program, ..] => Self::broken(&format!("exec {program} failed: No such file or directory")),
                [] => {
                    Self { create_error: Some(RuntimeError::Setup("the command is empty".to_owned())), ..Self::exit(0) }
                }
            },
        }
    }

    fn of_image(word: &str) -> Self {
        let (word, argument) = word.split_once(':').unwrap_or((word, ""));
        match word {
            "exit" => Self::exit(argument.parse().unwrap_or(0)),
            "sleep" => Self::exit(0).after(seconds(argument)),
            "endless" => Self::endless(),
            "print" => Self::exit(0).printing(LogStream::Stdout, format!("{argument}\n")),
            "flood" => Self { flood: argument.parse().unwrap_or(0), ..Self::exit(0) },
            "fleeting" => {
                let told = Self::exit(0).printing(LogStream::Stdout, "ready\n").after(FLEETING_AFTER);
                let flood = argument.parse().unwrap_or(0);
                Self { flood, fleeting: true, ..told.printing(LogStream::Stdout, "go\n") }
            }
            "layer" => Self { layer: argument.parse().unwrap_or(0), ..Self::endless() },
            "oom" => Self { oom: true, ..Self::exit(137) },
            "broken" => Self::broken("exec nosuch failed: No such file or directory"),
            "uncreatable" => {
                Self { create_error: Some(RuntimeError::Setup("it cannot be made".to_owned())), ..Self::exit(0) }
            }
            _ => Self::exit(0),
        }
    }

    fn of_line(line: &str) -> Self {
        let mut behaviour = Self::exit(0);
        for step in line.split("&&").flat_map(|part| part.split(';')).map(str::trim).filter(|step| !step.is_empty()) {
            let (word, rest) = step.split_once(' ').unwrap_or((step, ""));
            match word {
                "exit" => {
                    behaviour.exit_code = rest.trim().parse().unwrap_or(2);
                    break;
                }
                "true" => behaviour.exit_code = 0,
                "false" => behaviour.exit_code = 1,
                "sleep" => behaviour.duration = behaviour.duration.map(|so_far| so_far + seconds(rest)),
                "trap" => behaviour.ignores_term = true,
                "echo" => behaviour = behaviour.echo(rest),
                unknown => {
                    behaviour = behaviour.printing(LogStream::Stderr, format!("sh: {unknown}: not found\n"));
                    behaviour.exit_code = 127;
                }
            }
        }
        behaviour
    }

    fn echo(self, rest: &str) -> Self {
        let text = |text: &str| format!("{}\n", text.trim().trim_matches(['\'', '"']));
        if let Some(rest) = rest.strip_suffix(">&2") {
            return self.printing(LogStream::Stderr, text(rest));
        }
        match rest.split_once("> /output/") {
            Some((rest, file)) => self.writing(file.trim(), text(rest)),
            None => self.printing(LogStream::Stdout, text(rest)),
        }
    }
}

/// Whether an image can be had.
pub(super) fn image(image: &str) -> Result<(), RuntimeError> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:@".contains(c);
    let name = image.split(':').next().unwrap_or(image);
    if image.is_empty() || !name.chars().all(valid) || image.starts_with("fake/missing") {
        return Err(RuntimeError::ImageNotFound(format!("{image} cannot be pulled: there is no such image")));
    }
    if image.starts_with("fake/unavailable") {
        return Err(RuntimeError::ImageUnavailable(format!("{image} could not be pulled now: no network")));
    }
    Ok(())
}

fn seconds(text: &str) -> Duration {
    let number = text.trim().parse::<f64>().ok();
    number.and_then(|number| Duration::try_from_secs_f64(number).ok()).unwrap_or_default()
}
