#!/usr/bin/python3
"""Releases of the platform: made and signed offline, staged, activated, taken back by themselves when they do not come up,
and killed in every state. On a node in service; what must not be is tried with real files and real keys.

The programs of a release here are those of this build with some bytes behind their end, which no program reads.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from inservice import USERS, InService  # noqa: E402
from node import PROGRAM, PROGRAMS, Node, check, close, needs_root, run_tests, wait_for  # noqa: E402
from procs import as_user  # noqa: E402

NAMES = ("strongroom", "strongroom-keeper", "strongroom-porter", "strongroom-runtime")
REASON = "ticket 4711"
# Ends at once, as a program does that was built for another machine.
BROKEN = b"#!/bin/false\n"


class Signers:
    """Three keys of people who are not on the node; two must sign."""

    def __init__(self, directory):
        self.directory, self.files, self.keys = directory, [], []
        os.makedirs(directory)
        for name in ("ann", "ben", "cem", "eve"):
            file = os.path.join(directory, name + ".pem")
            subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", file], check=True, capture_output=True)
            self.files.append(file)
            self.keys.append(offline("release", "key", "--private-key", file)["key"])

    def config(self):
        keys = ", ".join(f'"{key}"' for key in self.keys[:3])
        return f"[release]\nkeys = [{keys}]\nthreshold = 2\n"

    def release(self, version, floor="0.0.0", by=(0, 1), broken=(), name=None):
        """A directory with a release."""
        where = os.path.join(self.directory, name or version)
        shutil.rmtree(where, ignore_errors=True)
        os.makedirs(where)
        for program in NAMES:
            with open(os.path.join(where, program), "wb") as file:
                if program in broken:
                    file.write(BROKEN)
                else:
                    with open(os.path.join(PROGRAMS, program), "rb") as built:
                        shutil.copyfileobj(built, file)
                file.write(f"\n{version}".encode())
        offline("release", "make", where, "--version", version, "--floor", floor)
        for n in by:
            offline("release", "sign", where, "--private-key", self.files[n])
        return where

    def verify(self, where):
        keys = [word for key in self.keys[:3] for word in ("--key", key)]
        return subprocess.run(
            [PROGRAM, "-o", "json", "release", "verify", where, *keys, "--threshold", "2"], capture_output=True, text=True, check=False
        )


def offline(*words):
    """A command without a node."""
    env = {"PATH": "/usr/bin", "HOME": "/nonexistent"}
    done = subprocess.run([PROGRAM, "-o", "json", *words], capture_output=True, text=True, check=False, env=env)
    check(done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def active(node):
    found = node.ok("release", "list")
    return found["current"], found["pending"]


def running(node):
    """The digest of the keeper's program that runs."""
    return {p["program"]: p["digest"] for p in node.ok("node", "diagnostics")["programs"]}["strongroom-keeper"]


