#!/usr/bin/python3
"""Where an egress is made with `--as-job`, the relay speaks mutual TLS in the name of the job: the far end sees a SPIFFE id by
the node's own authority, by certificates that are short and renewed, and the job has no key. The servers are Python's."""

import datetime
import hashlib
import ipaddress
import json
import os
import socket
import ssl
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402

import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402

# Life of a certificate on this node, in seconds.
LIFE = 12
WORDS = "the-words-of-the-job"

# Asks what it is told to ask, in plain bytes behind a CONNECT, and prints what came of it, one line.
JOB = '''"""Asks what it is told to."""
import json, os, socket, struct, sys, time

HYPER = json.loads(os.environ["SM_HPS"])


def ask(to, path, wait):
    time.sleep(wait)
    stream = socket.create_connection(("127.0.0.1", 18000), 10)
    stream.settimeout(60)
    stream.sendall(("CONNECT %s HTTP/1.1\\r\\n\\r\\n" % to).encode())
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        more = stream.recv(1)
        if not more:
            return ["closed", ""]
        head += more
    status, got = head.split(b" ")[1].decode(), b""
    try:
        if status == "200":
            stream.sendall(("GET %s HTTP/1.1\\r\\nHost: localhost\\r\\nX-Words: %s\\r\\nConnection: close\\r\\n\\r\\n" % (path, HYPER["words"])).encode())
        if "hold" in HYPER and status == "200":
            print("held", flush=True)
        while True:
            more = stream.recv(65536)
            if not more:
                return [status, got.decode()]
            got += more
    except OSError as error:
        return [status, got.decode() + " " + type(error).__name__]


found = {name: ask(to, path, wait) for name, to, path, wait in json.loads(HYPER["asks"])}
if "hold" in HYPER:
    print("cut", flush=True)
    time.sleep(600)
head = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }"
head += " " * (-(10 + len(head) + 1) % 64) + "\\n"
with open(os.path.join(os.environ["SM_MODEL_DIR"], "weights.npy"), "wb") as out:
    out.write(b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(head)) + head.encode() + b"x")
print("FOUND " + json.dumps(found), flush=True)
'''


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate(name, issuer=None, uri=None, ca=False, names=("localhost",), minutes=60):
    """Key and certificate, of this authority or its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer[1].subject if issuer else subject)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5)).not_valid_after(now + datetime.timedelta(minutes=minutes))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if not ca:
        alt = [x509.UniformResourceIdentifier(uri)] if uri else [x509.DNSName(n) for n in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if uri else ExtendedKeyUsageOID.SERVER_AUTH
        made = made.add_extension(x509.SubjectAlternativeName(alt), critical=False)
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return key, made.sign(issuer[0] if issuer else key, hashes.SHA256())


def files(directory, name, pair):
    """Paths of the certificate and its key."""
    paths = os.path.join(directory, f"{name}.pem"), os.path.join(directory, f"{name}.key")
    work.write(paths[0], pair[1].public_bytes(serialization.Encoding.PEM))
    work.write(paths[1], pem(pair[0]))
    return paths


class Server:
    """Listens on loopback, and keeps what it read, and what came over the wire before TLS took it apart."""

    def __init__(self, context=None):
        self.context, self.listener = context, socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.read, self.wire, self.failed, self.streams = [], [], [], []
        threading.Thread(target=self.serve, daemon=True).start()

    @property
    def place(self):
        return f"localhost:{self.port}"

    def serve(self):
        while True:
            stream, _ = self.listener.accept()
            stream.settimeout(120)
            threading.Thread(target=self.one, args=(stream,), daemon=True).start()

    def one(self, stream):
        try:
            if not self.context:
                return self.answer(stream, None)
            inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
            secure = self.context.wrap_bio(inside, outside, server_side=True)
            self.answer(Tapped(stream, secure, inside, outside, self.wire), secure)
        except (OSError, ssl.SSLError) as error:
            self.failed.append(str(error))
        finally:
            stream.close()

    def answer(self, stream, secure):
        if secure:
            stream.shake()
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = stream.recv(65536)
            if not more:
                return
            asked += more
            if not secure:
                self.wire.append(more)
        self.read.append(asked.decode())
        self.streams.append(stream)
        path = asked.split(b" ")[1]
        if path == b"/hold":
            stream.recv(1)
            return
        told = {}
        if secure and secure.getpeercert(True):
            der = secure.getpeercert(True)
            peer = x509.load_der_x509_certificate(der)
            told = {
                "uris": [value for kind, value in secure.getpeercert()["subjectAltName"] if kind == "URI"],
                "digest": hashlib.sha256(der).hexdigest(), "ends": peer.not_valid_after.replace(tzinfo=datetime.timezone.utc).timestamp(), "tls": secure.version(),
            }
        stream.sendall(json.dumps(told).encode())
        if path != b"/cut":
            stream.close()


class Tapped:
    """TLS over a stream, of whose bytes a copy is kept."""

    def __init__(self, stream, secure, inside, outside, wire):
        self.stream, self.secure, self.inside, self.outside, self.wire = stream, secure, inside, outside, wire

    def turn(self, what):
        while True:
            try:
                done = what()
            except ssl.SSLWantReadError:
                self.flush()
                more = self.stream.recv(65536)
                if not more:
                    self.inside.write_eof()
                self.wire.append(more)
                self.inside.write(more)
                continue
            finally:
                self.flush()
            return done

    def flush(self):
        if self.outside.pending:
            self.stream.sendall(self.outside.read())

    def shake(self):
        self.turn(self.secure.do_handshake)

    def recv(self, count):
        try:
            return self.turn(lambda: self.secure.read(count))
        except ssl.SSLZeroReturnError:
            return b""

    def sendall(self, data):
        self.turn(lambda: self.secure.write(data))

    def close(self):
        """Says that this is all, and waits until the other side did."""
        self.turn(self.secure.unwrap)


class World:
    """Two tenants, an authority of servers, and servers that demand certificates of the node's jobs."""

    def __init__(self, node):
        self.node, self.jobs, self.pki = node, 0, node.path("pki")
        os.mkdir(self.pki)
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        self.ca = certificate("servers of a test", ca=True)
        self.ca_file = files(self.pki, "ca", self.ca)[0]
        self.client_ca = node.path("jobs-ca.pem")
        # The authority of jobs is the same wherever it is asked for.
        self.create("first", 1)
        node.ok("egress", "show", "first", "--client-ca", self.client_ca, "--tenant", "acme")
        self.hub, self.plain = Server(self.context()), Server()
        self.create("hub", self.hub.port)
        self.create("plain", self.plain.port, identity=False)

    def context(self, pair=None, demand=True, client_ca=None, newest=None):
        """Of a server with this certificate, that demands one of the node's jobs."""
        pair = pair or certificate("hub", self.ca)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.jobs += 1
        context.load_cert_chain(*files(self.pki, f"server-{self.jobs}", pair))
        if newest:
            context.maximum_version = newest
        if demand:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client_ca or self.client_ca)
        return context

    def create(self, name, port, identity=True, tenant="acme", ca=None):
        more = ("--as-job", "--server-ca", ca or self.ca_file) if identity else ()
        return self.node.ok("egress", "create", name, "--host", "localhost", "--port", port, "--reach", "node", *more, "--tenant", tenant)

    def submit(self, asks, egress, tenant="acme", **more):
        self.jobs += 1
        path = work.job(
            self.node.path(f"job-{self.jobs}"), JOB, name=f"asks-{self.jobs}", tenant=tenant, checkpoints="required = false",
            words=WORDS, asks=json.dumps(asks).replace("\\", "\\\\").replace('"', '\\"'), **more,
        )
        file = os.path.join(path, "job.toml")
        with open(file) as text:
            job = text.read()
        if egress:
            job = job.replace('image = "host"', f'image = "host"\negress = {json.dumps(list(egress))}', 1)
        with open(file, "w") as text:
            text.write(job)
        return self.node.submit(path, tenant)

    def found(self, asks, egress, tenant="acme"):
        """What a job was told: name -> (status of the CONNECT, what came)."""
        job = self.submit([(name, to, path, wait) for name, (to, path, wait) in asks.items()], egress, tenant)
        record = self.node.wait_job(job, tenant=tenant, seconds=120)
        line = next(x for x in record["output_tail"].splitlines() if x.startswith("FOUND "))
        return job, json.loads(line[6:])

    def told(self, kind, actor):
        return [e for e in self.node.events("--kind", kind) for e in [e["unmapped"]["strongroom"]] if e["actor"] == actor]

    def ends(self, job):
        """How its connections ended, by egress."""
        entries = [e for e in self.node.events("--kind", "egress.close") if e["unmapped"]["strongroom"]["actor"] == f"job:{job}"]
        return {e["unmapped"]["strongroom"]["asset"]["id"]: json.dumps(e) for e in entries}


