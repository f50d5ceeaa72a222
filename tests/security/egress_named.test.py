#!/usr/bin/python3
"""A job reaches the places outside that its file names and its tenant has, by the relay, with counted bytes; and nothing
else. The attacks are made from inside of a job; what they aim at answers whoever is not in one."""

import json
import os
import socket
import ssl
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import openid  # noqa: E402
import people  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402

CAP = 64 * 1024
WELCOME = b"welcome"

# Tries what it is told to and prints what came of it, one line; with `hold` it keeps a tunnel open and counts what comes.
JOB = '''"""Reaches for what it is told to."""
import json, os, socket, ssl, struct, sys, time, urllib.request

HYPER = json.loads(os.environ["SM_HPS"])
PROXY = ("127.0.0.1", 18000)


def tunnel(to):
    stream = socket.create_connection(PROXY, 10)
    stream.settimeout(30)
    stream.sendall(("CONNECT %s HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n" % (to, to)).encode())
    head = b""
    while b"\\r\\n\\r\\n" not in head:
        more = stream.recv(1)
        if not more:
            return "closed", None
        head += more
    return head.split(b" ")[1].decode(), stream


def fetch(url):
    context = ssl.create_default_context(cafile="ca.pem")
    with urllib.request.urlopen(url, context=context, timeout=30) as answer:
        return answer.read().decode()


def pour(to, count):
    status, stream = tunnel(to)
    if not stream:
        return status
    sent = 0
    try:
        while sent < count:
            sent += stream.send(b"x" * 4096)
        stream.shutdown(socket.SHUT_WR)
        stream.recv(1)
        return "all"
    except OSError as error:
        return type(error).__name__


def udp(to):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"x", tuple(to))


def raw(kind):
    socket.socket(socket.AF_INET, getattr(socket, kind), socket.IPPROTO_ICMP).close()
    return "made"


def bind(_):
    socket.create_server(("127.0.0.1", 0)).close()
    return "bound"


def direct(to):
    socket.create_connection(tuple(to), 5).close()
    return "connected"


WAYS = {
    "fetch": fetch, "tunnel": lambda to: tunnel(to)[0], "pour": lambda to: pour(*to), "udp": udp, "raw": raw, "bind": bind,
    "direct": direct, "resolve": lambda name: str(socket.getaddrinfo(name, 443)), "env": lambda name: os.environ.get(name, "none"),
}
found = {}
for name, way, to in json.loads(HYPER.get("tries", "[]")):
    try:
        found[name] = str(WAYS[way](to))
    except Exception as error:
        found[name] = type(error).__name__
if "hold" in HYPER:
    status, stream = tunnel(HYPER["hold"])
    print("held", status, flush=True)
    while stream.recv(1):
        pass
    print("cut", flush=True)
    time.sleep(600)
head = "{'descr': '|u1', 'fortran_order': False, 'shape': (1,), }"
head += " " * (-(10 + len(head) + 1) % 64) + "\\n"
with open(os.path.join(os.environ["SM_MODEL_DIR"], "weights.npy"), "wb") as out:
    out.write(b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(head)) + head.encode() + b"x")
print("FOUND " + json.dumps(found), flush=True)
'''


class Server:
    """Listens on loopback: over TLS it answers HTTP, else it counts what comes."""

    def __init__(self, context=None):
        self.context, self.listener = context, socket.create_server(("127.0.0.1", 0))
        self.port, self.received, self.streams = self.listener.getsockname()[1], [], []
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            stream, _ = self.listener.accept()
            threading.Thread(target=self.one, args=(stream,), daemon=True).start()

    def one(self, stream):
        number = len(self.received)
        self.received.append(0)
        try:
            if self.context:
                with self.context.wrap_socket(stream, server_side=True) as secure:
                    self.received[number] = len(secure.recv(65536))
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(WELCOME), WELCOME))
                return
            self.streams.append(stream)
            while True:
                some = stream.recv(65536)
                if not some:
                    return
                self.received[number] += len(some)
        except OSError:
            pass


