#!/usr/bin/python3
"""A tenant's key finds nothing of another tenant in what everybody may ask, at the gateway, and takes no places from it.
That every endpoint hides what is another's is tested in every_endpoint.test.py."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402


class Two:
    """Tenant acme has one of everything; globex has a key."""

    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        work.write(node.path("data", "a.txt"), b"acme's own")
        node.ok("dataset", "import", "data", node.path("data"), "--tenant", "acme")
        work.write(node.path("image", "etc", "marker"), b"acme's own")
        self.image = node.ok("image", "import", node.path("image"), "--tenant", "acme")["digest"]
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        node.ok("access", "service", "create", "lin", "--role", "auditor", "--tenant", "acme", "--out", node.path("service"))
        self.inference = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")
        self.job = node.submit(work.counting(node.path("run"), name="run", word="run", steps=9000))
        wait_for("the job runs", lambda: node.workload("run"), 20)
        self.keys = {}
        for tenant in ("acme", "globex"):
            path = node.path(f"{tenant}.key")
            node.ok("key", "create", "--out", path, "--tenant", tenant)
            with open(path) as file:
                self.keys[tenant] = file.read().strip()

    def call(self, method, path, tenant=None):
        answer = api.ask(self.node.ready["socket"], method, path, self.keys[tenant] if tenant else None)
        return answer.status, answer.json if answer.json is not None else answer.text


def shape(answer, *names):
    """An answer without the names that were asked for and the request's own id."""
    status, body = answer
    if isinstance(body, dict):
        body = {k: v for k, v in body.items() if k != "request_id"}
    text = json.dumps(body, sort_keys=True)
    for name in names:
        text = text.replace(name, "NAME")
    return status, text


def what_everybody_may_ask_shows_nothing_of_another(two):
    receipt = inference_receipt(two)
    check(two.call("GET", f"/v1/receipts/{receipt}", "acme")[0] == 200, "acme does not find its own receipt")
    # An id begins with its time: made up is one of the same moment.
    invented = receipt[:-4] + ("0000" if receipt[-4:] != "0000" else "1111")
    theirs = shape(two.call("GET", f"/v1/receipts/{receipt}", "globex"), receipt)
    absent = shape(two.call("GET", f"/v1/receipts/{invented}", "globex"), invented)
    check(theirs == absent, f"globex can tell acme's receipt from one that is not there: {theirs} {absent}")
    check("acme" not in theirs[1] and '"proof": []' in theirs[1] or theirs[0] == 404, theirs)
    for path in ("/v1/status", "/v1/whoami", "/v1/tenants", "/v1/audit/entries", "/v1/audit/entries?tenant=acme",
                 f"/v1/audit/entries?asset={two.job}", "/v1/audit/entries?text=acme",
                 "/v1/access/check?role=auditor&tenant=acme&operation=model.list",
                 "/v1/access/check?role=auditor&within=acme&operation=model.list"):
        status, body = two.call("GET", path, "globex")
        text = json.dumps(body)
        check(status in (200, 400, 403, 404), f"{path}: {status}")
        for name in ("acme", two.job, two.inference["id"]):
            asked = name in path and status != 200
            check(asked or name not in text, f"{path} shows globex `{name}`: {text[:300]}")


def a_question_about_another_tenant_is_as_if_there_were_none(two):
    question = "/v1/access/check?role=auditor&operation=model.show&resource=lin/1"
    own = two.call("GET", question, "globex")
    check(own[0] == 200 and own[1]["allowed"] and own[1]["tenant"] == "globex", own)
    for name in ("tenant", "within"):
        theirs = shape(two.call("GET", f"{question}&{name}=acme", "globex"), "acme")
        absent = shape(two.call("GET", f"{question}&{name}=nobody", "globex"), "nobody")
        check(theirs == absent and theirs[0] == 404, f"{theirs} {absent}")


