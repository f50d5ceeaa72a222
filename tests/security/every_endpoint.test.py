#!/usr/bin/python3
"""Every endpoint that the product describes, asked by everybody who may not: without a key, as another user of the host,
with keys that are forged, revoked or of another kind, and as another tenant. What exists and what does not look the same.
"""

import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402

STRANGER = 65534
# Asked in the place of another user of the host.
ASK = r"""
import json, sys
sys.path.insert(0, sys.argv[2])
import api
told = [api.ask(sys.argv[1], *request) for request in json.load(sys.stdin)]
json.dump([[a.status, a.headers, a.text] for a in told], sys.stdout)
"""
# What the node itself signed counts, so that what is served stays so.
TRUST = """schema = "strongroom.trust-policy/1"
tenant = "acme"
version = 1
[[signer]]
principal = "node"
models = ["*"]
keys = ['''
{key}''']
[[rule]]
models = ["*"]
signatures = 1
"""
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW", "get")


class Both:
    """Tenant acme has one of everything; globex has a key."""

    def __init__(self, node):
        # Those that strangers may call have a test of their own below.
        self.node, self.all = node, [o for o in api.operations() if o.who != "stranger"]
        self.open = [o for o in api.operations() if o.who == "stranger"]
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        work.write(node.path("data", "a.txt"), b"acme's own")
        node.ok("dataset", "import", "data", node.path("data"), "--tenant", "acme")
        work.write(node.path("image", "etc", "marker"), b"acme's own")
        image = node.ok("image", "import", node.path("image"), "--tenant", "acme")["digest"]
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        lin = work.write(node.path("lin-of-another", "model.onnx"), work.onnx(work.WEIGHTS))
        node.ok("model", "import", "lin", lin, "--tenant", "acme", "--source", "by hand")
        node.ok("model", "export", "lin@1", node.path("out"), "--tenant", "acme")
        with open(node.path("out", "model.pub.pem")) as key:
            work.write(node.path("trust.toml"), TRUST.format(key=key.read()).encode())
        node.ok("trust", "policy", "apply", node.path("trust.toml"), "--reason", "to see", "--tenant", "acme")
        node.ok("egress", "create", "lin", "--host", "hub.example", "--port", 443, "--tenant", "acme")
        self.inference = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")
        self.job = node.submit(work.counting(node.path("run"), name="run", word="run", steps=9000))
        wait_for("the job runs", lambda: node.workload("run"), 20)
        self.keys = {t: node.ok("key", "create", "--tenant", t)["secret"] for t in ("acme", "globex")}
        begun = self.ask("POST", "/v1/tenants/acme/imports", self.keys["acme"], '{"kind": "dataset", "name": "open"}')
        check(begun.status == 200, begun)
        self.acmes = {
            "import": begun.json["id"], "key": self.inference["id"], "job": self.job, "digest": image, "path": "a.txt",
        }

    def ask(self, method, path, key=None, body=None, kind="application/json", headers=()):
        return api.ask(self.node.ready["socket"], method, path, key, body, kind, headers)

    def things(self, operation):
        """What of acme an endpoint is about."""
        named = "data" if operation.name.startswith("dataset") else "lin"
        path = "model.onnx" if operation.name == "model.export" else "a.txt"
        return {**self.acmes, "name": named, "to": named, "path": path}

    def call(self, operation, bearer, tenant, **things):
        """A request that would do something, if it were let in."""
        body, kind = operation.body(
            **{"endpoint.deploy": {"name": "theirs", "model": "lin@1"}, "key.create": {"endpoint": "lin"},
               "job.run": {**api.BODIES["job.run"], "code": self.acmes["import"]}}
        )
        return self.ask(operation.method, operation.at(tenant=tenant, **things), bearer, body, kind)

    def of_tenants(self):
        return [o for o in self.all if o.who == "tenant"]


def as_stranger(both, requests):
    lib = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib")
    done = subprocess.run(
        ["setpriv", f"--reuid={STRANGER}", f"--regid={STRANGER}", "--clear-groups", "/usr/bin/python3", "-c", ASK, both.node.ready["socket"], lib],
        input=json.dumps(requests), capture_output=True, text=True, timeout=60, check=False,
    )
    check(done.returncode == 0, done.stderr)
    return [api.Answer(*one) for one in json.loads(done.stdout)]


def with_its_own_key_acme_finds_its_own(both):
    """The control: the same requests that are refused below find something, so that a refusal means what it says."""
    found = 0
    for operation in both.of_tenants():
        if operation.method == "GET" and operation.name != "job.watch":
            answer = both.call(operation, both.keys["acme"], "acme", **both.things(operation))
            check(answer.status == 200, f"{operation.name} with acme's own key: {answer}")
            found += 1
    check(found >= 12, f"only {found} were asked")


