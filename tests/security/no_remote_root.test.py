#!/usr/bin/python3
"""What has privilege has no way in from the network, and what listens has no privilege and no key.

Seen by /proc alone, on a node with a running job and a served endpoint; the product is not asked. Each check has a
positive control: the same look at something that must not be, which it must find.
"""

import os
import re
import socket
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, UnixHttp, check, close, needs_root, run_tests, wait_for  # noqa: E402
from procs import Process, as_user, below, listening, unix_listeners  # noqa: E402

NOBODY = 65534
# What the warden keeps (crates/host/src/single.rs), as a number of bits: nothing of the network, modules or raw devices.
WARDEN_CAPABILITIES = 10
NETWORK_CAPABILITIES = 1 << 10 | 1 << 12 | 1 << 13  # NET_BIND_SERVICE, NET_ADMIN, NET_RAW


class Seen:
    """The node with work in it, and all its processes by what they are."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        job = node.submit(work.served(node.path("linear"), name="lin"))
        node.wait_job(job)
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.url = node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]
        self.key = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["secret"]
        node.submit(work.counting(node.path("long"), steps=100_000, word="long-job"))
        wait_for("the job runs", lambda: node.workload("long-job"))
        # With a connection through the gateway under way.
        self.client = node.connect()
        self.client.connect()
        self.roles = node.pids()
        self.all = below(node.process.pid)
        self.warden, self.keeper = self.all[self.roles["warden"]], self.all[self.roles["keeper"]]
        self.control, self.gateway, self.relay = (self.all[self.roles[n]] for n in ("control", "gateway", "relay"))
        self.starter = self.all[node.process.pid]
        own = (self.warden, self.keeper, self.control, self.gateway, self.relay, self.starter)
        self.work = [p for p in self.all.values() if p not in own]

    def below_state(self, *names):
        return os.path.join(self.node.state, *names)


def all_parts_of_a_node_are_there(seen):
    check(len(seen.roles) == 6, seen.roles)
    words = [" ".join(p.command) for p in seen.work]
    for part, count in (("strongroom-porter", 2), ("long-job", 1), ("/opt/ml/model", 1)):
        found = [w for w in words if part in w]
        check(len(found) >= count, f"{part}: {found} of {words}")
    # Beside each workload its sandbox's first process, which has the warden's own program.
    check(len(seen.work) >= 6, seen.work)


def what_has_privilege_has_no_network_socket(seen):
    privileged = [p for p in seen.all.values() if p.privileged()]
    check({p.pid for p in privileged} == {seen.warden.pid, seen.starter.pid}, f"privileged: {privileged}")
    for process in [*privileged, seen.keeper]:
        check(not process.network(), f"{process} holds {process.network()}")
        check(not listening(process), f"{process} listens")
    # The control: this process is root, and one socket that is not even bound is seen.
    before = len(Process(os.getpid()).network())
    for family, kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET6, socket.SOCK_DGRAM), (socket.AF_PACKET, socket.SOCK_RAW)):
        with socket.socket(family, kind):
            own = Process(os.getpid())
            check(own.privileged() and len(own.network()) == before + 1, f"not seen: {own.files}")


def the_warden_keeps_ten_capabilities_and_gains_none(seen):
    sets = seen.warden.sets
    check(sets["CapBnd"].bit_count() == WARDEN_CAPABILITIES, f"{sets['CapBnd']:x}")
    check(sets["CapPrm"] == sets["CapEff"] == sets["CapBnd"] and not sets["CapInh"] | sets["CapAmb"], sets)
    check(not sets["CapBnd"] & NETWORK_CAPABILITIES, "the warden could open ports or raw sockets")
    check(seen.warden.no_new_privileges, "a program that the warden executes could gain privilege")
    keys = [f for f in seen.warden.files if f.target.startswith(seen.below_state("keeper"))]
    check(not keys, f"the warden has key files open: {keys}")


def nothing_else_has_or_gains_privilege(seen):
    for process in seen.all.values():
        if process in (seen.warden, seen.starter):
            continue
        check(0 not in process.uids + process.gids and not process.groups, f"{process}: {process.uids} {process.groups}")
        check(not any(process.sets.values()), f"{process} has {process.sets}")
        check(process.no_new_privileges, f"{process} could gain privilege by a program that it executes")
    for process in seen.work:
        check(process.seccomp == 2, f"{process} has no system-call filter")
    # The control: the same fields of this process say otherwise.
    own = Process(os.getpid())
    check(own.uids[0] == 0 and own.sets["CapBnd"] and not own.no_new_privileges, own.sets)


def each_plane_has_one_listener_and_nothing_else_has(seen):
    found = {p.pid: listening(p) for p in seen.all.values() if listening(p)}
    planes = {seen.gateway.pid, seen.control.pid}
    check(set(found) == planes, f"listening: {found}")
    check(all(len(listeners) == 1 for listeners in found.values()), found)
    with_sockets = {p.pid for p in seen.all.values() if p.network()}
    check(with_sockets == planes, f"network sockets: {with_sockets}")
    check(len(seen.gateway.network()) >= 2, "the open connection is not seen")


def what_listens_holds_no_key_no_history_and_no_way_to_the_warden(seen):
    for process in (seen.gateway, seen.control, *seen.work):
        for file in process.files:
            where = os.path.relpath(file.target, seen.node.state).split("/")[0] if file.target.startswith("/") else ""
            check(where != "keeper", f"{process} has {file}")
            check(where != "log" or not file.writable, f"{process} has {file}")
        listens = unix_listeners(process)
        check(not any("warden.sock" in name or "keeper.sock" in name for name in listens), f"{process}: {listens}")
    # Who is connected with the warden: control alone. Peers of unix sockets stand in no table of /proc, so by trial.
    # The control: the keeper has its log open for writing, and the warden its socket.
    check(any("/log/" in f.target and f.writable for f in seen.keeper.files), seen.keeper.files)
    check(any("warden.sock" in name for name in unix_listeners(seen.warden)), unix_listeners(seen.warden))


def files_of(*roots):
    return [os.path.join(d, name) for root in roots for d, _, names in os.walk(root) for name in names]


def tried(paths, flags):
    """Which of the paths this process can open."""
    opened = []
    for path in paths:
        try:
            os.close(os.open(path, flags))
            opened.append(path)
        except OSError:
            pass
    return len(opened), opened[:3]


def only_the_keeper_reads_keys_and_writes_the_log(seen):
    keys, log = files_of(seen.below_state("keeper")), files_of(seen.below_state("log"))
    check(len(keys) >= 3 and len(log) >= 5, f"{keys} {log}")
    folders = [seen.below_state("keeper"), seen.below_state("log")]
    users = {(p.uids[1], p.gids[1], tuple(p.groups)): p for p in seen.all.values() if not p.privileged()}
    users[NOBODY, NOBODY, ()] = "nobody"
    for (uid, gid, groups), process in users.items():
        def reads():
            return tried(keys, os.O_RDONLY)

        def writes():
            return tried(log, os.O_WRONLY | os.O_NOFOLLOW)[0], tried(folders, os.O_TMPFILE | os.O_RDWR)[0]

        def makes():
            os.close(os.open(os.path.join(seen.below_state("log"), "forged"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))

        read_keys, wrote = (as_user(uid, gid, list(groups), f) for f in (reads, writes))
        if process is seen.keeper:
            check(read_keys.startswith(f"({len(keys)},"), f"the control: the keeper reads {read_keys} of {len(keys)}")
            check(wrote == f"({len(log)}, 2)", f"the control: the keeper writes {wrote} of {len(log)}")
            continue
        check(read_keys == "(0, [])", f"{process} as {uid} reads keys: {read_keys}")
        check(wrote == "(0, 0)", f"{process} as {uid} writes below the log or beside keys: {wrote}")
        made = as_user(uid, gid, list(groups), makes)
        check(made in ("PermissionError", "FileNotFoundError"), f"{process} makes files in the log: {made}")


def nobody_looks_into_a_process_that_holds_keys(seen):
    """Not even a process of the same user, as a program is that control or the gateway was made to start."""
    for process in (seen.keeper, seen.control, seen.gateway, seen.relay):
        def looks(pid=process.pid):
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDONLY))
            return "opened"

        said = as_user(process.uids[1], process.gids[1], [], looks)
        check(said == "PermissionError", f"the memory of {process} as its own user: {said}")
    # The control: another process of that user, which does not keep to itself.
    uid = seen.control.uids[1]
    words = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "sleep", "60"]
    with subprocess.Popen(words) as other:
        try:
            wait_for("it is executed", lambda: b"sleep\0" in read_bytes(f"/proc/{other.pid}/cmdline")[:6])
            said = as_user(uid, uid, [], lambda: os.close(os.open(f"/proc/{other.pid}/mem", os.O_RDONLY)))
            check(said == "None", f"the control: {said}")
        finally:
            other.kill()


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


def heard(path):
    """Whether whoever listens there says anything to this user."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET):
        with socket.socket(socket.AF_UNIX, kind) as client:
            client.settimeout(5)
            try:
                client.connect(path)
                client.send(b"GET / HTTP/1.1\r\n\r\n")
                if client.recv(4096):
                    return "heard"
            except OSError:
                pass
    return "not heard"


