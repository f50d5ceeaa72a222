"""A throw-away node for measurements."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import time


class Node:
    """A development node with a state of its own."""

    def __init__(self, program, work):
        self.program = program
        self.work = work
        self.env = dict(
            os.environ,
            XDG_CONFIG_HOME=os.path.join(work, "config"),
            STRONGROOM_STATE=os.path.join(work, "state"),
            NO_COLOR="1",
        )
        self.process = None
        self.ready_ms = 0.0

    def start(self):
        ready = os.path.join(self.work, "ready.json")
        log_path = os.path.join(self.work, "dev.log")
        began = time.monotonic()
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(
                [self.program, "dev", "--state", self.env["STRONGROOM_STATE"], "--ready-file", ready],
                env=self.env, stdout=log, stderr=log, start_new_session=True,
            )
        while not os.path.exists(ready):
            if self.process.poll() is not None or time.monotonic() - began > 60:
                with open(log_path, errors="replace") as log:
                    raise SystemExit("the node did not start:\n" + log.read()[-2000:])
            time.sleep(0.005)
        self.ready_ms = (time.monotonic() - began) * 1000

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def json(self, *words):
        done = subprocess.run(
            [self.program, "-o", "json", *words], env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"`strongroom {' '.join(words)}` ended with {done.returncode}: {done.stderr[-1500:]}")
        return json.loads(done.stdout)


@contextlib.contextmanager
def node(program):
    """A running node; ended and removed with the block."""
    with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as work:
        os.chmod(work, 0o755)
        one = Node(program, work)
        try:
            one.start()
            yield one
        finally:
            if one.process:
                one.stop()


def processes(pid):
    """The process and all below it, parents first."""
    found = [pid]
    for one in found:
        try:
            for task in os.listdir(f"/proc/{one}/task"):
                with open(f"/proc/{one}/task/{task}/children") as text:
                    found += map(int, text.read().split())
        except OSError:
            continue
    return found


def command(pid):
    """Name and arguments."""
    with open(f"/proc/{pid}/cmdline", "rb") as text:
        words = text.read().decode(errors="replace").rstrip("\0").split("\0")
    return [os.path.basename(words[0]), *words[1:]]


def cpu_seconds(pid):
    """User and system time so far."""
    with open(f"/proc/{pid}/stat") as text:
        fields = text.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
