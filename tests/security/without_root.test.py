#!/usr/bin/python3
"""A node started by an ordinary user works, and says of every protection that it lacks that it lacks it."""

import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rootfs  # noqa: E402
from node import PROGRAMS, Failed, check, close, needs_root, run_tests, wait_for  # noqa: E402

USER = 61_234
NAMES = ("strongroom", "strongroom-keeper", "strongroom-warden", "strongroom-porter", "strongroom-runtime")
JOB = """version = 1
[job]
name = "tiny"
tenant = "acme"
command = ["python3", "tiny.py"]
code = "."
image = "host"
[inputs]
words = "./words"
[checkpoints]
required = false
[resources]
cpus = 1
memory = "256MiB"
wall_time = "1m"
[isolation]
class = "standard"
"""
SCRIPT = """import os
names = os.listdir(os.environ["SM_CHANNEL_WORDS"])
with open(os.path.join(os.environ["SM_MODEL_DIR"], "model.txt"), "w") as model:
    model.write(" ".join(names))
"""


def an_ordinary_user_runs_a_job_and_is_told_what_is_missing():
    needs_root()
    home = "/tmp/strongroom-test-without-root"
    shutil.rmtree(home, ignore_errors=True)
    os.makedirs(os.path.join(home, "job", "words"))
    for name in NAMES:
        # A checkout may lie where that user cannot go.
        shutil.copy(os.path.join(PROGRAMS, name), home)
    for path, text in (("job/job.toml", JOB), ("job/tiny.py", SCRIPT), ("job/words/a.txt", "a")):
        with open(os.path.join(home, path), "w") as file:
            file.write(text)
    rootfs.make(os.path.join(home, "rootfs"))
    for directory, _, files in os.walk(home):
        for name in [directory] + [os.path.join(directory, f) for f in files]:
            os.chown(name, USER, USER, follow_symlinks=False)
    node = None
    try:
        node = start(home)
        check(run(home, "tenant", "create", "acme")["name"] == "acme", "no tenant")
        job = run(home, "job", "run", os.path.join(home, "job", "job.toml"))
        wait_for("the job ends", lambda: run(home, "job", "show", job["id"], "--tenant", "acme")["state"] in ("finished", "held", "failed"), 60)
        job = run(home, "job", "show", job["id"], "--tenant", "acme")
        check(job["state"] == "finished", f"the job is {job['state']}: {job.get('reason')}")
        told = {f["name"]: f["state"] for f in job["isolation"]}
        for name in ("namespace.user", "namespace.net", "seccomp", "landlock", "no_new_privs", "capabilities.none"):
            check(told[name] == "enforced", f"{name} is {told[name]} without root")
        for name in ("limit.memory", "limit.pids", "limit.cpu", "memory.noswap"):
            check(told[name] != "enforced", f"{name} is said to be enforced without root")
        check(told["user.own_range"] == "failed", "the shared user is not said to be a failure")
        in_image(home)
        status = run(home, "status")
        check(any("separation" in p for p in status["problems"]), "status does not say that separation fails")
    finally:
        if node:
            node.terminate()
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                node.kill()
        shutil.rmtree(home, ignore_errors=True)


def in_image(home):
    """The same job in an image of its own."""
    line = run(home, "image", "digest", os.path.join(home, "rootfs"))["items"][0]["image"]
    path = os.path.join(home, "job", "job.toml")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace('image = "host"', f'image = "{line}"').replace('name = "tiny"', 'name = "in-image"'))
    job = run(home, "job", "run", path)
    wait_for("the job ends", lambda: run(home, "job", "show", job["id"], "--tenant", "acme")["state"] in ("finished", "held", "failed"), 60)
    job = run(home, "job", "show", job["id"], "--tenant", "acme")
    check(job["state"] == "finished" and line.endswith(job["image"]), f"the job is {job['state']}: {job.get('reason')}")


def words(home, *arguments):
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", os.path.join(home, "strongroom"), *arguments]


def env(home):
    return {"PATH": os.environ["PATH"], "HOME": home, "XDG_CONFIG_HOME": home, "STRONGROOM_STATE": os.path.join(home, "state"), "NO_COLOR": "1"}


def start(home):
    ready = os.path.join(home, "ready.json")
    arguments = words(home, "dev", "--state", os.path.join(home, "state"), "--ready-file", ready, "--no-context")
    with open(os.path.join(home, "dev.log"), "wb") as log:
        node = subprocess.Popen(arguments, env=env(home), cwd=home, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def up():
        if node.poll() is not None:
            with open(os.path.join(home, "dev.log")) as said:
                raise Failed("the node ended at its start: " + said.read()[-1500:])
        return os.path.exists(ready)

    wait_for("the node is ready", up, 40)
    return node


def run(home, *arguments):
    done = subprocess.run(words(home, "-o", "json", *arguments), env=env(home), cwd=home, capture_output=True, text=True, timeout=90, check=False)
    check(done.returncode == 0, f"{arguments}: {done.returncode}: {done.stderr[-800:]}")
    return json.loads(done.stdout)


if __name__ == "__main__":
    close(*run_tests([an_ordinary_user_runs_a_job_and_is_told_what_is_missing]))
