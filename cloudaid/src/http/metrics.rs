//! `GET /metrics`: figures for Prometheus, in its text format 0.0.4. All names stand here.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use shared::task::TaskState;
use shared::view::{StatusView, StoreState, TaskCounts, WorkerView};
use shared::worker::WorkerState;

use super::Shared;
use super::error::Failure;
use super::extract::Params;
use crate::observe::process;

/// The media type of the format.
pub(super) const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub(super) async fn render(State(state): State<Shared>, params: Params) -> Result<Response, Failure> {
    params.finish()?;
    let status = state.cluster.status().await?;
    let workers = state.cluster.workers().await?.workers;
    let mut page = Page::default();
    tasks(&mut page, &status);
    workers_in_all(&mut page, &workers);
    each_worker(&mut page, &workers);
    page.gauge("cloudai_websockets", "WebSockets that are open", &[], state.load.sockets() as f64);
    page.gauge(
        "cloudai_store_available",
        "Whether the store answers and takes commits",
        &[],
        f64::from(u8::from(status.store_state != StoreState::Unavailable)),
    );
    page.gauge(
        "cloudai_store_fallback",
        "Whether the embedded store stands in for a MongoDB that could not be reached at the start",
        &[],
        f64::from(u8::from(status.store_state == StoreState::Fallback)),
    );
    if let Some(trips) = state.cluster.store_round_trips() {
        page.counter("cloudai_store_round_trips_total", "Commands to the server of the store", &[], trips as f64);
    }
    own_process(&mut page);
    page.gauge("cloudai_build_info", "The version of this master", &[("version", &status.version)], 1.0);
    Ok(([(CONTENT_TYPE, KIND)], page.text).into_response())
}

fn tasks(page: &mut Page, status: &StatusView) {
    let mut counts: TaskCounts = status.tasks;
    for state in TaskState::ALL {
        let (name, count) = (state.as_str(), *counts.of(state) as f64);
        if state.is_final() {
            let help = "Elements of tasks that have ended, over the whole life of the cluster";
            page.counter("cloudai_tasks_ended_total", help, &[("state", name)], count);
        } else {
            page.gauge("cloudai_tasks", "Elements of tasks that have not ended", &[("state", name)], count);
        }
    }
}

fn workers_in_all(page: &mut Page, workers: &[WorkerView]) {
    for state in WorkerState::ALL {
        let count = workers.iter().filter(|worker| worker.state == state).count();
        page.gauge("cloudai_workers", "Workers", &[("state", state.as_str())], count as f64);
    }
}

fn each_worker(page: &mut Page, workers: &[WorkerView]) {
    type Value = fn(&WorkerView) -> Option<f64>;
    let figures: [(&str, &str, Value); 11] = [
        ("cloudai_worker_cpu_cores", "Cores that a worker can give to tasks", |worker| {
            Some(worker.capacity.cpu_millis as f64 / 1000.0)
        }),
        ("cloudai_worker_cpu_cores_allocated", "Cores that live attempts have reserved", |worker| {
            Some(worker.allocated.cpu_millis as f64 / 1000.0)
        }),
        ("cloudai_worker_memory_bytes", "Memory that a worker can give to tasks", |worker| {
            Some(worker.capacity.memory_bytes as f64)
        }),
        ("cloudai_worker_memory_bytes_allocated", "Memory that live attempts have reserved", |worker| {
            Some(worker.allocated.memory_bytes as f64)
        }),
        ("cloudai_worker_gpus", "GPUs that a worker can give to tasks", |worker| {
            Some(worker.capacity.gpu_millis as f64 / 1000.0)
        }),
        ("cloudai_worker_gpus_allocated", "GPUs that live attempts have reserved", |worker| {
            Some(worker.allocated.gpu_millis as f64 / 1000.0)
        }),
        ("cloudai_worker_running", "Live attempts of a worker", |worker| Some(worker.running_tasks.len() as f64)),
        ("cloudai_worker_cpu_usage_ratio", "Of the whole machine, 0 to 1", |worker| {
            Some(worker.usage?.cpu_percent / 100.0)
        }),
        ("cloudai_worker_memory_used_bytes", "Of the whole machine", |worker| {
            Some(worker.usage?.memory_used_bytes as f64)
        }),
        ("cloudai_worker_storage_used_bytes", "On the disk of the data directory", |worker| {
            Some(worker.usage?.storage_used_bytes as f64)
        }),
        ("cloudai_worker_last_heartbeat_timestamp_seconds", "When it was last heard of", |worker| {
            Some(worker.last_heartbeat?.0 as f64 / 1000.0)
        }),
    ];
    for (name, help, value) in figures {
        for worker in workers {
            if let Some(value) = value(worker) {
                page.gauge(name, help, &[("worker", worker.worker_id.as_str())], value);
            }
        }
    }
}

fn own_process(page: &mut Page) {
    let process::Figures { resident_bytes, open_files, cpu_seconds, threads } = process::figures();
    page.gauge("process_resident_memory_bytes", "Memory of this process", &[], resident_bytes as f64);
    page.gauge("process_open_fds", "Files and connections that this process has open", &[], open_files as f64);
    page.counter("process_cpu_seconds_total", "Time that this process has computed", &[], cpu_seconds);
    page.gauge("process_threads", "Threads of this process", &[], threads as f64);
}

/// Samples, those of one name together, as the format wants it.
#[derive(Default)]
struct Page {
    text: String,
    last: &'static str,
}

impl Page {
    fn gauge(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample("gauge", name, help, labels, value);
    }

    fn counter(&mut self, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample("counter", name, help, labels, value);
    }

    fn sample(&mut self, kind: &str, name: &'static str, help: &str, labels: &[(&str, &str)], value: f64) {
        if self.last != name {
            self.last = name;
            // Writing to a string cannot fail.
            let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {kind}");
        }
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.text, "{name}{labels} {value}");
    }
}

/// In a value of a label these three mean something.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_name_stand_together_and_no_label_breaks_out() {
        let mut page = Page::default();
        page.gauge("a", "What a is", &[("x", "1"), ("y", "say \"\\\"\n")], 1.0);
        page.gauge("a", "What a is", &[("x", "2")], 0.5);
        page.counter("b_total", "What b is", &[], 1e12);
        let expected = "# HELP a What a is.\n# TYPE a gauge\na{x=\"1\",y=\"say \\\"\\\\\\\"\\n\"} 1\na{x=\"2\"} 0.5\n\
                        # HELP b_total What b is.\n# TYPE b_total counter\nb_total 1000000000000\n";
        assert_eq!(page.text, expected);
    }
}
