"""Measures the API: requests a second and the CPU time of each, of the management plane and of nginx with a file of the same size.

usage: api.py STRONGROOM [SECONDS] [ROUNDS]

Both speak TLS 1.3 with one ECDSA P-256 certificate, on connections that stay open; the clients are the same, in turns. Every
request to the plane finds out who calls, is decided by the rules, and is logged where the API logs it. CPU time is that of
control and the keeper together, or of nginx. Each client has keys of its own and uses them in turns: one key may ask a hundred
times a second.
"""

import os
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import kit

CLIENTS = 3
KEYS = 32

NGINX = """daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/error.log; user {user};
events {{ worker_connections 64; }}
http {{
    access_log off; default_type application/json; keepalive_requests 1000000;
    client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work};
    uwsgi_temp_path {work}; scgi_temp_path {work};
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {work}/server.pem; ssl_certificate_key {work}/server.key; ssl_protocols TLSv1.3;
        root {work}/files;
    }}
}}
"""


def asked(path, key):
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n".encode()


def answer(stream):
    """Status and body of one answer with a length."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        if not more:
            raise SystemExit(f"the connection ended: {data[:200]!r}")
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += stream.recv(65536)
    return int(head.split(b" ", 2)[1]), body


def connect(port, ca):
    stream = socket.create_connection(("127.0.0.1", port))
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ssl.create_default_context(cafile=ca).wrap_socket(stream, server_hostname="localhost")


def client(port, ca, path, keys, seconds):
    """Asks one after the other; how many were answered."""
    requests = [asked(path, key) for key in keys or [None]]
    with connect(port, ca) as stream:
        ends, count = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            stream.sendall(requests[count % len(requests)])
            status, body = answer(stream)
            if status != 200:
                raise SystemExit(f"{path} is answered {status}: {body[:300]!r}")
            count += 1
    return count


def load(port, ca, path, keys, seconds):
    """Answers that CLIENTS processes got, and how long they took."""
    began, running = time.monotonic(), []
    for number in range(CLIENTS):
        end, start = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.write(start, str(client(port, ca, path, keys[number::CLIENTS], seconds)).encode())
            except SystemExit as why:
                print(why, file=sys.stderr)
            finally:
                os._exit(0)
        os.close(start)
        running.append((pid, end))
    count = 0
    for pid, end in running:
        told = os.read(end, 64)
        os.close(end)
        os.waitpid(pid, 0)
        if not told:
            raise SystemExit("a client failed")
        count += int(told)
    return count, time.monotonic() - began


def main():
    program = sys.argv[1]
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 4
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    if not shutil.which("nginx"):
        raise SystemExit("nginx is not installed: scripts/install-deps.sh --bench")
    with kit.node(program) as node, tempfile.TemporaryDirectory(prefix="strongroom-api-") as work:
        node.json("tenant", "create", "acme")
        made = [node.json("key", "create", "--role", "auditor", "--tenant", "acme") for _ in range(CLIENTS * KEYS)]
        keys = [key["secret"] for key in made]
        own_port = int(node.json("status")["management"].rsplit(":", 1)[-1])
        own_ca = os.path.join(node.env["STRONGROOM_STATE"], "management", "ca.pem")
        below = kit.processes(node.process.pid)
        ours = [p for p in below if kit.command(p)[1:2] == ["serve"] or kit.command(p)[0] == "strongroom-keeper"]
        done = subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
             "-keyout", f"{work}/server.key", "-out", f"{work}/server.pem"],
            capture_output=True, text=True, check=False,
        )
        if done.returncode != 0:
            raise SystemExit(f"openssl req ended with {done.returncode}: {done.stderr[-600:]}")
        paths = {"whoami": "/v1/whoami", "audit search": "/v1/audit/entries?limit=10"}
        os.makedirs(f"{work}/files")
        for name, path in paths.items():
            with connect(own_port, own_ca) as stream:
                stream.sendall(asked(path, keys[0]))
                status, body = answer(stream)
            if status != 200:
                raise SystemExit(f"{path} is answered {status}: {body[:300]!r}")
            with open(f"{work}/files/{name.split()[0]}", "wb") as file:
                file.write(body)
        # Nginx as root gives its files to another user.
        os.chmod(work, 0o755)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        with open(f"{work}/nginx.conf", "w") as file:
            file.write(NGINX.format(work=work, port=port, user=user))
        nginx = subprocess.Popen(["nginx", "-c", f"{work}/nginx.conf", "-e", f"{work}/error.log"])
        print(f"{CLIENTS} clients, {seconds:g} s each, {rounds} rounds in turns; median")
        print(f"{'TLS 1.3, open connection':<34} {'requests/s':>11} {'CPU us each':>12}")
        try:
            time.sleep(0.5)
            for name, path in paths.items():
                sides = {
                    "strongroom": (own_port, own_ca, path, keys, ours),
                    "nginx": (port, f"{work}/server.pem", "/" + name.split()[0], [], [nginx.pid]),
                }
                costs = {side: [] for side in sides}
                rates = {side: [] for side in sides}
                for _ in range(rounds):
                    for side, (at, ca, what, with_keys, pids) in sides.items():
                        before = sum(map(kit.cpu_seconds, pids))
                        count, took = load(at, ca, what, with_keys, seconds)
                        rates[side].append(count / took)
                        costs[side].append((sum(map(kit.cpu_seconds, pids)) - before) / count * 1e6)
                for side in sides:
                    rate, cost = statistics.median(rates[side]), statistics.median(costs[side])
                    print(f"{name + ', ' + side:<34} {rate:>11.0f} {cost:>12.0f}")
        finally:
            nginx.terminate()
            nginx.wait()


main()
