"""Processes as the kernel shows them: nothing here asks the product. Standard library only; needs root."""

import os
import re

LOCAL = ("UNIX", "UNIX-STREAM", "NETLINK")
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def read(path):
    with open(path, "rb") as file:
        return file.read().decode(errors="replace")


class Process:
    """One process at one moment: ids, capability sets, flags, descriptors."""

    def __init__(self, pid):
        self.pid = pid
        stat = read(f"/proc/{pid}/stat")
        self.name = stat[stat.index("(") + 1 : stat.rindex(")")]
        self.parent = int(stat.rsplit(")", 1)[1].split()[1])
        self.command = read(f"/proc/{pid}/cmdline").split("\0")
        fields = dict(line.split(":\t", 1) for line in read(f"/proc/{pid}/status").splitlines() if ":\t" in line)
        self.uids = [int(n) for n in fields["Uid"].split()]
        self.gids = [int(n) for n in fields["Gid"].split()]
        self.groups = [int(n) for n in fields["Groups"].split()]
        self.sets = {name: int(fields[name], 16) for name in SETS}
        self.no_new_privileges = fields["NoNewPrivs"] == "1"
        self.seccomp = int(fields["Seccomp"])
        self.files = list(descriptors(pid))

    def __repr__(self):
        return f"{self.pid} ({' '.join(self.command[:2]) or self.name})"

    def privileged(self):
        """Root by any id, or any capability that is or can be put in force."""
        return 0 in self.uids + self.gids or any(self.sets[name] for name in SETS if name != "CapBnd")

    def network(self):
        """Sockets that are neither unix nor netlink, bound or not."""
        return [f for f in self.files if f.protocol is not None and f.protocol not in LOCAL]


class File:
    """An open descriptor: where it leads, how it was opened, and of a socket the kernel's name of its protocol."""

    def __init__(self, pid, number):
        path = f"/proc/{pid}/fd/{number}"
        self.number, self.target = number, os.readlink(path)
        self.writable = os.stat(path, follow_symlinks=False).st_mode & 0o200 != 0
        self.inode, self.protocol = None, None
        found = re.fullmatch(r"socket:\[(\d+)\]", self.target)
        if found:
            self.inode = int(found[1])
            self.protocol = os.getxattr(path, "system.sockprotoname").rstrip(b"\0").decode()

    def __repr__(self):
        return f"{self.number}: {self.target} {self.protocol or ''}{' for writing' if self.writable else ''}"


def descriptors(pid):
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            yield File(pid, number)
        except FileNotFoundError:
            pass


def below(root):
    """The process and all that descend from it."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(read(f"/proc/{name}/stat").rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass
    kept = {}
    for pid in parents:
        seen, at = set(), pid
        while at in parents and at not in seen and at != root:
            seen.add(at)
            at = parents[at]
        if at == root:
            kept[pid] = Process(pid)
    return kept


def listening(process):
    """Inodes of TCP sockets that listen and UDP sockets that are bound, in the network of the process."""
    inodes = set()
    for table, states in (("tcp", ("0A",)), ("tcp6", ("0A",)), ("udp", ("07", "01")), ("udp6", ("07", "01"))):
        for line in read(f"/proc/{process.pid}/net/{table}").splitlines()[1:]:
            fields = line.split()
            if fields[3] in states:
                inodes.add(int(fields[9]))
    return [f for f in process.network() if f.inode in inodes]


def unix_listeners(process):
    """Names of the unix sockets on which it listens; an abstract one begins with `@`, one without a name is empty."""
    names = {}
    # In its own network and in this one: a socket stays in that in which it was made, whoever was given it.
    for pid in (process.pid, os.getpid()):
        for line in read(f"/proc/{pid}/net/unix").splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if int(fields[3], 16) & 0x10000:
                names[int(fields[6])] = fields[7] if len(fields) > 7 else ""
    return [names[f.inode] for f in process.files if f.inode in names]


def as_user(uid, gid, groups, work):
    """What `work` returns in a child of these ids without capabilities, as text; an exception is its name."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            said = str(work())
        except BaseException as error:  # noqa: BLE001 - told to the parent
            said = type(error).__name__
        os.write(writer, said.encode()[:60000])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    return said
