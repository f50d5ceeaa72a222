#!/usr/bin/python3
"""A sealed checkpoint that was changed, swapped or removed is not taken: the next older is, and the record says so."""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, flip, run_tests, wait_for  # noqa: E402

STEPS, EVERY, PAUSE = 120, 4, 0.05


class Job:
    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        self.undisturbed = self.submit("undisturbed")
        self.id = self.submit("job")

    def submit(self, name):
        directory = work.counting(
            self.node.path(name), name=name, word=name, steps=STEPS, every=EVERY, pause=PAUSE,
            checkpoints="required = true\nmax_lost_seconds = 30\nkeep = 4",
        )
        return self.node.submit(directory)

    def usable(self, job):
        """Sealed versions whose files are there, newest first."""
        return [c for c in reversed(self.node.checkpoints(job)) if c["state"] == "good" and c["objects"]]

    def stop(self, job, more=0):
        """Stops it once it has at least two checkpoints, and `more` than it had."""
        node = self.node
        wait_for("checkpoints", lambda: len(self.usable(job)) >= 2 and node.checkpoints(job)[-1]["version"] > more, 40)
        node.ok("job", "stop", job, "--tenant", "acme")
        node.wait_job(job, until=("stopped",), seconds=20)
        return self.usable(job)

    def goes_on_from(self, job, expected, refused):
        node = self.node
        runs = len(node.job(job)["segments"])
        node.ok("job", "resume", job, "--reason", "after an attack", "--tenant", "acme")
        run = wait_for("it runs again", lambda: node.job(job)["segments"][runs:], 20)[0]
        check(run["resumed_from"] == expected["version"], f"it took {run['resumed_from']}, not {expected['version']}")
        told = " ".join(run["rejected"])
        check(f"version {refused['version']}:" in told, f"the record does not say why {refused['version']} was passed over: {told}")
        state = {c["version"]: c["state"] for c in node.checkpoints(job)}[refused["version"]]
        check(state in ("quarantined", "rejected"), f"version {refused['version']} is {state}")
        found = node.events("--kind", "checkpoint.", "--asset", job, until=lambda f: rejected(f, refused))
        check(rejected(found, refused), "no entry of the log tells of it")
        aside = node.events("--kind", "checkpoint.quarantine", "--asset", f"{job}/{refused['version']}", until=lambda f: len(f) >= 2)
        phases = [e["unmapped"]["strongroom"]["phase"] for e in aside]
        check(phases[:2] == ["intent", "outcome"], f"{refused['version']} was set aside, the log has {phases}")


def rejected(found, refused):
    """Entries that say that this version was not taken."""
    own = [(e, e["unmapped"]["strongroom"]) for e in found]
    return [e for e, s in own if s["outcome"] in ("refused", "failure") and f"/{refused['version']}" in str(e)]


def one_flipped_bit(job):
    newest, older, *_ = job.stop(job.id)
    flip(job.node.object_file(newest["objects"][0]))
    job.goes_on_from(job.id, older, newest)


def an_older_one_in_its_place(job):
    newest, older, *_ = job.stop(job.id, job.node.checkpoints(job.id)[-1]["version"] + 1)
    shutil.copyfile(job.node.object_file(older["objects"][0]), job.node.object_file(newest["objects"][0]))
    job.goes_on_from(job.id, older, newest)


def one_that_is_gone(job):
    newest, older, *_ = job.stop(job.id, job.node.checkpoints(job.id)[-1]["version"] + 1)
    os.remove(job.node.object_file(newest["objects"][0]))
    job.goes_on_from(job.id, older, newest)


def the_model_is_that_of_an_undisturbed_run(job):
    def weights(name):
        out = job.node.path("out-" + name)
        job.node.ok("model", "export", f"{name}@1", out, "--tenant", "acme")
        with open(os.path.join(out, "model", "weights.npy"), "rb") as file:
            return file.read()

    job.node.wait_job(job.id)
    job.node.wait_job(job.undisturbed)
    check(weights("job") == weights("undisturbed"), "the models differ")


def where_none_verifies_the_job_is_held(job):
    node = job.node
    hopeless = job.submit("hopeless")
    for checkpoint in job.stop(hopeless):
        flip(node.object_file(checkpoint["objects"][0]))
    node.ok("job", "resume", hopeless, "--reason", "try", "--tenant", "acme")
    record = node.wait_job(hopeless, until=("held",), seconds=20)
    check("no checkpoint passes" in record["reason"], record["reason"])
    check(len(record["segments"]) == 1, "it ran all the same")
    node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        job = Job(node)
        counts = run_tests(
            [
                one_flipped_bit,
                an_older_one_in_its_place,
                one_that_is_gone,
                the_model_is_that_of_an_undisturbed_run,
                where_none_verifies_the_job_is_held,
            ],
            job,
        )
    close(*counts)
