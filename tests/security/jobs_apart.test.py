#!/usr/bin/python3
"""A job of one tenant that searches memory, files, processes and network finds nothing of the running job of another.

The same search outside, as root, finds it in all four: so there is something to find.
"""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import ENDED, ROOT, Node, check, close, needs_root, run_tests, wait_for  # noqa: E402

PLACES = ("memory", "files", "processes", "network")


def findings(text):
    lines = [line for line in text.splitlines() if "search: {" in line]
    check(lines, f"no findings in: {text[-600:]}")
    return json.loads(lines[-1].split("search: ", 1)[1])


def parts(path):
    with open(path) as file:
        return file.read()


class Beside:
    """Acme's job holds a marker wherever a job can hold something; globex's searches beside it for its digest."""

    def __init__(self, node):
        self.node = node
        self.marker = "srm-" + os.urandom(16).hex()
        self.digest = hashlib.sha256(self.marker.encode()).hexdigest()
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        work.write(node.path("secret", "marker.txt"), self.marker.encode())
        node.ok("dataset", "import", "secret", node.path("secret"), "--tenant", "acme")
        self.victim = node.submit(self.prepared("victim"))
        self.pids = wait_for("the victim runs", lambda: node.workload("hold.py"), 30)
        wait_for("the victim holds it", lambda: node.checkpoints(self.victim), 30)
        self.hostile = node.submit(self.prepared("hostile"), "globex")

    def prepared(self, name):
        target = self.node.path(name)
        shutil.copytree(os.path.join(ROOT, "scripts", name), target, ignore=shutil.ignore_patterns("__pycache__"))
        path = os.path.join(target, "job.toml")
        text = parts(path).replace("MARKER", self.marker).replace("DIGEST", self.digest)
        with open(path, "w") as file:
            file.write(text)
        return target


def inside_there_is_nothing(beside):
    record = beside.node.wait_job(beside.hostile, until=ENDED, tenant="globex", seconds=150)
    found = findings(record["output_tail"])
    check(not any(found["found"].values()), f"the hostile job found {found['found']}")
    check(all(found["seen"][place] for place in ("memory", "files", "processes")), f"it searched nothing: {found}")
    check(beside.node.job(beside.victim)["state"] == "running", "the victim did not run beside it, so nothing is shown")
    check(found["refused"], "the kernel refused it nothing")
    beside.inside = found


def outside_it_is_everywhere(beside):
    pids = beside.node.workload("hold.py")
    check(set(pids) & set(beside.pids), "the victim's process is another one now")
    search = os.path.join(ROOT, "scripts", "hostile", "search.py")
    done = subprocess.run(
        ["/usr/bin/python3", search, "--outside", "--digest", beside.digest, "--pids", ",".join(map(str, pids))],
        capture_output=True, text=True, timeout=150, check=False,
    )
    found = findings(done.stdout + done.stderr)
    missing = [place for place in PLACES if not found["found"].get(place)]
    check(not missing, f"the search outside does not find it in {missing}: {found['refused']}")


def no_plaintext_is_on_the_disk(beside):
    hits = []
    for path in glob.glob(os.path.join(beside.node.state, "**"), recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as file:
                if beside.marker.encode() in file.read():
                    hits.append(os.path.relpath(path, beside.node.state))
    # The job's own words stand in the log that the operator reads; data, checkpoints and models do not.
    raw = [path for path in hits if path.split("/")[0] not in ("log", "logs")]
    check(not raw, f"the marker lies unsealed in {raw}")


def the_victim_was_not_disturbed(beside):
    record = beside.node.job(beside.victim)
    check(len(record["segments"]) == 1, record["segments"])
    beside.node.ok("job", "stop", beside.victim, "--tenant", "acme")
    beside.node.wait_job(beside.victim, until=("stopped", "finished"), seconds=30)
    beside.node.log_verifies()


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        beside = Beside(node)
        counts = run_tests(
            [
                inside_there_is_nothing,
                outside_it_is_everywhere,
                no_plaintext_is_on_the_disk,
                the_victim_was_not_disturbed,
            ],
            beside,
        )
    close(*counts)
