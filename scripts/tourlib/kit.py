"""What the scenes share: running the program, asking the gateway, looking at the node from outside as an attacker."""

import glob
import hashlib
import http.client
import json
import os
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAM = os.path.join(ROOT, "target", "release", "strongroom")
TOOLS = os.path.join(ROOT, ".venv", "bin")
DATA = "/usr/share/datasets/fashion-mnist"


class Failed(Exception):
    """A scene did not see what it must see."""


def check(condition, what):
    if not condition:
        raise Failed(what)


def say(text):
    print("   " + str(text).replace("\n", "\n   "), flush=True)


def did(text):
    print(f"   did       {text}", flush=True)


def saw(text):
    print(f"   saw       {text}", flush=True)


def evidence(text):
    print(f"   evidence  {text}", flush=True)


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise Failed(f"not JSON ({error}): {self.out[:300]!r} {self.err[:300]!r}") from error

    def error(self):
        """The error object of JSON mode: the last line of standard error."""
        for line in reversed(self.err.strip().splitlines()):
            try:
                return json.loads(line)
            except ValueError:
                continue
        return {}


class Tour:
    """One tour: a work directory, a node, and what earlier scenes left for later ones."""

    def __init__(self, keep):
        self.keep = keep
        self.work = tempfile.mkdtemp(prefix="strongroom-tour-")
        os.chmod(self.work, 0o755)
        self.node = None
        self.ready = {}
        self.marker = "srm-" + os.urandom(16).hex()
        self.marker_digest = hashlib.sha256(self.marker.encode()).hexdigest()
        self.env = dict(os.environ, NO_COLOR="1")
        for name in ("STRONGROOM_STATE", "STRONGROOM_KEY_FILE"):
            self.env.pop(name, None)
        if not keep:
            self.env["XDG_CONFIG_HOME"] = os.path.join(self.work, "config")

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    @property
    def state(self):
        return self.ready["state"]

    # ---- The node ----

    def start_node(self):
        ready = self.path("ready.json")
        began = time.monotonic()
        log = open(self.path("dev.log"), "wb")
        self.node = subprocess.Popen(
            [PROGRAM, "dev", "--ready-file", ready], env=self.env, stdout=log, stderr=log, start_new_session=True
        )
        while not os.path.exists(ready):
            if self.node.poll() is not None or time.monotonic() - began > 30:
                with open(self.path("dev.log"), errors="replace") as text:
                    raise Failed("the node did not start:\n" + text.read()[-3000:])
            time.sleep(0.02)
        with open(ready) as text:
            self.ready = json.load(text)
        return time.monotonic() - began

    def stop_node(self):
        if self.node and self.node.poll() is None:
            self.node.send_signal(signal.SIGINT)
            try:
                self.node.wait(40)
            except subprocess.TimeoutExpired:
                self.node.kill()
                self.node.wait()

    def close(self):
        if self.keep and self.node and self.node.poll() is None:
            return
        self.stop_node()
        shutil.rmtree(self.work, ignore_errors=True)

    # ---- The command line ----

    def run(self, *args, expect=0, timeout=300, env=None):
        done = subprocess.run(
            [PROGRAM, *map(str, args)], env=env or self.env, capture_output=True, text=True, timeout=timeout, check=False
        )
        if expect is not None and done.returncode != expect:
            shown = " ".join(map(str, args))
            text = (done.stderr or done.stdout)[-1500:]
            raise Failed(f"`strongroom {shown}` ended with {done.returncode}, expected {expect}: {text}")
        return Result(done)

    def json(self, *args, expect=0, **more):
        return self.run("-o", "json", *args, expect=expect, **more).json()

    def tool(self, *args, timeout=120):
        """A reference tool of the virtual environment."""
        return Result(subprocess.run(args, capture_output=True, text=True, timeout=timeout, check=False))

    def events(self, *args, until=None):
        """Entries of the log; with `until` asked for again for some seconds, since its index follows the commit."""
        ends = time.monotonic() + 5
        while True:
            found = self.json("audit", "search", "--limit", 0, *args)["items"]
            if until is None or until(found) or time.monotonic() > ends:
                return found
            time.sleep(0.2)

    # ---- Jobs ----

    def job(self, name, tenant="acme"):
        return self.json("job", "show", name, "--tenant", tenant)

    def checkpoints(self, job, tenant="acme"):
        return self.json("job", "checkpoint", "list", job, "--tenant", tenant)["items"]

    def wait_job(self, job, tenant="acme", seconds=240, until=("finished",), beside=("failed", "stopped", "held")):
        ends = time.monotonic() + seconds
        while True:
            record = self.job(job, tenant)
            if record["state"] in until:
                return record
            if record["state"] in beside or time.monotonic() > ends:
                tail = record.get("output_tail", "")[-1500:]
                raise Failed(f"job {job} is {record['state']}: {record.get('reason')}\n{tail}")
            time.sleep(0.3)

    # ---- From outside, as an attacker with the rights of whoever runs the tour ----

    def workload(self, *words):
        """Processes of a sandbox whose command line holds all these words, the runtime's own excepted."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as text:
                    command = text.read().split(b"\0")
                pid = int(path.split("/")[2])
                inside = os.path.isdir(f"/proc/{pid}/root/opt/ml/code")
            except OSError:
                continue
            if inside and all(word.encode() in command for word in words):
                found.append(pid)
        return sorted(found)

    def object_file(self, name):
        """The file of a sealed object."""
        hits = glob.glob(os.path.join(self.state, "**", glob.escape(name) + "*"), recursive=True)
        files = [hit for hit in hits if os.path.isfile(hit)]
        check(files, f"no file of object {name} below the state directory")
        return files[0]

    def flip(self, path):
        """Flips one bit in the middle of a file; returns where, so that it can be flipped back."""
        with open(path, "r+b") as file:
            at = os.fstat(file.fileno()).st_size // 2
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1]))
            file.flush()
            os.fsync(file.fileno())
        return at

    def search_store(self, needles):
        """Every file of the state directory that holds one of these byte strings."""
        found, total = [], 0
        for directory, _, files in os.walk(self.state):
            for name in files:
                path = os.path.join(directory, name)
                try:
                    with open(path, "rb") as file:
                        data = file.read()
                except OSError:
                    continue
                total += len(data)
                found += [path for needle in needles if needle in data]
        return found, total

    # ---- The gateway ----

    def context(self):
        context = ssl.create_default_context(cafile=self.ready["gateway_ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        return context

    def connect(self, url):
        parts = urllib.parse.urlsplit(url)
        return http.client.HTTPSConnection(parts.hostname, parts.port, context=self.context(), timeout=60)

    def ask(self, connection, path, body, key=None):
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request("POST" if data is not None else "GET", path, data, headers)
        reply = connection.getresponse()
        return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()


def sha256_file(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
