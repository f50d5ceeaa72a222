#!/usr/bin/python3
"""The probe of AC-1 on a live node finds what lets root in from the network, and says what to change.

In a mount namespace of its own, with a copy of /etc and an empty /run: the host's sshd is neither read nor changed. The
probe sees the whole host's processes, so what it says of them at first is taken as it is, and what is added is looked for.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import ROOT, Failed, Node, UnixHttp, check, needs_root, run_tests, wait_for  # noqa: E402

INSIDE = "STRONGROOM_TEST_INSIDE"
CONFIG, DROP_IN = "/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/50-cloud-init.conf"
# As Debian ships it, without its comments.
DEBIAN = "Include /etc/ssh/sshd_config.d/*.conf\n#PermitRootLogin prohibit-password\nUsePAM yes\nX11Forwarding yes\n"
UNPACKED = os.path.join(ROOT, ".venv", "openssh")
VISITOR = 61_234

CONNECTED = r"""
import os, socket, subprocess, sys
held = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
with subprocess.Popen(["sleep", "600"]) as child:
    print(child.pid, flush=True)
"""


def detached():
    """Goes on in a process that no session started and that holds none of its sockets: whoever runs this test may well
    be root in a network session. The process that was started waits for it, and passes on how it ended."""
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        os.wait()
        with os.fdopen(reader) as pipe:
            sys.exit(int(pipe.read() or 1))
    if os.fork():
        os._exit(0)
    os.setsid()
    wait_for("its parent is gone", lambda: os.getppid() == 1, 10, 0.01)
    os.dup2(writer, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    return os.fdopen(3, "w")


def namespace():
    """This program again, where mounts are its own."""
    if INSIDE not in os.environ:
        words = ["unshare", "--mount", "--propagation", "private", sys.executable, *sys.argv]
        os.execvpe("unshare", words, dict(os.environ, **{INSIDE: "1"}))
    copy = tempfile.mkdtemp(prefix="strongroom-test-etc-")
    etc = os.path.join(copy, "etc")
    shutil.copytree("/etc", etc, symlinks=True)
    os.chmod(copy, 0o755)
    for words in (["--bind", etc, "/etc"], ["-t", "tmpfs", "-o", "mode=755", "none", "/run"]):
        subprocess.run(["mount", *words], check=True)
    shutil.rmtree("/etc/ssh")
    os.makedirs(os.path.dirname(DROP_IN))
    with open("/etc/passwd", "a") as passwd, open("/etc/shadow", "a") as shadow:
        passwd.write(f"sshd:x:61235:61235::/run/sshd:/usr/sbin/nologin\nvisitor:x:{VISITOR}:{VISITOR}::/tmp:/bin/sh\n")
        shadow.write("visitor:*:19000:0:99999:7:::\n")
    return copy


def write(path, text, mode=0o644):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


def probe(node, control="AC-1"):
    """The control's row of a fresh run of the probes."""
    result = node.run("-o", "json", "posture", "run")
    check(result.code in (0, 3), f"{result.code} {result.err[-600:]}")
    row = next(c for c in result.json()["controls"] if c["id"] == control)
    check(row["status"] != "fail" or result.code == 3, "a failed control is no answer no")
    if control == "AC-1":
        told = "\n".join(row["evidence"])
        expected = "fail" if "; to change: " in told else "unknown" if ": not known: " in told else "pass"
        check(row["status"] == expected, f"{row['status']}, but the evidence is that of {expected}: {told}")
    return row


def lines(row, name):
    found = [line for line in row["evidence"] if line.startswith(f"{name}: ")]
    check(found, f"nothing of {name} in {row}")
    return "\n".join(found)


def without_sshd_that_part_is_in_order(node):
    row = probe(node)
    check("in order: no sshd runs" in lines(row, "sshd"), row)
    for name in ("processes", "listeners", "engines", "node"):
        lines(row, name)
    print(f"    at first: {row['status']}: {row['reason']}")


def the_nodes_own_processes_hold_no_network_socket(node):
    told, pids = lines(probe(node), "node"), node.pids()
    expected = f"in order: warden (process {pids['warden']}) and keeper (process {pids['keeper']}) hold no network socket"
    check(expected in told, f"{told}; expected {expected}")


