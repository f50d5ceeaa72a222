"""Looks for a marker in memory, files, processes and network, from wherever it runs.

The marker is `srm-` and 32 hex characters. Only its SHA-256 is known here, so this program never holds the marker
itself unless it found it. Inside a sandbox it tries everything that an ordinary process can; with `--outside` it runs
as root beside the sandboxes and does the same from there, which shows that the search finds what there is to find.
The last line of its output is `search: ` and a JSON object: what was found in each place, and how much was looked at.
"""

import argparse
import ctypes
import errno
import glob
import hashlib
import json
import mmap
import os
import re
import socket
import sys
import time

MARKER = re.compile(rb"srm-[0-9a-f]{32}")
PIECE = 1 << 20
OVERLAP = 64
FILE_LIMIT = 64 << 20
FRESH = 256 << 20
CLONE_NEWNET = 0x40000000


class Search:
    def __init__(self, digest, seconds):
        self.digest = digest
        self.ends = time.monotonic() + seconds
        self.found = {"memory": [], "files": [], "processes": [], "network": []}
        self.seen = dict.fromkeys(self.found, 0)
        self.refused = {}

    def late(self):
        return time.monotonic() > self.ends

    def note(self, place, error):
        name = errno.errorcode.get(getattr(error, "errno", 0) or 0, type(error).__name__)
        key = f"{place}: {name}"
        self.refused[key] = self.refused.get(key, 0) + 1

    def look(self, place, where, data):
        self.seen[place] += len(data)
        for match in MARKER.finditer(data):
            if hashlib.sha256(match.group()).hexdigest() == self.digest:
                if where not in self.found[place] and len(self.found[place]) < 20:
                    self.found[place].append(where)
                return True
        return False

    def file(self, place, path, limit=FILE_LIMIT):
        try:
            with open(path, "rb", buffering=0) as source:
                tail, total = b"", 0
                while total < limit and not self.late():
                    piece = source.read(PIECE)
                    if not piece or self.look(place, path, tail + piece):
                        return
                    tail, total = piece[-OVERLAP:], total + len(piece)
        except OSError as error:
            self.note(place, error)

    def tree(self, place, root, seconds):
        ends = min(self.ends, time.monotonic() + seconds)
        for directory, names, files in os.walk(root, followlinks=False):
            names[:] = [n for n in names if os.path.join(directory, n) not in ("/proc", "/sys")]
            for name in files:
                path = os.path.join(directory, name)
                if time.monotonic() > ends:
                    return
                if os.path.isfile(path) and not os.path.islink(path):
                    self.file(place, path, 16 << 20)


def processes():
    return sorted(int(name) for name in os.listdir("/proc") if name.isdigit())


def search_memory(search, pids):
    """Every readable mapping of every process that there is."""
    for pid in pids:
        try:
            with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as mem:
                for line in maps:
                    span, rights = line.split()[:2]
                    if "r" not in rights or "[v" in line or search.late():
                        continue
                    start, end = (int(part, 16) for part in span.split("-"))
                    tail = b""
                    while start < end and not search.late():
                        try:
                            mem.seek(start)
                            piece = mem.read(min(PIECE, end - start))
                        except (OSError, ValueError, OverflowError):
                            break
                        if not piece or search.look("memory", f"/proc/{pid}/mem", tail + piece):
                            break
                        tail, start = piece[-OVERLAP:], start + len(piece)
        except OSError as error:
            search.note("memory", error)


def search_fresh_pages(search):
    """Pages that the kernel hands out: what others freed must not be in them."""
    try:
        with mmap.mmap(-1, FRESH) as pages:
            for start in range(0, FRESH, PIECE):
                search.look("memory", "fresh pages", pages[start : start + PIECE])
    except OSError as error:
        search.note("memory", error)


def search_machine(search):
    """Memory of the machine, and what processes share by name."""
    search_fresh_pages(search)
    for path in ("/dev/mem", "/dev/kmem", "/proc/kcore", "/proc/sysvipc/shm", "/proc/keys"):
        search.file("memory", path, 1 << 20)
    search.tree("memory", "/dev/shm", 5)


def search_processes(search, pids):
    """Command lines and environments, and whether unseen process ids answer a signal."""
    for pid in pids:
        for name in ("cmdline", "environ", "comm"):
            search.file("processes", f"/proc/{pid}/{name}")
    for pid in range(2, 5000):
        if pid in pids or pid == os.getpid():
            continue
        try:
            os.kill(pid, 0)
            search.found["processes"].append(f"process {pid} answers and is not listed")
        except ProcessLookupError:
            search.seen["processes"] += 1
        except OSError as error:
            search.note("processes", error)


