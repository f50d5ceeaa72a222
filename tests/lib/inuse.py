"""Models in use, from outside: the process that answers, and its mount, changed by root of the host. Needs root."""

import ctypes
import glob
import os

MS_REMOUNT = 32
MODEL = "/opt/ml/model/model.onnx"
READ_ONLY, NOT_REMOUNTED = 7, 5  # exit statuses


def lineage(pid):
    """Command lines of the process and those above it."""
    found = b""
    while pid > 1:
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                found += file.read() + b"\n"
            with open(f"/proc/{pid}/stat") as file:
                pid = int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
    return found


def runtime(state, name):
    """The process that answers for the endpoint of this name, of the node in this state directory."""
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        pid = int(path.split("/")[2])
        try:
            with open(path, "rb") as file:
                command = file.read().split(b"\0")
        except OSError:
            continue
        is_runtime = command[:3] == [b"/run/program", b"serve", b"--model"] and name.encode() in command
        if is_runtime and state.encode() in lineage(pid):
            return pid
    return None


def in_mounts_of(pid, act):
    """Runs `act` in a child in the mount namespace of a process, as root; its exit status."""
    libc = ctypes.CDLL(None, use_errno=True)
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
    child = os.fork()
    if child == 0:
        status = 3
        try:
            if libc.setns(namespace, 0) == 0:
                os.chdir("/")
                status = act(libc)
        finally:
            os._exit(status)
    os.close(namespace)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def flip(path):
    with open(path, "r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))


def as_it_is(_):
    try:
        flip(MODEL)
    except OSError as error:
        return READ_ONLY if error.errno == 30 else 4
    return 0


def by_force(libc):
    """What takes root of the host: the file system made writable again, and one bit changed."""
    if libc.mount(None, os.path.dirname(MODEL).encode(), None, MS_REMOUNT, None) != 0:
        return NOT_REMOUNTED
    flip(MODEL)
    return 0
