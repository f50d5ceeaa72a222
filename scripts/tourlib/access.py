"""Scenes 14 and 15: duties are split, a revocation holds at once, and root is never remote."""

import os
import subprocess
import time

from .kit import PROGRAM, check, did, evidence, saw, say

ROLES = ("auditor", "ml-engineer", "deployer")
FORBIDDEN = "SR-CTL-0005"


def cut_off(tour, key, key_id):
    """Seconds from the answered revocation of a key until a watch with it has ended."""
    job = tour.json("job", "run", tour.path("victim", "job.toml"))["id"]
    words = [PROGRAM, "--key-file", key, "job", "watch", job, "--tenant", "acme"]
    with subprocess.Popen(words, env=tour.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
        try:
            check(watch.stdout.readline(), "the watch says nothing")
            tour.json("key", "revoke", key_id, "--tenant", "acme")
            began = time.monotonic()
            watch.communicate(timeout=20)
        finally:
            watch.kill()
        took = time.monotonic() - began
    check(watch.returncode == 4, f"the watch ended with {watch.returncode}")
    tour.run("job", "stop", job, "--tenant", "acme")
    return took


def scene_14(tour):
    """who trains does not release, who releases does not train, who audits changes nothing; a revoked key is nobody"""
    keys, ids = {}, {}
    for role in ROLES:
        keys[role] = tour.path(f"{role}.key")
        ids[role] = tour.json("key", "create", "--role", role, "--out", keys[role], "--tenant", "acme")["id"]
    did(f"made a key of acme for each of {', '.join(ROLES)}; each tries its own work and that of the others")
    let_in = ("key", "create", "--endpoint", "classifier")
    deploy = ("endpoint", "deploy", "again", tour.model)
    show = ("model", "show", tour.model)
    bring = ("dataset", "import", "small", tour.path("secret"))
    export = ("model", "export", tour.model, tour.path("taken"))
    for role, words, may in (
        ("ml-engineer", bring, True), ("deployer", bring, False), ("auditor", bring, False),
        ("deployer", let_in, True), ("ml-engineer", let_in, False), ("auditor", let_in, False),
        ("ml-engineer", deploy, False), ("auditor", deploy, False),
        ("auditor", show, True), ("auditor", export, False), ("deployer", export, False),
    ):
        answer = tour.run("-o", "json", "--key-file", keys[role], *words, "--tenant", "acme", expect=None)
        told = answer.error()
        if may:
            check(answer.code == 0, f"{role} may not {words[:2]}: {answer.code} {answer.err[-400:]}")
        else:
            check(told.get("code") == FORBIDDEN, f"{role} {words[:2]}: {answer.code} {answer.out[:200]} {answer.err[-400:]}")
            check(not os.path.exists(tour.path("taken")), "a refused export left something behind")
        say(f"          {role:<12} {' '.join(words[:2]):<16} {'done' if may else told.get('what', '')}")
    why = tour.json("access", "check", "--as", "ml-engineer", "--tenant", "acme", "endpoint.deploy", "--why", expect=3)
    saw(f"without the node: endpoint.deploy by ml-engineer: no, {why['why']}")
    took = cut_off(tour, keys["auditor"], ids["auditor"])
    saw(f"the auditor's key was revoked while it watched a job: the stream broke off after {took:.1f} s, the next request was refused")
    tour.json("key", "revoke", ids["deployer"], "--tenant", "acme")
    revoked = tour.run("-o", "json", "--key-file", keys["deployer"], *show, "--tenant", "acme", expect=4)
    saw(f"the deployer's key was revoked: {revoked.error().get('what')}")

    def named(entries):
        texts = [(e, str(e["unmapped"]["strongroom"])) for e in entries]
        return [e for e, text in texts if why["rules"][0] in text and why["policy_version"] in text]

    found = named(tour.events("--tenant", "acme", "--kind", "access.refuse", until=named))
    check(found, "no refusal in the log names its rule and the version of the rules")
    own = found[0]["unmapped"]["strongroom"]
    evidence(f"entry {own['index']}: {own['event']} by rule {why['rules'][0]}, rules {why['policy_version'][:16]}")


def network_sockets():
    """Inodes of the sockets of this network namespace that are not of this machine alone, with their states."""
    found = {}
    for table in ("tcp", "tcp6", "udp", "udp6", "raw", "raw6"):
        with open(f"/proc/net/{table}") as file:
            for line in file.readlines()[1:]:
                fields = line.split()
                found[fields[9]] = fields[3]
    return found


def processes(tour):
    """The node's own processes: name -> (effective user, capabilities, states of its network sockets)."""
    sockets, found = network_sockets(), {}
    config = os.path.join(tour.state, "strongroom.toml")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline") as file:
                words = file.read().split("\0")
            if config not in words:
                continue
            with open(f"/proc/{pid}/status") as file:
                status = dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except (FileNotFoundError, ProcessLookupError):
            continue
        name = os.path.basename(words[0]) + (f" {words[1]}" if words[1] in ("serve", "gateway", "relay") else "")
        held = [sockets[link[8:-1]] for link in links if link.startswith("socket:[") and link[8:-1] in sockets]
        found[name] = (int(status["Uid"].split()[1]), int(status["CapPrm"], 16), held)
    return found


def scene_15(tour):
    """root is never remote: no credential is the operator over the network, and what has privilege has no network"""
    remote = ("-o", "json", "--server", tour.ready["management"], "--ca", tour.ready["management_ca"])
    key = tour.path("admin.key")
    tour.json("key", "create", "--out", key, "--tenant", "acme")
    did("asked over TLS, with the highest role that a key can have, for what is the operator's; and with a key that was revoked")
    for words in (("tenant", "create", "remote"), ("posture", "run"), ("audit", "export", tour.path("by-network"))):
        answer = tour.run(*remote, "--key-file", key, *words, expect=None)
        check(answer.error().get("code") == FORBIDDEN, f"{words}: {answer.code} {answer.out[:200]} {answer.err[-300:]}")
        say(f"          {' '.join(words[:2]):<16} {answer.error()['what']}")
    revoked = tour.run(*remote, "--key-file", tour.path("deployer.key"), "status", expect=4)
    say(f"          {'a revoked key':<16} {revoked.error()['what']}")
    seen = tour.json(*remote[2:], "--key-file", key, "job", "list", "--tenant", "acme")["items"]
    check(seen, "with the same key acme's own jobs are not listed: nothing is shown")
    saw(f"all refused, whoever asks; acme's own {len(seen)} jobs are listed with the same key")
    if os.geteuid() != 0:
        # Who is not root may not look into processes that keep to themselves.
        say("          not looked at without root: which process holds which network sockets")
        return
    found = processes(tour)
    check({"strongroom serve", "strongroom gateway", "strongroom-keeper", "strongroom-warden"} <= set(found), f"{sorted(found)}")
    for name, (user, capabilities, held) in sorted(found.items()):
        say(f"          {name:<20} user {user:<8} {capabilities.bit_count():>2} capabilities  {len(held)} network sockets")
        check(not held or not capabilities, f"{name} has capabilities and a network socket")
        check(not held or user != 0, f"{name} is root and has a network socket")
    check(found["strongroom-keeper"][2] == found["strongroom-warden"][2] == [], "keeper or warden has a network socket")
    listeners = [name for name, (_, _, held) in found.items() if "0A" in held]
    check(sorted(listeners) == ["strongroom gateway", "strongroom serve"], f"listening: {listeners}")
    evidence("what listens (" + ", ".join(sorted(listeners)) + ") has no capability; keeper and warden hold no network socket")
