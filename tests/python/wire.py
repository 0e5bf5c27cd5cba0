"""The protocols of proto/, compiled by protoc when they are needed, and what the peers of these tests share.

Nothing here is made with our Rust code: a peer that agrees with it agrees by way of the .proto files alone.
"""

import importlib
import json
import os
import re
import sys
import tempfile
import threading

from google.protobuf import json_format
from grpc_tools import protoc

PROTO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "proto")
MIB = 1 << 20

# What the two generations of workers have at the numbers on which they disagree.
GENERATIONS = {
    "older": "  string task_name = 10;\n  int64 submitted_at = 11;\n",
    "newer": "  double score = 10;\n  string hint = 11;\n  string task_name = 12;\n  int64 submitted_at = 13;\n",
}


def load(*names, generation=None):
    """The modules of these .proto files, as (messages, services) each. With a generation, Task is as that one has it."""
    # Held by the module, and gone with the process.
    load.directory = tempfile.TemporaryDirectory(prefix="cloudai-proto-")
    out = load.directory.name
    for name in names:
        with open(os.path.join(PROTO, f"{name}.proto"), encoding="utf-8") as file:
            text = file.read()
        if generation is not None:
            text, count = re.subn(
                r"  string task_name = 10;.*?(?=\n\})", GENERATIONS[generation].rstrip(), text, flags=re.DOTALL
            )
            assert count == 1, "Task has changed: see GENERATIONS"
        with open(os.path.join(out, f"{name}.proto"), "w", encoding="utf-8") as file:
            file.write(text)
    files = [os.path.join(out, f"{name}.proto") for name in names]
    code = protoc.main(["protoc", f"-I{out}", f"--python_out={out}", f"--grpc_python_out={out}", *files])
    assert code == 0, f"protoc ended with {code}"
    sys.path.insert(0, out)
    modules = [(importlib.import_module(f"{name}_pb2"), importlib.import_module(f"{name}_pb2_grpc")) for name in names]
    return modules[0] if len(modules) == 1 else modules


def as_json(message):
    """A message with all its fields, by the names of the .proto file."""
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


_print_lock = threading.Lock()


def tell(event, **facts):
    """One JSON line for the test."""
    with _print_lock:
        print(json.dumps({"event": event, **facts}), flush=True)


def commands():
    """JSON lines from the test. They end when the test does, and with them the peer."""
    for line in sys.stdin:
        if line.strip():
            yield json.loads(line)
