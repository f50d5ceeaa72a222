#!/usr/bin/python3
"""Another user of the same host, without a key, is nobody: no socket but the API's, no file of the state.
What it is told at each endpoint is tested in every_endpoint.test.py."""

import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, needs_root, run_tests, wait_for  # noqa: E402

STRANGER = 65534

CONNECT = r"""
import json, socket, sys
result = {}
for path in json.load(sys.stdin):
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.settimeout(5)
            try:
                client.connect(path)
            except OSError as error:
                result.setdefault(path, []).append(type(error).__name__)
                continue
            try:
                client.send(b"\x00" * 64)
                told = client.recv(4096)
            except TimeoutError:
                told = b"kept"
            except OSError:
                told = b""
            result.setdefault(path, []).append("heard" if told else "closed")
json.dump(result, sys.stdout)
"""


HOLD = r"""
import socket, sys, time
held, told = [], False
while True:
    for path in sys.argv[1:]:
        for _ in range(20):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            client.settimeout(1)
            try:
                client.connect(path)
                held.append(client)
            except OSError:
                client.close()
                break
    for client in held[:-300]:
        client.close()
    held = held[-300:]
    if held and not told:
        told = True
        print("holding", flush=True)
    time.sleep(0.02)
"""


def as_stranger(*words, given=None, uid=STRANGER):
    done = subprocess.run(
        ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *words],
        input=None if given is None else json.dumps(given), capture_output=True, text=True, timeout=60, check=False,
    )
    return done


def the_command_line_says_that_it_is_not_known(node):
    for words in (["status"], ["tenant", "list"], ["dataset", "list", "--tenant", "acme"], ["posture", "run"]):
        error = node.refused(*words, code=4, user=STRANGER)
        check(error.get("code", "").startswith("SR-"), error)


def a_key_is_enough_for_its_own_tenant(node):
    """The control: it is the key that is missing, not the way."""
    key = node.path("acme.key")
    node.ok("key", "create", "--out", key, "--tenant", "acme")
    os.chown(key, STRANGER, STRANGER)
    found = node.ok("dataset", "list", "--tenant", "acme", user=STRANGER, key=key)["items"]
    check([d["name"] for d in found] == ["data"], found)
    node.refused("tenant", "create", "mine", code=3, user=STRANGER, key=key)


def no_process_but_the_api_listens_to_it(node):
    """Where the socket file can be opened at all, the process looks at who calls and closes."""
    sockets = [
        os.path.join(d, name)
        for d, dirs, files in os.walk(node.state)
        for name in files
        if os.path.exists(os.path.join(d, name)) and (os.stat(os.path.join(d, name)).st_mode & 0o170000) == 0o140000
    ]
    check(len(sockets) >= 4, f"only {sockets}")
    done = as_stranger("/usr/bin/python3", "-c", CONNECT, given=sockets)
    check(done.returncode == 0, done.stderr)
    heard = [p for p, results in json.loads(done.stdout).items() if "heard" in results]
    check(heard == [node.ready["socket"]], f"a stranger is heard at {heard}")


def a_stranger_that_holds_connections_holds_up_nobody(node):
    """The keeper serves so many connections; a user without a role takes none from those who have one."""
    sockets = [os.path.join(node.state, "run", "keeper.sock")]
    words = ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", "/usr/bin/python3", "-c", HOLD]
    with subprocess.Popen(
        [*words, *sockets], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            check(holder.stdout.readline().strip() == "holding", "the stranger cannot even connect")
            began = time.monotonic()
            node.kill("control")
            wait_for("control is back", node.answers, 10)
            node.ok("tenant", "create", "meanwhile")
            node.ok("dataset", "verify", "data@1", "--tenant", "acme")
            check(time.monotonic() - began < 12, f"others waited {time.monotonic() - began:.1f} s")
        finally:
            holder.kill()


def no_file_of_the_state_can_be_read_or_written(node):
    public = {"strongroom.toml", "gateway/ca.pem", "management/ca.pem"}
    done = as_stranger("find", node.state, "-type", "f", "-readable")
    readable = {os.path.relpath(path, node.state) for path in done.stdout.split("\n") if path}
    check(readable <= public, f"a stranger reads {sorted(readable - public)}")
    done = as_stranger("find", node.state, "-writable", "-not", "-type", "s", "-not", "-type", "l")
    check(not done.stdout.strip(), f"a stranger writes {done.stdout}")
    found = as_stranger("cat", os.path.join(node.state, "gateway", "ca.pem"))
    check("BEGIN CERTIFICATE" in found.stdout, "clients cannot read the authority")


def the_gateways_own_user_reads_no_key_but_its_own(node):
    """A break into the process that faces the network: what its user can read of the state."""
    gateway = node.pids()["gateway"]
    uid = os.stat(f"/proc/{gateway}").st_uid
    check(uid not in (0, STRANGER), f"the gateway runs as {uid}")
    done = as_stranger("find", node.state, "-type", "f", "-readable", uid=uid)
    readable = [os.path.relpath(path, node.state) for path in done.stdout.split("\n") if path]
    foreign = [path for path in readable if path.split("/")[0] in ("keeper", "control", "log")]
    check(not foreign, f"the gateway's user reads {foreign}")
    control = os.stat(f"/proc/{node.pids()['control']}").st_uid
    done = as_stranger("find", os.path.join(node.state, "keeper"), "-type", "f", "-readable", uid=control)
    check(not done.stdout.strip(), f"control's user reads {done.stdout}")


def what_was_refused_is_in_the_log(node):
    found = node.events("--kind", "access.refuse", until=lambda f: any(f"uid:{STRANGER}" in json.dumps(e) for e in f))
    check(any(f"uid:{STRANGER}" in json.dumps(e) for e in found), "no refusal of the stranger is in the log")
    node.log_verifies()


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        node.ok("tenant", "create", "acme")
        work.write(node.path("data", "a.txt"), b"acme's own")
        node.ok("dataset", "import", "data", node.path("data"), "--tenant", "acme")
        counts = run_tests(
            [
                the_command_line_says_that_it_is_not_known,
                a_key_is_enough_for_its_own_tenant,
                no_process_but_the_api_listens_to_it,
                a_stranger_that_holds_connections_holds_up_nobody,
                no_file_of_the_state_can_be_read_or_written,
                the_gateways_own_user_reads_no_key_but_its_own,
                what_was_refused_is_in_the_log,
            ],
            node,
        )
    close(*counts)
