#!/usr/bin/python3
"""Safe mode and break-glass: everything of tenants ends, nothing of theirs opens, and no one person lifts it."""

import glob
import http.client
import json
import os
import ssl
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import PROGRAMS, Node, check, close, run_tests, send, wait_for  # noqa: E402

SAFE_MODE = 6  # exit status


class Guarded:
    """A node that serves a model and has a job that takes its time."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.url = node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]
        self.key = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["secret"]
        self.manager = node.path("manager.key")
        node.ok("key", "create", "--out", self.manager, "--tenant", "acme")
        self.spare = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["id"]
        self.codes, self.gateway = {}, None

    def file(self, *names, **changed):
        """A file of these people's codes."""
        path = self.node.path("codes")
        with open(path, "w") as out:
            out.writelines(f"{name} {changed.get(name, self.codes.get(name))}\n" for name in names)
        return path

    def answers(self):
        """Asks where the gateway listens, or where it did when the node last said so."""
        self.gateway = self.node.ok("status")["gateway"] or self.gateway
        host, port = self.gateway.rsplit("/", 1)[-1].rsplit(":", 1)
        context = ssl.create_default_context(cafile=self.node.ready["gateway_ca"])
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=10)
        try:
            path = urllib.parse.urlsplit(self.url).path
            return send(connection, path, work.request([[1, 2]]), self.key)[0] == 200
        except OSError:
            return False
        finally:
            connection.close()

    def logged(self, kind):
        """Entries of this kind, waited for."""
        of = [e for e in self.node.events("--kind", kind, until=lambda found: found) if name_of(e) == kind]
        check(of, f"no `{kind}` in the log")
        return of

    def status(self):
        return self.node.ok("safe-mode", "status")

    def leave(self, *who, **changed):
        return "safe-mode", "leave", "--reason", "it is over", "--codes", self.file(*who, **changed)

    def export(self, name="out"):
        return "model", "export", "lin@1", self.node.path(name), "--tenant", "acme"


def name_of(entry):
    return entry["unmapped"]["strongroom"]["event"]


def codes_are_shown_once_and_kept_nowhere(g):
    check("nobody holds recovery codes" in posture(g.node)["reason"], "break-glass is said to be sealed")
    g.node.refused("safe-mode", "enter", "--reason", "x", code=7, says="recovery codes")
    made = g.node.ok("break-glass", "seal", "--holder", "ada", "--holder", "bob")
    g.codes = {of["holder"]: of["code"] for of in made["codes"]}
    check(g.status()["holders"] == ["ada", "bob"], g.status())
    words = [code.encode() for code in g.codes.values()] + [c.replace("-", "").encode() for c in g.codes.values()]
    looked = 0
    for path in glob.glob(os.path.join(g.node.state, "**"), recursive=True):
        if os.path.isfile(path):
            looked += 1
            with open(path, "rb") as file:
                data = file.read()
            check(not any(word in data for word in words), f"a code is in {path}")
    check(looked > 10, "nothing was looked through")
    # Whoever makes codes again needs two of those who have them: the operator alone does not.
    again = ("break-glass", "seal", "--holder", "eve", "--holder", "mallory")
    g.node.refused(*again, "--codes", g.file("ada"), code=3, says="two holders")
    made = g.node.ok("break-glass", "seal", "--holder", "ada", "--holder", "bob", "--holder", "carol", "--codes", g.file("ada", "bob"))
    g.node.refused(*again, "--codes", g.file("ada", "bob"), code=3)
    g.codes = {of["holder"]: of["code"] for of in made["codes"]}
    check(posture(g.node)["status"] == "unknown", "it passes without a drill")


