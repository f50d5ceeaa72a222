#!/usr/bin/python3
"""What the node tells of itself for diagnostics is true, and holds nobody's name and no secret.

Secrets and names are planted in everything that the report is drawn from; first each is seen to be there, then its bytes
are looked for in every form of the report.
"""

import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import PROGRAMS, Node, check, close, needs_root, run_tests, wait_for  # noqa: E402
from people import granted  # noqa: E402
from procs import Process  # noqa: E402

TENANT, DATASET, MODEL, ENDPOINT, PERSON = "zorbl-tenant", "quxzi-data", "vlorp-model", "wumpf-endpoint", "yrgel-person"
CONTROL = 890_002
JOB, WORD, REASON, LINE = "kripz-job", "snofz-word", "brimz reason", "plindz-line"
# In a configuration of one's own: a provider that is never asked.
CONFIGURED = {"issuer": "https://gnarlz.example", "client_id": "fribz-client", "group": "dworz-group"}


class Planted:
    """A node with names and secrets in all of its state."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", TENANT)
        work.write(node.path("data", "flumz-file.txt"), b"trelz-content")
        node.ok("dataset", "import", DATASET, node.path("data"), "--tenant", TENANT)
        node.wait_job(node.submit(work.served(node.path("model"), name=MODEL, tenant=TENANT), TENANT), tenant=TENANT)
        node.ok("endpoint", "deploy", ENDPOINT, f"{MODEL}@1", "--tenant", TENANT)
        self.key = node.ok("key", "create", "--endpoint", ENDPOINT, "--tenant", TENANT)
        node.ok("key", "create", "--role", "auditor", "--out", node.path("auditor.key"), "--tenant", TENANT)
        self.session = granted(node, PERSON, "security").login()
        script = work.COUNT + f'print("{LINE}", flush=True)\n'
        script = script.replace('print("from step', f'print("{LINE}", flush=True)\nprint("from step')
        where = work.job(node.path("long"), script, name=JOB, tenant=TENANT, word=WORD, steps=100_000, every=4, pause=0.1)
        self.job = node.submit(where, TENANT)
        wait_for("the job runs", lambda: node.workload(WORD))
        wait_for("the job writes", lambda: LINE in node.job(self.job, TENANT)["output_tail"])
        # Names come into logs and reasons, too.
        node.run("tenant", "create", "in valid " + TENANT)
        node.ok("access", "grant", PERSON, "auditor", "--tenant", TENANT, "--reason", REASON)
        # Some controls may fail on this host, which is not what is tested here.
        check(node.run("posture", "run").code in (0, 3), "the probes did not run")
        with open(node.path("auditor.key")) as file:
            self.auditor = file.read().strip()
        self.report = node.ok("node", "diagnostics")


def secrets(planted):
    return {
        "the tenant": TENANT, "the data set": DATASET, "the model": MODEL, "the endpoint": ENDPOINT, "the person": PERSON,
        "the job": JOB, "a word of its command line": WORD, "a line that it wrote": LINE, "a reason": REASON,
        "a file of the data set": "flumz-file", "its content": "trelz-content", "a key": planted.key["secret"],
        "the id of the key": planted.key["id"], "a management key": planted.auditor, "a session's token": planted.session,
        "the id of the job": planted.job, "the issuer": "gnarlz", "the client": "fribz", "the group": "dworz",
        "the client's secret": "hublz-secret", "the state directory": planted.node.state, "the host": os.uname().nodename,
    }


def presented(node, secret):
    """A file of a credential, as the command line takes it."""
    path = node.path("presented.key")
    with open(path, "w") as file:
        file.write(secret)
    os.chmod(path, 0o600)
    return path


def what_is_planted_is_where_the_report_is_drawn_from(planted):
    """The control. What the node keeps sealed is seen by what it answers."""
    node = planted.node
    answers = [
        node.ok("tenant", "list"), node.ok("dataset", "list", "--tenant", TENANT), node.ok("model", "list", "--tenant", TENANT),
        node.ok("endpoint", "list", "--tenant", TENANT), node.ok("job", "list", "--tenant", TENANT), node.ok("access", "user", "list"),
        node.ok("key", "list", "--tenant", TENANT), node.job(planted.job, TENANT), node.ok("audit", "search", "--limit", 0),
        node.ok("dataset", "show", DATASET, "--tenant", TENANT), node.ok("status"),
    ]
    text = json.dumps(answers)
    with open(node.path("data", "flumz-file.txt")) as file:
        text += file.read()
    for path in (os.path.join(node.state, "strongroom.toml"), node.path("client.secret")):
        with open(path) as file:
            text += file.read()
    for pid in node.workload(WORD):
        with open(f"/proc/{pid}/cmdline") as file:
            text += file.read()
    # Keys and tokens are good, so the node knows them.
    for key in (planted.auditor, planted.session):
        path = presented(node, key)
        said = node.run("whoami", key=path)
        check(said.code == 0, f"a credential is not good: {said.err}")
        text += key
    status, _ = node.ask(node.ok("endpoint", "show", ENDPOINT, "--tenant", TENANT)["url"], work.request([[1.0, 2.0]]), planted.key["secret"])
    check(status == 200, f"the key of the endpoint is not good: {status}")
    text += planted.key["secret"] + os.uname().nodename
    for what, secret in secrets(planted).items():
        check(secret in text, f"{what} was not planted: {secret}")


def nothing_of_it_is_in_the_report(planted):
    node = planted.node
    to = node.path("report.json")
    written = node.ok("node", "diagnostics", "--to", to)
    with open(to) as file:
        document = file.read()
    forms = {"-o " + form: node.run("-o", form, "node", "diagnostics").out for form in ("text", "json", "plain", "csv", "jsonl")}
    forms["--to"] = document
    for form, text in forms.items():
        check(len(text) > 100, f"{form}: {text!r}")
        for what, secret in secrets(planted).items():
            for hidden in {secret, secret[:12], secret.upper(), secret.encode().hex()}:
                check(hidden not in text, f"{what} is in {form}: {hidden}")
    # Nothing that looks like a key, an address or a path either.
    for form in ("--to", "-o text"):
        found = re.findall(r"sr[a-z]_\w+|\b\d+\.\d+\.\d+\.\d+\b|(?<![\w.])/\w+|-----BEGIN|https?:", forms[form])
        check(not found, f"{form}: {found}")
    check(written["bytes"] == len(document) and set(json.loads(document)) - {"schema"} <= set(written["holds"]), written)
    node.refused("node", "diagnostics", "--to", to, code=7, says="exists")


def what_it_tells_is_true(planted):
    node, report = planted.node, planted.report
    roles = node.pids()
    seen = {p["process"]: p for p in report["processes"]}
    check(set(seen) == {"warden", "keeper", "control", "gateway", "relay"}, seen)
    for name, told in seen.items():
        process = Process(roles[name])
        check((told["pid"], told["uid"], told["state"]) == (process.pid, process.uids[1], "running"), told)
        check((told["capabilities"], told["bounding"]) == (process.sets["CapEff"], process.sets["CapBnd"]), told)
        check(told["no_new_privileges"] == process.no_new_privileges and told["resident_bytes"] > 0, told)
    digests = {p["program"]: p["digest"] for p in report["programs"]}
    for name, digest in digests.items():
        done = subprocess.run(["sha256sum", os.path.join(PROGRAMS, name)], capture_output=True, text=True, check=True)
        check(done.stdout.split()[0] == digest, f"{name}: {digest}")
    check(len(digests) == 5, digests)
    counts = {(r["kind"], r["state"]): r["count"] for r in report["runs"]["counts"]}
    check(counts == {("training", "running"): 1, ("serving", "running"): 1}, counts)
    check(report["runs"]["processes"] >= 2 and report["runs"]["mounts_frozen"] >= 3, report["runs"])
    check(report["groups"]["groups"] == 2, report["groups"])
    check(report["jobs"] == {"finished": 1, "running": 1} and report["endpoints"] == {"serving": 1}, report)
    check(report["holds"]["tenants"] == 1 and report["holds"]["people"] == 1 and report["holds"]["keys"] == 2, report["holds"])
    # Every feature of the host by name, none that the report does not know.
    features = {f["name"]: f["state"] for f in node.ok("status")["features"]}
    check(report["features"] == features, f"{report['features']} {features}")
    check({p["place"] for p in report["places"]} == {"state", "log", "programs"}, report["places"])
    free = os.statvfs(node.state)
    check(report["places"][0]["total_bytes"] == free.f_blocks * free.f_frsize, report["places"])
    with open("/proc/meminfo") as text:
        total = int(text.readline().split()[1]) * 1024
    check(report["machine"]["memory_bytes"] == total and report["machine"]["cpus"] == len(os.sched_getaffinity(0)), report["machine"])
    settings, switches = report["configuration"]["numbers"], report["configuration"]["switches"]
    check(settings["users.keeper"] == seen["keeper"]["uid"] and settings["login.oidc.grants"] == 1, settings)
    check(switches["login.oidc.client_secret_file"] and not switches["login.oidc.ca_file"], switches)
    check(sum(report["posture"]["totals"].values()) == 108, report["posture"])
    check(any("logs" in line for line in report["left_out"]), report["left_out"])


def a_process_that_is_down_is_told(planted):
    node = planted.node
    node.kill("gateway")

    def told():
        found = {p["process"]: p for p in node.ok("node", "diagnostics")["processes"]}["gateway"]
        return found if found["restarts"] else None

    found = wait_for("the restart is told", told)
    check(found["state"] in ("waiting", "running"), found)


def it_is_for_who_looks_after_the_node_and_leaves_an_entry(planted):
    node = planted.node
    node.refused("node", "diagnostics", code=3, says="SR-CTL-0005", key=node.path("auditor.key"))
    path = presented(node, planted.session)
    check(node.ok("node", "diagnostics", key=path)["schema"] == "strongroom.node.diagnostics/1", "who watches over the node")
    found = node.events("--kind", "node.diagnose", until=len)
    check(any(f"user:{PERSON}" in str(e) for e in found) and any("operator" in str(e) for e in found), found[-2:])


def configured(node):
    """Planted in the configuration, in a section that is the operator's."""
    with open(node.path("client.secret"), "w") as file:
        file.write("hublz-secret")
    with open(os.path.join(node.state, "strongroom.toml"), "a") as file:
        file.write(
            f'\n[login.oidc]\nissuer = "{CONFIGURED["issuer"]}"\nclient_id = "{CONFIGURED["client_id"]}"\n'
            f'client_secret_file = "{node.path("client.secret")}"\nsecond_factor = "provider"\n'
            f'[[login.oidc.grants]]\ngroup = "{CONFIGURED["group"]}"\nrole = "security"\n'
        )
    os.chown(node.path("client.secret"), CONTROL, CONTROL)
    os.chmod(node.path("client.secret"), 0o600)


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        node.stop()
        configured(node)
        node.start()
        counts = run_tests(
            [
                what_is_planted_is_where_the_report_is_drawn_from,
                nothing_of_it_is_in_the_report,
                what_it_tells_is_true,
                it_is_for_who_looks_after_the_node_and_leaves_an_entry,
                a_process_that_is_down_is_told,
            ],
            Planted(node),
        )
    close(*counts)
