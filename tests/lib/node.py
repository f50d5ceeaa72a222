"""A node of its own for a test: started on the release programs, asked through the command line and HTTPS, killed at will.

Standard library only. STRONGROOM_PROGRAMS names another directory of programs than target/release.
"""

import glob
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PROGRAMS = os.environ.get("STRONGROOM_PROGRAMS", os.path.join(ROOT, "target", "release"))
PROGRAM = os.path.join(PROGRAMS, "strongroom")
ENDED = ("finished", "failed", "stopped", "held")


class Failed(Exception):
    """A test did not see what it must see."""


def check(condition, what):
    if not condition:
        raise Failed(str(what))


def wait_for(what, probe, seconds=30, every=0.1):
    """Asks `probe` until it gives something; that is returned."""
    ends = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > ends:
            raise Failed(f"not within {seconds} s: {what}")
        time.sleep(every)


class Result:
    """What a command gave."""

    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err

    def json(self):
        try:
            return json.loads(self.out)
        except ValueError as error:
            raise Failed(f"{self.arguments}: not JSON ({error}): {self.out[:300]!r} {self.err[:600]!r}") from error

    def error(self):
        """The error object of JSON mode: the last line of standard error that is one."""
        for line in reversed(self.err.strip().splitlines()):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                return found
        return {}