def inference_receipt(two):
    url = two.node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]
    connection = two.node.connect()
    connection.request(
        "POST", "/" + url.split("/", 3)[3], json.dumps(work.request([[1, 2]])),
        {"Content-Type": "application/json", "Authorization": f"Bearer {two.inference['secret']}"},
    )
    reply = connection.getresponse()
    reply.read()
    check(reply.status == 200, reply.status)
    found = [v for k, v in reply.getheaders() if "receipt" in k.lower()]
    check(found, f"no receipt among {reply.getheaders()}")
    receipt = found[0]
    wait_for("the receipt is known", lambda: two.call("GET", f"/v1/receipts/{receipt}")[0] == 200, 10)
    return receipt


def a_key_of_one_tenant_does_not_open_the_endpoint_of_another(two):
    node = two.node
    node.wait_job(node.submit(work.served(node.path("own"), name="own", tenant="globex"), "globex"), tenant="globex")
    node.ok("endpoint", "deploy", "own", "own@1", "--tenant", "globex")
    key = node.ok("key", "create", "--endpoint", "own", "--tenant", "globex")["secret"]
    own = node.ok("endpoint", "show", "own", "--tenant", "globex")["url"]
    check(node.ask(own, work.request([[1, 2]]), key)[0] == 200, "globex's own endpoint does not answer")
    theirs = node.ask(own.replace("/own/", "/lin/"), work.request([[1, 2]]), key)
    absent = node.ask(own.replace("/own/", "/absent/"), work.request([[1, 2]]), key)
    check(shape(theirs, "lin") == shape(absent, "absent"), f"{theirs} {absent}")
    check(theirs[0] in (401, 403, 404), theirs)


def one_tenant_leaves_places_for_running_jobs_to_others(two):
    node = two.node
    sleeps = "import time\ntime.sleep(600)\n"

    def submit(name, tenant):
        directory = work.job(node.path(f"{tenant}-{name}"), sleeps, name=name, tenant=tenant, memory="64MiB", checkpoints="required = false")
        return node.run("-o", "json", "job", "run", os.path.join(directory, "job.toml"), "--tenant", tenant)

    running, last = [], None
    for number in range(20):
        last = submit(f"sleeps-{number}", "acme")
        if last.code != 0:
            break
        running.append(last.json()["id"])
    # One of acme's sixteen runs since the beginning.
    check(len(running) == 15, f"{len(running)} more jobs of one tenant run: {last.err}")
    check("share of 16 running jobs" in last.err and "[tenants]" in last.err, last.err)
    other = submit("sleeps", "globex")
    check(other.code == 0, f"another tenant has no place: {other.err}")
    node.ok("job", "stop", other.json()["id"], "--tenant", "globex")
    for job in running:
        node.ok("job", "stop", job, "--tenant", "acme")
    for job in running:
        node.wait_job(job, until=("stopped", "failed", "held"), seconds=60)


def an_object_of_one_does_not_open_as_the_others(two):
    found = {c["id"]: c for c in two.node.run("-o", "json", "posture", "run").json()["controls"]}
    check(found["IS-7"]["status"] == "pass", found["IS-7"])


def nothing_of_acme_changed(two):
    node = two.node
    check(node.job(two.job)["state"] == "running", node.job(two.job)["state"])
    check(node.ok("endpoint", "show", "lin", "--tenant", "acme")["state"] == "serving", "the endpoint is stopped")
    keys = {k["id"]: k for k in node.ok("key", "list", "--tenant", "acme")["items"]}
    check(not keys[two.inference["id"]]["revoked"], "a key is revoked")
    services = {s["name"]: s["revoked"] for s in node.ok("access", "service", "list", "--tenant", "acme")["items"]}
    check(services == {"lin": False}, services)
    names = [d["name"] for d in node.ok("dataset", "list", "--tenant", "acme")["items"]]
    check(names == ["data"], names)
    node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        two = Two(node)
        counts = run_tests(
            [
                what_everybody_may_ask_shows_nothing_of_another,
                a_question_about_another_tenant_is_as_if_there_were_none,
                a_key_of_one_tenant_does_not_open_the_endpoint_of_another,
                one_tenant_leaves_places_for_running_jobs_to_others,
                an_object_of_one_does_not_open_as_the_others,
                nothing_of_acme_changed,
            ],
            two,
        )
    close(*counts)
