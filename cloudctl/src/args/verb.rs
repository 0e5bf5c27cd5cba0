//! The commands, and what each says of itself.

use clap::Subcommand;

use super::{
    AdminArgs, ApproveArgs, AuditArgs, CancelArgs, CompletionsArgs, ContextArgs, CordonArgs, DeleteArgs, DispatchArgs,
    DownloadArgs, DrainArgs, EditArgs, FilesArgs, HelpArgs, Ids, ListTasksArgs, LoginArgs, LogoutArgs, LogsArgs,
    ManArgs, MonitorArgs, PasswordArgs, QueueArgs, RegisterArgs, RegistryArgs, RegistryVerb, RetryArgs, ShellArgs,
    ShutdownArgs, StatsArgs, StatusArgs, TaskArgs, TaskFilesArgs, TaskIdArgs, TokensArgs, UndrainArgs, UnregisterArgs,
    UsersArgs, UsersVerb, WaitArgs, WatchArgs, WorkerTokenArgs, WorkersArgs,
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Submit a task; the scheduler chooses the worker.
    #[command(after_help = "Examples:\n  cloudctl task docker.io/username/sample-task:latest\n  \
        cloudctl task docker.io/username/gpu-task:latest -name ml-training \\\n    \
        -cpu_cores 4.0 -mem 8.0 -gpu_cores 1.0\n  \
        cloudctl task alpine --wait -- sh -c 'echo hi; exit 3'\n  \
        cloudctl task trainer:7 --array 0-99%10 --env-file common.env\n  \
        cloudctl task trainer:7 --input data/ config.toml -- train /input/data\n  \
        cloudctl task --file jobs.toml --dry-run       (see `cloudctl help task-file`)\n  \
        generate | cloudctl task --file - -o quiet")]
    Task(TaskArgs),
    /// Submit a task to one worker, past the scheduler.
    #[command(after_help = "Example:\n  cloudctl dispatch worker-1 ubuntu:latest -cpu_cores 2.0 -mem 4.0")]
    Dispatch(DispatchArgs),
    /// List tasks, newest first.
    #[command(after_help = "Examples:\n  cloudctl list-tasks running\n  \
        cloudctl list-tasks --label run=7 --since 2h --all -o quiet\n  \
        cloudctl list-tasks failed --format '{{.task_id}} {{.exit_code}}'")]
    ListTasks(ListTasksArgs),
    /// Show a task and its runs.
    #[command(after_help = "Examples:\n  cloudctl show task-01arz3ndektsv4rrffq69g5fav -o json\n  \
        cloudctl show task-01arz3ndektsv4rrffq69g5fav.7        (one element of an array)\n  \
        cloudctl show task-01arz3ndektsv4rrffq69g5fav.10-19    (several of them)")]
    Show(TaskIdArgs),
    /// Say why a task waits.
    #[command(after_help = "Example:\n  cloudctl why task-01arz3ndektsv4rrffq69g5fav")]
    Why(TaskIdArgs),
    /// Wait until tasks have ended.
    ///
    /// Ends with the exit code of the first of them that did not succeed.
    #[command(after_help = "Examples:\n  cloudctl wait $ID\n  \
        cloudctl wait --any --timeout 10m $IDS\n  \
        cloudctl list-tasks --label run=7 --all -o quiet | cloudctl wait -")]
    Wait(WaitArgs),
    /// Cancel tasks.
    #[command(after_help = "Examples:\n  cloudctl cancel task-01arz3ndektsv4rrffq69g5fav\n  \
        cloudctl cancel --all --state queued\n  \
        cloudctl list-tasks queued --all -o quiet | cloudctl cancel -")]
    Cancel(CancelArgs),
    /// Run a task again.
    ///
    /// It becomes a new task with the same specification. Of an array, the elements that did not succeed.
    #[command(after_help = "Examples:\n  cloudctl retry task-01arz3ndektsv4rrffq69g5fav --wait\n  \
        cloudctl retry task-01arz3ndektsv4rrffq69g5fav.0-9 --all")]
    Retry(RetryArgs),
    /// Give a task that waits another name or other labels.
    #[command(
        after_help = "Example:\n  cloudctl edit task-01arz3ndektsv4rrffq69g5fav --name nightly --label run=7 \\\n    \
        --unlabel draft"
    )]
    Edit(EditArgs),
    /// Delete tasks that have ended, with their logs and files.
    #[command(after_help = "Examples:\n  cloudctl delete task-01arz3ndektsv4rrffq69g5fav\n  \
        cloudctl list-tasks --until 30d --all -o quiet | cloudctl delete --yes -")]
    Delete(DeleteArgs),
    /// Stream the log of a task until it ends.
    ///
    /// From its first byte on, through restarts of the master. On a terminal any key ends it; the task goes on.
    #[command(after_help = "Example:\n  cloudctl monitor task-01arz3ndektsv4rrffq69g5fav")]
    Monitor(MonitorArgs),
    /// Print the log of a task, or parts of it.
    #[command(after_help = "Examples:\n  cloudctl logs task-01arz3ndektsv4rrffq69g5fav --tail 20 --timestamps\n  \
        cloudctl logs task-01arz3ndektsv4rrffq69g5fav --since 10m --follow\n  \
        cloudctl logs task-01arz3ndektsv4rrffq69g5fav.0-9 --stream stderr --prefix")]
    Logs(LogsArgs),
    /// List, upload, download and delete files.
    ///
    /// Without a verb: list the output files of a user, over all tasks.
    #[command(after_help = "Examples:\n  cloudctl files\n  cloudctl files alice --all -o jsonl\n  \
        cloudctl files upload data/ model.bin        (prints the id for `cloudctl task IMAGE --input ID`)\n  \
        cloudctl files list --inputs\n  cloudctl files download input-01arz3ndektsv4rrffq69g5fav\n  \
        cloudctl files delete input-01arz3ndektsv4rrffq69g5fav")]
    Files(FilesArgs),
    /// List the output files of a task.
    #[command(after_help = "Example:\n  cloudctl task-files task-01arz3ndektsv4rrffq69g5fav alice")]
    TaskFiles(TaskFilesArgs),
    /// Download the output files of a task.
    #[command(
        after_help = "Examples:\n  cloudctl download task-01arz3ndektsv4rrffq69g5fav        (into ./<task id>/)\n  \
        cloudctl download task-01arz3ndektsv4rrffq69g5fav results --resume\n  \
        cloudctl download task-01arz3ndektsv4rrffq69g5fav alice results"
    )]
    Download(DownloadArgs),
    /// Show the state of the cluster.
    #[command(after_help = "Examples:\n  cloudctl status\n  cloudctl status --watch\n  \
        cloudctl status --format '{{.tasks.running}}'")]
    Status(StatusArgs),
    /// List the registered workers.
    #[command(
        after_help = "Examples:\n  cloudctl workers\n  cloudctl workers --pending        (those that wait to be let in)"
    )]
    Workers(WorkersArgs),
    /// Show what one worker has, uses and runs.
    #[command(after_help = "Example:\n  cloudctl stats worker-1")]
    Stats(StatsArgs),
    /// List, make and end tokens with which workers join.
    ///
    /// A worker that joins with one gets a certificate of its own, and needs the token no more.
    #[command(
        after_help = "Examples:\n  cloudctl worker-token create        (prints the line to run on the new machine)\n  \
        cloudctl worker-token create --uses 20 --ttl 1h --pool gpu -q > token\n  cloudctl worker-token list"
    )]
    WorkerToken(WorkerTokenArgs),
    /// List, set and end what image registries know the cluster by.
    ///
    /// Workers pull private images with that, whoever's task it is. The master keeps passwords encrypted.
    #[command(
        after_help = "Examples:\n  cloudctl registry login ghcr.io --username robot        (asks for the password)\n  \
        cloudctl registry login registry.example:5000 -u robot --password-stdin < token\n  cloudctl registry logout ghcr.io"
    )]
    Registry(RegistryArgs),
    /// Let in a worker that waits for it.
    ///
    /// It is one of the first generation: the master will dial it. Others join with a token.
    #[command(after_help = "Examples:\n  cloudctl workers --pending\n  cloudctl approve worker-1\n  \
        cloudctl approve worker-1 192.168.1.100:50052        (it listens there, and not where it says)")]
    Approve(ApproveArgs),
    /// Let workers get no new tasks.
    ///
    /// What they run goes on. `undrain` ends it.
    #[command(after_help = "Example:\n  cloudctl cordon worker-1 --reason \"a fan is loud\"")]
    Cordon(CordonArgs),
    /// Let workers become empty.
    ///
    /// They get no new tasks. What still runs there when the deadline is over is stopped (TERM, then KILL), and runs elsewhere;
    /// that counts as no failure. `undrain` ends it.
    #[command(after_help = "Examples:\n  cloudctl drain worker-1 --deadline 1h --wait --reason \"new disks\"\n  \
        cloudctl drain worker-1        (what runs there may run to its end)")]
    Drain(DrainArgs),
    /// Let workers get tasks again, after `drain` or `cordon`.
    #[command(visible_alias = "uncordon", after_help = "Example:\n  cloudctl undrain worker-1")]
    Undrain(UndrainArgs),
    /// Remove workers from the cluster.
    ///
    /// Their running tasks are run elsewhere, and their certificates are revoked. With a new token they can join again.
    #[command(after_help = "Examples:\n  cloudctl unregister worker-1\n  cloudctl unregister worker-1 worker-2 --yes")]
    Unregister(UnregisterArgs),
    /// Show what waits, in the order in which it is considered.
    #[command(after_help = "Examples:\n  cloudctl queue\n  cloudctl queue --limit 1000")]
    Queue(QueueArgs),
    /// Watch the cluster on a live screen.
    ///
    /// Workers, queue, running tasks and rates.
    #[command(after_help = "Example:\n  cloudctl watch --interval 1s        (q, Esc or Ctrl-C ends it)")]
    Watch(WatchArgs),
    /// Show all that the master's core knows, for debugging.
    ///
    /// The ledger of what is reserved, leases, classes of the queue, windows of links, open tasks. No secrets.
    #[command(after_help = "Example:\n  cloudctl internal-state -o json")]
    InternalState,
    /// Compare the books with what the workers hold, and repair.
    ///
    /// Asks every worker now what it and its engine hold, compares that with the master's books and its store, removes
    /// containers that no run has, ends runs that have no container, and says what it did.
    #[command(after_help = "Example:\n  cloudctl fix-resources")]
    FixResources,
    /// Stop the master (also: exit, quit).
    ///
    /// Once its running tasks have ended; it starts nothing new meanwhile. With --now it does not wait: running tasks go on at their workers.
    #[command(visible_aliases = ["exit", "quit"], after_help = "Examples:\n  cloudctl shutdown\n  \
        cloudctl shutdown --now --yes        (running tasks go on at their workers)")]
    Shutdown(ShutdownArgs),
    /// Log in to a master.
    ///
    /// It is remembered as a context, which becomes the current one.
    #[command(after_help = "Examples:\n  cloudctl login --server https://master:8080 --username admin\n  \
        cloudctl login --server https://master:8080 --username admin --setup-token-file setup.token\n  \
        (makes the first admin)\n  \
        cloudctl login --server https://master:8080 --fingerprint sha256:...        (as the master's log says)")]
    Login(LoginArgs),
    /// Forget the token of a context.
    #[command(after_help = "Examples:\n  cloudctl logout\n  cloudctl logout --everywhere")]
    Logout(LogoutArgs),
    /// Make an account for yourself, or register a worker.
    ///
    /// Without a worker: make an account for yourself at a master, and log in. Where the master wants an invitation, an
    /// admin makes one: `cloudctl users invite NAME`. With one: let a worker of the first generation in, which the master
    /// dials; others join with `cloudctl worker-token create`.
    #[command(
        override_usage = "cloudctl register [OPTIONS]\n       cloudctl register [OPTIONS] <WORKER> <IP:PORT>",
        after_help = "Examples:\n  cloudctl register --server https://master:8080 --username ann --invite-file invite\n  \
        cloudctl register worker-1 192.168.1.100:50052"
    )]
    Register(RegisterArgs),
    /// Change your password.
    ///
    /// All your other logins end.
    #[command(after_help = "Example:\n  cloudctl password")]
    Password(PasswordArgs),
    /// List, make and change accounts.
    #[command(after_help = "Examples:\n  cloudctl users\n  cloudctl users create ann --role read-only\n  \
        cloudctl users invite bob -q > invite\n  cloudctl users set-role ann user\n  cloudctl users disable ann")]
    Users(UsersArgs),
    /// List, make and end personal tokens, for scripts.
    ///
    /// A script gives one in CLOUDCTL_TOKEN. It has a name, an end, and no more rights than it needs; it outlives a change of
    /// the password.
    #[command(
        after_help = "Examples:\n  cloudctl tokens\n  cloudctl tokens create nightly --role read-only --ttl 30d -q > token\n  \
        CLOUDCTL_TOKEN=$(cat token) cloudctl list-tasks"
    )]
    Tokens(TokensArgs),
    /// List who has done what, the newest first.
    ///
    /// Every call that changes something is noted, in the same commit as the change, and sealed with the one before it.
    #[command(after_help = "Examples:\n  cloudctl audit --user ann --since 7d\n  cloudctl audit --verify")]
    Audit(AuditArgs),
    /// Do something to the master itself.
    #[command(after_help = "Example:\n  cloudctl admin rotate-keys")]
    Admin(AdminArgs),
    /// Say who you are to the master.
    #[command(after_help = "Example:\n  cloudctl whoami")]
    Whoami,
    /// List, choose and change contexts.
    ///
    /// A context is a master that cloudctl knows, and who you are to it.
    #[command(after_help = "Examples:\n  cloudctl context\n  cloudctl context use prod\n  \
        cloudctl context rename 10.0.0.7 lab\n  cloudctl context delete lab")]
    Context(ContextArgs),
    /// Run commands line by line, from you or from a pipe.
    #[command(after_help = "Examples:\n  cloudctl shell\n  cloudctl shell < script\n  \
        cloudctl shell --keep-going < script        (does not stop at an error)")]
    Shell(ShellArgs),
    /// Print the versions of this program and of the master.
    ///
    /// Says as well whether the two go together.
    #[command(after_help = "Example:\n  cloudctl version")]
    Version,
    /// Print a script that lets a shell complete the line.
    ///
    /// Commands, flags, files, and the ids of tasks and names of workers that there are.
    #[command(
        after_help = "Examples:\n  source <(cloudctl completions bash)\n  source <(cloudctl completions zsh)\n  \
        cloudctl completions fish | source"
    )]
    Completions(CompletionsArgs),
    /// Write manual pages.
    #[command(after_help = "Examples:\n  cloudctl man | man -l -\n  cloudctl man --dir ~/.local/share/man/man1")]
    Man(ManArgs),
    /// Print help of a command, or about a topic.
    #[command(after_help = "Examples:\n  cloudctl help task\n  cloudctl help exit-codes")]
    Help(HelpArgs),
}

