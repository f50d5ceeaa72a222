"""Scenes 10 to 13: tenants cannot reach each other, a flipped bit is not served, the log and the posture prove it."""

import glob
import json
import os
import shutil
import subprocess
import sys
import time

from .kit import ROOT, Failed, check, did, evidence, saw, say

# Controls whose probes have all that they need at the end of the tour.
PROBED = ("AC-3", "AU-2", "IS-7", "MB-1", "MB-4", "MB-10")
VALID = {"pass", "fail", "manual", "not_applicable", "unknown"}


def prepared(tour, name):
    """A copy of a job's directory with this run's marker (or its digest) in the job file."""
    target = tour.path(name)
    shutil.copytree(os.path.join(ROOT, "scripts", name), target, ignore=shutil.ignore_patterns("__pycache__"))
    path = os.path.join(target, "job.toml")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace("MARKER", tour.marker).replace("DIGEST", tour.marker_digest))
    return path


def outcome(result):
    """What a caller can tell apart: exit code, error code and text without the names that it gave itself."""
    error = result.error()
    return result.code, error.get("code"), error.get("help")


def cross_tenant(tour):
    """Everything of acme, asked for with globex's key; and the same of names that do not exist."""
    key = tour.path("globex.key")
    tour.json("key", "create", "--out", key, "--tenant", "globex")
    who = tour.json("--key-file", key, "whoami")
    check(who["tenant"] == "globex", f"the key is of {who['tenant']}")
    job = tour.attacked
    asks = [
        (("model", "show", tour.model), ("model", "show", "nothing@1")),
        (("model", "verify", tour.model), ("model", "verify", "nothing@1")),
        (("model", "export", tour.model, tour.path("stolen")), ("model", "export", "nothing@1", tour.path("stolen"))),
        (("bom", "show", tour.model), ("bom", "show", "nothing@1")),
        (("dataset", "show", "fashion-mnist@1"), ("dataset", "show", "nothing@1")),
        (("dataset", "verify", "fashion-mnist@1"), ("dataset", "verify", "nothing@1")),
        (("job", "show", job), ("job", "show", job[:-1] + ("0" if job[-1] != "0" else "1"))),
        (("job", "checkpoint", "list", job), ("job", "checkpoint", "list", job[:-1] + ("0" if job[-1] != "0" else "1"))),
        (("job", "stop", job), ("job", "stop", job[:-1] + ("0" if job[-1] != "0" else "1"))),
        (("endpoint", "show", "classifier"), ("endpoint", "show", "nothing")),
        (("endpoint", "stop", "classifier"), ("endpoint", "stop", "nothing")),
        (("model", "list"), None),
        (("key", "list"), None),
    ]
    for real, absent in asks:
        answer = tour.run("-o", "json", "--key-file", key, *real, "--tenant", "acme", expect=None)
        check(answer.code == 3 and not answer.out.strip(), f"globex gets {answer.code} for {real}: {answer.out[:200]}")
        if absent:
            nothing = tour.run("-o", "json", "--key-file", key, *absent, "--tenant", "acme", expect=None)
            check(outcome(nothing) == outcome(answer), f"{real} and {absent} can be told apart")
    own = tour.json("--key-file", key, "audit", "search", "--limit", 0)["items"]
    check(tour.marker not in json.dumps(own), "globex sees the marker in the log")
    check(all(e["metadata"].get("tenant_uid") == "globex" for e in own), "globex sees entries of others")
    status = tour.json("endpoint", "show", "classifier", "--tenant", "acme")["state"]
    check(status == "serving", "globex stopped acme's endpoint")
    say(f"          {len(asks)} requests of globex for acme's things: refused, as for things that do not exist")
    with open(key) as file:
        secret = file.read().strip()
    path = "/" + tour.endpoint["url"].split("/", 3)[3]
    answers = set()
    for where in (path, path.replace("classifier", "nothing")):
        code, _, body = tour.ask(tour.connect(tour.endpoint["url"]), where, {"inputs": []}, secret)
        check(code in (401, 403, 404), f"the gateway answers globex with {code}")
        answers.add((code, json.loads(body or b"{}").get("code")))
    check(len(answers) == 1, f"acme's endpoint and none can be told apart: {answers}")
    say(f"          its gateway answers globex {answers.pop()[0]}, as for an endpoint that does not exist")


