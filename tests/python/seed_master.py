"""A master of the first generation: as much of it as its workers notice.

Serves cluster.MasterWorker, prints what workers say as JSON lines, and does what the JSON lines on its stdin say:

    {"do": "register", "worker": "HOST:PORT"}             MasterRegister
    {"do": "assign", "worker": ..., "task": {...}}        AssignTask, with the fields of the .proto file
    {"do": "cancel", "worker": ..., "task_id": ...}       CancelTask
    {"do": "logs", "worker": ..., "task_id": ..., "follow": true}   StreamTaskLogs: `log` per chunk, then `log_end`
    {"do": "close"}, {"do": "open"}                       is away, and back at the same address
    {"do": "refuse", "what": "report", "times": 2}        the next answers are success=false (report, upload, register)

Each is answered by a line {"event": "answer", "do": ..., "code": ..., "answer": {...}}.
"""

import argparse
import base64
import threading
from concurrent import futures

import grpc

import wire
from wire import MIB, as_json, commands, tell

messages, services = wire.load("master_worker", generation="newer")


class Refusals:
    """How often each kind of call is still to be refused."""

    def __init__(self):
        self._left = {}
        self._lock = threading.Lock()

    def add(self, what, times):
        with self._lock:
            self._left[what] = self._left.get(what, 0) + times

    def take(self, what):
        with self._lock:
            left = self._left.get(what, 0)
            self._left[what] = max(left - 1, 0)
            return left > 0


class Service(services.MasterWorkerServicer):
    def __init__(self, refusals):
        self._refusals = refusals

    def RegisterWorker(self, request, context):
        refused = self._refusals.take("register")
        tell("register_worker", refused=refused, **as_json(request))
        return messages.RegisterAck(success=not refused, message="refused by the test" if refused else "welcome")

    def SendHeartbeat(self, request, context):
        tell("heartbeat", **as_json(request))
        return messages.HeartbeatAck(success=True)

    def ReportTaskCompletion(self, request, context):
        refused = self._refusals.take("report")
        facts = as_json(request)
        # A long log would be a long line; the test counts its bytes.
        facts.update(logs=request.logs[-4096:], log_bytes=len(request.logs.encode()), log_head=request.logs[:200])
        tell("report", refused=refused, **facts)
        return messages.Ack(success=not refused, message="refused by the test" if refused else "thanks")

    def UploadTaskFiles(self, request_iterator, context):
        files, chunks, heads = {}, [], set()
        for chunk in request_iterator:
            assert len(chunk.data) <= MIB, f"a chunk of {len(chunk.data)} bytes"
            files[chunk.file_path] = files.get(chunk.file_path, b"") + chunk.data
            chunks.append([chunk.file_path, len(chunk.data), chunk.is_last_chunk, chunk.is_last_file])
            heads.add((chunk.task_id, chunk.user_id, chunk.task_name))
        refused = self._refusals.take("upload")
        content = {path: base64.b64encode(data).decode() for path, data in files.items() if len(data) <= MIB}
        sizes = {path: len(data) for path, data in files.items()}
        tell("upload", refused=refused, heads=sorted(heads), files=content, sizes=sizes, chunks=chunks)
        return messages.FileUploadAck(success=not refused, message="refused by the test" if refused else "thanks",
                                      files_received=len(files))


class Master:
    def __init__(self, listen):
        self._refusals = Refusals()
        self._server = None
        self._address = listen
        self.open()

    def open(self):
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16),
            options=[("grpc.max_receive_message_length", 64 * MIB), ("grpc.so_reuseport", 0)],
        )
        services.add_MasterWorkerServicer_to_server(Service(self._refusals), self._server)
        host = self._address.rsplit(":", 1)[0]
        port = self._server.add_insecure_port(self._address)
        self._address = f"{host}:{port}"
        self._server.start()
        tell("listening", address=self._address)

    def close(self):
        self._server.stop(0).wait()
        tell("closed")

    def stub(self, channel):
        return services.MasterWorkerStub(channel)

    def _unary(self, command, method, request):
        with grpc.insecure_channel(command["worker"]) as channel:
            call = getattr(self.stub(channel), method)
            try:
                answer = as_json(call(request, timeout=20, wait_for_ready=command.get("wait", False)))
                tell("answer", do=command["do"], code="OK", answer=answer)
            except grpc.RpcError as error:
                tell("answer", do=command["do"], code=error.code().name, message=error.details())

    def _logs(self, command):
        request = messages.TaskLogRequest(task_id=command["task_id"], follow=command.get("follow", False))
        with grpc.insecure_channel(command["worker"]) as channel:
            try:
                for chunk in self.stub(channel).StreamTaskLogs(request):
                    tell("log", **as_json(chunk))
                tell("log_end", task_id=command["task_id"], code="OK")
            except grpc.RpcError as error:
                tell("log_end", task_id=command["task_id"], code=error.code().name, message=error.details())

    def obey(self, command):
        do = command["do"]
        if do == "register":
            info = messages.MasterInfo(master_id="seed-master", master_address=self._address)
            self._unary(command, "MasterRegister", info)
        elif do == "assign":
            self._unary(command, "AssignTask", messages.Task(**command["task"]))
        elif do == "cancel":
            self._unary(command, "CancelTask", messages.TaskID(task_id=command["task_id"]))
        elif do == "logs":
            threading.Thread(target=self._logs, args=(command,), daemon=True).start()
        elif do == "close":
            self.close()
        elif do == "open":
            self.open()
        elif do == "refuse":
            self._refusals.add(command["what"], command.get("times", 1))
        else:
            raise ValueError(f"there is no {do}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT")
    args = parser.parse_args()
    master = Master(args.listen)
    for command in commands():
        master.obey(command)
    master.close()


if __name__ == "__main__":
    main()