def a_root_login_is_found_and_its_line_named(node):
    write(CONFIG, DEBIAN)
    row = probe(node)
    check(row["status"] == "fail" and "put `PermitRootLogin no` on a line before all others" in lines(row, "sshd"), row)
    write(DROP_IN, "PasswordAuthentication yes\r\npermitrootlogin = \"yes\"\r\n")
    row = probe(node)
    check(row["status"] == "fail" and f"make line 2 of {DROP_IN} `PermitRootLogin no`" in lines(row, "sshd"), row)
    # What it says to change is enough.
    write(DROP_IN, "PasswordAuthentication yes\nPermitRootLogin no\n")
    row = probe(node)
    check(f"in order: {CONFIG}: PermitRootLogin no (line 2 of {DROP_IN})" in lines(row, "sshd"), row)


def a_match_that_opens_root_again_is_found(node):
    write(CONFIG, DEBIAN + "Match Address 127.0.0.0/8\n    PermitRootLogin without-password\n")
    row = probe(node)
    check(row["status"] == "fail" and f"line 6 of {CONFIG}" in lines(row, "sshd"), row)
    check("`Match Address 127.0.0.0/8`" in lines(row, "sshd"), row)


def what_cannot_be_read_never_passes(node):
    for text, mode, path in ((DEBIAN, 0o600, CONFIG), ("PermitRootLogin no\n", 0o600, DROP_IN)):
        write(CONFIG, DEBIAN)
        write(DROP_IN, "PermitRootLogin no\n")
        write(path, text, mode)
        row = probe(node)
        check(row["status"] != "pass" and f"not known: {path} cannot be read" in lines(row, "sshd"), row)
    os.remove(CONFIG)
    check("in order: no sshd runs" in lines(probe(node), "sshd"), "it is not as it was")


def an_engines_socket_for_others_is_found(node):
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind("/run/docker.sock")
        for mode, group, wrong in ((0o600, 0, False), (0o666, 0, True), (0o660, 0, False), (0o660, 998, True)):
            os.chown("/run/docker.sock", 0, group)
            os.chmod("/run/docker.sock", mode)
            told = lines(probe(node), "engines")
            check(("start a container as root" in told) == wrong, f"{mode:o} {group}: {told}")
    os.remove("/run/docker.sock")


def a_listener_of_root_is_found(node):
    for port in (10000, 4505, 5901, 27017):
        with socket.socket() as listener:
            try:
                listener.bind(("0.0.0.0", port))
            except OSError:
                continue
            listener.listen()
            row = probe(node)
            check(row["status"] == "fail" and f"user 0 listens on 0.0.0.0 port {port}" in lines(row, "listeners"), row)
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))
            listener.listen()
            check(f"port {port}" not in lines(probe(node), "listeners"), "on loopback")
        return
    raise Failed("every port of the test is taken")


def root_below_a_connection_is_found(node):
    """The kernel tells who holds a socket to the warden alone, and the warden tells control."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        words = [sys.executable, "-c", CONNECTED, str(listener.getsockname()[1])]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as holder:
            child = int(holder.stdout.readline())
            try:
                row = probe(node)
                told = lines(row, "processes")
                expected = f"process {child} (sleep) has root's rights below process {holder.pid} "
                check(row["status"] == "fail" and expected in told and "holds a network connection" in told, row)
                check(f"process {holder.pid} (python3) has" not in told, "its own connection makes it no session")
            finally:
                os.kill(child, 9)
                holder.kill()
    check(str(child) not in lines(probe(node), "processes"), "it has ended")


@contextlib.contextmanager
def server(work, config):
    """A real sshd on loopback, with keys of its own; gives a function that runs a command over it as a user."""
    binary = shutil.which("sshd", path=f"/usr/sbin:{UNPACKED}/usr/sbin")
    check(binary, "there is no sshd to test with: run scripts/install-deps.sh")
    env = dict(os.environ, LD_LIBRARY_PATH=f"{UNPACKED}/usr/lib/x86_64-linux-gnu:{UNPACKED}/lib/x86_64-linux-gnu")
    os.makedirs("/run/sshd", exist_ok=True)
    for name in ("host", "user"):
        path = os.path.join(work, name)
        if not os.path.exists(path):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    write(
        os.path.join(work, "sshd_config"),
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {work}/host\nAuthorizedKeysFile {work}/user.pub\n"
        f"StrictModes no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPidFile none\n{config}",
    )
    words = [binary, "-D", "-e", "-f", f"{work}/sshd_config"]
    options = ["UserKnownHostsFile=/dev/null", "StrictHostKeyChecking=no", "BatchMode=yes", "LogLevel=ERROR"]
    client = ["ssh", "-F", "none", "-i", f"{work}/user", "-p", str(port), *(w for o in options for w in ("-o", o))]
    with open(f"{work}/sshd.log", "w") as log, subprocess.Popen(words, env=env, stderr=log) as daemon:
        try:
            wait_for("sshd listens", lambda: not socket.socket().connect_ex(("127.0.0.1", port)), 10)
            yield lambda user, command: subprocess.Popen(
                [*client, f"{user}@127.0.0.1", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
            )
        finally:
            # A session goes on for a moment after its command, and after the server: the next look would find it.
            wait_for("its sessions have ended", lambda: not ended(daemon.pid), 10)
            daemon.terminate()


def ended(parent):
    """Kills the children of a process; says which there still were."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            with open(f"/proc/{name}/stat") as file:
                if int(file.read().rsplit(")", 1)[1].split()[1]) == parent:
                    found.append(int(name))
                    os.kill(int(name), 9)
    return found


