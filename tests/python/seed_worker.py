"""A worker of the first generation, as masters see one.

Serves cluster.MasterWorker, waits for MasterRegister, registers with an empty worker_ip, sends heartbeats, and runs tasks
as `sh -c COMMAND` in a directory of their own: /output in the command is replaced by the task's output directory, which
is in $OUTPUT too. Files are uploaded before the end is reported; an empty file sends no chunk; a cancelled task is
reported twice. The flags bring out the odder things that such workers do. What happens is printed as JSON lines:
`listening`, then the name of each call that came (`MasterRegister`, `AssignTask`, `CancelTask`, `StreamTaskLogs`) or was
answered by the master (`RegisterWorker`, `SendHeartbeat`, `UploadTaskFiles`, `ReportTaskCompletion`).
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent import futures

import grpc

import wire
from wire import MIB, as_json, tell

CHUNK = 64 * 1024


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    parser.add_argument("--name", default="seed-1", help="its host name")
    parser.add_argument("--cpu", type=float, default=4.0)
    parser.add_argument("--memory", type=float, default=8.0, help="GiB")
    parser.add_argument("--storage", type=float, default=100.0, help="GiB")
    parser.add_argument("--gpu", type=float, default=0.0)
    parser.add_argument("--heartbeat", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--generation", choices=sorted(wire.GENERATIONS), default="newer")
    parser.add_argument("--heartbeat-before-register", action="store_true", help="once, and then registers")
    parser.add_argument("--register-first", metavar="MASTER", help="registers at HOST:PORT without being asked")
    parser.add_argument("--no-register", action="store_true", help="takes MasterRegister and never registers")
    parser.add_argument("--no-last-file", action="store_true", help="no chunk says that its file is the last one")
    parser.add_argument("--name-twice", action="store_true", help="sends each file twice: first another content, then its own")
    parser.add_argument("--extra-file", action="append", default=[], metavar="PATH", help="sends a file by this name too")
    parser.add_argument("--no-upload", action="store_true")
    parser.add_argument("--two-cancel-reports", choices=["failed-first", "cancelled-first"], default="failed-first")
    parser.add_argument("--report-twice", action="store_true")
    parser.add_argument("--never-report", action="store_true")
    parser.add_argument("--large-logs", type=int, default=0, metavar="BYTES", help="how long the log in a report is at least")
    parser.add_argument("--forget", action="append", default=[], metavar="TASK",
                        help="loses a task with this id or name: says yes, and nothing ever after")
    parser.add_argument("--refuse", action="append", default=[], metavar="TASK",
                        help="answers success=false to a task with this id or name")
    return parser.parse_args()


class Task:
    """One run: a process, its lines, its output directory."""

    def __init__(self, wire_task, root):
        self.wire = wire_task
        self.lines = []
        self.grown = threading.Condition()
        self.status = None
        self.cancelled = False
        self.directory = tempfile.mkdtemp(dir=root)
        self.output = os.path.join(self.directory, "output")
        os.mkdir(self.output)
        self.process = None

    def start(self):
        command = self.wire.command.replace("/output", self.output)
        self.process = subprocess.Popen(
            ["sh", "-c", command],
            cwd=self.directory,
            env={**os.environ, "OUTPUT": self.output},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self):
        """Reads until the process ends; returns success, failed or cancelled."""
        for line in self.process.stdout:
            with self.grown:
                self.lines.append(line.decode(errors="replace"))
                self.grown.notify_all()
        code = self.process.wait()
        if self.cancelled:
            return "cancelled"
        return "success" if code == 0 else "failed"

    def stop(self):
        self.cancelled = True
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # It has ended just now.

    def end(self, status):
        with self.grown:
            self.status = status
            self.grown.notify_all()

    def files(self):
        for parent, _, names in sorted(os.walk(self.output)):
            for name in sorted(names):
                path = os.path.join(parent, name)
                with open(path, "rb") as file:
                    yield os.path.relpath(path, self.output), file.read()


class Worker:
    def __init__(self, args):
        self.args = args
        self.messages, self.services = wire.load("master_worker", generation=args.generation)
        self.root = tempfile.mkdtemp(prefix="cloudai-seed-worker-")
        self.master = None
        self.tasks = {}
        self.lock = threading.Lock()
        self.beating = False

    # The master's calls.

    def serve(self):
        worker = self

        class Service(self.services.MasterWorkerServicer):
            def MasterRegister(self, request, context):
                return worker.on_master_register(request)

            def AssignTask(self, request, context):
                return worker.on_assign(request)

            def CancelTask(self, request, context):
                return worker.on_cancel(request)

            def StreamTaskLogs(self, request, context):
                return worker.on_stream_logs(request, context)

        server = grpc.server(futures.ThreadPoolExecutor(32))
        self.services.add_MasterWorkerServicer_to_server(Service(), server)
        host = self.args.listen.rsplit(":", 1)[0]
        port = server.add_insecure_port(self.args.listen)
        server.start()
        tell("listening", address=f"{host}:{port}")
        return server

    def on_master_register(self, info):
        tell("MasterRegister", **as_json(info))
        self.master = info.master_address
        threading.Thread(target=self.register, daemon=True).start()
        return self.messages.RegisterAck(success=True, message="Master registered")

    def on_assign(self, task):
        known = self.master is not None
        refused = not known or self.named(task, self.args.refuse)
        forgotten = not refused and self.named(task, self.args.forget)
        tell("AssignTask", accepted=not refused, forgotten=forgotten, **as_json(task))
        if refused:
            return self.messages.TaskAck(success=False, message="refused by the test" if known else "Not registered")
        if not forgotten:
            run = Task(task, self.root)
            with self.lock:
                self.tasks[task.task_id] = run
            run.start()
            threading.Thread(target=self.carry_out, args=(run,), daemon=True).start()
        return self.messages.TaskAck(success=True, message="Task accepted")

    def on_cancel(self, task):
        run = self.tasks.get(task.task_id)
        running = run is not None and run.status is None
        tell("CancelTask", found=running, **as_json(task))
        if running:
            run.stop()
        return self.messages.TaskAck(success=running, message="Task cancelled" if running else "Task not found")

    def on_stream_logs(self, request, context):
        tell("StreamTaskLogs", **as_json(request))
        run = self.tasks.get(request.task_id)
        if run is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "Task not found")
        chunk = self.messages.LogChunk
        sent = 0
        while True:
            with run.grown:
                if request.follow:
                    run.grown.wait_for(lambda: len(run.lines) > sent or run.status is not None, timeout=1)
                lines, status = run.lines[sent:], run.status
            for line in lines:
                stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                yield chunk(task_id=request.task_id, content=line.rstrip("\n"), timestamp=stamp, status="running")
            sent += len(lines)
            if status is not None or not request.follow or not context.is_active():
                yield chunk(task_id=request.task_id, is_complete=True, status=status or "running")
                return

    def named(self, task, names):
        return task.task_id in names or task.task_name in names

    # What it says to the master.

    def call(self, method, request):
        """On a connection of its own, as these workers do it. None if the master did not answer."""
        with grpc.insecure_channel(self.master, [("grpc.max_send_message_length", 256 * MIB)]) as channel:
            try:
                answer = getattr(self.services.MasterWorkerStub(channel), method)(request, timeout=30)
                tell(method, code="OK", answer=as_json(answer))
                return answer
            except grpc.RpcError as error:
                tell(method, code=error.code().name, message=error.details())
                return None

    def register(self):
        if self.args.heartbeat_before_register:
            self.heartbeat()
        if not self.args.no_register:
            args = self.args
            info = self.messages.WorkerInfo(
                worker_id=args.name, worker_ip="", total_cpu=args.cpu, total_memory=args.memory,
                total_storage=args.storage, total_gpu=args.gpu,
            )
            self.call("RegisterWorker", info)
        with self.lock:
            begins, self.beating = not self.beating, True
        if begins:
            threading.Thread(target=self.beat, daemon=True).start()

    def beat(self):
        while True:
            self.heartbeat()
            time.sleep(self.args.heartbeat)

    def heartbeat(self):
        running = self.messages.RunningTask
        with self.lock:
            live = [run.wire for run in self.tasks.values() if run.status is None]
        tasks = [
            running(task_id=task.task_id, cpu_allocated=task.req_cpu, memory_allocated=task.req_memory,
                    status="running", gpu_allocated=task.req_gpu)
            for task in live
        ]
        self.call("SendHeartbeat", self.messages.Heartbeat(
            worker_id=self.args.name, cpu_usage=12.5, memory_usage=25.0, storage_usage=37.5, running_tasks=tasks,
        ))

    def carry_out(self, run):
        status = run.run()
        sent = [] if self.args.no_upload else self.upload(run)
        statuses = [status]
        if status == "cancelled":
            statuses = ["failed", "cancelled"]
            if self.args.two_cancel_reports == "cancelled-first":
                statuses.reverse()
        elif self.args.report_twice:
            statuses = [status, status]
        logs = "".join(run.lines)
        logs += "x" * max(self.args.large_logs - len(logs), 0)
        if not self.args.never_report:
            for reported in statuses:
                self.call("ReportTaskCompletion", self.messages.TaskResult(
                    task_id=run.wire.task_id, worker_id=self.args.name, status=reported, logs=logs,
                    result_location=run.output, output_files=sent,
                ))
        run.end(status)

    def upload(self, run):
        files = list(run.files()) + [(path, b"extra\n") for path in self.args.extra_file]
        if self.args.name_twice:
            files = [twice for path, data in files for twice in ([(path, b"another content")] if data else []) + [(path, data)]]
        if files:
            self.call("UploadTaskFiles", self.chunks(run.wire, files))
        return sorted({path for path, _ in files})

    def chunks(self, task, files):
        for number, (path, data) in enumerate(files):
            # An empty file sends nothing.
            for offset in range(0, len(data), CHUNK):
                last = offset + CHUNK >= len(data)
                yield self.messages.FileChunk(
                    task_id=task.task_id, user_id=task.user_id, task_name=task.task_name, file_path=path,
                    data=data[offset:offset + CHUNK], is_last_chunk=last,
                    is_last_file=last and number + 1 == len(files) and not self.args.no_last_file,
                    timestamp=int(time.time()),
                )


def main():
    args = arguments()
    worker = Worker(args)
    server = worker.serve()
    if args.register_first is not None:
        worker.master = args.register_first
        worker.register()
    try:
        # Nothing is said on stdin; it ends when the test does.
        sys.stdin.read()
    finally:
        server.stop(0)
        for run in worker.tasks.values():
            run.stop()
        shutil.rmtree(worker.root, ignore_errors=True)


if __name__ == "__main__":
    main()
