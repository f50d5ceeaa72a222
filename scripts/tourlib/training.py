"""Scenes 1 to 6: a node, tenants, sealed data, a sandboxed run, an attack, and the same bits after it."""

import glob
import json
import os
import signal
import subprocess
import time

from .kit import DATA, PROGRAM, ROOT, Failed, check, did, evidence, saw, say, sha256_file

JOB_FILE = os.path.join(ROOT, "examples", "fashion-mnist", "job.toml")


def scene_1(tour):
    """a node starts, and says what is simulated"""
    seconds = tour.start_node()
    did(f"started `strongroom dev` in {tour.state}")
    status = tour.json("status")
    saw(f"ready after {tour.ready['ready_ms']} ms ({seconds:.2f} s with the program's own start); state {status['state']}")
    check(status["mode"] == "dev", "a node of `strongroom dev` does not say so")
    check(status["simulated"], "the node does not say what is simulated")
    check(status["state"] in ("normal", "degraded"), f"state {status['state']}")
    for what in status["simulated"]:
        say(f"          simulated: {what}")
    for feature in status["features"]:
        if feature["state"] in ("unsupported", "failed"):
            say(f"          {feature['state']}: {feature['name']}: {feature['detail']}")
    enforced = sum(f["state"] == "enforced" for f in status["features"])
    evidence(f"{enforced} of {len(status['features'])} protections enforced; audit log key {status['log_key']}")


def scene_2(tour):
    """two tenants are created"""
    for name in ("acme", "globex"):
        tour.json("tenant", "create", name)
    did("created tenants acme and globex")
    names = [t["name"] for t in tour.json("tenant", "list")["items"]]
    check(names == ["acme", "globex"], f"the tenants are {names}")
    again = tour.run("-o", "json", "tenant", "create", "acme", expect=7)
    check(again.error().get("code", "").startswith("SR-"), "a second acme is refused without a code")
    saw(f"{names}; a second acme is refused: {again.error()['what']}")
    def tell(entries):
        return {"acme", "globex"} <= {e["metadata"].get("tenant_uid") for e in entries}

    created = tour.events("--kind", "tenant.create", until=tell)
    check(tell(created), "no event of the creation")
    evidence(f"{len(created)} entries tenant.create in the audit log")