def unix_sockets_hear_whom_they_are_for(seen):
    named = {p.pid: unix_listeners(p) for p in seen.all.values()}
    paths = {name: seen.all[pid] for pid, names in named.items() for name in names}
    check(not any(name.startswith("@") or not name for name in paths), f"abstract or nameless: {paths}")
    # The kernel shows an endpoint's by the name under which it was bound, by way of a descriptor.
    on_disk = files_of(seen.below_state("run"))
    check(len(on_disk) >= 5 and len(paths) >= 5, f"{on_disk} {paths}")
    api = seen.node.ready["socket"]
    warden, gateway = (os.path.join(seen.below_state("run"), n) for n in ("warden.sock", "gateway.sock"))
    check(api in paths and warden in paths, f"{api} {warden} {paths}")
    users = {name: getattr(seen, name).uids[1] for name in ("keeper", "control", "gateway", "relay")}
    users.update(nobody=NOBODY, job=next(p for p in seen.work if "long-job" in p.command).uids[1])
    for name, uid in users.items():
        for path in on_disk:
            said = as_user(uid, uid, [], lambda path=path: heard(path))
            # The API answers everybody, by 401; the keeper tells control, the gateway and the relay that this is no request; the
            # gateway serves endpoints and takes what control pushes.
            may = {api: users, seen.below_state("run", "keeper.sock"): ("control", "gateway", "relay"), gateway: ("control",)}
            expected = name in may.get(path, ()) or (name == "gateway" and "/endpoints/" in path)
            check(said == "not heard" or expected, f"{name} ({uid}) is heard at {path}")
    # Control's own user in another process: the warden knows the process that it started.
    check(as_user(users["control"], users["control"], [], lambda: heard(warden)) == "not heard", "control's user")
    mode = os.stat(warden)
    check(mode.st_mode & 0o777 == 0o600 and mode.st_uid == users["control"], f"{mode}")
    # The control: the operator is answered, and so is a client with a key.
    connection = UnixHttp(api)
    connection.request("GET", "/v1/status")
    check(connection.getresponse().status == 200, "the operator is not answered")
    status, _ = seen.node.ask(seen.url, work.request([[1.0, 2.0]]), seen.key)
    check(status == 200, f"a client is answered {status}")