def another_tenant_is_hidden_by_every_endpoint(both):
    answers = {}
    for operation in both.of_tenants():
        theirs = both.call(operation, both.keys["globex"], "acme", **both.things(operation)).said("acme")
        absent = both.call(operation, both.keys["globex"], "nobody", **both.things(operation)).said("nobody")
        check(theirs[0] == 404, f"{operation.name}: {theirs}")
        check(theirs == absent, f"{operation.name} tells acme from a tenant that is not there: {theirs} {absent}")
        answers.setdefault(theirs, []).append(operation.name)
    check(len(answers) == 1, f"answers differ between endpoints: {answers}")


def below_the_own_tenant_what_is_anothers_is_as_if_made_up(both):
    asked = 0
    for operation in both.of_tenants():
        things = both.things(operation)
        if operation.at(tenant="globex", **things) == operation.at(tenant="globex"):
            continue
        names = [*things.values(), *api.NOTHING.values()]
        names = sorted((n for n in names if n != "1"), key=len, reverse=True)
        theirs = both.call(operation, both.keys["globex"], "globex", **things).said(*names)
        absent = both.call(operation, both.keys["globex"], "globex").said(*names)
        check(theirs[0] == 404, f"{operation.name}: {theirs}")
        check(theirs == absent, f"{operation.name} tells what is acme's from what is not there: {theirs} {absent}")
        asked += 1
    check(asked >= 15, f"only {asked} endpoints were asked")


def what_is_the_operators_is_no_tenants(both):
    for operation in (o for o in both.all if o.who == "operator"):
        answer = both.call(operation, both.keys["globex"], "acme")
        check(answer.status == 403 and "acme" not in answer.text, f"{operation.name}: {answer}")


def a_key_that_is_not_good_is_nobody_at_every_endpoint(both):
    """A key lives a day at least, so that one has ended is tested where time is a value: control's `keys`."""
    node, good = both.node, both.keys["acme"]
    made = node.ok("key", "create", "--tenant", "acme")
    check(both.ask("GET", "/v1/tenants/acme/models", made["secret"]).status == 200, "a new key does not open")
    node.ok("key", "revoke", made["id"], "--tenant", "acme")
    other = both.keys["globex"]
    bad = {
        "revoked": made["secret"],
        "another last character": good[:-1] + ("x" if good[-1] != "x" else "y"),
        "the secret of another tenant's key": other[:31] + good[31:],
        "an id that is not there": good[:4] + "0" * 26 + good[30:],
        "the key of an endpoint": both.inference["secret"],
        "in capitals": good.upper(),
        "a word beside the key": good + " acme",
        "only its beginning": "srk_",
        "huge": "srk_" + "0" * 6000,
    }
    asked = set()
    for what, key in bad.items():
        for operation in both.all:
            answer = both.call(operation, key, "acme", **both.things(operation))
            check(answer.status == 401, f"{what}, {operation.name}: {answer}")
            asked.add(operation.name)
    check(asked == {o.name for o in both.all}, "an endpoint was not asked")
    for header in ("Basic " + good, "Bearer", "Bearer  " + good, ""):
        answer = both.ask("GET", "/v1/whoami", headers={"Authorization": header})
        check(answer.status == 401, f"{header[:12]!r}: {answer}")


def what_strangers_may_ask_says_nothing_of_anybody(both):
    """How one becomes known: the same for everybody, whatever credential they show, and no way to anything else."""
    check(both.open and all(o.path.startswith(("/v1/login", "/v1/enrol")) for o in both.open), [o.path for o in both.open])
    for operation in both.open:
        body, kind = operation.body()
        told = set()
        for key in (None, both.keys["acme"], both.keys["acme"][:-1] + "0", "srs_" + "0" * 79):
            answer = both.ask(operation.method, operation.path, key, body, kind)
            told.add(answer.said())
            check("acme" not in answer.text and answer.status < 500, f"{operation.name}: {answer}")
            check(operation.method == "GET" or answer.status != 200, f"{operation.name} lets somebody in: {answer}")
        check(len(told) == 1, f"{operation.name} answers differently: {told}")