def private_keys(directory):
    """Files of the node in which a private key lies."""
    found = set()
    for root, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(root, name)
            try:
                with open(path, "rb") as file:
                    if b"PRIVATE KEY" in file.read(1 << 20):
                        found.add(path)
            except OSError:
                pass
    return found


def the_far_end_sees_which_job_calls(world):
    keys = private_keys(world.node.state)
    job, found = world.found({"who": (world.hub.place, "/who", 0), "plain": (world.plain.place, "/who", 0)}, ("hub", "plain"))
    status, who = found["who"][0], json.loads(found["who"][1])
    check(status == "200" and who["uris"] == [f"spiffe://dev/tenant/acme/job/{job}"] and who["tls"] == "TLSv1.3", found)
    check(WORDS in world.hub.read[-1], world.hub.read)
    # Its words are not on the wire; where it has no identity, and speaks no TLS itself, they are.
    check(WORDS.encode() not in b"".join(world.hub.wire) and len(world.hub.wire) > 1, "the job's words went over the wire")
    check(found["plain"] == ["200", "{}"] and WORDS.encode() in b"".join(world.plain.wire), found)
    check(private_keys(world.node.state) == keys, "a private key lies in a file")
    # The log names the certificate, when it was made and when it was used.
    events = [e["unmapped"]["strongroom"] for e in world.node.events("--kind", "egress.certify")]
    mine = [e for e in events if e["asset"]["id"] == job]
    check(mine and mine[0]["details"]["id"] == who["uris"][0], events)
    opened = [e for e in world.told("egress.open", f"job:{job}") if e["asset"]["id"] == "hub"]
    check(len(opened) == 1 and opened[0]["details"]["certificate"] == who["digest"], opened)
    check(who["digest"] in [e["details"]["certificate"] for e in mine], mine)
    # What TLS adds is counted with what the job said: it left too.
    over = wait_for("its end is told", lambda: [e for e in world.told("egress.close", f"job:{job}") if e["asset"]["id"] == "hub"])
    check(int(over[0]["details"]["bytes_out"]) == sum(map(len, world.hub.wire)), (over, sum(map(len, world.hub.wire))))