def findings(text):
    for line in reversed(text.splitlines()):
        if line.startswith("search: "):
            return json.loads(line[len("search: ") :])
    raise Failed(f"the search said nothing: {text[-500:]}")


def scene_10(tour):
    """globex reaches nothing of acme: not by asking, not by searching its sandbox"""
    secret = tour.path("secret")
    os.makedirs(secret)
    with open(os.path.join(secret, "marker.txt"), "w") as file:
        file.write(tour.marker + "\n")
    tour.json("dataset", "import", "secret", secret, "--tenant", "acme")
    tour.json("endpoint", "deploy", tour.marker, tour.model, "--tenant", "acme", timeout=180)
    victim = tour.json("job", "run", prepared(tour, "victim"))["id"]
    ends = time.monotonic() + 60
    while not tour.checkpoints(victim):
        state = tour.job(victim)
        check(state["state"] not in ("failed", "held") and time.monotonic() < ends,
              f"the victim job is {state['state']}: {state.get('reason')} {state['output_tail'][-500:]}")
        time.sleep(0.3)
    did("gave acme a marker of this run: in a data set, an endpoint's name, and a job's memory, files, network, checkpoints")
    cross_tenant(tour)
    hostile = tour.json("job", "run", prepared(tour, "hostile"))["id"]
    record = tour.wait_job(hostile, "globex", seconds=150, until=("finished", "failed", "held", "stopped"), beside=())
    inside = findings(record["output_tail"])
    check(tour.job(victim)["state"] == "running", "the victim did not run beside it, so nothing is shown")
    pids = tour.workload("hold.py")
    check(pids, "the victim's process is not found from outside")
    search = os.path.join(ROOT, "scripts", "hostile", "search.py")
    done = subprocess.run(
        [sys.executable, search, "--outside", "--digest", tour.marker_digest, "--pids", ",".join(map(str, pids))],
        capture_output=True, text=True, timeout=150, check=False,
    )
    outside = findings(done.stdout + done.stderr)
    say("          where       inside globex's sandbox           outside, as root")
    for place in ("memory", "files", "processes", "network"):
        seen = f"{len(inside['found'][place])} found in {inside['seen'][place]:,} B"
        say(f"          {place:<10}  {seen:<32}  {len(outside['found'][place])} found: {', '.join(outside['found'][place][:2])[:60]}")
    check(not any(inside["found"].values()), f"the hostile job found {inside['found']}")
    check(inside["seen"]["memory"] and inside["seen"]["files"] and inside["seen"]["processes"], "it searched nothing")
    missing = [place for place, hits in outside["found"].items() if not hits]
    check(not missing, f"the same search outside does not find it in {missing}: {outside['refused']}")
    found, _ = tour.search_store([tour.marker.encode()])
    raw = [os.path.relpath(path, tour.state) for path in found if "/log/" not in path and "/logs/" not in path]
    check(not raw, f"the marker lies unsealed in {raw[:3]}")
    tour.run("job", "stop", victim, "--tenant", "acme")
    tour.run("endpoint", "stop", tour.marker, "--tenant", "acme")
    saw(f"inside: nothing, among {inside['processes']} process(es) of its own; outside the same search finds it in all four")
    refused = ", ".join(sorted(inside["refused"])[:8])
    evidence(f"what the kernel refused the hostile job: {refused}")


def scene_11(tour):
    """one bit of the stored model is flipped: it is not served, and the record says why"""
    model = tour.json("model", "show", tour.model, "--tenant", "acme")
    for serving in tour.json("endpoint", "list", "--tenant", "acme")["items"]:
        if serving["state"] == "serving":
            tour.json("endpoint", "stop", serving["name"], "--tenant", "acme")
    before = tour.json("status")["log_size"]
    sizes = {name: os.path.getsize(tour.object_file(name)) for name in model["objects"]}
    path = tour.object_file(max(sizes, key=sizes.get))
    at = tour.flip(path)
    did(f"flipped one bit at byte {at} of {os.path.relpath(path, tour.state)}, then deployed again")
    answer = tour.run("-o", "json", "endpoint", "deploy", "classifier", tour.model, "--tenant", "acme", expect=3, timeout=180)
    told = json.loads(answer.out) if answer.out.strip() else answer.error()
    reason = told.get("reason") or told.get("what")
    saw(f"refused: {reason}")
    served = [e for e in tour.json("endpoint", "list", "--tenant", "acme")["items"]
              if e["state"] == "serving" and e["name"] == "classifier"]
    check(not served, f"{served} still serves")
    status, _, _ = tour.ask(tour.connect(tour.endpoint["url"]), "/" + tour.endpoint["url"].split("/", 3)[3], {"inputs": []}, tour.key)
    check(status != 200, "the gateway still answers for it")
    def bad(entries):
        return [e for e in entries if e["unmapped"]["strongroom"]["outcome"] in ("refused", "failure")]

    events = bad(tour.events("--tenant", "acme", "--from", before, until=bad))
    check(events, "no event says that it was refused")
    for event in events[:3]:
        own = event["unmapped"]["strongroom"]
        evidence(f"entry {own['index']}: {own['event']} {own['outcome']}: {event.get('status_detail', '')[:110]}")
    check(not os.path.exists(path), "the altered object is still where objects are opened from")


