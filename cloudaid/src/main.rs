//! The daemon's front door: read the command line and the configuration, start the role, map its end to an exit code.

use std::future::Future;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cloudaid::args::{
    Args, Command, ConfigCommand, CopyArgs, DoctorArgs, FileArgs, Flags, Output, ShowArgs, StoreArgs, StoreCommand,
};
use cloudaid::config::{ConfigError, Layers, LogSettings, Settings, show};
use cloudaid::{dev, master, observe, tools, worker};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Wrong usage or configuration: nothing was started.
const EXIT_USAGE: u8 = 2;
/// Any failure that has no code of its own.
const EXIT_FAILURE: u8 = 1;
/// Somebody was too impatient for good order, as a shell reports SIGINT.
const EXIT_INTERRUPTED: i32 = 130;
/// How long calls that cannot be interrupted may take once everything else has ended.
const LAST_CALLS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = Args::parse();
    let file = args.config.as_deref();
    let result = match args.command {
        Command::Master(flags) => run_master(flags, file),
        Command::Worker(flags) => run_worker(flags, file),
        Command::Dev(flags) => run_dev(flags, file),
        Command::Config(ConfigCommand::Show(show)) => print_config(show, file),
        Command::Doctor(args) => run_doctor(args, file),
        Command::Store(command) => run_tool(&command, file),
    };
    match result {
        Ok(code) => code,
        Err(failure) => {
            // Where nobody reads stderr the exit code has to do.
            let _ = writeln!(io::stderr(), "error: {}\n hint: {}", failure.message, failure.hint);
            ExitCode::from(failure.code)
        }
    }
}

/// An end that a person has to hear of.
struct Failure {
    message: String,
    hint: String,
    code: u8,
}

impl Failure {
    fn new(error: &dyn std::error::Error, hint: String, code: u8) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            // Some errors repeat their source in their own words.
            let text = error.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = error.source();
        }
        Self { message, hint, code }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::new(&error, error.hint(), EXIT_USAGE)
    }
}

fn run_master<const ROLES: u8>(flags: Flags<ROLES>, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let settings = read(flags, file);
    let (log, config) = settings.master()?;
    let notice = config.plaintext_notice();
    run(&log, &settings, notice.as_deref(), |shutdown| async move {
        let (started, _) = tokio::sync::oneshot::channel();
        let result = Box::pin(master::run(config, started, shutdown)).await;
        result.map_err(|error| Failure::new(&error, error.hint(), error.exit_code()))
    })
}

fn run_worker<const ROLES: u8>(flags: Flags<ROLES>, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let settings = read(flags, file);
    let (log, config) = settings.worker()?;
    let notice = config.plaintext_notice();
    run(&log, &settings, notice.as_deref(), |shutdown| async move {
        let result = Box::pin(worker::run(config, shutdown)).await;
        result.map_err(|error| Failure::new(&error, error.hint(), error.exit_code()))
    })
}

fn run_dev<const ROLES: u8>(flags: Flags<ROLES>, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let settings = read(flags, file);
    let (log, config) = settings.dev()?;
    let notice = config.master.plaintext_notice();
    run(&log, &settings, notice.as_deref(), |shutdown| async move {
        let result = Box::pin(dev::run(config, shutdown)).await;
        result.map_err(|error| Failure::new(&error, error.hint(), error.exit_code()))
    })
}

fn read<const ROLES: u8>(flags: Flags<ROLES>, file: Option<&Path>) -> Settings {
    Settings::new(Layers::read(flags.0, file))
}

/// Starts the log and the runtime, and runs a role until it ends or a signal comes.
fn run<F>(
    log: &LogSettings,
    settings: &Settings,
    notice: Option<&str>,
    role: impl FnOnce(CancellationToken) -> F,
) -> Result<ExitCode, Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let failed = |error: &dyn std::error::Error| Failure::new(error, "see the system's log".to_owned(), EXIT_FAILURE);
    observe::start(log).map_err(|error| failed(&error))?;
    for warning in settings.warnings().iter().map(String::as_str).chain(notice) {
        tracing::warn!("{warning}");
    }
    let runtime = Runtime::new().map_err(|error| failed(&error))?;
    let shutdown = CancellationToken::new();
    let result = runtime.block_on(async {
        listen_for_signals(shutdown.clone()).map_err(|error| failed(&error))?;
        role(shutdown).await
    });
    runtime.shutdown_timeout(LAST_CALLS);
    result.map(|()| ExitCode::SUCCESS)
}

