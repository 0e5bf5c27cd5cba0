//! `cluster.MasterWorker`.

use prost::bytes::Bytes;

use super::{Sample, plain};
use crate::proto::seed::{
    Ack, FileChunk, FileUploadAck, Heartbeat, HeartbeatAck, LogChunk, MasterInfo, RegisterAck, RunningTask, Task,
    TaskAck, TaskId, TaskLogRequest, TaskResult, WorkerInfo,
};

pub(super) fn samples() -> Vec<Sample> {
    let master = MasterInfo { master_id: "m1".to_owned(), master_address: "10.0.0.1:50051".to_owned() };
    vec![
        plain("cluster.WorkerInfo", worker_info()),
        plain("cluster.MasterInfo", master),
        plain("cluster.RegisterAck", RegisterAck { success: true, message: "registered".to_owned() }),
        plain("cluster.Heartbeat", heartbeat()),
        plain("cluster.HeartbeatAck", HeartbeatAck { success: true }),
        plain("cluster.Task", task()),
        plain("cluster.TaskAck", TaskAck { success: true, message: "accepted".to_owned() }),
        plain("cluster.Ack", Ack { success: true, message: "taken".to_owned() }),
        plain("cluster.TaskResult", task_result()),
        plain("cluster.TaskID", TaskId { task_id: "task-1".to_owned() }),
        plain("cluster.TaskLogRequest", log_request()),
        plain("cluster.LogChunk", log_chunk()),
        plain("cluster.FileChunk", file_chunk()),
        plain("cluster.FileUploadAck", upload_ack()),
    ]
}

fn worker_info() -> WorkerInfo {
    WorkerInfo {
        worker_id: "w1".to_owned(),
        worker_ip: "10.0.0.2:50052".to_owned(),
        total_cpu: 8.0,
        total_memory: 15.5,
        total_storage: 100.25,
        total_gpu: 2.0,
    }
}

fn heartbeat() -> Heartbeat {
    let running = RunningTask {
        task_id: "task-1".to_owned(),
        cpu_allocated: 1.5,
        memory_allocated: 2.0,
        status: "running".to_owned(),
        gpu_allocated: 0.5,
    };
    Heartbeat {
        worker_id: "w1".to_owned(),
        cpu_usage: 99.5,
        memory_usage: 50.25,
        storage_usage: 10.0,
        running_tasks: vec![running],
        gpu_usage: 0.25,
    }
}

fn task() -> Task {
    Task {
        task_id: "task-1".to_owned(),
        docker_image: "busybox:1".to_owned(),
        command: "echo hi".to_owned(),
        req_cpu: 1.5,
        req_memory: 2.0,
        req_storage: 3.25,
        req_gpu: 0.5,
        target_worker_id: "w1".to_owned(),
        user_id: "ada".to_owned(),
        task_name: "older".to_owned(),
        submitted_at: 1_700_000_000,
        newer_task_name: "newer".to_owned(),
        newer_submitted_at: 1_700_000_001,
    }
}

fn task_result() -> TaskResult {
    TaskResult {
        task_id: "task-1".to_owned(),
        worker_id: "w1".to_owned(),
        status: "success".to_owned(),
        logs: "hi\n".to_owned(),
        result_location: "/var/cloudai/outputs/task-1".to_owned(),
        output_files: vec!["a".to_owned(), "b/c".to_owned()],
    }
}

fn log_request() -> TaskLogRequest {
    TaskLogRequest { task_id: "task-1".to_owned(), user_id: "ada".to_owned(), follow: true }
}

fn log_chunk() -> LogChunk {
    LogChunk {
        task_id: "task-1".to_owned(),
        content: "hi\n".to_owned(),
        timestamp: "2023-11-14T22:13:20Z".to_owned(),
        is_complete: true,
        status: "completed".to_owned(),
    }
}

fn file_chunk() -> FileChunk {
    FileChunk {
        task_id: "task-1".to_owned(),
        user_id: "ada".to_owned(),
        task_name: "a name".to_owned(),
        file_path: "b/c".to_owned(),
        data: Bytes::from_static(b"\0data\xff"),
        is_last_chunk: true,
        is_last_file: true,
        timestamp: 1_700_000_000,
    }
}

fn upload_ack() -> FileUploadAck {
    FileUploadAck { success: true, message: "2 files".to_owned(), files_received: 2 }
}