def digest(where, program="strongroom-keeper"):
    with open(os.path.join(where, program), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def below(node):
    """What lies in the directory of releases."""
    folder = os.path.join(node.state, "releases")
    return sorted(os.listdir(folder))


def a_node_for_development_takes_none(node, signers):
    good = signers.release("1.0.0")
    with Node() as dev:
        dev.refused("release", "stage", good, code=7, says=["SR-REL-0009", "development"])
        dev.refused("release", "activate", "1.0.0", "--reason", REASON, code=7, says="SR-REL-0009")
        dev.refused("release", "back", "--reason", REASON, code=7, says="SR-REL-0009")
        check(not os.path.exists(os.path.join(dev.state, "releases")), "something is left behind")


def what_is_wrong_is_refused_and_leaves_nothing(node, signers):
    """By the offline check and by the node alike; `sneaked` goes around the check of the command line."""
    before = below(node)
    for name, code, change in (
        ("few", "SR-REL-0003", lambda w: None),
        ("stranger", "SR-REL-0003", lambda w: offline("release", "sign", w, "--private-key", signers.files[3])),
        ("twice", "SR-REL-0004", lambda w: repeat(os.path.join(w, "release.sig"))),
        ("swapped", "SR-REL-0005", lambda w: os.rename(os.path.join(w, "strongroom-porter"), os.path.join(w, "strongroom-runtime")) or shutil.copy(os.path.join(PROGRAMS, "strongroom-porter"), w)),
        ("longer", "SR-REL-0005", lambda w: append(os.path.join(w, "strongroom"), b"x")),
        ("shorter", "SR-REL-0005", lambda w: os.truncate(os.path.join(w, "strongroom"), 100)),
        ("changed", "SR-REL-0002", lambda w: edit(os.path.join(w, "release.txt"), "floor 0.0.0", "floor 0.0.1")),
        ("tricked", "SR-REL-0001", lambda w: edit(os.path.join(w, "release.txt"), "strongroom-keeper", "../../../../../x")),
        ("forged", "SR-REL-0002", lambda w: flip_hex(os.path.join(w, "release.sig"))),
        ("extra", "SR-REL-0012", lambda w: append(os.path.join(w, "extra"), b"x")),
        ("missing", "SR-REL-0012", lambda w: os.remove(os.path.join(w, "strongroom-runtime"))),
        ("linked", "SR-REL-0012", lambda w: os.remove(os.path.join(w, "strongroom")) or os.symlink(PROGRAM, os.path.join(w, "strongroom"))),
    ):
        where = signers.release("1.0.0", by=(0,) if name in ("few", "stranger", "twice") else (0, 1), name=name)
        change(where)
        done = signers.verify(where)
        check(done.returncode == 3 and code in done.stderr, f"{name}: {done.returncode} {done.stderr}")
        node.refused("release", "stage", where, code=3, says=code)
        # What is extra would not be sent, and a link is followed by who sends.
        if code not in ("SR-REL-0002", "SR-REL-0003", "SR-REL-0004") and name not in ("extra", "linked"):
            wanted = {"tricked": "SR-REL-0002", "missing": "SR-REL-0001"}.get(name, code)
            said = sneaked(node, where)
            check(wanted in said, f"{name} was sneaked in: {said}")
        check(below(node) == before, f"{name} left something behind: {below(node)}")
    check(node.ok("release", "list")["items"] == [], "something was staged")
    orders = [str(e) for e in node.events("--kind", "warden.order") if "stage_release" in str(e)]
    check(any("SR-REL-0005" in e for e in orders) and any("SR-REL-0002" in e for e in orders), "the warden told nothing of it")


def sneaked(node, where):
    """Uploads what is there as a client of another make would, and asks for it to be staged."""
    def ask(method, path, data=None, kind="application/octet-stream"):
        words = ["curl", "-sS", "--unix-socket", os.path.join(node.state, "run", "control.sock"), "-X", method, f"http://localhost/v1{path}", "-H", f"Content-Type: {kind}"]
        return subprocess.run([*words, "--data-binary", data] if data else words, capture_output=True, text=True, check=True).stdout

    for name in NAMES:
        if os.path.exists(os.path.join(where, name)):
            ask("PUT", f"/release/files/{name}", "@" + os.path.join(where, name))
    for name in ("..%2f..%2fx", "strongroom-warden", "release.txt"):
        check('"status":404' in ask("PUT", f"/release/files/{name}", "x"), f"{name} was taken")
    body = os.path.join(where, "body.json")
    with open(os.path.join(where, "release.txt")) as manifest, open(os.path.join(where, "release.sig")) as signatures:
        text = json.dumps({"manifest": manifest.read(), "signatures": signatures.read()})
    with open(body, "w") as file:
        file.write(text)
    return ask("POST", "/releases", "@" + body, "application/json")


def repeat(path):
    with open(path) as file:
        line = file.readline()
    append(path, line.encode())


def append(path, data):
    with open(path, "ab") as file:
        file.write(data)


def edit(path, old, new):
    with open(path) as file:
        text = file.read()
    check(old in text, f"{path} lacks {old}")
    with open(path, "w") as file:
        file.write(text.replace(old, new))


def flip_hex(path):
    with open(path) as file:
        lines = file.read().splitlines()
    last = "0" if lines[0][-1] != "0" else "1"
    with open(path, "w") as file:
        file.write("\n".join([lines[0][:-1] + last, *lines[1:]]) + "\n")


def what_is_staged_changes_nothing(node, signers):
    installed = running(node)
    pids = {name: pid for name, pid in service_pids(node).items()}
    found = node.ok("release", "stage", signers.release("1.0.0"))
    check([(r["version"], r["state"]) for r in found["items"]] == [("1.0.0", "staged")], found)
    check(node.ok("release", "stage", signers.release("1.0.0"))["items"] == found["items"], "staged again it is another")
    node.refused("release", "stage", signers.release("1.0.0", floor="0.9.0"), code=7, says="SR-REL-0008")
    check(running(node) == installed and service_pids(node) == pids and active(node) == (None, None), "something changed")
    folder = os.path.join(node.state, "releases", "1.0.0")
    for path in (os.path.dirname(folder), folder, *(os.path.join(folder, n) for n in os.listdir(folder))):
        seen = os.stat(path)
        check(seen.st_uid == 0 and not seen.st_mode & 0o022, f"others may write {path}: {seen}")
    for uid in (*USERS.values(), 65534):
        said = as_user(uid, uid, [], lambda: os.open(os.path.join(folder, "strongroom"), os.O_WRONLY))
        check(said == "PermissionError", f"{uid}: {said}")
        said = as_user(uid, uid, [], lambda: os.open(os.path.join(folder, "new"), os.O_CREAT | os.O_WRONLY))
        check(said == "PermissionError", f"{uid}: {said}")


def service_pids(node):
    return {p["process"]: p["pid"] for p in node.ok("node", "diagnostics")["processes"]}


def it_is_not_activated_under_running_jobs(node, signers):
    node.ok("tenant", "create", "acme")
    node.submit(work.counting(node.path("long"), name="long", steps=100_000, word="long-job"))
    wait_for("the job runs", lambda: node.workload("long-job"))
    wait_for("a checkpoint", lambda: node.checkpoints("long"))
    node.refused("release", "activate", "1.0.0", "--reason", REASON, code=7, says=["SR-WRD-0021", "--stop-jobs"])
    check(node.workload("long-job") and active(node) == (None, None), "the job or the release")


def an_activated_release_runs_and_work_goes_on(node, signers):
    found = node.ok("release", "activate", "1.0.0", "--stop-jobs", "--reason", REASON)
    check((found["current"], found["pending"], found["returned"]) == ("1.0.0", None, None), found)
    check(running(node) == digest(os.path.join(signers.directory, "1.0.0")), "other programs run than those of the release")
    # By /proc as well: what the keeper executes lies in the release.
    keeper = service_pids_on_host(node)["strongroom-keeper"]
    check(os.readlink(f"/proc/{keeper}/exe").startswith(os.path.join(node.state, "releases", "1.0.0")), os.readlink(f"/proc/{keeper}/exe"))
    wait_for("the job goes on", lambda: node.workload("long-job"), 60)
    events = node.events("--kind", "release.activate")
    check(any(REASON in str(e) for e in events) and any("it has come up" in str(e) for e in events), events)
    node.log_verifies()


def service_pids_on_host(node):
    found = {}
    for pid in (p for p in os.listdir("/proc") if p.isdigit()):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if node.config.encode() in words and words[0] == b"strongroom-keeper":
            found["strongroom-keeper"] = int(pid)
    return found


def it_is_still_active_after_a_restart(node, signers):
    node.stop()
    node.start()
    check(active(node) == ("1.0.0", None), active(node))
    check(running(node) == digest(os.path.join(signers.directory, "1.0.0")), "after a restart other programs run")


def one_that_does_not_come_up_goes_back_by_itself(node, signers):
    for n, program in enumerate(("strongroom-keeper", "strongroom")):
        version = f"1.1.{n}"
        # Its floor must not count either: it never was active.
        node.ok("release", "stage", signers.release(version, floor=version, broken=(program,)))
        node.refused("release", "activate", version, "--stop-jobs", "--reason", REASON, code=3, says=["SR-REL-0013", version])
        found = node.ok("release", "list")
        check((found["current"], found["pending"], found["returned"], found["floor"]) == ("1.0.0", None, version, "0.0.0"), found)
        check(running(node) == digest(os.path.join(signers.directory, "1.0.0")), f"with {program} broken other programs run")
        events = node.events("--kind", "release.return", until=lambda f, v=version: any(v in str(e) for e in f))
        check(any(version in str(e) for e in events), events)
        node.log_verifies()


def back_and_the_floor(node, signers):
    node.ok("release", "stage", signers.release("1.2.0"))
    node.ok("release", "stage", signers.release("2.0.0", floor="1.2.0"))
    found = node.ok("release", "activate", "1.2.0", "--stop-jobs", "--reason", REASON)
    check((found["current"], found["before"]) == ("1.2.0", "1.0.0"), found)
    found = node.ok("release", "back", "--stop-jobs", "--reason", REASON)
    check((found["current"], found["before"]) == ("1.0.0", None), found)
    check(running(node) == digest(os.path.join(signers.directory, "1.0.0")), "other programs run")
    node.ok("release", "activate", "1.2.0", "--stop-jobs", "--reason", REASON)
    node.ok("release", "activate", "2.0.0", "--stop-jobs", "--reason", REASON)
    node.refused("release", "activate", "1.0.0", "--stop-jobs", "--reason", REASON, code=3, says="SR-REL-0006")
    node.refused("release", "stage", signers.release("1.1.9"), code=3, says="SR-REL-0006")
    node.refused("release", "activate", "9.9.9", "--reason", REASON, code=3, says="SR-REL-0007")
    check(active(node) == ("2.0.0", None), active(node))


def a_node_that_is_killed_has_one_release_or_the_other(node, signers):
    """SIGKILL to the whole node at a moment of a stage, then of an activation; and a start each time."""
    chance = random.Random(4711)
    known = {digest(os.path.join(signers.directory, v)): v for v in ("1.2.0", "2.0.0")}
    for n in range(4):
        where = signers.release(f"2.1.{n}")
        stage = subprocess.Popen([PROGRAM, "release", "stage", where], env=node.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(chance.uniform(0, 0.5))
        node.kill_all()
        stage.wait()
        node.start()
        check(active(node) == ("2.0.0", None), active(node))
        items = {r["version"] for r in node.ok("release", "list")["items"]}
        left = {name for name in below(node) if name not in items and name != "state"}
        check(not left, f"half of something is left: {left}")
        node.ok("release", "stage", where)
        shutil.rmtree(where)
    for n in range(4):
        target = "1.2.0" if active(node)[0] == "2.0.0" else "2.0.0"
        order = subprocess.Popen(
            [PROGRAM, "release", "activate", target, "--stop-jobs", "--reason", REASON], env=node.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0, 1.5))
        node.kill_all()
        order.kill()
        order.wait()
        node.start()
        current, pending = active(node)
        check(pending is None and current in known.values(), (current, pending))
        check(known.get(running(node)) == current, f"{current} is said to be active, and {running(node)} runs")
        node.log_verifies()


if __name__ == "__main__":
    needs_root()
    import tempfile

    with tempfile.TemporaryDirectory(prefix="strongroom-signers-") as folder:
        signers = Signers(os.path.join(folder, "releases"))
        with InService(signers.config()) as node:
            counts = run_tests(
                [
                    a_node_for_development_takes_none,
                    what_is_wrong_is_refused_and_leaves_nothing,
                    what_is_staged_changes_nothing,
                    it_is_not_activated_under_running_jobs,
                    an_activated_release_runs_and_work_goes_on,
                    it_is_still_active_after_a_restart,
                    one_that_does_not_come_up_goes_back_by_itself,
                    back_and_the_floor,
                    a_node_that_is_killed_has_one_release_or_the_other,
                ],
                node,
                signers,
            )
    close(*counts)