def another_server_of_logins_leaves_it_open(node):
    """Its settings are not read, so nothing is said of them: here only its name is that of one."""
    program = node.path("dropbear")
    shutil.copy("/usr/bin/sleep", program)
    check("in order" in lines(probe(node), "other logins"), "such a server runs on this host")
    with subprocess.Popen([program, "600"]) as other:
        try:
            row = probe(node)
            check(f"not known: process {other.pid} (dropbear)" in lines(row, "other logins"), row)
            check(row["status"] != "pass", row)
        finally:
            other.kill()


def root_over_ssh_is_found(node):
    with server(node.path(), "PermitRootLogin yes\n") as login, login("root", "echo $$; exec sleep 600") as session:
        pid = session.stdout.readline().strip()
        try:
            row = probe(node)
            told = lines(row, "processes")
            check(row["status"] == "fail" and f"process {pid} (sleep) has root's rights below process" in told, f"{pid} {row}")
            check("(sshd), a network session" in told, told)
            check(f"make line 9 of {node.path('sshd_config')} `PermitRootLogin no`" in lines(row, "sshd"), row)
        finally:
            os.kill(int(pid), 9)
            session.kill()


def another_user_over_ssh_is_in_order(node):
    """The control: the same server, the same session, another user, and root refused."""
    with server(node.path(), "PermitRootLogin no\n") as login, login("visitor", "echo $$; exec sleep 600") as session:
        pid = session.stdout.readline().strip()
        try:
            row = probe(node)
            check(pid.isdigit() and f"process {pid} " not in lines(row, "processes"), row)
            check("(sshd), a network session" not in lines(row, "processes"), row)
            check("PermitRootLogin no" in lines(row, "sshd") and "in order" in lines(row, "sshd"), row)
            with login("root", "true") as refused:
                check(refused.wait(30) == 255, "root was let in")
        finally:
            os.kill(int(pid), 9)
            session.kill()


def what_is_not_in_the_list_is_refused(node):
    """AC-2 is not claimed while nobody knows which human asks; what was seen of it is told."""
    row = probe(node, "AC-2")
    with open("/proc/self/loginuid") as file:
        nobody = file.read().strip() == str(2**32 - 1)
    check(row["status"] == "unknown" and "pam_loginuid" in row["reason"] if nobody else row["status"] == "pass", row)
    told = "\n".join(row["evidence"])
    connection = UnixHttp(node.ready["socket"])
    connection.request("POST", "/v1/exec", "{}", {"Content-Type": "application/json"})
    check(connection.getresponse().status == 404, "the operator may exec")
    check("`POST /v1/exec`: 401" in told and "no such operation" in told and "without a receipt" in told and "positive control" in told, told)


TESTS = [
    without_sshd_that_part_is_in_order,
    the_nodes_own_processes_hold_no_network_socket,
    a_root_login_is_found_and_its_line_named,
    a_match_that_opens_root_again_is_found,
    what_cannot_be_read_never_passes,
    an_engines_socket_for_others_is_found,
    a_listener_of_root_is_found,
    root_below_a_connection_is_found,
    another_server_of_logins_leaves_it_open,
    root_over_ssh_is_found,
    another_user_over_ssh_is_in_order,
    what_is_not_in_the_list_is_refused,
]

if __name__ == "__main__":
    needs_root()
    copy = namespace()
    try:
        with detached() as result:
            counts = 0, 1
            try:
                with Node() as node:
                    counts = run_tests(TESTS, node)
            finally:
                result.write("0" if counts[0] and not counts[1] else "1")
                print(f"{counts[0]} passed, {counts[1]} failed", flush=True)
        os._exit(0)
    finally:
        subprocess.run(["umount", "/etc"], check=False)
        shutil.rmtree(copy, ignore_errors=True)