/// The first SIGTERM or SIGINT stops in good order, the second at once.
fn listen_for_signals(shutdown: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let name = next(&mut terminate, &mut interrupt).await;
        tracing::info!("Stopping on {name}; a second signal stops at once");
        shutdown.cancel();
        next(&mut terminate, &mut interrupt).await;
        std::process::exit(EXIT_INTERRUPTED);
    });
    Ok(())
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

/// Logs nothing, as a tool.
fn run_doctor(args: DoctorArgs, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let as_json = args.json || args.output == Output::Json;
    let settings = read(args.flags, file);
    let config = settings.doctor()?;
    for warning in settings.warnings() {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let runtime = Runtime::new().map_err(|error| Failure::new(&error, String::new(), EXIT_FAILURE))?;
    let report = runtime.block_on(Box::pin(worker::doctor::run(&config)));
    // A driver that hangs is not waited for.
    runtime.shutdown_timeout(LAST_CALLS);
    print(&tools::render(&report, |report| report.text(), as_json))?;
    Ok(if report.problems == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILURE) })
}

/// A tool logs nothing: it says at its end what it did.
fn run_tool(command: &StoreCommand, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let (StoreCommand::Check(StoreArgs { place, .. })
    | StoreCommand::Backup(FileArgs { store: StoreArgs { place, .. }, .. })
    | StoreCommand::Restore(FileArgs { store: StoreArgs { place, .. }, .. })
    | StoreCommand::Copy(CopyArgs { place, .. })) = command;
    let flags = place.data_dir.iter().map(|dir| ("data-dir", dir.clone())).collect();
    let as_json = place.output == Output::Json;
    let (_, places) = Settings::new(Layers::read(flags, file)).places()?;
    let runtime = Runtime::new().map_err(|error| Failure::new(&error, String::new(), EXIT_FAILURE))?;
    let done = runtime.block_on(async {
        let kind = |store: &StoreArgs| store.store.unwrap_or(places.kind);
        Ok::<_, tools::ToolError>(match command {
            StoreCommand::Check(store) => {
                let checked = tools::check::run(&places, kind(store)).await?;
                let code = if checked.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILURE) };
                (tools::render(&checked, |checked| checked.text(), as_json), code)
            }
            StoreCommand::Backup(FileArgs { file, store }) => {
                let made = tools::backup::run(&places, kind(store), file).await?;
                (tools::render(&made, |made| made.text(), as_json), ExitCode::SUCCESS)
            }
            StoreCommand::Restore(FileArgs { file, store }) => {
                let made = tools::restore::run(&places, kind(store), file).await?;
                (tools::render(&made, |made| made.text(), as_json), ExitCode::SUCCESS)
            }
            StoreCommand::Copy(CopyArgs { from, to, .. }) => {
                let made = tools::copy::run(&places, *from, *to).await?;
                (tools::render(&made, |made| made.text(), as_json), ExitCode::SUCCESS)
            }
        })
    });
    let (text, code) = done.map_err(|error| Failure::new(&error, error.hint(), error.exit_code()))?;
    print(&text)?;
    Ok(code)
}

fn print(text: &str) -> Result<(), Failure> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that closes the pipe early has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(&error, "stdout cannot be written; is its disk full?".to_owned(), EXIT_FAILURE))
        }
        _ => Ok(()),
    }
}

fn print_config(args: ShowArgs, file: Option<&Path>) -> Result<ExitCode, Failure> {
    let settings = read(args.flags, file);
    let rows = show::list(&settings, args.role);
    let text = match args.output {
        Output::Table => show::as_table(&rows),
        Output::Json => serde_json::to_string_pretty(&rows).unwrap_or_default() + "\n",
    };
    print(&text)?;
    for warning in settings.warnings() {
        let _ = writeln!(io::stderr(), "warning: {warning}");
    }
    let problems = show::problems(&settings, args.role);
    if problems.is_empty() { Ok(ExitCode::SUCCESS) } else { Err(ConfigError { problems }.into()) }
}