class World:
    """Two tenants, servers outside of any sandbox, and egresses to some of them."""

    def __init__(self, node):
        self.node, self.jobs = node, 0
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        os.mkdir(node.path("pki"))
        self.ca, certificate, key = openid.certificate(node.path("pki"))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.hub, self.sink, self.theirs, self.stranger = Server(context), Server(), Server(), Server()
        self.create("hub", "localhost", self.hub.port, "--reach", "node")
        self.create("small", "localhost", self.sink.port, "--reach", "node", "--cap", f"{CAP}B")
        self.create("metadata", "169.254.169.254", 80, "--reach", "node")
        self.create("near", "127.0.0.1", self.stranger.port)
        self.create("theirs", "localhost", self.theirs.port, "--reach", "node", tenant="globex")
        self.planes = {n: node.ready[n].rsplit("/", 1)[-1] for n in ("gateway", "management")}

    def create(self, name, host, port, *more, tenant="acme"):
        return self.node.ok("egress", "create", name, "--host", host, "--port", port, *more, "--tenant", tenant)

    def directory(self, egress=(), tries=(), **more):
        self.jobs += 1
        path = work.job(
            self.node.path(f"job-{self.jobs}"), JOB, name=f"reaches-{self.jobs}", checkpoints="required = false",
            tries=json.dumps(tries).replace("\\", "\\\\").replace('"', '\\"'), **more,
        )
        with open(self.ca, "rb") as ca, open(os.path.join(path, "ca.pem"), "wb") as copy:
            copy.write(ca.read())
        file = os.path.join(path, "job.toml")
        with open(file) as text:
            job = text.read()
        if egress:
            job = job.replace('image = "host"', f'image = "host"\negress = {json.dumps(list(egress))}', 1)
        with open(file, "w") as text:
            text.write(job)
        return path

    def found(self, tries, egress=("hub", "small", "metadata", "near")):
        """What a job found that tried all of this: name -> (way, to)."""
        path = self.directory(egress, [(name, way, to) for name, (way, to) in tries.items()])
        job = self.node.submit(path)
        record = self.node.wait_job(job)
        line = next(x for x in record["output_tail"].splitlines() if x.startswith("FOUND "))
        return job, json.loads(line[6:])

    def told(self, kind):
        return [e["unmapped"]["strongroom"] for e in self.node.ok("audit", "search", "--kind", kind, "--limit", 0)["items"]]


def an_ordinary_program_reaches_what_its_job_names(world):
    url = f"https://localhost:{world.hub.port}/"
    job, found = world.found({"page": ("fetch", url), "names": ("env", "STRONGROOM_EGRESS")})
    check(found == {"page": WELCOME.decode(), "names": "hub small metadata near"}, found)
    # The log tells of it before and after, by the relay's own word.
    begun = [e for e in world.told("egress.open") if e["actor"] == f"job:{job}"]
    check(len(begun) == 1 and begun[0]["asset"]["id"] == "hub" and begun[0]["sender"]["role"] == "relay", begun)
    over = wait_for("its end is told", lambda: [e for e in world.told("egress.close") if e["actor"] == f"job:{job}"])
    check(int(over[0]["details"]["bytes_out"]) >= world.hub.received[-1] > 0, over)
    accounts = {(a["account"], a["tenant"]): a for a in world.node.ok("access", "egress")["items"]}
    check(accounts[("egress:hub", "acme")]["bytes"] >= world.hub.received[-1], accounts)
    check(accounts[("egress:hub", "acme")]["cap"] > CAP, accounts)


def a_hostile_job_reaches_nothing_else(world):
    hub, gateway, management = world.hub.port, world.planes["gateway"], world.planes["management"]
    split = lambda address: [address.rsplit(":", 1)[0], int(address.rsplit(":", 1)[1])]  # noqa: E731
    tries = {
        # By the proxy: another spelling, another port, a plane, another tenant's, what lies behind the name is too near.
        "by address": ("tunnel", f"127.0.0.1:{hub}"),
        "another port": ("tunnel", f"localhost:{world.theirs.port}"),
        "a stranger": ("tunnel", f"localhost:{world.stranger.port}"),
        "the gateway": ("tunnel", gateway),
        "the plane": ("tunnel", management),
        "metadata": ("tunnel", "169.254.169.254:80"),
        "too near": ("tunnel", f"127.0.0.1:{world.stranger.port}"),
        "mapped": ("tunnel", f"[::ffff:127.0.0.1]:{hub}"),
        "somewhere": ("tunnel", "example.com:443"),
        # Beside it.
        "direct": ("direct", ["127.0.0.1", hub]),
        "direct gateway": ("direct", split(gateway)),
        "direct plane": ("direct", split(management)),
        "elsewhere": ("direct", ["192.0.2.1", 443]),
        "elsewhere at the proxy's port": ("direct", ["192.0.2.1", 18000]),
        "dns": ("udp", ["192.0.2.1", 53]),
        "a name": ("resolve", "example.com"),
        "ping": ("raw", "SOCK_RAW"),
        "ping without root": ("raw", "SOCK_DGRAM"),
        "listening": ("bind", ""),
    }
    job, found = world.found(tries)
    for name, (way, _) in tries.items():
        if way == "tunnel":
            check(found[name] == "403", f"{name}: {found[name]}")
        else:
            check(found[name] in ("PermissionError", "OSError", "gaierror"), f"{name}: {found[name]}")
    check(not world.stranger.received and not world.theirs.received, "what nobody may reach was reached")
    refused = [e for e in world.told("egress.refuse") if e["actor"] == f"job:{job}"]
    check(len(refused) == sum(way == "tunnel" for way, _ in tries.values()), refused)
    # The control: whoever is in no sandbox reaches each of these.
    for address in (("127.0.0.1", world.stranger.port), ("127.0.0.1", world.theirs.port), ("127.0.0.1", hub), split(gateway), split(management)):
        socket.create_connection(tuple(address), 5).close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", 53))
    socket.create_server(("127.0.0.1", 0)).close()