def scene_3(tour):
    """a data set is imported and sealed, and the store holds none of its bytes"""
    made = tour.json("dataset", "import", "fashion-mnist", DATA, "--tenant", "acme", timeout=120)
    did(f"imported {DATA}: {len(made['files'])} files, {made['bytes']} bytes, as {made['name']}@{made['version']}")
    for file in made["files"]:
        path = os.path.join(DATA, file["path"])
        check(sha256_file(path) == file["digest"], f"{file['path']} has another digest in the record")
    check(tour.json("dataset", "verify", "fashion-mnist@1", "--tenant", "acme")["verified"], "it does not verify")
    needles = []
    for file in made["files"]:
        with open(os.path.join(DATA, file["path"]), "rb") as source:
            for part in (1, 5, 9):
                source.seek(file["size"] * part // 10)
                needles.append(source.read(24))
    needles = [n for n in needles if len(set(n)) > 8]
    found, total = tour.search_store(needles)
    check(needles and not found, f"bytes of the data set lie in {found[:3]}")
    check(total >= made["bytes"], f"only {total} bytes were searched, the sealed files are not among them")
    saw(f"every digest agrees; {len(needles)} samples of its bytes are nowhere in {total >> 20} MiB of raw state")
    evidence(f"manifest digest {made['digest']}")


def run_job(tour):
    job = tour.json("job", "run", JOB_FILE, timeout=120)
    return job["id"]


def scene_4(tour):
    """an unmodified PyTorch script trains in the sandbox, with live progress"""
    job = run_job(tour)
    did(f"submitted {os.path.relpath(JOB_FILE, ROOT)} as {job}")
    shown, last = [], 0.0
    watch = subprocess.Popen(
        [PROGRAM, "-o", "jsonl", "job", "watch", job, "--tenant", "acme"],
        env=tour.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )
    for line in watch.stdout:
        event = json.loads(line)
        shown.append(event["kind"])
        now = time.monotonic()
        if event["kind"] not in ("progress", "output") or now - last > 8:
            last = now if event["kind"] in ("progress", "output") else last
            say(f"          {event['time'][11:19]}  {event['kind']:<10}  {event['message'].strip()[:100]}")
    watch.wait()
    record = tour.wait_job(job, seconds=20)
    check(watch.returncode == 0, f"`job watch` ended with {watch.returncode}")
    check("progress" in shown and "checkpoint" in shown, f"the events were only {sorted(set(shown))}")
    check(record["model"], "the job made no model")
    isolation = {f["name"]: f["state"] for f in record["isolation"]}
    lacking = sorted(n for n, s in isolation.items() if s not in ("enforced", "not-applicable"))
    check(isolation, "nothing is said of its isolation")
    tour.reference = record
    metrics = ", ".join(f"{k} {v}" for k, v in record["metrics"].items())
    saw(f"finished at step {record['step']} with {record['checkpoints']} sealed checkpoints; {metrics}")
    say(f"          isolation: {len(isolation) - len(lacking)} enforced; not: {', '.join(lacking) or 'none'}")
    evidence(f"contract {record['contract']}, model {record['model']}")


def stop_all(pids, what):
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            pass


def scene_5(tour):
    """attack: a sealed checkpoint is tampered with, the job's directory destroyed, the job killed"""
    tour.attacked = run_job(tour)
    ends = time.monotonic() + 120
    while len([c for c in tour.checkpoints(tour.attacked) if c["state"] == "good"]) < 3:
        state = tour.job(tour.attacked)["state"]
        check(time.monotonic() < ends and state not in ("failed", "held"), f"no three checkpoints; job is {state}")
        time.sleep(0.4)
    pids = tour.workload("train.py")
    check(pids, "the training process is not found from outside")
    stop_all(pids, signal.SIGSTOP)
    time.sleep(2.5)
    checkpoints = tour.checkpoints(tour.attacked)
    newest = max(checkpoints, key=lambda c: c["version"])
    tour.tampered = newest["version"]
    check(newest["objects"], "the checkpoint names no object")
    path = tour.object_file(newest["objects"][0])
    at = tour.flip(path)
    did(f"flipped one bit of sealed checkpoint {newest['version']} (byte {at} of {os.path.relpath(path, tour.state)})")
    destroyed = 0
    for file in glob.glob(f"/proc/{pids[0]}/root/opt/ml/checkpoints/*"):
        os.remove(file)
        destroyed += 1
    check(destroyed, "there was no file in the job's checkpoint directory")
    tour.killed_at = tour.job(tour.attacked)["step"]
    stop_all(pids, signal.SIGKILL)
    did(f"destroyed {destroyed} file(s) of the job's own checkpoint directory, killed processes {pids}")
    ends = time.monotonic() + 60
    while len(tour.job(tour.attacked)["segments"]) < 2:
        check(time.monotonic() < ends, "the job did not start again by itself")
        time.sleep(0.3)
    record = tour.job(tour.attacked)
    saw(f"job {record['state']}; first segment ended: {record['segments'][0]['cause']}")
    def told(entries):
        return [e["unmapped"]["strongroom"]["event"] for e in entries]

    kinds = told(tour.events("--kind", "job.", "--tenant", "acme", until=lambda e: "job.interrupt" in told(e)))
    check("job.interrupt" in kinds, "no job.interrupt in the audit log")
    evidence(f"audit log: {kinds.count('job.interrupt')} job.interrupt, {kinds.count('job.resume')} job.resume")


def scene_6(tour):
    """it resumes by itself, and ends with the same bits as the undisturbed run"""
    record = tour.wait_job(tour.attacked, seconds=240)
    second = record["segments"][1]
    did("waited for its end; nobody did anything to help it")
    saw(f"resumed from checkpoint {second['resumed_from']}; rejected: {'; '.join(second['rejected']) or 'none'}")
    check(second["resumed_from"] and second["resumed_from"] < tour.tampered, "it went on from the tampered checkpoint")
    check(second["rejected"], "the record does not say why the newest was not taken")
    model = tour.json("model", "show", record["model"], "--tenant", "acme")
    reference = tour.json("model", "show", tour.reference["model"], "--tenant", "acme")
    files = {f["path"]: f["digest"] for f in model["files"]}
    expected = {f["path"]: f["digest"] for f in reference["files"]}
    for path in sorted(set(files) | set(expected)):
        same = files.get(path) == expected.get(path)
        say(f"          {path}: {files.get(path, '-')[:16]} {'=' if same else '≠'} {expected.get(path, '-')[:16]}")
    if files != expected:
        raise Failed("the resumed model is not the one of the undisturbed run, bit for bit")
    tour.model = record["model"]
    evidence(f"root digest {model['digest']} twice: of {tour.reference['model']} and of {record['model']}")