def another_user_of_the_host_is_nobody_and_learns_no_path(both):
    requests = []
    for operation in both.all:
        body, kind = operation.body()
        body = body.decode() if isinstance(body, bytes) else body
        requests.append([operation.method, operation.at(tenant="acme", **both.things(operation)), None, body, kind])
    described = len(requests)
    requests += [["GET", "/v1/nothing"], ["DELETE", "/v1/status"], ["GET", "/"], ["OPTIONS", "*"], ["GET", "/v1/tenants/%00"]]
    answers = as_stranger(both, requests)
    check(described == len(both.all) and len(answers) == len(requests), "an endpoint was not asked")
    for request, answer in zip(requests, answers):
        check(answer.status == 401, f"{request[:2]}: {answer}")
        check("acme" not in answer.text and "allow" not in answer.headers, f"{request[:2]}: {answer}")
    check(len({a.said() for a in answers}) == 1, f"a stranger is told different things: {set(a.said() for a in answers)}")


def who_asks_too_often_waits_and_nobody_else(both):
    """First of nobody known, then of a key that may ask."""
    answers = as_stranger(both, [["GET", "/v1/status"]] * 200)
    waits = [a for a in answers if a.status == 429]
    check({a.status for a in answers} == {401, 429} and len(waits) > 20, sorted({a.status for a in answers}))
    check(waits[0].json["code"] == "SR-API-0003" and 1 <= int(waits[0].headers["retry-after"]) <= 5, waits[0])
    made = both.node.ok("key", "create", "--tenant", "acme")["secret"]
    for _ in range(1500):
        answer = both.ask("GET", "/v1/whoami", made)
        if answer.status != 200:
            break
    check(answer.status == 429 and answer.json["code"] == "SR-API-0003", f"a key asks as often as it likes: {answer}")
    check("retry-after" in answer.headers, answer.headers)
    check(both.ask("GET", "/v1/whoami", both.keys["acme"]).status == 200, "another key of the tenant has to wait too")
    check(both.ask("GET", "/v1/whoami").status == 200, "the operator has to wait")
    wait_for("the key may ask again", lambda: both.ask("GET", "/v1/whoami", made).status == 200, 5)


def another_method_is_told_and_changes_nothing(both):
    methods = {}
    for operation in both.all:
        methods.setdefault(operation.path, set()).add(operation.method)
    for operation in both.all:
        path = operation.at(tenant="acme", **both.things(operation))
        for method in METHODS:
            if method in methods[operation.path]:
                continue
            answer = both.ask(method, path, both.keys["acme"], kind=None)
            check(answer.status == 405, f"{method} {path}: {answer}")
            check(set(answer.headers["allow"].split(", ")) == methods[operation.path], f"{method} {path}: {answer.headers}")
    check(both.ask("GET", "/v1/nothing").status == 404, "a path that is not there")


def every_answer_has_an_id_and_is_not_kept(both):
    seen = set()
    for operation in both.all:
        if operation.name == "job.watch":
            continue
        answer = both.call(operation, both.keys["globex"], "globex")
        told = f"{operation.name}: {answer} {answer.headers}"
        request = answer.headers.get("x-request-id", "")
        check(request.startswith("evt_") and request not in seen, told)
        seen.add(request)
        check(answer.headers.get("cache-control") == "no-store", told)
        check(answer.headers.get("x-content-type-options") == "nosniff", told)
        if answer.status >= 400:
            check(answer.headers["content-type"] == "application/problem+json", told)
            check(answer.json["request_id"] == request and answer.json["status"] == answer.status, told)


def a_body_must_be_what_it_is_said_to_be(both):
    key = both.keys["globex"]
    for operation in both.all:
        # Only people approve, and here are keys.
        if not operation.types or operation.name == "approval.decide":
            continue
        path, (body, good) = operation.at(tenant="globex"), operation.body()
        # No key makes services or opens egresses: that is the operator's.
        allowed = None if operation.who == "operator" or operation.name in ("service.create", "egress.create") else key
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonx", "", "application/json, text/plain"):
            answer = both.ask(operation.method, path, allowed, body, kind)
            check(answer.status == 415 and answer.json["code"] == "SR-API-0002", f"{operation.name} as {kind!r}: {answer}")
        answer = both.ask(operation.method, path, allowed, "{}", good + "; charset=utf-8")
        check(answer.status not in (200, 415), f"{operation.name}: {answer}")
    # Where nothing is read, nothing may be said.
    for body in ('{"all": true}', "[]", "x", "{}{}"):
        answer = both.ask("POST", f"/v1/tenants/acme/keys/{api.NOTHING['key']}/revoke", both.keys["acme"], body)
        check(answer.status == 400, f"{body}: {answer}")


