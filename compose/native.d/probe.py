"""Asks the servers of the stack whether they are ready, in their own protocols and with the standard library alone.

Client programs (psql, mongosh, the Kafka tools) are not needed on the machine, and a probe costs milliseconds where a JVM tool costs seconds.
"""
import base64
import hashlib
import hmac
import http.client
import os
import random
import socket
import struct
import sys

TIMEOUT_SECONDS = 5


def receive(sock, size):
    data = b""
    while len(data) < size:
        part = sock.recv(size - len(data))
        if not part:
            raise ConnectionError("the server closed the connection")
        data += part
    return data


def connect(address):
    """Opens a connection to "host:port"."""
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_SECONDS)


# --- PostgreSQL: start-up, SCRAM-SHA-256, simple query ---

def pg_send(sock, kind, body):
    sock.sendall(kind + struct.pack("!i", len(body) + 4) + body)


def pg_receive(sock):
    kind = receive(sock, 1)
    body = receive(sock, struct.unpack("!i", receive(sock, 4))[0] - 4)
    if kind == b"E":
        fields = dict((part[:1], part[1:].decode()) for part in body.split(b"\0") if part)
        raise RuntimeError(fields.get(b"M", "unknown error"))
    return kind, body


def scram(sock, password):
    nonce = base64.b64encode(os.urandom(18)).decode()
    first = f"n=,r={nonce}"
    initial = ("n,," + first).encode()
    pg_send(sock, b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(initial)) + initial)
    server_first = pg_receive(sock)[1][4:].decode()
    answer = dict(part.split("=", 1) for part in server_first.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(answer["s"]), int(answer["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    final = "c=biws,r=" + answer["r"]
    signed = ",".join((first, server_first, final)).encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(client_key, signature))).decode()
    pg_send(sock, b"p", f"{final},p={proof}".encode())
    pg_receive(sock)


def sql(address, database, user, password, query):
    """Runs simple queries and yields each row's columns as text."""
    with connect(address) as sock:
        body = struct.pack("!i", 196608)
        for text in ("user", user, "database", database, "application_name", "evp native probe", ""):
            body += text.encode() + b"\0"
        sock.sendall(struct.pack("!i", len(body) + 4) + body)
        while True:
            kind, body = pg_receive(sock)
            if kind == b"Z":
                break
            if kind == b"R" and struct.unpack("!i", body[:4])[0] == 10:
                scram(sock, password)
        # Only the wait for readiness is short; a statement may take its time.
        sock.settimeout(60)
        pg_send(sock, b"Q", query.encode() + b"\0")
        while True:
            kind, body = pg_receive(sock)
            if kind == b"Z":
                break
            if kind == b"D":
                yield pg_row(body)
        pg_send(sock, b"X", b"")


def pg_row(body):
    columns, at = [], 2
    for _ in range(struct.unpack("!h", body[:2])[0]):
        size = struct.unpack("!i", body[at:at + 4])[0]
        at += 4
        columns.append("" if size < 0 else body[at:at + size].decode())
        at += max(size, 0)
    return columns


# --- Kafka: one metadata request, version 1 ---

def kafka_topics(address):
    """Returns the names of all topics, or raises while there is no broker or no controller."""
    request = struct.pack("!hhih", 3, 1, 1, 3) + b"evp" + struct.pack("!i", -1)
    with connect(address) as sock:
        sock.sendall(struct.pack("!i", len(request)) + request)
        data = receive(sock, struct.unpack("!i", receive(sock, 4))[0])
    at = 4

    def number(layout):
        nonlocal at
        value = struct.unpack_from("!" + layout, data, at)[0]
        at += struct.calcsize("!" + layout)
        return value

    def text():
        nonlocal at
        size = max(number("h"), 0)
        at += size
        return data[at - size:at].decode()

    brokers = number("i")
    for _ in range(brokers):
        number("i"), text(), number("i"), text()
    controller = number("i")
    if brokers < 1 or controller < 0:
        raise RuntimeError("the broker has not joined its controller yet")
    topics = []
    for _ in range(number("i")):
        number("h")
        topics.append(text())
        number("b")
        for _ in range(number("i")):
            number("h"), number("i"), number("i")
            for _ in range(2):
                replicas = number("i")
                at += 4 * replicas
    return sorted(topics)


# --- MongoDB: commands as OP_MSG, with the few BSON types they use ---

def bson(document):
    body = b""
    for name, value in document.items():
        key = name.encode() + b"\0"
        if isinstance(value, int):
            body += b"\x10" + key + struct.pack("<i", value)
        elif isinstance(value, str):
            text = value.encode() + b"\0"
            body += b"\x02" + key + struct.pack("<i", len(text)) + text
        elif isinstance(value, list):
            body += b"\x04" + key + bson({str(i): item for i, item in enumerate(value)})
        else:
            body += b"\x03" + key + bson(value)
    return struct.pack("<i", len(body) + 5) + body + b"\0"


FIXED_SIZES = {0x01: 8, 0x06: 0, 0x07: 12, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8, 0x13: 16, 0x7F: 0, 0xFF: 0}


def unbson(data):
    """Reads numbers, texts, flags and documents; other types are stepped over."""
    document, at = {}, 4
    while data[at]:
        kind, end = data[at], data.index(b"\0", at + 1)
        name, at = data[at + 1:end].decode(), end + 1
        size = struct.unpack_from("<i", data, at)[0] if kind in (0x02, 0x03, 0x04, 0x05) else 0
        if kind == 0x02:
            document[name] = data[at + 4:at + 3 + size].decode()
            at += 4 + size
        elif kind in (0x03, 0x04):
            document[name] = unbson(data[at:at + size])
            at += size
        elif kind == 0x05:
            at += 5 + size
        elif kind == 0x08:
            document[name] = bool(data[at])
            at += 1
        else:
            width = FIXED_SIZES[kind]
            layout = {0x01: "<d", 0x10: "<i", 0x12: "<q"}.get(kind)
            document[name] = struct.unpack_from(layout, data, at)[0] if layout else None
            at += width
    return document


def mongo(address, command):
    body = struct.pack("<ib", 0, 0) + bson({**command, "$db": "admin"})
    with connect(address) as sock:
        sock.sendall(struct.pack("<iiii", len(body) + 16, 1, 0, 2013) + body)
        reply = receive(sock, struct.unpack("<i", receive(sock, 4))[0] - 4)
    return unbson(reply[17:])


def mongo_primary(address):
    return mongo(address, {"hello": 1}).get("isWritablePrimary", False)


def mongo_answers(address):
    return mongo(address, {"ping": 1}).get("ok") == 1


def mongo_initiate(address):
    members = [{"_id": 0, "host": address}]
    answer = mongo(address, {"replSetInitiate": {"_id": "rs0", "members": members}})
    if answer.get("ok") != 1 and answer.get("codeName") != "AlreadyInitialized":
        raise RuntimeError(answer.get("errmsg", "replSetInitiate failed"))


# --- the rest ---

def free_port():
    """A port below the range of outgoing connections, so that it is still free after a stop."""
    for port in random.sample(range(20000, 32000), 200):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("200 ports were tried and all are taken")


def http_status(address, path):
    # Not urllib, which would ask a proxy of the environment for a server of this machine.
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_SECONDS)
    connection.request("GET", path)
    return connection.getresponse().status


def main(command, *args):
    if command == "free-port":
        print(free_port())
    elif command == "sql":
        for row in sql(*args[:3], os.environ["PGPASSWORD"], args[3]):
            print("\t".join(row))
    elif command == "topics":
        print("\n".join(kafka_topics(*args)))
    elif command == "mongo-primary":
        return 0 if mongo_primary(*args) else 1
    elif command == "mongo-answers":
        return 0 if mongo_answers(*args) else 1
    elif command == "mongo-initiate":
        mongo_initiate(*args)
    elif command == "http-ok":
        return 0 if http_status(*args) == 200 else 1
    else:
        raise RuntimeError(f"unknown probe {command}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (OSError, RuntimeError, http.client.HTTPException, struct.error) as error:
        print(f"{sys.argv[1] if len(sys.argv) > 1 else 'probe'}: {error}", file=sys.stderr)
        sys.exit(1)