def no_more_leaves_than_its_cap(world):
    _, found = world.found({"flood": ("pour", [f"localhost:{world.sink.port}", 40 * CAP])}, ("small",))
    check(found["flood"] != "all", found)
    check(0 < sum(world.sink.received) <= CAP, world.sink.received)
    ends = world.node.ok("audit", "search", "--kind", "egress.close", "--limit", 0)["items"]
    check(any("within a day" in json.dumps(e) and '"small"' in json.dumps(e) for e in ends), ends)
    wait_for("an alarm is told", lambda: [e for e in world.told("egress.alarm") if e["asset"]["id"] == "small"])
    wait_for("the refusal is told", lambda: [e for e in world.told("egress.refuse") if "cap" in e.get("details", {})])
    # It counts on in another job.
    before = sum(world.sink.received)
    world.found({"again": ("pour", [f"localhost:{world.sink.port}", CAP])}, ("small",))
    check(sum(world.sink.received) <= CAP, f"{before} {world.sink.received}")


def a_job_that_names_none_has_no_network_at_all(world):
    _, found = world.found({"proxy": ("direct", ["127.0.0.1", 18000]), "told": ("env", "https_proxy")}, ())
    check(found["proxy"] in ("PermissionError", "OSError") and found["told"] == "none", found)


def only_what_there_is_and_what_one_may_use(world):
    node = world.node
    for name in ("theirs", "absent"):
        path = world.directory((name,))
        node.refused("job", "run", os.path.join(path, "job.toml"), "--tenant", "acme", code=3, says="there is no egress")
    for role, code in (("tenant-admin", 3), ("ml-engineer", 3)):
        key = node.path(f"{role}.key")
        node.ok("key", "create", "--role", role, "--out", key, "--tenant", "acme")
        node.refused(
            "--key-file", key, "egress", "create", "mine", "--host", "hub.example", "--port", 443, "--tenant", "acme",
            code=code, says="may not",
        )
    # An engineer uses what there is, unless a rule of the node says no.
    engineer = ("--key-file", node.path("ml-engineer.key"))
    node.ok(*engineer, "job", "run", os.path.join(world.directory(("hub",)), "job.toml"), "--tenant", "acme")
    rules = node.path("rules.cedar")
    work.write(rules, b'@id("closed")\n@because("nothing leaves this week")\nforbid (principal, action == Action::"egress.use", resource);\n')
    node.ok("policy", "apply", rules, "--reason", "a test")
    refused = os.path.join(world.directory(("hub",)), "job.toml")
    node.refused(*engineer, "job", "run", refused, "--tenant", "acme", code=3, says="nothing leaves this week")
    node.ok("policy", "withdraw", "--reason", "a test")
    for bad in ("127.1", "0x7f000001", "2130706433", "a/b", "user@a"):
        node.refused("egress", "create", "bad", "--host", bad, "--port", 443, "--tenant", "acme", code=1, says="a host is")


def held(world, name, *who, at=None):
    """A job that holds a tunnel to the stranger, or another server, by an egress of its own, and that server's end of it."""
    at = at or world.stranger
    world.create(name, "localhost", at.port, "--reach", "node")
    before = len(at.streams)
    file = os.path.join(world.directory((name,), hold=f"localhost:{at.port}"), "job.toml")
    job = world.node.ok(*who, "job", "run", file, "--tenant", "acme")["id"]
    stream = wait_for("the tunnel stands", lambda: at.streams[before:])[0]
    stream.sendall(b"x")
    return job, stream


def ended(stream):
    """Whether the far end of a tunnel is closed."""
    return wait_for("the tunnel has ended", lambda: closed(stream))


def closed(stream):
    try:
        return stream.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def it_ends_with_its_egress(world):
    job, stream = held(world, "soon-gone")
    check(not closed(stream), "it ended by itself")
    world.node.ok("egress", "delete", "soon-gone", "--tenant", "acme")
    ended(stream)
    world.node.ok("job", "stop", job, "--tenant", "acme")
    world.node.refused("egress", "show", "soon-gone", "--tenant", "acme", code=3, says="there is no egress")


def it_ends_with_its_run(world):
    job, stream = held(world, "for-a-run")
    world.node.ok("job", "stop", job, "--tenant", "acme")
    ended(stream)