def scene_12(tour):
    """the audit log verifies offline; a changed, a cut and a forged copy do not"""
    copy, kept = tour.path("log"), tour.path("kept")
    exported = tour.json("audit", "export", copy)
    vkey = tour.ready["log_key"]
    offline = {"PATH": os.environ["PATH"], "HOME": tour.path("nowhere"), "NO_COLOR": "1"}
    good = tour.json("audit", "verify", copy, "--key", vkey, env=offline)
    did(f"exported {exported['entries']} entries, verified the copy without the node")
    check(good["verified"] and good["entries"] == exported["entries"], "the untouched copy does not verify")
    saw(f"every entry is as it was signed; root {good['root'][:16]}; end: {good['end']}")
    changed = tour.path("log-changed")
    shutil.copytree(copy, changed)
    bundles = sorted(glob.glob(os.path.join(changed, "tile", "entries", "**"), recursive=True))
    bundle = next(b for b in bundles if os.path.isfile(b))
    with open(bundle, "rb") as file:
        data = file.read()
    target = data.find(b"acme")
    check(target > 0, "no entry of acme in the first bundle")
    with open(bundle, "wb") as file:
        file.write(data[:target] + b"acne" + data[target + 4 :])
    bad = tour.json("audit", "verify", changed, "--key", vkey, env=offline, expect=3)
    check(not bad["verified"] and bad["first_bad"], "the first bad entry is not named")
    saw(f"one letter changed: {bad['first_bad']}")
    tour.json("tenant", "show", "acme")
    tour.run("posture", "run", expect=None)
    tour.json("audit", "export", kept)
    short = tour.json(
        "audit", "verify", copy, "--key", vkey, "--at-least", os.path.join(kept, "checkpoint"), env=offline, expect=3
    )
    saw(f"held against a later checkpoint: {short['first_bad']}")
    whole = tour.json(
        "audit", "verify", kept, "--key", vkey, "--at-least", os.path.join(copy, "checkpoint"), env=offline
    )
    check(whole["end"].startswith("proven"), "a kept checkpoint does not prove the end")
    evidence(f"the later copy against the earlier checkpoint: end {whole['end']}")


def scene_13(tour):
    """posture: every control of the catalogue, pass only where a probe saw it"""
    answer = tour.run("-o", "json", "posture", "run", expect=None)
    check(answer.code in (0, 3), f"it ended with {answer.code}: {answer.err[:500]}")
    controls = answer.json()["controls"]
    did("ran the probes on the live node")
    check(len(controls) == 108 and len({c["id"] for c in controls}) == 108, f"{len(controls)} controls, not 108")
    check({c["status"] for c in controls} <= VALID, "a status that does not exist")
    counts = {status: sum(c["status"] == status for c in controls) for status in sorted(VALID)}
    check(sum(counts.values()) == 108, "the counts do not add up")
    told = {c["id"]: c for c in controls}
    for name in PROBED:
        check(told[name]["status"] == "pass", f"{name} is {told[name]['status']}: {told[name]['reason']}")
    check((counts["fail"] > 0) == (answer.code == 3), "the exit code does not tell of failures")
    check(all(c["evidence"] for c in controls if c["status"] == "pass"), "a pass without evidence")
    saw(", ".join(f"{name} {count}" for name, count in counts.items()) + "; together 108")
    for control in [c for c in controls if c["status"] == "fail"][:8]:
        say(f"          fail  {control['id']}: {control['reason'][:110]}")
    passed = next(c for c in controls if c["status"] == "pass")
    evidence(f"{passed['id']}: {passed['evidence'][0][:120]}")
