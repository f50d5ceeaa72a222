#!/usr/bin/python3
"""No process of the platform but the relay connects to the network, and the relay only to where the configuration says:
not even for control itself. Needs root, to be the users of the node's processes."""

import json
import os
import socket
import ssl
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import relay  # noqa: E402
from node import Node, check, close, needs_root, run_tests, wait_for  # noqa: E402
from procs import Process, as_user  # noqa: E402


class World:
    """A node, a stranger's listener beside it, and one of the node's own."""

    def __init__(self, node):
        self.node = node
        self.socket = os.path.join(node.state, "run", "relay.sock")
        self.stranger = socket.create_server(("127.0.0.1", 0))
        host, port = node.ok("status")["gateway"].rsplit("/", 1)[-1].rsplit(":", 1)
        self.gateway = (host, int(port))
        self.users = {name: Process(pid).uids[1] for name, pid in node.pids().items()}

    def told(self, kind):
        return self.node.ok("audit", "search", "--kind", kind, "--limit", 0)["items"]

    def posture(self):
        found = self.node.run("-o", "json", "posture", "run").json()["controls"]
        return next(c for c in found if c["id"] == "AC-10")

    def by(self, uid, order, say=b""):
        """The answer to an order of this user, and what comes over the stream after something is said."""

        def asks():
            answer, stream = relay.ask(self.socket, order)
            heard = ""
            if stream:
                with stream:
                    stream.settimeout(10)
                    stream.sendall(say)
                    heard = stream.recv(4096).hex()
            return json.dumps([answer, heard])

        said = as_user(uid, uid, [], asks)
        return json.loads(said) if said.startswith("[") else [said, ""]


# The first bytes of a TLS handshake, so that a server answers something.
def hello():
    context, into, out = ssl.create_default_context(), ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(into, out, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        pass
    return out.read()


def the_posture_says_so(world):
    seen = world.posture()
    check(seen["status"] == "pass", seen)
    check(any("only the relay" in line for line in seen["evidence"]), seen["evidence"])


def what_listens_has_a_filter_and_the_relay_too(world):
    pids = world.node.pids()
    for name in ("control", "gateway", "relay"):
        process = Process(pids[name])
        check(process.seccomp == 2 and process.no_new_privileges, f"{name}: {process.seccomp}")
        check(not process.privileged(), f"{name} has privilege")
    check(not Process(pids["relay"]).network(), "the relay holds a socket of the network while nothing is open")
    # The control: a process without one is told as such.
    check(Process(os.getpid()).seccomp == 0, "this test is filtered")


def the_relay_hears_control_alone(world):
    order = relay.connect(relay.PROBE, *world.gateway)
    for name in ("gateway", "keeper", "relay"):
        answer, _ = world.by(world.users[name], order)
        check(answer is None or "Error" in answer, f"{name}: {answer}")
    answer, _ = world.by(65534, order)
    check(answer is None or "Error" in answer, f"nobody: {answer}")
    # The control: the same bytes from control's user are an order.
    answer, heard = world.by(world.users["control"], order, hello())
    check(answer == "done" and heard.startswith("16"), f"control: {answer} {heard[:40]}")


def not_even_control_reaches_what_the_configuration_does_not_name(world):
    control, before = world.users["control"], len(world.told("egress.open"))
    host, port = world.stranger.getsockname()
    for purpose, to in (
        (relay.PROBE, ("127.0.0.2", port)),
        (relay.PROBE, ("localhost", world.gateway[1])),
        (relay.PROBE, ("169.254.169.254", 80)),
        (relay.PROBE, ("::ffff:127.0.0.1", world.gateway[1])),
        (relay.PROBE, ("192.0.2.1", 443)),
        (relay.LOGIN, (host, port)),
        (relay.LOGIN, ("example.com", 443)),
        (relay.LOGIN, world.gateway),
    ):
        answer, _ = world.by(control, relay.connect(purpose, *to))
        check(answer and answer.startswith("SR-RLY-0002"), f"{to}: {answer}")
    world.stranger.settimeout(0.2)
    try:
        world.stranger.accept()
    except TimeoutError:
        pass
    else:
        check(False, "the stranger was called")
    check(len(world.told("egress.open")) == before, "a connection that was refused stands as opened")
    # The control: the stranger answers whoever reaches it.
    with socket.create_connection((host, port)):
        world.stranger.settimeout(10)
        world.stranger.accept()[0].close()


def a_sandbox_is_no_way_for_control_either(world):
    """A socket that listens elsewhere than on a loopback, or is none, opens nothing."""
    control = world.users["control"]
    egress = [(9, "hub", "192.0.2.1", 443, relay.NODE)]
    order = relay.opened(77, "acme", "job:none", egress)
    with socket.create_server(("0.0.0.0", 0)) as anywhere, socket.socket() as unbound, open("/dev/null") as none:
        for given in ([anywhere.fileno()], [unbound.fileno()], [none.fileno()], []):
            said = as_user(control, control, [], lambda given=given: relay.ask(world.socket, order, given)[0])
            check(said.startswith("SR-RLY-0007"), f"{given}: {said}")


def each_connection_is_told_with_its_bytes_and_counted(world):
    node = world.node
    sent = len(hello())
    world.by(world.users["control"], relay.connect(relay.PROBE, *world.gateway), hello())

    def ended():
        opened = {entry["metadata"]["correlation_uid"]: entry for entry in world.told("egress.open")}
        ends = [(opened.get(entry["metadata"]["correlation_uid"]), entry) for entry in world.told("egress.close")]
        return [[e["unmapped"]["strongroom"] for e in pair] for pair in ends if pair[0]]

    pairs = wait_for("it is told", lambda: ended() or None)
    check(all(begun["index"] < over["index"] for begun, over in pairs), pairs)
    check(all(int(over["details"]["bytes_out"]) >= 0 and over["actor"] == "platform:probe" for _, over in pairs), pairs)
    check(any(int(over["details"]["bytes_out"]) >= sent for _, over in pairs), pairs)
    check(all(e["sender"]["role"] == "relay" for pair in pairs for e in pair), pairs)
    account = [a for a in node.ok("access", "egress")["items"] if a["account"] == "platform:probe"]
    check(account and account[0]["bytes"] >= sent, account)


def it_comes_back_after_a_kill(world):
    before = world.node.pids()["relay"]
    world.node.kill("relay")
    wait_for("another relay runs", lambda: world.node.pids().get("relay") not in (None, before))

    def answers():
        answer, heard = world.by(world.users["control"], relay.connect(relay.PROBE, *world.gateway), hello())
        return answer == "done" and heard.startswith("16")

    wait_for("it connects again", answers)
    wait_for("the posture passes again", lambda: world.posture()["status"] == "pass")


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        counts = run_tests(
            [
                the_posture_says_so,
                what_listens_has_a_filter_and_the_relay_too,
                the_relay_hears_control_alone,
                not_even_control_reaches_what_the_configuration_does_not_name,
                a_sandbox_is_no_way_for_control_either,
                each_connection_is_told_with_its_bytes_and_counted,
                it_comes_back_after_a_kill,
            ],
            World(node),
        )
    close(*counts)
