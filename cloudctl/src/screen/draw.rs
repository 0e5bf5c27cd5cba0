//! The screen, from what is known.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Row, Sparkline, Table};
use shared::resources::{Bytes, Resources};
use shared::text::printable;
use shared::time::WallTime;
use shared::worker::WorkerState;

use super::{Rates, Snapshot};
use crate::render::{decimal, span};

/// What the screen is like, and what stands around the snapshot.
#[derive(Debug)]
pub(crate) struct Look<'a> {
    /// The master.
    pub(crate) server: &'a str,
    /// Whether to colour.
    pub(crate) colour: bool,
    /// Now.
    pub(crate) now: WallTime,
    /// Why the snapshot is not of now.
    pub(crate) problem: Option<&'a str>,
}

impl Look<'_> {
    fn colour(&self, colour: Color) -> Style {
        if self.colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn bold() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// Columns from which on there is room for everything; below that the ids come first.
const WIDE: u16 = 125;

/// Draws all of it, as far as there is room.
pub(crate) fn draw(frame: &mut Frame<'_>, snapshot: &Snapshot, rates: &Rates, look: &Look<'_>) {
    let workers = u16::try_from(snapshot.workers.len()).unwrap_or(u16::MAX).clamp(1, 12) + 3;
    let [head, shares, middle, rest, foot] = Layout::vertical([
        Constraint::Length(4),
        Constraint::Length(3),
        Constraint::Max(workers),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, head, snapshot, rates, look);
    draw_shares(frame, shares, &snapshot.status.allocated, &snapshot.status.capacity, look);
    draw_workers(frame, middle, snapshot, look);
    let [running, queue] = Layout::vertical([Constraint::Percentage(60), Constraint::Percentage(40)]).areas(rest);
    draw_running(frame, running, snapshot, look);
    draw_queue(frame, queue, snapshot, look);
    let foot_line = match look.problem {
        Some(problem) => Line::styled(printable(problem), look.colour(Color::Red)),
        None => Line::raw("q, Esc or Ctrl-C ends this"),
    };
    frame.render_widget(foot_line, foot);
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, rates: &Rates, look: &Look<'_>) {
    // The numbers come first.
    let graph = if area.width < WIDE { 0 } else { 40 };
    let [text, graph] = Layout::horizontal([Constraint::Min(40), Constraint::Length(graph)]).areas(area);
    let status = &snapshot.status;
    let tasks = &status.tasks;
    let up = span(status.started_at, look.now);
    let draining = if status.draining { ", draining" } else { "" };
    let count = |name: &'static str, count: u64, colour: Color| {
        let style = if count > 0 { look.colour(colour) } else { Style::new() };
        [Span::styled(format!("{count}"), style), Span::raw(format!(" {name} "))]
    };
    let counts = [
        count("running", tasks.running, Color::Cyan),
        count("pending", tasks.pending, Color::Yellow),
        count("queued", tasks.queued, Color::Yellow),
        count("completed", tasks.completed, Color::Green),
        count("failed", tasks.failed, Color::Red),
        count("cancelled", tasks.cancelled, Color::Magenta),
    ];
    let lines = vec![
        Line::from(vec![
            Span::styled("CloudAI ", Look::bold()),
            Span::raw(format!("{}  master {} up {up}{draining}", look.server, printable(&status.version))),
        ]),
        Line::raw(format!("{} of {} workers active", status.active_workers, status.total_workers)),
        Line::from(counts.into_iter().flatten().collect::<Vec<_>>()),
        Line::raw(format!(
            "{:.1}/s submitted  {:.1}/s completed  {:.1}/s failed",
            rates.submitted, rates.completed, rates.failed
        )),
    ];
    frame.render_widget(Paragraph::new(lines), text);
    let width = usize::from(graph.width);
    let shown: Vec<u64> = rates.ended.iter().rev().take(width).rev().copied().collect();
    let graph_block = Block::new().title("tasks ended a second");
    frame.render_widget(Sparkline::default().block(graph_block).data(&shown).style(look.colour(Color::Green)), graph);
}

/// How much of each resource is reserved.
fn draw_shares(frame: &mut Frame<'_>, area: Rect, taken: &Resources, of: &Resources, look: &Look<'_>) {
    let shares = [
        ("CPU", taken.cpu_millis, of.cpu_millis, decimal(taken.cpu_millis), decimal(of.cpu_millis)),
        (
            "Memory",
            taken.memory_bytes,
            of.memory_bytes,
            Bytes(taken.memory_bytes).to_string(),
            Bytes(of.memory_bytes).to_string(),
        ),
        ("GPU", taken.gpu_millis, of.gpu_millis, decimal(taken.gpu_millis), decimal(of.gpu_millis)),
    ];
    let areas = Layout::horizontal([Constraint::Fill(1); 3]).split(area);
    for ((name, taken, of, taken_shown, of_shown), area) in shares.into_iter().zip(areas.iter()) {
        let ratio = if of == 0 { 0.0 } else { (taken as f64 / of as f64).clamp(0.0, 1.0) };
        let gauge = Gauge::default()
            .block(Block::bordered().title(name))
            .gauge_style(look.colour(Color::Blue))
            .ratio(ratio)
            .label(format!("{taken_shown} of {of_shown}"));
        frame.render_widget(gauge, *area);
    }
}

fn draw_workers(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, look: &Look<'_>) {
    let rows = snapshot.workers.iter().map(|worker| {
        let (state, colour) = match worker.state {
            WorkerState::Active => ("active", Color::Green),
            WorkerState::Suspect => ("suspect", Color::Yellow),
            WorkerState::Inactive => ("inactive", Color::Red),
        };
        let (of, taken) = (&worker.capacity, &worker.allocated);
        let heard = worker.last_heartbeat.map_or_else(|| "never".to_owned(), |at| span(at, look.now));
        let usage = worker.usage.as_ref().map(|usage| format!("{:.0}%", usage.cpu_percent)).unwrap_or_default();
        Row::new(vec![
            Line::raw(worker.worker_id.to_string()),
            Line::styled(state, look.colour(colour)),
            Line::raw(format!("{}/{}", decimal(taken.cpu_millis), decimal(of.cpu_millis))),
            Line::raw(usage),
            Line::raw(format!("{}/{}", Bytes(taken.memory_bytes), Bytes(of.memory_bytes))),
            Line::raw(format!("{}/{}", decimal(taken.gpu_millis), decimal(of.gpu_millis))),
            Line::raw(worker.running_tasks.len().to_string()),
            Line::raw(heard),
        ])
    });
    let widths = [
        Constraint::Min(16),
        Constraint::Length(9),
        Constraint::Length(12),
        Constraint::Length(5),
        Constraint::Length(18),
        Constraint::Length(9),
        Constraint::Length(6),
        Constraint::Length(8),
    ];
    let heading = ["WORKER", "STATE", "CPU", "USED", "MEMORY", "GPU", "TASKS", "HEARD"];
    draw_table(frame, area, "Workers", snapshot.workers.len(), heading, rows, widths);
}

fn draw_running(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, look: &Look<'_>) {
    let rows = snapshot.running.iter().map(|task| {
        let ended = task.elements.map(|tally| tally.completed + tally.failed + tally.cancelled);
        let progress = ended.map(|ended| format!("{ended}/{}", task.count)).unwrap_or_default();
        Row::new(vec![
            printable(&task.task_id),
            printable(task.name.as_deref().unwrap_or("-")),
            task.user.to_string(),
            task.worker_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            progress,
            task.started_at.map(|at| span(at, look.now)).unwrap_or_default(),
        ])
    });
    let hidden = if area.width < WIDE { 0 } else { 1 };
    let widths = [
        Constraint::Length(31),
        Constraint::Min(10),
        Constraint::Length(12 * hidden),
        Constraint::Length(if hidden == 0 { 14 } else { 16 }),
        Constraint::Length(12 * hidden),
        Constraint::Length(8),
    ];
    let heading = ["TASK", "NAME", "USER", "WORKER", "ENDED", "RUNS"];
    draw_table(frame, area, "Running", snapshot.running.len(), heading, rows, widths);
}

fn draw_queue(frame: &mut Frame<'_>, area: Rect, snapshot: &Snapshot, look: &Look<'_>) {
    let rows = snapshot.queue.tasks.iter().map(|task| {
        Row::new(vec![
            task.position.to_string(),
            printable(&task.task_id),
            printable(task.name.as_deref().unwrap_or("-")),
            task.waiting.to_string(),
            span(task.submitted_at, look.now),
            printable(&task.reason),
        ])
    });
    let hidden = if area.width < WIDE { 0 } else { 1 };
    let widths = [
        Constraint::Length(6),
        Constraint::Length(31),
        Constraint::Length(16 * hidden),
        Constraint::Length(8 * hidden),
        Constraint::Length(8 * hidden),
        Constraint::Min(10),
    ];
    let count = usize::try_from(snapshot.queue.waiting).unwrap_or(usize::MAX);
    draw_table(frame, area, "Queue", count, ["PLACE", "TASK", "NAME", "WAITING", "AGE", "REASON"], rows, widths);
}

fn draw_table<'a, const N: usize>(
    frame: &mut Frame<'_>,
    area: Rect,
    title: &str,
    count: usize,
    heading: [&'static str; N],
    rows: impl Iterator<Item = Row<'a>>,
    widths: [Constraint; N],
) {
    // Two lines of the frame and one of the heading.
    let room = usize::from(area.height.saturating_sub(3));
    let block = Block::bordered().title(format!("{title} ({count})"));
    let table = Table::new(rows.take(room), widths).header(Row::new(heading).style(Look::bold())).block(block);
    frame.render_widget(table, area);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::render::sample;

    fn screen(width: u16, height: u16) -> String {
        let snapshot = Snapshot {
            status: sample::status(),
            workers: sample::workers().workers,
            queue: sample::queue(5),
            running: vec![sample::task()],
        };
        let look = Look { server: "http://h:8080", colour: false, now: sample::NOW, problem: None };
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a screen");
        terminal.draw(|frame| draw(frame, &snapshot, &Rates::default(), &look)).expect("drawn");
        terminal.backend().to_string()
    }

    #[test]
    fn everything_is_on_it() {
        let screen = screen(140, 40);
        for word in [
            "http://h:8080",
            "2 of 2 workers active",
            "1 running",
            "0.0/s submitted",
            "worker-1",
            "inactive",
            "Queue (5)",
            "2 workers lack 1 CPU",
            "task-01arz3ndektsv4rrffq69g5fav",
            "q, Esc or Ctrl-C ends this",
        ] {
            assert!(screen.contains(word), "{word} is not on\n{screen}");
        }
    }

    #[test]
    fn on_a_small_screen_the_numbers_and_ids_are_whole() {
        let screen = screen(80, 24);
        for word in ["1 failed", "cancelled", "failed", "task-01arz3ndektsv4rrffq69g5fav"] {
            assert!(screen.contains(word), "{word} is not on\n{screen}");
        }
    }

    #[test]
    fn any_size_will_do() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            screen(width, height);
        }
    }
}