def everything_of_tenants_ends(g):
    """Positive control: before, the endpoint answers, the job runs and the weights leave."""
    node = g.node
    node.ok(*g.export("before"))
    check(g.answers(), "the endpoint does not answer before")
    g.job = node.submit(work.counting(node.path("count"), name="count", steps=60, every=2, pause=0.25))
    wait_for("a checkpoint", lambda: node.checkpoints(g.job), 60)
    wait_for("the workload", lambda: node.workload("main.py"), 30)
    gateway = node.pids()["gateway"]

    entered = node.ok("safe-mode", "enter", "--reason", "a drill of 14 o'clock")
    check(entered["safe"] and entered["settled"] and entered["by"] == "operator", entered)
    check(not node.workload("main.py"), "the job runs on")
    check(not os.path.exists(f"/proc/{gateway}") and "gateway" not in node.pids(), "the gateway runs on")
    check(not g.answers(), "the endpoint answers")
    runtimes = subprocess.run(["pgrep", "-f", "strongroom-(runtime|porter)"], capture_output=True, text=True, check=False).stdout
    mine = [pid for pid in runtimes.split() if str(node.process.pid) in lineage(int(pid))]
    check(not mine, f"processes of tenants are left: {mine}")
    alarm = g.logged("safe_mode.enter")[-1]
    check(alarm["severity_id"] == 5 and "14 o'clock" in json.dumps(alarm), alarm)
    with open(node.path("dev.log")) as log:
        check("ALARM: the node is in safe mode" in log.read(), "the warden says nothing")
    status = node.ok("status")
    check(status["state"] == "safe" and "safe mode" in status["problems"][0], status["problems"])