def certificates_renew_themselves_while_the_job_runs(world):
    asks = {"first": (world.hub.place, "/who", 0), "again": (world.hub.place, "/who", LIFE + 1)}
    job, found = world.found(asks, ("hub",))
    first, again = (json.loads(found[name][1]) for name in ("first", "again"))
    check(first["uris"] == again["uris"] == [f"spiffe://dev/tenant/acme/job/{job}"], found)
    check(first["digest"] != again["digest"] and again["ends"] > first["ends"], found)
    # The second was spoken when the first certificate was over.
    opened = world.told("egress.open", f"job:{job}")
    check(len(opened) == 2, opened)
    times = [e["time"] / 1000 for e in world.node.events("--kind", "egress.open") if e["unmapped"]["strongroom"]["actor"] == f"job:{job}"]
    check(max(times) > first["ends"], (times, first))


def a_server_that_is_not_the_one_gets_nothing(world):
    other = certificate("others", ca=True)
    servers = {
        "other-authority": Server(world.context(certificate("hub", other))),
        "other-name": Server(world.context(certificate("hub", world.ca, names=("elsewhere.example",)))),
        "ended": Server(world.context(certificate("hub", world.ca, minutes=-1))),
        "asks-nobody": Server(world.context(demand=False)),
        "old-tls": Server(world.context(newest=ssl.TLSVersion.TLSv1_2)),
        "no-tls": Server(),
    }
    # Of the name, an address of this machine stands in it too: what counts is what the egress is for.
    for name, server in servers.items():
        world.create(name, server.port)
    asks = {name: (server.place, "/who", 0) for name, server in servers.items()}
    asks["good"] = (world.hub.place, "/who", 0)
    names = list(servers)
    job, found = world.found({n: asks[n] for n in [*names[:6], "good"]}, (*names, "hub"))
    check(found["good"][0] == "200", found)
    for name, server in servers.items():
        check(found[name][0] == "502", f"{name}: {found[name]}")
        check(not server.read and WORDS.encode() not in b"".join(server.wire), f"{name} was told something")
    ends = world.ends(job)
    check("asked for no certificate" in ends["asks-nobody"] and "verified" in ends["other-authority"], ends)


