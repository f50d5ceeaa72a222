"""Scenes 16 and 17: people in sessions, and safe mode with break-glass."""

import os
import sys
import time

from .kit import check, did, evidence, saw, say

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "lib"))

SAFE_MODE = 6  # exit status


def scene_16(tour):
    """a person proves two factors without a password, has one duty for a time, and is nobody once the session is revoked"""
    from api import ask  # noqa: PLC0415 - the tests' people: an authenticator in software
    from people import granted  # noqa: PLC0415

    ann = granted(tour, "ann", "ml-engineer", "acme")
    socket, token = tour.ready["socket"], ann.login()
    did("ann enrolled a passkey by a link that works once, and logged in with it (an authenticator in software)")
    wrong = ann.attempt(flags=1)
    check(wrong.status != 200, "a passkey that did not verify its user logged in")
    say(f"          without her PIN or finger: {wrong.json['title']}")
    me = ask(socket, "GET", "/v1/whoami", token).json
    saw(f"she is {me['principal']} as {me['role']} of {me['tenant']}, until {me['session']['ends']} or 15 minutes unused")
    release = ask(socket, "POST", "/v1/tenants/acme/keys", token, '{"endpoint": "classifier"}', "application/json")
    check(release.status == 403, f"who trains hands out keys: {release.status}")
    say(f"          handing out a key: {release.json['title']}")
    sessions = tour.json("access", "session", "list")["items"]
    live = [s["id"] for s in sessions if s["user"] == "ann" and s["state"] == "live"]
    tour.json("access", "session", "revoke", live[0])
    check(ask(socket, "GET", "/v1/whoami", token).status == 401, "a revoked session is somebody")
    saw("her session was revoked: the next request is of nobody")
    opened = tour.events("--kind", "session.open", until=len)[-1]["unmapped"]["strongroom"]
    evidence(f"entry {opened['index']}: {opened['event']} of ann")


def processes(tour):
    """How many porters and runtimes the node has."""
    parents, names = {}, {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        parents[int(pid)], names[int(pid)] = int(rest.split()[1]), name

    def is_nodes(pid):
        while pid in parents and pid != tour.node.pid:
            pid = parents[pid]
        return pid == tour.node.pid

    # The kernel keeps 15 characters of a name; the runtime is `program` in its sandbox.
    return sum(name in ("strongroom-port", "program") and is_nodes(pid) for pid, name in names.items())


def scene_17(tour):
    """one command makes everything safe at once; break-glass opens no plaintext; two people lift it, and work goes on"""
    import work  # noqa: PLC0415 - the tests' small jobs

    made = tour.json("break-glass", "seal", "--holder", "ada", "--holder", "bob")["codes"]
    codes = {of["holder"]: of["code"] for of in made}

    def file(*names):
        path = tour.path("codes")
        with open(path, "w") as out:
            out.writelines(f"{name} {codes[name]}\n" for name in names)
        return path

    did("ada and bob got a recovery code each; the node knows their public keys")
    # The model of the tour was tampered with in scene 13; another one, small, is trained and served.
    small = os.path.join(work.served(tour.path("small"), name="small"), "job.toml")
    tour.wait_job(tour.json("job", "run", small, "--tenant", "acme")["id"])
    tour.json("endpoint", "deploy", "guarded", "small@1", "--tenant", "acme", timeout=180)
    export = ("model", "export", "small@1", tour.path("taken-away"), "--tenant", "acme")
    before = processes(tour)
    check(before, "nothing of a tenant runs before, so its end shows nothing")
    began = time.monotonic()
    tour.json("safe-mode", "enter", "--reason", "a stranger in the log of the firewall")
    took = time.monotonic() - began
    check(processes(tour) == 0, "something of a tenant runs")
    saw(f"safe mode after {took:.1f} s: of {before} porters and runtimes none runs, the gateway is gone, keys are dropped")
    refused = tour.run("-o", "json", *export, expect=SAFE_MODE).error()
    say(f"          the operator takes weights: {refused['what']}")
    alone = tour.run("-o", "json", "safe-mode", "leave", "--reason", "alone", "--codes", file("ada"), expect=3).error()
    say(f"          ada alone leaves it: {alone['what']}")
    opened = tour.json("break-glass", "open", "--reason", "nobody can log in", "--minutes", "5", "--codes", file("bob"))
    tour.json("access", "user", "create", "rescuer")
    tour.run(*export, expect=SAFE_MODE)
    drill = next(c for c in tour.json("posture", "run")["controls"] if c["id"] == "AC-8")
    check(drill["status"] == "pass", f"AC-8 is {drill['status']}: {drill['reason']}")
    saw(f"bob opened break-glass until {opened['break_glass']['ends']}: people can be let in again, weights stay shut")
    for line in drill["evidence"]:
        say(f"          {line}")
    tour.json("safe-mode", "leave", "--reason", "nothing was found", "--codes", file("ada", "bob"))
    ends = time.monotonic() + 60
    while tour.json("endpoint", "show", "guarded", "--tenant", "acme")["state"] != "serving":
        check(time.monotonic() < ends, "the endpoint is not served again")
        time.sleep(0.3)
    tour.json(*export)
    saw("ada and bob left it together: the endpoint serves again, and the operator may what the operator may")
    left = tour.events("--kind", "safe_mode.", until=len)
    kinds = [e["unmapped"]["strongroom"]["event"] for e in left]
    evidence("log: " + ", ".join(kinds))
