#!/usr/bin/python3
"""Data and code are verified at every start of a job: what was changed in the store between two segments stops the next."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, flip, run_tests, wait_for  # noqa: E402

STEPS, EVERY, PAUSE = 60, 4, 0.1
# Larger than anything else that is sealed here, so that its object is found by its size.
DATA, CODE = 300_000, 100_000
ENDED = ("finished", "failed", "held", "stopped")


def objects(node):
    root = os.path.join(node.state, "control", "store")
    return {os.path.join(d, f) for d, _, files in os.walk(root) for f in files}


def stopped(node, name):
    """A job that reads a data set and stopped behind its first checkpoint: its id, and the objects of its data and code."""
    before = objects(node)
    work.write(node.path(f"data-{name}", "rows.bin"), os.urandom(DATA))
    node.ok("dataset", "import", f"data-{name}", node.path(f"data-{name}"), "--tenant", "acme")
    directory = work.counting(
        node.path(name), name=name, word=name, steps=STEPS, every=EVERY, pause=PAUSE,
        checkpoints="required = true\nmax_lost_seconds = 30\nkeep = 4",
    )
    with open(os.path.join(directory, "main.py"), "a") as file:
        # The same content would be one object of all jobs.
        file.write(f"# {name} " + "#" * CODE + "\n")
    with open(os.path.join(directory, "job.toml"), "a") as file:
        file.write(f'\n[inputs]\ntrain = "dataset:data-{name}@1"\n')
    job = node.submit(directory)
    wait_for("a checkpoint", lambda: [c for c in node.checkpoints(job) if c["state"] == "good"], 40)
    node.ok("job", "stop", job, "--tenant", "acme")
    node.wait_job(job, until=("stopped",), seconds=20)
    new = {path: os.path.getsize(path) for path in objects(node) - before}
    (data,) = [path for path, size in new.items() if size > DATA]
    (code,) = [path for path, size in new.items() if CODE < size < DATA]
    return job, data, code


def runs(node, job):
    """Segments in which the workload said something."""
    return node.job(job)["output_tail"].count("from step")


def does_not_go_on(node, job, names):
    """A resume is refused or ends without a step, and says which file is not what it was."""
    result = node.run("-o", "json", "job", "resume", job, "--reason", "after an attack", "--tenant", "acme")
    state = node.wait_job(job, until=ENDED, seconds=60)
    told = f"{result.err} {state.get('reason')} {[s.get('cause') for s in state['segments']]}"
    check(state["state"] != "finished", f"it went on with what was changed: {told}")
    check(names in told, f"it does not say that `{names}` is the reason: {told}")
    return state


def changed(node, name, which, names):
    job, data, code = stopped(node, name)
    steps = node.job(job)["progress"]["step"] if "progress" in node.job(job) else None
    target = {"data": data, "code": code}[which]
    flip(target)
    state = does_not_go_on(node, job, names)
    check(("progress" not in state) or state["progress"]["step"] == steps, "steps were done on what was changed")
    # The same job goes on once the object is what it was: nothing else stood in its way.
    flip(target)
    if state["state"] in ("stopped", "held", "failed"):
        node.ok("job", "resume", job, "--reason", "mended", "--tenant", "acme")
        done = node.wait_job(job, until=("finished",), seconds=90)
        check(done["segments"][-1]["resumed_from"], "it did not go on from its checkpoint")


def data_that_was_changed_between_two_segments_stops_the_next(node):
    changed(node, "rows", "data", "rows.bin")


def code_that_was_changed_between_two_segments_stops_the_next(node):
    changed(node, "lines", "code", "main.py")


def data_that_is_gone_stops_the_next(node):
    job, data, _ = stopped(node, "gone")
    os.rename(data, data + ".aside")
    state = does_not_go_on(node, job, "rows.bin")
    os.rename(data + ".aside", data)
    check(state["state"] != "finished", state)


def what_nobody_changed_goes_on(node):
    """The control: stop and resume alone are no obstacle."""
    job, _, _ = stopped(node, "untouched")
    node.ok("job", "resume", job, "--reason", "a test", "--tenant", "acme")
    done = node.wait_job(job, until=("finished",), seconds=90)
    check(done["segments"][-1]["resumed_from"], "it did not go on from its checkpoint")


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        counts = run_tests(
            [
                what_nobody_changed_goes_on,
                data_that_was_changed_between_two_segments_stops_the_next,
                code_that_was_changed_between_two_segments_stops_the_next,
                data_that_is_gone_stops_the_next,
            ],
            node,
        )
    close(*counts)