def search_files_inside(search, pids):
    """All that is mounted, other processes' roots, and the places where a node keeps its state."""
    for path in glob.glob("/tmp/strongroom*") + ["/var/lib/strongroom", "/etc/strongroom", "/root", "/home", "/run"]:
        search.tree("files", path, 5)
    for pid in pids:
        for name in ("root", "cwd"):
            path = f"/proc/{pid}/{name}"
            try:
                for entry in os.listdir(path):
                    if entry not in ("proc", "sys", "usr", "lib", "lib64", "bin", "sbin", "dev"):
                        search.tree("files", os.path.join(path, entry), 3)
            except OSError as error:
                search.note("files", error)
        for path in glob.glob(f"/proc/{pid}/fd/*"):
            if os.path.isfile(path):
                search.file("files", path)
    for entry in sorted(os.listdir("/"), key=lambda name: name == "usr"):
        if entry not in ("proc", "sys"):
            search.tree("files", "/" + entry, 10)


def search_files_outside(search, pids):
    """What the sandboxes have mounted, seen from outside."""
    for pid in pids:
        for place in ("opt/ml", "tmp", "dev/shm"):
            search.tree("files", f"/proc/{pid}/root/{place}", 10)


def listeners():
    ports, names = set(), set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as lines:
                for line in list(lines)[1:]:
                    fields = line.split()
                    if fields[3] == "0A":
                        ports.add(int(fields[1].split(":")[1], 16))
        except OSError:
            pass
    try:
        with open("/proc/net/unix") as lines:
            for line in list(lines)[1:]:
                fields = line.split()
                if len(fields) > 7 and fields[7].startswith("@"):
                    names.add(fields[7])
    except OSError:
        pass
    return ports, names


def ask(search, family, address, where):
    try:
        with socket.socket(family, socket.SOCK_STREAM) as client:
            client.settimeout(0.3)
            client.connect(address)
            search.look("network", where, client.recv(4096))
    except OSError as error:
        search.note("network", error)


def search_network(search, every_port):
    """Listeners in this network namespace, every loopback port, the outside, and abstract sockets."""
    ports, names = listeners()
    for name in sorted(names) + ["@acme"]:
        ask(search, socket.AF_UNIX, "\0" + name[1:], f"abstract socket {name}")
    for port in sorted(ports):
        ask(search, socket.AF_INET, ("127.0.0.1", port), f"127.0.0.1:{port}")
    if every_port:
        ends = time.monotonic() + 10
        for port in range(1, 65536):
            if time.monotonic() > ends:
                break
            ask(search, socket.AF_INET, ("127.0.0.1", port), f"127.0.0.1:{port}")
        for address in ("10.0.0.1", "172.17.0.1", "192.168.0.1", "169.254.169.254", "8.8.8.8", "1.1.1.1"):
            ask(search, socket.AF_INET, (address, 53), f"{address}:53")
        try:
            ask(search, socket.AF_INET, (socket.gethostbyname("example.org"), 80), "a name outside")
        except OSError as error:
            search.note("network", error)


def search_network_outside(search, pids):
    """The same from within each network namespace, which root may enter."""
    libc = ctypes.CDLL(None, use_errno=True)
    known = set()
    for pid in pids:
        try:
            space = os.readlink(f"/proc/{pid}/ns/net")
            if space in known:
                continue
            known.add(space)
            read, write = os.pipe()
            child = os.fork()
            if child == 0:
                try:
                    inner = Search(search.digest, 10)
                    with open(f"/proc/{pid}/ns/net", "rb") as namespace:
                        if libc.setns(namespace.fileno(), CLONE_NEWNET) == 0:
                            search_network(inner, every_port=False)
                    found = [f"{space} {where}" for where in inner.found["network"]]
                    os.write(write, json.dumps([found, inner.seen["network"]]).encode())
                finally:
                    os._exit(0)
            os.close(write)
            with os.fdopen(read) as answer:
                found, seen = json.load(answer)
            os.waitpid(child, 0)
            search.found["network"] += found
            search.seen["network"] += seen
        except (OSError, ValueError) as error:
            search.note("network", error)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--digest", default=json.loads(os.environ.get("SM_HPS", "{}")).get("digest"))
    parser.add_argument("--outside", action="store_true", help="as root, beside the sandboxes")
    parser.add_argument("--pids", default="", help="with --outside: which processes, comma-separated")
    parser.add_argument("--seconds", type=float, default=75)
    args = parser.parse_args()
    search = Search(args.digest, args.seconds)
    if args.outside:
        pids = [int(pid) for pid in args.pids.split(",") if pid]
        search_memory(search, pids)
        for pid in pids:
            for name in ("cmdline", "environ"):
                search.file("processes", f"/proc/{pid}/{name}")
        search_files_outside(search, pids)
        search_network_outside(search, pids)
    else:
        pids = processes()
        search_processes(search, pids)
        search_memory(search, pids)
        search_machine(search)
        search_network(search, every_port=True)
        search_files_inside(search, pids)
    result = {"found": search.found, "seen": search.seen, "processes": len(pids), "refused": search.refused}
    model = os.environ.get("SM_MODEL_DIR")
    if model and not args.outside:
        with open(os.path.join(model, "findings.json"), "w") as out:
            json.dump(result, out)
    print("search: " + json.dumps(result), flush=True)


if __name__ == "__main__":
    sys.exit(main())
