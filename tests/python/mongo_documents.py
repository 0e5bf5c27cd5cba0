"""Reads what a master has written to MongoDB, with a driver that shares no code with it: mongo_documents.py URI.

Each collection has documents of the right types: dates are dates, numbers are 64-bit integers, ids are texts. One line for
each, and an error for what is wrong.
"""

import datetime
import sys

import bson
import pymongo
from bson.int64 import Int64

DATE, INT, TEXT, DOC, LIST = datetime.datetime, Int64, str, dict, list

# Fields that every document of a collection has; those behind `?` may be missing.
COLLECTIONS = {
    "USERS": {"_id": TEXT, "role": TEXT, "created_at": DATE, "position": INT},
    "WORKER_REGISTRY": {"_id": TEXT, "facts": DOC, "facts.capacity.memory_bytes": INT, "registered_at": DATE, "seen_at": DATE},
    "TASKS": {
        "_id": TEXT,
        "sequence": INT,
        "user": TEXT,
        "state": TEXT,
        "submitted_at": DATE,
        "spec": DOC,
        "spec.image": TEXT,
        "spec.resources.cpu_millis": INT,
        "labels": LIST,
        "progress": DOC,
        "progress.finished_at": DATE,
        "progress.tally.completed?": INT,
    },
    "ASSIGNMENTS": {
        "_id": TEXT,
        "task": TEXT,
        "index": INT,
        "attempt": INT,
        "worker": TEXT,
        "state": TEXT,
        "placed_at": DATE,
        "started_at": DATE,
        "finished_at": DATE,
    },
    "RESULTS": {"_id": TEXT, "task": TEXT, "index": INT, "state": TEXT, "finished_at": DATE, "worker": TEXT},
    "FILE_METADATA": {"_id": TEXT, "task": TEXT, "path": TEXT, "size": INT, "blake3": bytes},
    "CLUSTER": {"_id": TEXT},
    "JOURNAL": {"_id": INT, "epoch": INT, "written_at": DATE, "digest": TEXT, "changes": TEXT},
    "AUDIT": {"_id": INT, "at": DATE, "action": TEXT},
    "LOGINS": {"_id": TEXT},
}

INDEXES = {"TASKS": {"by_sequence": True, "by_key": True, "by_state": False}, "ASSIGNMENTS": {"by_element": False}}


def at(document, path):
    """The field at a path; None if it is not there."""
    for name in path.split("."):
        if not isinstance(document, dict) or name not in document:
            return None
        document = document[name]
    return document


def strangers(value, path=""):
    """Doubles and 32-bit integers, which nothing here is."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from strangers(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from strangers(item, path)
    elif isinstance(value, float) or type(value) is int:
        yield f"{path} is {value!r}"


def main():
    client = pymongo.MongoClient(sys.argv[1])
    database = client.get_default_database()
    wrong = []
    for name, fields in COLLECTIONS.items():
        documents = [d for d in database[name].find() if "gone" not in d]
        if not documents:
            wrong.append(f"{name}: it is empty")
        for document in documents:
            shown = f"{name} {document['_id']}"
            for path, kind in fields.items():
                value = at(document, path.rstrip("?"))
                if value is None and path.endswith("?"):
                    continue
                if not isinstance(value, kind):
                    wrong.append(f"{shown}: {path} is {type(value).__name__}, not {kind.__name__}")
            wrong.extend(f"{shown}: {stranger}" for stranger in strangers(document))
            bson.encode(document)
        print(f"{name}: {len(documents)}")
    for name, indexes in INDEXES.items():
        known = database[name].index_information()
        for index, unique in indexes.items():
            if index not in known or bool(known[index].get("unique")) != unique:
                wrong.append(f"{name}: index {index} is {known.get(index)}")
    for task in database["TASKS"].find({"gone": {"$exists": False}}):
        results = database["RESULTS"].count_documents({"task": task["_id"]})
        if results != 1:
            wrong.append(f"TASKS {task['_id']}: {results} results")
    for line in wrong:
        print("WRONG", line)
    sys.exit(1 if wrong else 0)


main()
