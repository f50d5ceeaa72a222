"""Measures mutual TLS: full handshakes a second and the CPU time of each, of the management plane and of nginx.

usage: tls.py STRONGROOM [SECONDS] [ROUNDS]

Both speak TLS 1.3 with one ECDSA P-256 certificate and verify the same client certificate of the same authority; neither
resumes. The load is `openssl s_time -new`, the same for both, in turns. CPU time is that of the server's process alone.
"""

import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

import kit

CLIENTS = 3

NGINX = """daemon off; master_process off; pid {work}/nginx.pid; error_log {work}/error.log; user {user};
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {work}; proxy_temp_path {work}; fastcgi_temp_path {work};
    uwsgi_temp_path {work}; scgi_temp_path {work};
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {work}/server.pem; ssl_certificate_key {work}/server.key;
        ssl_protocols TLSv1.3; ssl_session_cache off; ssl_session_tickets off;
        ssl_client_certificate {authority}; ssl_verify_client on;
        return 204;
    }}
}}
"""


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"openssl {words[0]} ended with {done.returncode}: {done.stderr[-600:]}")
    return done.stdout


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def handshakes(port, identity, seconds):
    """Full handshakes that CLIENTS of openssl make within the time, and how long they took."""
    words = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-time", str(seconds)]
    words += ["-cert", os.path.join(identity, "cert.pem"), "-key", os.path.join(identity, "key.pem")]
    began = time.monotonic()
    running = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(CLIENTS)]
    count = 0
    for one in running:
        out, err = one.communicate()
        found = re.search(r"(\d+) connections in \d+ real seconds", out)
        if one.returncode != 0 or not found:
            raise SystemExit(f"openssl s_time ended with {one.returncode}: {out[-300:]} {err[-600:]}")
        count += int(found.group(1))
    return count, time.monotonic() - began


def is_mutual(port, identity):
    """The server takes this certificate and not none: with one, an answer comes."""
    base = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-tls1_3", "-quiet"]
    ask = "GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    pair = ["-cert", os.path.join(identity, "cert.pem"), "-key", os.path.join(identity, "key.pem")]
    answers = []
    for more in ([], pair):
        done = subprocess.run(base + more, input=ask, capture_output=True, text=True, check=False, timeout=20)
        answers.append(" 200 " in done.stdout[:40] or " 204 " in done.stdout[:40])
    return answers == [False, True]


def main():
    program = sys.argv[1]
    seconds = int(sys.argv[2]) if len(sys.argv) > 2 else 4
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    if not shutil.which("nginx"):
        raise SystemExit("nginx is not installed: scripts/install-deps.sh --bench")
    with kit.node(program) as node, tempfile.TemporaryDirectory(prefix="strongroom-tls-") as work:
        node.json("tenant", "create", "acme")
        identity = os.path.join(work, "identity")
        node.json("access", "service", "create", "bench", "--role", "auditor", "--tenant", "acme", "--out", identity)
        own_port = int(node.json("status")["management"].rsplit(":", 1)[-1])
        control = next(p for p in kit.processes(node.process.pid) if kit.command(p)[1:2] == ["serve"])
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
            "/CN=localhost", "-keyout", f"{work}/server.key", "-out", f"{work}/server.pem",
        )
        authority = os.path.join(work, "authority.pem")
        shutil.copy(os.path.join(node.env["STRONGROOM_STATE"], "control", "services", "ca.pem"), authority)
        port = free_port()
        user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
        with open(f"{work}/nginx.conf", "w") as file:
            file.write(NGINX.format(work=work, port=port, authority=authority, user=user))
        nginx = subprocess.Popen(["nginx", "-c", f"{work}/nginx.conf", "-e", f"{work}/error.log"])
        try:
            time.sleep(0.5)
            servers = {"strongroom": (own_port, control), "nginx": (port, nginx.pid)}
            for name, (at, _) in servers.items():
                if not is_mutual(at, identity):
                    raise SystemExit(f"{name} does not tell a client with a certificate from one without")
            rates, costs = {n: [] for n in servers}, {n: [] for n in servers}
            for _ in range(rounds):
                for name, (at, pid) in servers.items():
                    before = kit.cpu_seconds(pid)
                    count, took = handshakes(at, identity, seconds)
                    rates[name].append(count / took)
                    costs[name].append((kit.cpu_seconds(pid) - before) / count * 1e6)
        finally:
            nginx.terminate()
            nginx.wait()
    print(f"{CLIENTS} clients, {seconds} s each, {rounds} rounds in turns; median")
    print(f"{'mutual TLS 1.3, full':<22} {'handshakes/s':>13} {'CPU us each':>12}")
    for name in rates:
        print(f"{name:<22} {statistics.median(rates[name]):>13.0f} {statistics.median(costs[name]):>12.0f}")
    ratio = statistics.median(costs["strongroom"]) / statistics.median(costs["nginx"])
    print(f"{'CPU against nginx':<22} {'':>13} {ratio:>12.2f}")


main()
