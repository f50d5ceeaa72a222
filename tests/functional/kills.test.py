#!/usr/bin/python3
"""SIGKILL of each process of the node, and of all of it, in the middle of an import, of training and of serving.

After each: what was acknowledged is there, nothing half-done is, the job goes on by itself, the endpoint serves, the log
verifies.
"""

import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import PROGRAM, Node, check, close, run_tests, wait_for  # noqa: E402

STEPS, EVERY, PAUSE = 600, 5, 0.05


def expected(steps):
    """The final numbers of an undisturbed count, computed here."""
    mask, state = (1 << 64) - 1, list(range(64))
    for step in range(steps):
        state = [(x * 6364136223846793005 + 1442695040888963407 + step + i) & mask for i, x in enumerate(state)]
    return state


class Under:
    """A node with a data set, an endpoint that serves, a job that counts and, on demand, an import under way."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.key = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["secret"]
        work.write(node.path("kept", "a.bin"), os.urandom(3_000_000))
        node.ok("dataset", "import", "kept", node.path("kept"), "--tenant", "acme")
        with open(node.path("large.bin"), "wb") as out:
            for _ in range(150):
                out.write(os.urandom(1 << 20))
        self.job = node.submit(
            work.counting(node.path("count"), name="count", word="count", steps=STEPS, every=EVERY, pause=PAUSE)
        )
        self.imports = self.broken = 0
        wait_for("a first checkpoint", lambda: node.checkpoints(self.job), 30)

    def serves(self):
        url = self.node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]
        if not url:
            return False
        try:
            status, answer = self.node.ask(url, work.request([[1, 2]]), self.key, timeout=5)
        except OSError:
            return False
        return status == 200 and answer["outputs"][0]["data"] == [1, 2, 0]

    def strike(self, what):
        """Kills in the middle of an import, while the job counts and clients ask."""
        node = self.node
        wait_for("the job runs", lambda: node.workload("count"), 40)
        sealed = {c["version"]: c["digest"] for c in node.checkpoints(self.job)}
        log_size = node.ok("status")["log_size"]
        acknowledged = {(d["name"], d["version"]) for d in node.ok("dataset", "list", "--tenant", "acme")["items"]}
        asking = threading.Event()

        def ask():
            while not asking.is_set():
                try:
                    self.serves()
                except Exception:  # noqa: BLE001 - what it gets while the node is down does not count
                    time.sleep(0.05)

        clients = [threading.Thread(target=ask, daemon=True) for _ in range(2)]
        for client in clients:
            client.start()
        self.imports += 1
        name = f"during-{self.imports}"
        begun = subprocess.Popen(
            [PROGRAM, "dataset", "import", name, node.path("large.bin"), "--tenant", "acme"],
            env=node.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        time.sleep(0.2)
        what()
        asking.set()
        out, err = begun.communicate(timeout=60)
        check("panicked" not in err, err)
        return sealed, log_size, acknowledged, name, begun.returncode, err

    def holds(self, sealed, log_size, acknowledged, name, code, err):
        """Everything that was promised, seen from outside."""
        node = self.node
        wait_for("the node answers", node.answers, 40)
        wait_for("the endpoint serves again", self.serves, 40)
        wait_for("the job runs again", lambda: node.workload("count"), 40)
        listed = {(d["name"], d["version"]) for d in node.ok("dataset", "list", "--tenant", "acme")["items"]}
        check(acknowledged <= listed, f"lost: {acknowledged - listed}")
        if (name, 1) in listed:
            check(node.ok("dataset", "verify", name, "--tenant", "acme")["verified"], f"{name} is listed and not whole")
        else:
            check(code != 0, f"the import of {name} was acknowledged and is lost")
            self.broken += 1
            check(err.strip(), "the client of the broken import was told nothing")
        check(node.ok("dataset", "verify", "kept@1", "--tenant", "acme")["verified"], "data set `kept` does not verify")
        now = {c["version"]: c["digest"] for c in node.checkpoints(self.job)}
        check(all(now.get(v) == d for v, d in sealed.items()), f"checkpoints lost: {sealed} became {now}")
        before = max(now)
        wait_for("new checkpoints", lambda: node.checkpoints(self.job)[-1]["version"] > before, 40)
        check(node.log_verifies() >= log_size, "the log is shorter than before")
        segments = node.job(self.job)["segments"]
        lost = [s for s in segments[1:] if not s["resumed_from"]]
        check(not lost, f"a run began again at the start: {lost}")
        open_segments = [s for s in segments if not s["ended"]]
        check(len(open_segments) == 1, f"{len(open_segments)} runs are open")


def killing(name):
    def test(under):
        under.holds(*under.strike(lambda: under.node.kill(name)))

    test.__name__ = f"the_{name}_is_killed"
    return test


def the_warden_is_killed(under):
    """With it the whole node ends: nobody else may hold sandboxes. It is started again by whoever started it."""

    def strike():
        under.node.kill("warden")
        under.node.process.wait(30)

    seen = under.strike(strike)
    wait_for("nothing of the job is left", lambda: not under.node.workload("count"), 20)
    under.node.start()
    under.holds(*seen)


def the_whole_node_is_killed(under):
    seen = under.strike(under.node.kill_all)
    wait_for("nothing of the job is left", lambda: not under.node.workload("count"), 20)
    under.node.start()
    under.holds(*seen)


def no_object_of_a_broken_import_stays(under):
    """What was sealed and never acknowledged is removed at a start."""
    node = under.node
    node.kill_all()
    node.start()
    wait_for("the node answers", node.answers, 40)
    listed = {d["name"] for d in node.ok("dataset", "list", "--tenant", "acme")["items"]}
    whole = sum(1 for name in listed if name.startswith("during-"))
    large = [
        os.path.join(d, f)
        for d, _, files in os.walk(os.path.join(node.state, "control", "store"))
        for f in files
        if os.path.getsize(os.path.join(d, f)) > 100 << 20
    ]
    # All imports were of the same file, which is kept once.
    check(len(large) == (1 if whole else 0), f"{whole} imports were acknowledged, {large} are there")
    partial = [d for d, _, files in os.walk(os.path.join(node.state, "control", "store")) for f in files if "stage" in d]
    check(not partial, f"unfinished objects stay: {partial}")


def the_job_ends_with_the_model_of_an_undisturbed_run(under):
    node = under.node
    record = node.wait_job(under.job, seconds=120)
    out = node.path("out")
    node.ok("model", "export", "count@1", out, "--tenant", "acme")
    with open(os.path.join(out, "model", "weights.npy"), "rb") as file:
        data = file.read()
    numbers = [int.from_bytes(data[-65 * 8 :][i : i + 8], "little") for i in range(0, 65 * 8, 8)]
    check(numbers == [STEPS, *expected(STEPS)], "the final model differs")
    causes = {s["cause"] for s in record["segments"]}
    check({"node-restart", "completed"} <= causes, f"the record says {causes}")
    check(under.broken >= 2, f"only {under.broken} of {under.imports} imports were hit in the middle")
    node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        under = Under(node)
        counts = run_tests(
            [
                killing("gateway"),
                killing("control"),
                killing("keeper"),
                the_warden_is_killed,
                the_whole_node_is_killed,
                no_object_of_a_broken_import_stays,
                the_job_ends_with_the_model_of_an_undisturbed_run,
            ],
            under,
        )
    close(*counts)
