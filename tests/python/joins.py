"""Joins a cluster many times, each time with a key, a name and a connection of its own.

    joins.py ADDRESS TOKEN COUNT

Prints one JSON object: how many joined, how many different certificates they were given, and the seconds that it took.
"""

import base64
import json
import sys
import time

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import calls
import wire


def request():
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def main(address, token, count):
    messages, services = wire.load("worker_identity")
    root, name = calls.presented(address)
    options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
    certificates, began = set(), time.monotonic()
    for number in range(count):
        with grpc.secure_channel(address, grpc.ssl_channel_credentials(root), options) as channel:
            stub = services.WorkerIdentityStub(channel)
            asked = messages.JoinRequest(token=token, worker_id=f"joined-{number}", csr=request())
            given = stub.Join(asked, timeout=30)
            certificates.add(base64.b64encode(given.certificate))
    seconds = time.monotonic() - began
    print(json.dumps({"joined": count, "certificates": len(certificates), "seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