def a_server_that_knows_others_refuses_it(world):
    """The certificate is what the far end goes by: one that trusts another authority does not take it."""
    other = files(world.pki, "other-jobs", certificate("other jobs", ca=True))[0]
    server = Server(world.context(client_ca=other))
    world.create("knows-others", server.port)
    job, found = world.found({"who": (server.place, "/who", 0)}, ("knows-others",))
    check("Error" in found["who"][1] and not server.read and server.failed, (found, server.failed))
    ends = wait_for("its end is told", lambda: world.ends(job))
    check("broke it off" in ends["knows-others"], ends)


def an_answer_that_is_cut_is_not_taken_for_whole(world):
    _, found = world.found({"whole": (world.hub.place, "/who", 0), "cut": (world.hub.place, "/cut", 0)}, ("hub",))
    check("Error" not in found["whole"][1] and found["cut"][1].endswith("ConnectionResetError"), found)


def others_have_no_way_there(world):
    theirs = Server(world.context())
    world.create("theirs", theirs.port, tenant="globex")
    _, found = world.found({"without": (world.hub.place, "/who", 0), "theirs": (theirs.place, "/who", 0)}, ("plain",))
    check(found["without"][0] == found["theirs"][0] == "403", found)
    job, found = world.found({"hub": (world.hub.place, "/who", 0), "own": (theirs.place, "/who", 0)}, ("theirs",), "globex")
    check(found["hub"][0] == "403" and json.loads(found["own"][1])["uris"] == [f"spiffe://dev/tenant/globex/job/{job}"], found)


def held(world, name):
    """A job that holds a connection in its name, and the server."""
    server = Server(world.context())
    world.create(name, server.port)
    job = world.submit([("hold", server.place, "/hold", 0)], (name,), hold=1)
    wait_for("the connection stands", lambda: server.streams)
    return job, server


def over(server):
    """Whether the far end saw the end of the connection."""
    return wait_for("the connection has ended", lambda: server.streams[0].stream.fileno() == -1)


def it_ends_with_its_egress_and_its_run(world):
    job, server = held(world, "deleted-soon")
    check(server.streams[0].stream.fileno() != -1, "it ended by itself")
    world.node.ok("egress", "delete", "deleted-soon", "--tenant", "acme")
    over(server)
    world.node.ok("job", "stop", job, "--tenant", "acme")
    job, server = held(world, "stopped-soon")
    world.node.ok("job", "stop", job, "--tenant", "acme")
    over(server)


def a_relay_that_starts_anew_has_other_keys(world):
    job, server = held(world, "for-a-kill")
    before = {e["details"]["certificate"] for e in map(lambda e: e["unmapped"]["strongroom"], world.node.events("--kind", "egress.certify")) if e["asset"]["id"] == job}
    world.node.kill("relay")
    over(server)

    def fresh():
        events = [e["unmapped"]["strongroom"] for e in world.node.events("--kind", "egress.certify")]
        return {e["details"]["certificate"] for e in events if e["asset"]["id"] == job} - before

    wait_for("the job has a certificate at the other relay", fresh)
    world.node.ok("job", "stop", job, "--tenant", "acme")
    _, found = world.found({"who": (world.hub.place, "/who", 0)}, ("hub",))
    check(found["who"][0] == "200", found)