def no_program_of_the_node_is_set_id(seen):
    """No step up lies in the state directory, nor may anybody but root write what the warden executes."""
    for path in files_of(seen.node.state):
        try:
            mode = os.lstat(path).st_mode
        except FileNotFoundError:
            continue  # the log replaces its last tile
        check(not mode & 0o6000, f"{path} is set-id: {mode:o}")
    for name in os.listdir(f"/proc/{seen.warden.pid}/fd"):
        target = os.path.realpath(f"/proc/{seen.warden.pid}/fd/{name}")
        if re.search(r"/strongroom(-\w+)?$", target) and os.path.isfile(target):
            check(os.stat(target).st_uid == 0 and not os.stat(target).st_mode & 0o022, f"others may write {target}")


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        counts = run_tests(
            [
                all_parts_of_a_node_are_there,
                what_has_privilege_has_no_network_socket,
                the_warden_keeps_ten_capabilities_and_gains_none,
                nothing_else_has_or_gains_privilege,
                each_plane_has_one_listener_and_nothing_else_has,
                what_listens_holds_no_key_no_history_and_no_way_to_the_warden,
                only_the_keeper_reads_keys_and_writes_the_log,
                nobody_looks_into_a_process_that_holds_keys,
                unix_sockets_hear_whom_they_are_for,
                no_program_of_the_node_is_set_id,
            ],
            Seen(node),
        )
    close(*counts)