def lineage(pid):
    """Ids of a process's parents."""
    found = []
    while pid and pid > 1:
        found.append(str(pid))
        try:
            with open(f"/proc/{pid}/stat") as text:
                pid = int(text.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            break
    return found


def nothing_of_a_tenant_is_used_or_changed(g):
    node = g.node
    lin = work.served(node.path("again"), name="again")
    for words in [
        g.export(), ("job", "run", os.path.join(lin, "job.toml"), "--tenant", "acme"),
        ("endpoint", "deploy", "two", "lin@1", "--tenant", "acme"), ("tenant", "create", "globex"),
        ("key", "create", "--tenant", "acme"), ("job", "resume", g.job, "--tenant", "acme", "--reason", "x"),
        ("model", "verify", "lin@1", "--tenant", "acme"),
    ]:
        error = node.refused(*words, code=SAFE_MODE, says="safe mode")
        check(error["code"] == "SR-RES-0001", error)
    node.refused("job", "run", os.path.join(lin, "job.toml"), "--tenant", "acme", key=g.manager, code=SAFE_MODE)
    # Looking goes on, also for the tenant; and so does taking rights away.
    check(node.job(g.job)["state"] == "resuming" and "safe mode" in node.job(g.job)["reason"], node.job(g.job))
    check(node.ok("endpoint", "show", "lin", "--tenant", "acme")["state"] == "starting", "the endpoint is said to serve")
    node.ok("model", "list", "--tenant", "acme", key=g.manager)
    node.log_verifies()
    node.ok("key", "revoke", g.spare, "--tenant", "acme")


def it_outlives_every_kill(g):
    g.node.kill("keeper")
    wait_for("the keeper is back", lambda: g.node.answers() and "keeper" in g.node.pids(), 30)
    check(g.status()["safe"], "the keeper forgot")
    g.node.kill("control")
    wait_for("control is back", g.node.answers, 30)
    check(g.status()["safe"] and "gateway" not in g.node.pids(), "control forgot")
    g.node.kill_all()
    g.node.start()
    check(g.status()["safe"] and "gateway" not in g.node.pids() and not g.answers(), "the node forgot")
    g.node.refused(*g.export(), code=SAFE_MODE)


def no_one_person_leaves_it(g):
    wrong = g.codes["ada"]
    for words in [
        g.leave("ada"), g.leave("ada", "ada"), g.leave("ada", "bob", bob=wrong), g.leave("ada", "dave", dave=wrong),
    ]:
        g.node.refused(*words, code=3)
        check(g.status()["safe"], words)
    g.node.refused(*g.leave("ada", "bob", bob=g.codes["bob"][:-1] + "?"), code=1, says="recovery code")
    g.node.refused("safe-mode", "leave", "--reason", "x", code=2, says="--codes")
    found = g.logged("recovery.refuse")
    check(len(found) >= 4 and all(e["severity_id"] == 4 for e in found), found)
    # A tenant's key does not even learn that there is such a thing.
    g.node.refused("safe-mode", "status", key=g.manager, code=3)


def posture(node):
    return next(c for c in node.ok("posture", "run")["controls"] if c["id"] == "AC-8")


def break_glass_opens_no_plaintext_and_closes(g):
    node = g.node
    node.refused("access", "user", "create", "zoe", code=SAFE_MODE)
    node.refused("break-glass", "open", "--reason", "x", "--codes", g.file("ada", ada=g.codes["bob"]), code=3)
    opened = node.ok("break-glass", "open", "--reason", "nobody can log in", "--minutes", "1", "--codes", g.file("ada"))
    check(opened["safe"] and opened["break_glass"]["holder"] == "ada", opened)
    alarm = g.logged("break_glass.open")
    check(alarm[0]["severity_id"] == 5 and "nobody can log in" in json.dumps(alarm), alarm)
    wait_for("the warden's alarm", lambda: "ALARM: break-glass" in open(node.path("dev.log")).read(), 10)
    check("break-glass is open" in json.dumps(node.ok("status")["problems"]), "the status says nothing")
    # What it is for.
    node.ok("access", "user", "create", "zoe")
    # And what it is not for.
    for words in [g.export(), ("endpoint", "deploy", "two", "lin@1", "--tenant", "acme"), ("tenant", "create", "globex")]:
        node.refused(*words, code=SAFE_MODE)
    node.refused("access", "user", "create", "yan", key=g.manager, code=3)
    drilled = posture(node)
    check(drilled["status"] == "pass" and "asked for within the window" in json.dumps(drilled), drilled)
    node.refused("break-glass", "open", "--reason", "more", "--codes", g.file("bob"), code=7, says="open already")
    wait_for("it ends by itself", lambda: "break_glass" not in g.status(), 90, 1)
    node.refused("access", "user", "create", "yan", code=SAFE_MODE)
    ended = g.logged("break_glass.close")
    check("its time is over" in json.dumps(ended), ended)
    node.ok("break-glass", "open", "--reason", "once more", "--codes", g.file("carol"))
    check("break_glass" not in node.ok("break-glass", "close"), "it is open")
    check(g.status()["safe"], "closing it left safe mode")


def two_leave_it_and_work_goes_on(g):
    left = g.node.ok(*g.leave("bob", "carol"))
    check(not left["safe"] and left["settled"], left)
    wait_for("the endpoint answers again", g.answers, 60, 0.5)
    record = g.node.wait_job(g.job, seconds=120)
    causes = [segment["cause"] for segment in record["segments"]]
    check("safe-mode" in causes and record["segments"][-1]["resumed_from"], causes)
    g.node.ok(*g.export("after"))
    passed = posture(g.node)
    check(passed["status"] == "pass" and "drill: entry" in json.dumps(passed), passed)
    g.node.log_verifies()


def whoever_has_the_machine_leaves_it_with_the_node_down(g):
    node = g.node
    node.ok("safe-mode", "enter", "--reason", "the codes are lost")
    words = [os.path.join(PROGRAMS, "strongroom-keeper"), "--config", os.path.join(node.state, "strongroom.toml"), "--leave-safe-mode"]
    up = subprocess.run(words, capture_output=True, text=True, check=False)
    check(up.returncode != 0 and "another keeper runs" in up.stderr, f"left while the node is up: {up.stderr}")
    node.stop()
    down = subprocess.run(words, capture_output=True, text=True, check=False)
    check(down.returncode == 0, down.stderr)
    node.start()
    check(not g.status()["safe"] and g.status()["holders"] == [], g.status())
    told = g.logged("safe_mode.leave")
    check("with the node down" in json.dumps(told), told)
    node.ok(*g.export("offline"))


if __name__ == "__main__":
    with Node() as node:
        guarded = Guarded(node)
        passed, failed = run_tests(
            [
                codes_are_shown_once_and_kept_nowhere, everything_of_tenants_ends, nothing_of_a_tenant_is_used_or_changed,
                it_outlives_every_kill, no_one_person_leaves_it, break_glass_opens_no_plaintext_and_closes,
                two_leave_it_and_work_goes_on, whoever_has_the_machine_leaves_it_with_the_node_down,
            ],
            guarded,
        )
    close(passed, failed)
