//! `cloudctl` as a person at a terminal has it: the shell with its keys, and screens that change.
#![allow(missing_docs, clippy::panic, clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

use cloudai_tests::cluster::{Cluster, shell_task};
use cloudai_tests::docker::image;
use cloudai_tests::terminal::Terminal;
use cloudai_tests::wait::{PATIENCE, eventually};
use shared::task::TaskState;

const SIZE: (u16, u16) = (120, 40);
const PROMPT: &str = "master>";

async fn running(cluster: &Cluster, line: &str) -> String {
    let task = cluster.api().submit(&shell_task(line)).await.expect("accepted").task_id;
    eventually(PATIENCE, "it runs", || async {
        let state = cluster.api().task(&task).await.ok()?.state;
        (state == TaskState::Running).then_some(())
    })
    .await;
    task
}

#[tokio::test]
async fn the_shell_has_a_banner_a_history_and_leaves_the_master_alone() {
    let cluster = Cluster::start(1).await;
    let ctl = cluster.ctl();
    let first = Terminal::open(&ctl, "cloudctl shell", SIZE).await;
    let screen = first.ends_with(PROMPT).await;
    let banner = "\
═══════════════════════════════════════════════════════
  CloudAI Master Node - Interactive CLI
═══════════════════════════════════════════════════════
Type 'help' for available commands

master>";
    assert!(screen.starts_with(banner), "{screen}");
    first.enter("workers").await;
    first.shows("║   Status: 🟢 Active").await;
    first.enter("nonsense").await;
    first.shows("unrecognized subcommand 'nonsense'").await;
    first.enter("queue").await;
    first.shows("Nothing waits.").await;
    first.enter("exit").await;
    let screen = first.shows("[exit 0]").await;
    assert!(screen.contains(" goes on. `cloudctl shutdown` stops it."), "{screen}");

    // The lines of the first one are there in the next.
    let second = Terminal::open(&ctl, "cloudctl shell", SIZE).await;
    second.ends_with(PROMPT).await;
    second.press("Up").await;
    second.ends_with("master> queue").await;
    second.press("Up").await;
    second.ends_with("master> nonsense").await;
    second.press("Up").await;
    second.ends_with("master> workers").await;
    second.press("Enter").await;
    second.shows("║   Status: 🟢 Active").await;
    second.press("C-d").await;
    second.shows("[exit 0]").await;
    cluster.api().status().await.expect("the master goes on");
}

#[tokio::test]
async fn tab_completes_commands_flags_tasks_and_workers() {
    let cluster = Cluster::start(2).await;
    let task = running(&cluster, "exec sleep 600").await;
    let terminal = Terminal::open(&cluster.ctl(), "cloudctl shell", SIZE).await;
    terminal.ends_with(PROMPT).await;
    for (typed, completed) in [
        ("fix", "master> fix-resources"),
        ("task image --cpu", "master> task image --cpu-cores"),
        ("task image -gpu_c", "master> task image --gpu-cores"),
        ("list-tasks ru", "master> list-tasks running"),
        ("stats work", "master> stats worker-"),
        ("show ta", &format!("master> show {task}")),
        ("help exit-", "master> help exit-codes"),
    ] {
        terminal.write(typed).await;
        terminal.press("Tab").await;
        terminal.ends_with(completed).await;
        // The line is given up, and the shell goes on.
        terminal.press("C-c").await;
        terminal.ends_with(PROMPT).await;
    }
    terminal.write("stats ").await;
    terminal.press("Tab").await;
    terminal.press("Tab").await;
    let screen = terminal.shows("worker-2").await;
    assert!(screen.contains("active, 0 running") && screen.contains("active, 1 running"), "{screen}");
}

#[tokio::test]
async fn ctrl_c_ends_the_command_and_not_the_shell() {
    let cluster = Cluster::start(1).await;
    let task = running(&cluster, "i=0; while true; do i=$((i+1)); echo \"line $i\"; sleep 0.1; done").await;
    let terminal = Terminal::open(&cluster.ctl(), "cloudctl shell", SIZE).await;
    terminal.ends_with(PROMPT).await;
    for command in [format!("logs --follow {task}"), format!("monitor {task}"), format!("wait {task}")] {
        terminal.enter("version").await;
        terminal.ends_with(PROMPT).await;
        terminal.enter(&command).await;
        if !command.starts_with("wait") {
            terminal.shows("line 3").await;
        }
        terminal.press("C-c").await;
        if command.starts_with("wait") {
            terminal.shows("cancel (c) or detach").await;
            terminal.press("d").await;
        }
        terminal.ends_with(PROMPT).await;
    }
    // A key ends it as well.
    terminal.enter(&format!("monitor {task}")).await;
    terminal.shows("any key ends this").await;
    terminal.press("x").await;
    terminal.ends_with(PROMPT).await;
    terminal.enter("status --watch --interval 100ms").await;
    terminal.shows("╚═══").await;
    terminal.press("x").await;
    terminal.ends_with(PROMPT).await;
    assert_eq!(cluster.api().task(&task).await.expect("a task").state, TaskState::Running, "nobody cancelled it");
    // What was typed for nobody does not come to the prompt, and the terminal echoes again.
    terminal.write("que").await;
    terminal.ends_with("master> que").await;
}