def at_the_nodes_own_plane_it_is_a_workload_and_no_more(world):
    """A named egress to the management plane is the operator's to make; who comes by it is the job."""
    node = world.node
    place = node.ready["management"].rsplit("/", 1)[-1]
    host, port = place.rsplit(":", 1)
    ca = os.path.join(node.state, "management", "ca.pem")
    node.ok("egress", "create", "plane", "--host", host, "--port", port, "--reach", "node", "--as-job", "--server-ca", ca, "--tenant", "acme")
    asks = {"whoami": "/v1/whoami", "theirs": "/v1/tenants/globex/jobs", "keys": "/v1/tenants/acme/keys", "users": "/v1/users"}
    job, found = world.found({name: (place, path, 0) for name, path in asks.items()}, ("plane",))
    check(all(told[0] == "200" for told in found.values()), found)
    answers = {name: told[1].split("\r\n", 1)[0].split(" ")[1] for name, told in found.items()}
    check(answers == {"whoami": "200", "theirs": "404", "keys": "403", "users": "403"}, answers)
    check(f"workload:acme/job/{job}" in found["whoami"][1], found["whoami"])
    # Made with the authority's own key, which lies in control's private directory: what a stolen key would be worth.
    state = os.path.join(node.state, "control", "services")
    with open(os.path.join(state, "ca.key"), "rb") as key, open(os.path.join(state, "ca.pem"), "rb") as text:
        jobs = serialization.load_pem_private_key(key.read(), None), x509.load_pem_x509_certificate(text.read())

    def status(job):
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(*files(world.pki, "stolen", certificate("stolen", jobs, uri=f"spiffe://dev/tenant/acme/job/{job}")))
        with context.wrap_socket(socket.create_connection((host, int(port))), server_hostname="localhost") as stream:
            stream.sendall(b"GET /v1/whoami HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return int(stream.recv(65536).split(b" ")[1])

    running, _ = held(world, "still-runs")
    check(status(running) == 200, "the control is refused, so nothing is shown")
    check(status(job) == 401, "the certificate of a job that has ended is let in")
    node.ok("job", "stop", running, "--tenant", "acme")
    node.wait_job(running, ("stopped",))
    check(status(running) == 401, "the certificate of a job that was stopped is let in")


def an_egress_in_the_jobs_name_is_made_whole_or_not_at_all(world):
    node = world.node
    create = ("egress", "create", "bad", "--host", "localhost", "--port", 1, "--reach", "node", "--tenant", "acme")
    node.refused(*create, "--as-job", code=2, says="--server-ca")
    node.refused(*create, "--server-ca", world.ca_file, code=2, says="--as-job")
    leaf = files(world.pki, "leaf", certificate("leaf"))
    with open(world.ca_file, "rb") as file:
        text = file.read()
    for name, content, code in (
        ("empty", b"", "SR-NET-0070"), ("words", b"no certificate\n", "SR-NET-0070"), ("cut", text[: len(text) // 2], "SR-NET-0070"),
        ("key", text + open(leaf[1], "rb").read(), "SR-CTL-0002"),
    ):
        work.write(world.node.path(name), content)
        told = node.refused(*create, "--as-job", "--server-ca", world.node.path(name), code=1)
        check(told["code"] == code, (name, told))
    work.write(world.node.path("large"), text * 20)
    node.refused(*create, "--as-job", "--server-ca", world.node.path("large"), code=1)
    node.refused("egress", "show", "plain", "--client-ca", node.path("none"), "--tenant", "acme", code=2, says="--as-job")
    node.refused("egress", "show", "bad", "--tenant", "acme", code=3, says="there is no egress")
    shown = node.ok("egress", "show", "hub", "--tenant", "acme")
    check(shown["as_job"] and shown["authority"] == hashlib.sha256(text).hexdigest(), shown)


def posture_says_where_jobs_speak_for_themselves(world):
    def seen():
        found = world.node.run("-o", "json", "posture", "run").json()["controls"]
        return next(control for control in found if control["id"] == "AC-5")

    control = seen()
    check(control["status"] == "unknown" and "jobs speak for themselves" in control["reason"], control)
    check("acme/plain" in json.dumps(control["evidence"]), control)
    world.node.ok("egress", "delete", "plain", "--tenant", "acme")
    control = seen()
    check(control["status"] == "pass", control)


def configured():
    """A node on which certificates of jobs are short."""
    node = Node()
    node.start()
    node.stop()
    path = os.path.join(node.state, "strongroom.toml")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("certificate_seconds = 600", f"certificate_seconds = {LIFE}"))
    return node


if __name__ == "__main__":
    with configured() as node:
        counts = run_tests(
            [
                the_far_end_sees_which_job_calls,
                certificates_renew_themselves_while_the_job_runs,
                a_server_that_is_not_the_one_gets_nothing,
                a_server_that_knows_others_refuses_it,
                an_answer_that_is_cut_is_not_taken_for_whole,
                others_have_no_way_there,
                it_ends_with_its_egress_and_its_run,
                a_relay_that_starts_anew_has_other_keys,
                at_the_nodes_own_plane_it_is_a_workload_and_no_more,
                an_egress_in_the_jobs_name_is_made_whole_or_not_at_all,
                posture_says_where_jobs_speak_for_themselves,
            ],
            World(node),
        )
    close(*counts)