TRICKS = [
    "//v1/tenants/acme", "/v1//tenants/acme", "/v1/tenants//acme", "/v1/tenants/acme/", "/v1/tenants/acme//",
    "/v1/./tenants/acme", "/v1/x/../tenants/acme", "/v1/tenants/globex/../acme", "/v1/tenants/%2e%2e/tenants/acme",
    "/v1/tenants/%61cme", "/v1/tenants/acm%65", "/v1/%74enants/acme", "/V1/tenants/acme", "/v1/Tenants/acme",
    "/v1/tenants/ACME", "/v1/tenants/acme;", "/v1/tenants/acme;x=1", "/v1/tenants;/acme", "/v1/tenants/acme%3b",
    "/v1/tenants/acme%00", "/v1/tenants/acme%00x", "/v1/tenants/acme%0a", "/v1/tenants/acme%20", "/v1/tenants/acme.",
    "/v1/tenants/acme%2f", "/v1/tenants/acme%2fdatasets", "/v1/tenants/acme%5cdatasets", "/v1/tenants/acme\\datasets",
    "/v1/tenants/%d0%b0cme", "/v1/tenants/%ef%bd%81cme", "/v1/tenants/acm%c3%a8", "/v1/tenants/acme%cc%81",
    "/v1/tenants/acme%e2%80%8b", "/v1/tenants/acme%ff", "/v1/tenants/acme%c0%af", "/v1/tenants/acme%", "/v1/tenants/acme%2",
    "/v1/tenants/" + "a" * 5000, "/v1/tenants/" + "%2e" * 60, "/v1/tenants/acme/models/..", "/v1/tenants/*",
]


def no_trick_of_a_path_reaches_acme_under_another_name(both):
    for key in (both.keys["acme"], both.keys["globex"], None):
        for path in TRICKS:
            answer = both.ask("GET", path, key, kind=None)
            check(answer.status in (400, 404), f"{path[:60]}: {answer}")
            check('"created"' not in answer.text, f"{path[:60]} finds something: {answer}")
    # The control.
    check(both.ask("GET", "/v1/tenants/acme", both.keys["acme"], kind=None).status == 200, "acme itself")
    for path in ("..", ".", "%2e%2e", "a%2f..%2fb", "a%5cb", "%00", "a/../b", "a//b", "a/", "x" * 1025, "a%7f", "%61.txt"):
        answer = both.ask("PUT", f"/v1/tenants/acme/imports/{both.acmes['import']}/files/{path}", both.keys["acme"], b"x", None)
        check(answer.status in (400, 404), f"{path[:40]}: {answer}")
    files = both.ask("GET", "/v1/audit/files/%2e%2e/strongroom.toml", kind=None)
    check(files.status == 404, files)


def nothing_of_acme_changed(both):
    node = both.node
    check(node.job(both.job)["state"] == "running", node.job(both.job)["state"])
    check(node.ok("endpoint", "show", "lin", "--tenant", "acme")["state"] == "serving", "the endpoint is stopped")
    keys = {k["id"]: k for k in node.ok("key", "list", "--tenant", "acme")["items"]}
    check(not keys[both.inference["id"]]["revoked"], "a key is revoked")
    check([d["name"] for d in node.ok("dataset", "list", "--tenant", "acme")["items"]] == ["data"], "data sets")
    check([e["name"] for e in node.ok("endpoint", "list", "--tenant", "acme")["items"]] == ["lin"], "endpoints")
    tenants = [t["name"] for t in node.ok("tenant", "list")["items"]]
    check(tenants == ["acme", "globex"], tenants)
    check(node.events("--kind", "access.refuse", until=lambda f: len(f) > 5), "refusals are not in the log")
    node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        tests = [
            with_its_own_key_acme_finds_its_own,
            another_tenant_is_hidden_by_every_endpoint,
            below_the_own_tenant_what_is_anothers_is_as_if_made_up,
            what_is_the_operators_is_no_tenants,
            a_key_that_is_not_good_is_nobody_at_every_endpoint,
            what_strangers_may_ask_says_nothing_of_anybody,
            another_method_is_told_and_changes_nothing,
            every_answer_has_an_id_and_is_not_kept,
            a_body_must_be_what_it_is_said_to_be,
            no_trick_of_a_path_reaches_acme_under_another_name,
        ]
        # Another user is needed, and a bucket that is full.
        as_root = [another_user_of_the_host_is_nobody_and_learns_no_path, who_asks_too_often_waits_and_nobody_else]
        tests += as_root if os.geteuid() == 0 else []
        counts = run_tests([*tests, nothing_of_acme_changed], Both(node))
    close(*counts)