def it_ends_with_control_and_comes_back_with_the_relay(world):
    job, stream = held(world, "for-kills")
    world.node.kill("relay")
    ended(stream)
    world.node.ok("job", "stop", job, "--tenant", "acme")
    url = f"https://localhost:{world.hub.port}/"
    wait_for("another relay runs", lambda: world.node.pids().get("relay"))
    _, found = world.found({"page": ("fetch", url)}, ("hub",))
    check(found["page"] == WELCOME.decode(), found)
    job, stream = held(world, "for-more-kills")
    world.node.kill("control")
    ended(stream)
    wait_for("the node answers", world.node.answers, 30)


class Rerun:
    """A job that reaches a server of its own, and is run again and again by the end of control."""

    def __init__(self, world, name, *who):
        self.world, self.server = world, Server()
        self.job, self.stream = held(world, name, *who, at=self.server)

    def again(self):
        self.reached = len(self.server.streams)
        self.world.node.kill("control")
        wait_for("the node answers", self.world.node.answers, 30)

    def reaches(self):
        wait_for("it reaches out again", lambda: len(self.server.streams) > self.reached, 60)

    def goes_on(self):
        self.again()
        self.reaches()

    def is_held(self, reason):
        """It is held, for this reason, and was opened nothing."""
        self.again()
        record = self.world.node.wait_job(self.job, ("held",))
        check("may not use the egresses" in record["reason"] and reason in record["reason"], record["reason"])
        check(len(self.server.streams) == self.reached, "it was opened its egress")

    def resume(self):
        self.world.node.ok("job", "resume", self.job, "--reason", "a test", "--tenant", "acme")
        self.reaches()

    def stop(self):
        self.world.node.ok("job", "stop", self.job, "--tenant", "acme")


def a_rule_that_forbids_holds_a_job_that_is_to_go_on(world):
    node, rules = world.node, world.node.path("withdrawn.cedar")
    job = Rerun(world, "for-a-rule")
    work.write(rules, b'@id("closed")\n@because("nothing leaves this week")\nforbid (principal, action == Action::"egress.use", resource);\n')
    node.ok("policy", "apply", rules, "--reason", "a test")
    check(not closed(job.stream), "a new rule stops the next run, not the connection that stands")
    try:
        job.is_held("nothing leaves this week")
        # Who lets it go on is asked as well.
        node.refused("job", "resume", job.job, "--reason", "a test", "--tenant", "acme", code=3, says="nothing leaves this week")
    finally:
        node.ok("policy", "withdraw", "--reason", "a test")
    job.resume()
    job.stop()


def a_key_that_is_revoked_holds_its_job(world):
    node, path = world.node, world.node.path("withdrawn.key")
    key = node.ok("key", "create", "--role", "ml-engineer", "--out", path, "--tenant", "acme")["id"]
    job = Rerun(world, "for-a-key", "--key-file", path)
    job.goes_on()
    node.ok("key", "revoke", key, "--tenant", "acme")
    job.is_held("has ended or was revoked")
    # The operator takes it over, and answers for it from now on.
    job.resume()
    job.goes_on()
    job.stop()


def a_grant_that_ends_holds_the_job_of_its_person(world):
    """Their right rests on the grant, and not on the session in which they used it."""
    node, path = world.node, world.node.path("ann.token")
    ann = people.granted(node, "ann", "ml-engineer", "acme")
    token = ann.login()
    work.write(path, token.encode())
    os.chmod(path, 0o600)
    job = Rerun(world, "for-a-grant", "--key-file", path)
    people.must(people.post(node, "/logout", None, token))
    job.goes_on()
    people.must(people.post(node, "/users/ann/grants/1/revoke"))
    job.is_held("the grant of `ann` has ended")
    job.stop()


def it_ends_with_safe_mode(world):
    node = world.node
    _, stream = held(world, "for-safe-mode")
    node.ok("break-glass", "seal", "--holder", "ada", "--holder", "bob")
    node.ok("safe-mode", "enter", "--reason", "a test")
    ended(stream)


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                an_ordinary_program_reaches_what_its_job_names,
                a_hostile_job_reaches_nothing_else,
                no_more_leaves_than_its_cap,
                a_job_that_names_none_has_no_network_at_all,
                only_what_there_is_and_what_one_may_use,
                it_ends_with_its_egress,
                it_ends_with_its_run,
                it_ends_with_control_and_comes_back_with_the_relay,
                a_rule_that_forbids_holds_a_job_that_is_to_go_on,
                a_key_that_is_revoked_holds_its_job,
                a_grant_that_ends_holds_the_job_of_its_person,
                it_ends_with_safe_mode,
            ],
            World(node),
        )
    close(*counts)