impl Verb {
    /// What it wants to read from stdin, as people write it.
    pub(crate) fn reads_stdin(&self) -> Option<&'static str> {
        let of_ids = |ids: &[Ids]| ids.iter().any(|id| matches!(id, Ids::Stdin)).then_some("-");
        match self {
            Self::Task(TaskArgs { options, .. }) | Self::Dispatch(DispatchArgs { options, .. }) => {
                options.file.as_deref().filter(|file| file.as_os_str() == "-").map(|_| "--file -")
            }
            Self::Wait(args) => of_ids(&args.ids),
            Self::Cancel(args) => of_ids(&args.ids),
            Self::Delete(args) => of_ids(&args.ids),
            Self::Retry(args) => of_ids(&args.ids),
            Self::Login(args) if args.password_stdin => Some("--password-stdin"),
            Self::Register(args) if args.password_stdin => Some("--password-stdin"),
            Self::Password(args) if args.password_stdin => Some("--password-stdin"),
            Self::Registry(RegistryArgs { verb: Some(RegistryVerb::Login { password_stdin: true, .. }) }) => {
                Some("--password-stdin")
            }
            Self::Users(UsersArgs {
                verb:
                    Some(
                        UsersVerb::Create { password_stdin: true, .. }
                        | UsersVerb::SetPassword { password_stdin: true, .. },
                    ),
            }) => Some("--password-stdin"),
            Self::Login(args) => {
                args.setup_token_file.as_deref().filter(|file| file.as_os_str() == "-").map(|_| "--setup-token-file -")
            }
            _ => None,
        }
    }
}
