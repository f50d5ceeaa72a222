"""What control says to the relay, byte by byte (crates/ops/src/relay.rs), for tests that speak in its place."""

import array
import socket
import struct

LOGIN, PROBE = 1, 2
PUBLIC, PRIVATE, NODE = 1, 2, 3


def text(value):
    return struct.pack("<I", len(value.encode())) + value.encode()


def connect(purpose, host, port):
    return b"\x01\x01" + struct.pack("<H", purpose) + text(host) + struct.pack("<H", port)


def opened(run, tenant, actor, egresses):
    """`egresses` are (key, name, host, port, reach)."""
    told = b"\x01\x02" + run.to_bytes(16, "little") + text(tenant) + text(actor) + struct.pack("<I", len(egresses))
    for key, name, host, port, reach in egresses:
        # Without an authority: the job speaks for itself there.
        told += key.to_bytes(16, "little") + text(name) + text(host) + struct.pack("<HHB", port, reach, 0)
    return told


def ask(path, order, given=()):
    """The answer to one order: "done", or code and reason; a stream, where one came back; none if nobody answered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.settimeout(20)
        client.connect(path)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", given))] if given else []
        client.sendmsg([order], rights)
        message, files, _, _ = socket.recv_fds(client, 65536, 1)
    if not message:
        return None, None
    stream = socket.socket(fileno=files[0]) if files else None
    if message[1] == 1:
        return "done", stream
    length = struct.unpack_from("<I", message, 2)[0]
    code = message[6 : 6 + length].decode()
    return f"{code} {message[10 + length :].decode(errors='replace')}", stream
