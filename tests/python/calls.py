"""Makes one gRPC call with JSON in and out.

    calls.py ADDRESS SERVICE/METHOD [JSON] [--token T] [--ca FILE [--cert FILE --key FILE] | --insecure-tls]

SERVICE is one of proto/, grpc.health.v1.Health or grpc.reflection.v1alpha.ServerReflection. A call that takes a stream
takes a JSON list. Prints one JSON object: `code` and `message` of the status, and `answer`: an object, or a list of
objects where answers are streamed. Bytes are base64. Ends with 0 whatever the status; 2: the call could not be made.
"""

import argparse
import json
import socket
import ssl
import sys
import threading

import grpc
from google.protobuf import json_format, message_factory
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

import wire

LIMIT = 64 * wire.MIB


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="HOST:PORT")
    parser.add_argument("method", help="SERVICE/METHOD")
    parser.add_argument("json", nargs="?", default="{}")
    parser.add_argument("--token", help="sent as `authorization: Bearer`")
    parser.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--ca", help="PEM: whom to trust")
    parser.add_argument("--cert", help="PEM: who we are")
    parser.add_argument("--key", help="PEM: what proves it")
    parser.add_argument("--insecure-tls", action="store_true", help="TLS with whoever answers")
    parser.add_argument("--server-name", help="the name in the server's certificate, if it is not that of the address")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for the whole call")
    parser.add_argument("--answers", type=int, help="say no more, but hang up only after so many answers of a stream")
    return parser.parse_args()


def services():
    modules = wire.load("master_worker", "worker_session", "worker_identity")
    files = [messages.DESCRIPTOR for messages, _ in modules] + [health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR]
    return {service.full_name: service for file in files for service in file.services_by_name.values()}


def read(path):
    if path is None:
        return None
    with open(path, "rb") as file:
        return file.read()


def presented(address):
    """The certificate that the server shows, and a name in it."""
    from cryptography import x509

    host, port = address.rsplit(":", 1)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection((host.strip("[]"), int(port)), timeout=10) as plain:
        with context.wrap_socket(plain, server_hostname=None) as tls:
            der = tls.getpeercert(binary_form=True)
    names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = names.get_values_for_type(x509.DNSName)
    return ssl.DER_cert_to_PEM_cert(der).encode(), dns[0] if dns else host


def channel(args):
    options = [("grpc.max_receive_message_length", LIMIT), ("grpc.max_send_message_length", LIMIT)]
    name = args.server_name
    if args.insecure_tls:
        root, found = presented(args.address)
        name = name or found
    elif args.ca or args.cert:
        root = read(args.ca)
    else:
        return grpc.insecure_channel(args.address, options)
    if name:
        options.append(("grpc.ssl_target_name_override", name))
    credentials = grpc.ssl_channel_credentials(root, read(args.key), read(args.cert))
    return grpc.secure_channel(args.address, credentials, options)


def said(requests, enough, args):
    yield from requests
    if args.answers is not None:
        enough.wait(args.timeout)


def call(args, method, given):
    request_class = message_factory.GetMessageClass(method.input_type)
    answer_class = message_factory.GetMessageClass(method.output_type)
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    requests = [json_format.ParseDict(one, request_class()) for one in (given if isinstance(given, list) else [given])]
    metadata = [tuple(pair.split("=", 1)) for pair in args.metadata]
    if args.token is not None:
        metadata.append(("authorization", f"Bearer {args.token}"))
    with channel(args) as open_channel:
        stub = getattr(open_channel, kind)(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=request_class.SerializeToString,
            response_deserializer=answer_class.FromString,
        )
        enough = threading.Event()
        request = said(requests, enough, args) if method.client_streaming else requests[0]
        answers = []
        try:
            answered = stub(request, timeout=args.timeout, metadata=metadata)
            if not method.server_streaming:
                return "OK", "", wire.as_json(answered)
            for answer in answered:
                answers.append(wire.as_json(answer))
                if args.answers is not None and len(answers) >= args.answers:
                    answered.cancel()
                    break
            return "OK", "", answers
        except grpc.RpcError as error:
            return error.code().name, error.details(), answers if method.server_streaming else None
        finally:
            enough.set()


def main():
    args = arguments()
    service, _, name = args.method.rpartition("/")
    found = services().get(service)
    method = found.methods_by_name.get(name) if found is not None else None
    if method is None:
        raise ValueError(f"there is no {args.method}")
    code, message, answer = call(args, method, json.loads(args.json))
    print(json.dumps({"code": code, "message": message, "answer": answer}))


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, json_format.Error) as error:
        print(f"calls.py: {error}", file=sys.stderr)
        sys.exit(2)