#[tokio::test]
async fn ctrl_c_asks_whether_to_cancel_or_to_detach() {
    let cluster = Cluster::start(1).await;
    let line =
        format!("cloudctl task {} --cpu-cores 0.1 --mem 32MiB --wait -- sh -c 'echo up; exec sleep 600'", image());
    let detached = Terminal::open(&cluster.ctl(), &line, SIZE).await;
    detached.shows("up").await;
    detached.press("C-c").await;
    detached.shows("cancel (c) or detach and leave it running (d, Ctrl-C)?").await;
    detached.press("x").await;
    detached.press("C-c").await;
    detached.press("C-c").await;
    detached.shows("[exit 130]").await;
    let tasks = cluster.ctl().run(&["list-tasks", "running", "-q"]).await.ok();
    assert_eq!(tasks.lines().count(), 1, "it was left alone");

    let cancelled = Terminal::open(&cluster.ctl(), &line, SIZE).await;
    cancelled.shows("up").await;
    cancelled.press("C-c").await;
    cancelled.shows("cancel (c) or detach").await;
    cancelled.press("c").await;
    let screen = cancelled.shows("[exit 130]").await;
    assert!(screen.contains("cancelled"), "{screen}");
    let states = cluster.ctl().run(&["list-tasks", "--format", "{{.state}}"]).await.ok();
    assert_eq!(states, "cancelled\nrunning\n");
}

#[tokio::test]
async fn a_screen_follows_the_size_of_its_terminal() {
    let cluster = Cluster::start(2).await;
    let task = running(&cluster, "exec sleep 600").await;
    let terminal = Terminal::open(&cluster.ctl(), "cloudctl watch --interval 200ms", SIZE).await;
    let screen = terminal.shows("q, Esc or Ctrl-C ends this").await;
    for words in ["2 of 2 workers active", "Workers (2)", "Running (1)", task.as_str()] {
        assert!(screen.contains(words), "{words} is not on\n{screen}");
    }
    for (columns, rows) in [(90, 24), (160, 50)] {
        terminal.resize((columns, rows)).await;
        let right = |line: &str| line.chars().count() == usize::from(columns) && line.ends_with('┐');
        eventually(PATIENCE, "it is drawn anew", || async {
            let screen = terminal.screen().await;
            let lines: Vec<_> = screen.lines().collect();
            let is_drawn = lines.iter().any(|line| right(line))
                && lines.get(usize::from(rows) - 1).is_some_and(|last| last.contains("ends this"));
            is_drawn.then_some(())
        })
        .await;
    }
    terminal.press("q").await;
    terminal.shows("[exit 0]").await;
}

#[tokio::test]
async fn what_a_task_writes_cannot_command_the_terminal() {
    let cluster = Cluster::start(1).await;
    let line = r"printf 'be\033[2Jfore\rafter\r\n\033]0;title\007\n'; printf '\377\n'";
    let task = cluster.api().submit(&shell_task(line)).await.expect("accepted").task_id;
    cluster.api().ended(PATIENCE, &task).await;
    let terminal = Terminal::open(&cluster.ctl(), &format!("cloudctl logs {task}"), SIZE).await;
    let screen = terminal.shows("[exit 0]").await;
    let expected = "be\\u{1b}[2Jfore\\rafter\n\\u{1b}]0;title\\u{7}\n\\xff\n[exit 0]";
    assert!(screen.starts_with(expected), "{screen}");
    // As it is, where that is wanted.
    let raw = Terminal::open(&cluster.ctl(), &format!("cloudctl logs {task} --raw"), SIZE).await;
    let screen = raw.shows("[exit 0]").await;
    assert!(screen.contains("after") && !screen.contains("1b"), "{screen}");
}

#[tokio::test]
async fn ctrl_c_ends_a_submission_that_is_not_answered() {
    let cluster = Cluster::start(1).await;
    // Takes connections and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = format!("http://{}", silent.local_addr().expect("an address"));
    let terminal = Terminal::open(&cluster.ctl(), "cloudctl shell", SIZE).await;
    terminal.ends_with(PROMPT).await;
    terminal.enter(&format!("--server {server} task {} --wait", image())).await;
    // It has connected: that is all there is to see of it.
    let _connection =
        tokio::task::spawn_blocking(move || silent.accept()).await.expect("a thread").expect("a connection");
    terminal.press("C-c").await;
    terminal.ends_with(PROMPT).await;
    terminal.enter("queue").await;
    terminal.shows("Nothing waits.").await;
}

#[tokio::test]
async fn results_do_not_command_the_terminal() {
    let cluster = Cluster::start(1).await;
    let task = shell_task("printf '\\033[31mred\\n'");
    let task = cluster.api().submit(&task).await.expect("accepted").task_id;
    cluster.api().ended(PATIENCE, &task).await;
    let ctl = cluster.ctl();
    for (arguments, shown) in
        [("--format '<{{.text}}>'", "<\\u{1b}[31mred>"), ("-o jsonl", "\\u001b[31mred"), ("", "\\u{1b}[31mred")]
    {
        let terminal = Terminal::open(&ctl, &format!("cloudctl logs {task} {arguments}"), SIZE).await;
        terminal.shows(shown).await;
    }
}

#[tokio::test]
async fn a_line_goes_on_after_a_backslash() {
    let cluster = Cluster::start(1).await;
    let terminal = Terminal::open(&cluster.ctl(), "cloudctl shell", SIZE).await;
    terminal.ends_with(PROMPT).await;
    terminal.enter("list-tasks \\").await;
    terminal.ends_with(">").await;
    terminal.enter("running").await;
    terminal.ends_with(PROMPT).await;
}