class Node:
    """A node in a state directory that outlives it, so that it can be killed and started again."""

    def __init__(self, state=None, options=()):
        self.options = list(options)
        self.work = tempfile.mkdtemp(prefix="strongroom-test-")
        os.chmod(self.work, 0o755)
        self.state = state or os.path.join(self.work, "state")
        self.process, self.ready = None, {}
        self.env = dict(os.environ, NO_COLOR="1", XDG_CONFIG_HOME=os.path.join(self.work, "config"))
        self.env["STRONGROOM_STATE"] = self.state
        self.env.pop("STRONGROOM_KEY_FILE", None)

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    # ---- Life and death ----

    def start(self):
        ready = self.path("ready.json")
        if os.path.exists(ready):
            os.remove(ready)
        with open(self.path("dev.log"), "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "dev", "--state", self.state, "--ready-file", ready, "--no-context", *self.options],
                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )

        def up():
            check(self.process.poll() is None, "the node ended at its start:\n" + self.said())
            return os.path.exists(ready)

        try:
            wait_for("the node is ready", up, 40, 0.02)
        except Failed as failure:
            raise Failed(f"{failure}\n{self.said()}") from failure
        with open(ready) as text:
            self.ready = json.load(text)

    def said(self):
        text = ""
        for path in [self.path("dev.log"), *sorted(glob.glob(os.path.join(self.state, "logs", "*.log")))]:
            try:
                with open(path, errors="replace") as file:
                    text += f"--- {os.path.basename(path)}\n" + file.read()[-1500:]
            except OSError:
                pass
        return text

    def refused_start(self, *words):
        """Starts it and waits until control says one of these words; it never gets ready. What control said."""
        log, ready = os.path.join(self.state, "logs", "control.log"), self.path("never.json")
        os.remove(log)
        self.process = subprocess.Popen(
            [PROGRAM, "dev", "--state", self.state, "--ready-file", ready, "--no-context"],
            env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )

        def said():
            check(not os.path.exists(ready), "the node started")
            try:
                with open(log, errors="replace") as file:
                    text = file.read()
            except FileNotFoundError:
                return None
            return text if any(word in text for word in words) else None

        try:
            return wait_for("the refusal", said, 30, 0.05)
        finally:
            self.kill_all()

    # ---- Its database ----

    def database(self):
        """Its files: the database and its write-ahead log."""
        return sorted(glob.glob(os.path.join(self.state, "control", "metadata.db*")))

    def keep_database(self, name):
        """A copy of the metadata database as it stands on disk, with its write-ahead log."""
        aside = self.path(name)
        os.makedirs(aside)
        for path in self.database():
            shutil.copy2(path, aside)
        return aside

    def put_database_back(self, aside):
        """That copy in the place of the database, with its owner."""
        for path in self.database():
            owner = os.stat(path)
            os.remove(path)
        for name in os.listdir(aside):
            path = os.path.join(self.state, "control", name)
            shutil.copy2(os.path.join(aside, name), path)
            os.chown(path, owner.st_uid, owner.st_gid)

    # ---- Its end ----

    def stop(self):
        """In order, as Ctrl-C does."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.kill_all()
                raise Failed("the node did not stop within 60 s") from None

    def close(self):
        try:
            if self.process and self.process.poll() is None:
                self.process.send_signal(signal.SIGINT)
                try:
                    self.process.wait(40)
                except subprocess.TimeoutExpired:
                    self.kill_all()
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    def pids(self):
        """The node's own processes by name: dev, warden, keeper, control, gateway, relay."""
        found = {"dev": self.process.pid}
        # What the warden forks looks like the warden until it executes something; the warden is dev's own child.
        words = {"strongroom-warden": "warden", "strongroom-keeper": "keeper", "serve": "control", "gateway": "gateway", "relay": "relay"}
        config = os.path.join(self.state, "strongroom.toml").encode()
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as file:
                    command = file.read().split(b"\0")
            except OSError:
                continue
            if config not in command:
                continue
            for word in (os.path.basename(w).decode(errors="replace") for w in command[:2]):
                pid = int(path.split("/")[2])
                if word in words and (word != "strongroom-warden" or parent(pid) == self.process.pid):
                    found[words[word]] = pid
        return found

    def kill(self, name):
        """SIGKILL to one process of the node."""
        pid = self.pids().get(name)
        check(pid, f"no process `{name}` among {self.pids()}")
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_all(self):
        """The whole node at one moment, as a power cut does to processes: nobody gets to clean up."""
        pids = self.pids()
        for name in ("dev", "warden", "keeper", "control", "gateway", "relay"):
            if name in pids:
                try:
                    os.kill(pids[name], signal.SIGKILL)
                except ProcessLookupError:
                    pass
        self.process.wait()
        for pid in pids.values():
            wait_for(f"process {pid} is gone", lambda pid=pid: gone(pid), 10, 0.02)

    def answers(self):
        return self.run("status", timeout=10).code == 0

    # ---- The command line ----

    def run(self, *args, key=None, timeout=120, user=None, stdin=None):
        words = [PROGRAM, *map(str, args)]
        env = dict(self.env)
        if key:
            env["STRONGROOM_KEY_FILE"] = key
        if user is not None:
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *words]
        try:
            done = subprocess.run(
                words, env=env, capture_output=True, text=True, timeout=timeout, check=False, stdin=stdin, cwd=self.work
            )
        except subprocess.TimeoutExpired:
            return Result(args, None, "", f"no end within {timeout} s")
        return Result(args, done.returncode, done.stdout, done.stderr)

    def ok(self, *args, **more):
        """The JSON result of a command that must succeed."""
        result = self.run("-o", "json", *args, **more)
        check(result.code == 0, f"`{' '.join(map(str, args))}` ended with {result.code}: {result.err[-1200:]}")
        return result.json()

    def refused(self, *args, code, says=(), **more):
        """The error object of a command that must end with `code` and say all of `says`."""
        result = self.run("-o", "json", *args, **more)
        shown = f"`{' '.join(map(str, args))}`"
        check(result.code == code, f"{shown} ended with {result.code}, expected {code}: {result.out[-400:]}{result.err[-800:]}")
        text = (result.out + result.err).lower()
        for word in [says] if isinstance(says, str) else says:
            check(word.lower() in text, f"{shown} does not say `{word}`: {result.out[-400:]}{result.err[-800:]}")
        check("panicked" not in text, f"{shown} panicked: {result.err[-800:]}")
        return result.error()

    def events(self, *args, until=len, seconds=8):
        """Entries of the audit log, asked for until `until` finds what it wants or the time is over."""
        ends = time.monotonic() + seconds
        while True:
            found = self.ok("audit", "search", "--limit", 0, *args)["items"]
            if until(found) or time.monotonic() > ends:
                return found
            time.sleep(0.2)

    def log_verifies(self):
        """Exports the log and verifies the copy, with the key that the node told at its first start."""
        copy = tempfile.mkdtemp(dir=self.work)
        os.rmdir(copy)
        entries = self.ok("audit", "export", copy)["entries"]
        verified = self.ok("audit", "verify", copy, "--key", self.ready["log_key"])
        check(verified["verified"] and verified["entries"] == entries, f"the log does not verify: {verified}")
        return entries

    # ---- Jobs ----

    def submit(self, directory, tenant="acme"):
        return self.ok("job", "run", os.path.join(directory, "job.toml"), "--tenant", tenant)["id"]

    def job(self, job, tenant="acme"):
        return self.ok("job", "show", job, "--tenant", tenant)

    def checkpoints(self, job, tenant="acme"):
        return self.ok("job", "checkpoint", "list", job, "--tenant", tenant)["items"]

    def wait_job(self, job, until=("finished",), tenant="acme", seconds=90):
        def look():
            record = self.job(job, tenant)
            if record["state"] in until:
                return record
            told = f"job is {record['state']}: {record.get('reason')}\n{record.get('output_tail', '')[-600:]}"
            check(record["state"] not in ENDED, told + self.said()[-3000:])
            return None

        return wait_for(f"job {job} is {'/'.join(until)}", look, seconds, 0.2)

    def workload(self, word):
        """Processes in a sandbox whose command line has this word."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as text:
                    command = text.read().split(b"\0")
                pid = int(path.split("/")[2])
                inside = os.path.isdir(f"/proc/{pid}/root/opt/ml/code")
            except OSError:
                continue
            if inside and word.encode() in command:
                found.append(pid)
        return sorted(found)

    def object_file(self, name):
        """The file of a sealed object."""
        hits = glob.glob(os.path.join(self.state, "**", glob.escape(name) + "*"), recursive=True)
        files = [hit for hit in hits if os.path.isfile(hit)]
        check(files, f"no file of object {name} below the state directory")
        return files[0]

    # ---- The gateway ----

    def connect(self, timeout=60):
        context = ssl.create_default_context(cafile=self.ready["gateway_ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        host, port = self.ok("status")["gateway"].rsplit("/", 1)[-1].rsplit(":", 1)
        return http.client.HTTPSConnection(host, int(port), context=context, timeout=timeout)

    def ask(self, url, body, key=None, timeout=60, headers=()):
        """One request: status and parsed answer."""
        connection = self.connect(timeout)
        try:
            return send(connection, urllib.parse.urlsplit(url).path, body, key, headers)
        finally:
            connection.close()


def send(connection, path, body, key=None, headers=()):
    fields = {"Content-Type": "application/json", **dict(headers)}
    if key:
        fields["Authorization"] = f"Bearer {key}"
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    connection.request("GET" if data is None else "POST", path, data, fields)
    reply = connection.getresponse()
    text = reply.read()
    try:
        return reply.status, json.loads(text)
    except ValueError:
        return reply.status, text


class UnixHttp(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path, timeout=30):
        super().__init__("localhost", timeout=timeout)
        self.socket_path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as text:
            return int(text.read().rsplit(")", 1)[1].split()[1])
    except (OSError, IndexError):
        return None


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat") as text:
            return text.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (OSError, IndexError):
        return True


def flip(path):
    """Flips one bit in the middle of a file."""
    with open(path, "r+b") as file:
        at = os.fstat(file.fileno()).st_size // 2
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))
        file.flush()
        os.fsync(file.fileno())
    return at


def needs_root():
    """Says why nothing is tested and ends, where the test needs rights that it does not have."""
    if os.geteuid() != 0:
        print("needs root: skipped\n0 passed, 0 failed")
        sys.exit(0)


def run_tests(tests, *arguments):
    """Runs functions in their order, each with `arguments`, and ends the program. TEST names one to run alone."""
    passed = failed = 0
    only = os.environ.get("TEST")
    for test in tests:
        if only and only not in test.__name__:
            continue
        began = time.monotonic()
        try:
            test(*arguments)
            passed += 1
            print(f"  passed {time.monotonic() - began:5.1f} s  {test.__name__}", flush=True)
        except Failed as failure:
            failed += 1
            print(f"  FAILED {time.monotonic() - began:5.1f} s  {test.__name__}: {failure}", flush=True)
        except Exception:  # noqa: BLE001 - a test that breaks is a test that failed
            failed += 1
            print(f"  FAILED {test.__name__}:\n{traceback.format_exc()}", flush=True)
    return passed, failed


def close(passed, failed):
    print(f"{passed} passed, {failed} failed", flush=True)
    sys.exit(1 if failed or not passed else 0)
