#!/usr/bin/python3
"""A job is killed again and again at random times: its model is that of an undisturbed run, bit for bit."""

import os
import random
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import ENDED, Node, check, close, run_tests, wait_for  # noqa: E402

KILLS, STEPS, EVERY, PAUSE = 10, 220, 5, 0.05


def exported(node, model):
    out = node.path("out-" + model)
    node.ok("model", "export", f"{model}@1", out, "--tenant", "acme")
    with open(os.path.join(out, "model", "weights.npy"), "rb") as file:
        return file.read()


def count(node, name):
    return node.submit(
        work.counting(
            node.path(name), name=name, word=name, steps=STEPS, every=EVERY, pause=PAUSE,
            checkpoints="required = true\nmax_lost_seconds = 5\nkeep = 3",
        )
    )


def a_job_that_is_killed_at_random_makes_the_same_model(node):
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"  SEED={seed}")
    dice = random.Random(seed)
    undisturbed = count(node, "undisturbed")
    job = count(node, "killed")
    killed = 0
    while killed < KILLS:
        victims = wait_for("the job runs", lambda: node.workload("killed") or node.job(job)["state"] in ENDED, 60, 0.05)
        if victims is True:
            break
        time.sleep(dice.uniform(0.05, 1.6))
        for pid in node.workload("killed")[:1]:
            os.kill(pid, signal.SIGKILL)
            killed += 1
        wait_for("that run is over", lambda old=victims: set(node.workload("killed")).isdisjoint(old), 20, 0.02)
    check(killed >= KILLS, f"the job ended after {killed} kills: {node.job(job)['state']} {node.job(job)['reason']}")
    record = node.wait_job(job, seconds=90)
    node.wait_job(undisturbed, seconds=60)
    check(exported(node, "killed") == exported(node, "undisturbed"), "the models differ")
    runs = record["segments"]
    check(len(runs) == KILLS + 1, f"{len(runs)} runs after {KILLS} kills")
    check([r["cause"] for r in runs] == ["signalled"] * KILLS + ["completed"], [r["cause"] for r in runs])
    lost_work_is_at_most_one_interval(node, job, runs)
    node.log_verifies()


def lost_work_is_at_most_one_interval(node, job, runs):
    """Each run starts at the newest checkpoint that was sealed before it."""
    sealed = node.checkpoints(job)
    for run in runs[1:]:
        before = [c["version"] for c in sealed if c["sealed"] <= run["started"]]
        newest = max(before, default=None)
        check(run["resumed_from"] == newest, f"run {run['number']} began from {run['resumed_from']}, newest was {newest}")
    steps = [c["step"] for c in sealed if c["step"]]
    check(steps == sorted(steps), f"steps go back: {steps}")


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        counts = run_tests([a_job_that_is_killed_at_random_makes_the_same_model], node)
    close(*counts)
