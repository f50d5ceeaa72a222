#!/usr/bin/python3
"""Own rules: checked, applied, in force from the next request on, kept through a restart and kills, compared, tested and
withdrawn."""

import base64
import hashlib
import http.client
import json
import os
import random
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, UnixHttp, check, close, run_tests, wait_for  # noqa: E402

FREEZE = """@id("freeze")
@because("no new keys before the audit")
forbid (principal, action == Action::"key.create", resource in Tenant::"acme")
unless { principal is Operator };
"""
MORE = FREEZE + """
@id("deployers-look")
permit (principal in Role::"deployer", action == Action::"dataset.list", resource);
"""
TESTS = """[[test]]
name = "no keys for acme"
as = "tenant-admin"
tenant = "acme"
operation = "key.create"
expect = "deny"
rule = "freeze"

[[test]]
name = "keys for others"
as = "tenant-admin"
tenant = "globex"
operation = "key.create"
expect = "allow"
"""


class Policies:
    """Two tenants with a key of an administrator each, and files of rules."""

    def __init__(self, node):
        self.node, self.keys = node, {}
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
            self.keys[tenant] = node.ok("key", "create", "--tenant", tenant)["secret"]
        self.deployer = node.ok("key", "create", "--role", "deployer", "--tenant", "acme")["secret"]
        self.auditor = node.ok("key", "create", "--role", "auditor", "--tenant", "acme")["secret"]
        self.freeze, self.more = self.file("freeze.cedar", FREEZE), self.file("more.cedar", MORE)
        self.tests = self.file("rules.tests.toml", TESTS)

    def file(self, name, text):
        path = self.node.path(name)
        work.write(path, text if isinstance(text, bytes) else text.encode())
        return path

    def apply(self, path, *more):
        return self.node.ok("policy", "apply", path, "--reason", "a test", *more)

    def in_force(self):
        return [v["version"] for v in self.node.ok("policy", "list")["items"] if v["in_force"]]


def at(text):
    """Where a text is applied."""
    return "/v1/policy/apply/" + hashlib.sha256(text.encode()).hexdigest()


class Connection:
    """One connection that stays open over several requests."""

    def __init__(self, rules, key):
        self.http, self.key = UnixHttp(rules.node.ready["socket"]), key
        self.http.connect()
        self.socket = self.http.sock

    def ask(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if body is not None:
            headers["Content-Type"] = "application/json"
        self.http.request(method, path, None if body is None else json.dumps(body), headers)
        reply = self.http.getresponse()
        text = reply.read()
        check(self.http.sock is self.socket, "the connection is another one")
        return reply.status, json.loads(text)


def before_anything_is_applied_those_that_ship_decide(rules):
    node = rules.node
    check(node.ok("policy", "list")["items"] == [], "there is a version")
    node.refused("policy", "show", "latest", code=3, says="policy list")
    node.refused("policy", "withdraw", "--reason", "none", code=7, says="no own rules")
    node.refused("policy", "apply", rules.freeze, "--reason", "x", "--expect", "1", code=7, says="version 0")
    check(rules.in_force() == [], "something is in force")


def a_version_takes_effect_for_the_next_request_of_an_open_connection(rules):
    node = rules.node
    acme, globex, operator = (Connection(rules, k) for k in (rules.keys["acme"], rules.keys["globex"], None))
    make = ("POST", "/v1/tenants/acme/keys", {"endpoint": "absent"})
    # The control: let in, it gets as far as not finding the endpoint.
    check(acme.ask(*make)[0] == 404, acme.ask(*make))
    made = rules.apply(rules.freeze, "--expect", "0")
    check(made["version"] == 1 and made["in_force"] and made["author"] == "operator", made)
    status, said = acme.ask(*make)
    check(status == 403 and "freeze" in said["detail"] and "before the audit" in said["detail"], said)
    status, said = globex.ask("POST", "/v1/tenants/globex/keys", {"endpoint": "absent"})
    check(status == 404, f"another tenant is hit: {said}")
    check(operator.ask(*make)[0] == 404, "the operator is hit")
    refused = node.events("--kind", "access.refuse", until=lambda f: any("freeze" in json.dumps(e) for e in f))
    told = [json.dumps(e) for e in refused if "freeze" in json.dumps(e)]
    check(told and made["policy_version"] in told[-1], f"the refusal does not name rule and version: {told}")
    applied = [e["unmapped"]["strongroom"] for e in node.events("--kind", "policy.apply", until=lambda f: len(f) > 1)]
    check([(e["phase"], e["outcome"]) for e in applied] == [("intent", "unknown"), ("outcome", "success")], applied)
    check(applied[1]["details"]["policy_version_now"] == made["policy_version"], applied)
    signed = [e["unmapped"]["strongroom"] for e in node.events("--kind", "key.sign")]
    check(any(e["asset"]["kind"] == "policy" for e in signed), "the keeper logged no signature")


def the_node_says_what_is_in_force(rules):
    node = rules.node
    asked = ("access", "check", "--as", "tenant-admin", "--tenant", "acme", "key.create", "--why")
    found = node.run("-o", "json", *asked)
    check(found.code == 3 and found.json()["rules"] == ["freeze"], found.out + found.err)
    check(found.json()["policy_version"] == node.ok("policy", "show", "1")["policy_version"], found.out)
    offline = node.run("-o", "json", *asked, "--policy", rules.more)
    check(offline.code == 3 and offline.json()["rules"] == ["freeze"], offline.out + offline.err)
    empty = rules.file("empty.cedar", "// nothing\n")
    check(node.run("-o", "json", *asked, "--policy", empty).code == 0, "without own rules it is not allowed")
    # An auditor asks about its own tenant, and about no other.
    key = node.path("auditor.key")
    work.write(key, rules.auditor.encode())
    os.chmod(key, 0o600)
    check(node.run("-o", "json", *asked, key=key).json()["rules"] == ["freeze"], "an auditor is not told")
    other = node.run("access", "check", "--as", "tenant-admin", "--tenant", "globex", "key.create", key=key)
    check(other.code == 3 and "no tenant `globex`" in other.err, other.err)
    operator = node.run("access", "check", "--as", "platform-operator", "--in", "acme", "key.create", key=key)
    check(operator.code != 0, operator.out)
    a_question_names_who_asks(rules, key)
    work.write(key, rules.deployer.encode())
    check(node.run(*asked, key=key).code == 3 and "may not `access.check`" in node.run(*asked, key=key).err, "a deployer asks")


def a_question_names_who_asks(rules, auditor):
    """A key, a service and a person are asked about with the roles that they have now, and of other tenants nobody is there."""
    node, asked = rules.node, lambda who, *words, **more: node.run("-o", "json", "access", "check", "--as", who, *words, **more)
    made = node.ok("key", "create", "--role", "ml-engineer", "--tenant", "acme")["id"]
    may, may_not = asked(f"key:{made}", "--tenant", "acme", "job.run"), asked(f"key:{made}", "--tenant", "acme", "endpoint.deploy")
    check((may.code, may_not.code) == (0, 3) and may.json()["role"] == "ml-engineer" and may.json()["who"] == f"key:{made}", may.out + may.err)
    check(asked(f"key:{made}", "--tenant", "globex", "job.run").code == 3, "a key is found in another tenant")
    node.ok("key", "revoke", made, "--tenant", "acme")
    over = asked(f"key:{made}", "--tenant", "acme", "job.run")
    check(over.code == 3 and over.json()["role"] is None and "taken back" in over.json()["why"], over.out + over.err)
    node.ok("access", "user", "create", "ann")
    check(asked("user:ann", "--tenant", "acme", "job.run").code == 3, "without a grant")
    node.ok("access", "grant", "ann", "ml-engineer", "--tenant", "acme", "--reason", "x")
    for who, tenant, code in (("user:ann", "acme", 0), ("user:ann", "globex", 3)):
        told = asked(who, "--tenant", tenant, "job.run")
        check(told.code == code, f"{who} in {tenant}: {told.out}{told.err}")
    check(asked("user:ann", "job.run", "--in", "acme").code == 3, "a role of a tenant counts for the whole node")
    check(asked("user:bob", "--tenant", "acme", "job.run").code == 3, "somebody who is not there")
    # To an auditor of acme, a person without a role there and one who is not there are the same.
    node.ok("access", "user", "create", "cat")
    cat, nobody = (asked(f"user:{name}", "--tenant", "acme", "job.run", key=auditor) for name in ("cat", "dog"))
    same = [said.out.replace("cat", "X").replace("dog", "X") for said in (cat, nobody)]
    check(cat.code == nobody.code == 3 and same[0] == same[1], same)
    check(asked("user:ann", "--tenant", "acme", "job.run", key=auditor).code == 0, "an auditor is not told")
    check(asked("users:ann", "--tenant", "acme", "job.run").code == 2, "a typing error")
    check(asked("user:ann", "--tenant", "acme", "job.run", "--policy", rules.more).code == 2, "rules alone know nobody")


def tests_are_kept_and_keep_an_apply_that_breaks_them_out(rules):
    node = rules.node
    ran = node.run("-o", "json", "policy", "test", rules.tests)
    check(ran.code == 0 and ran.json()["failed"] == 0 and len(ran.json()["items"]) == 2, ran.out + ran.err)
    ran = node.run("-o", "json", "policy", "test", rules.tests, "--against", "shipped")
    check(ran.code == 3 and [i["passed"] for i in ran.json()["items"]] == [False, True], ran.out)
    made = rules.apply(rules.more, "--tests", rules.tests, "--expect", "1")
    check(made["version"] == 2 and made["tests"] == TESTS, made)
    thaw = rules.file("thaw.cedar", MORE.replace('"freeze"', '"thaw"'))
    node.refused("policy", "apply", thaw, "--reason", "x", code=3, says=["SR-POL-0008", "no keys for acme", "thaw"])
    check(rules.in_force() == [2], "the old one is not in force")
    entry = node.events("--kind", "policy.apply", until=lambda f: len(f) > 5)[-1]
    refused = entry["unmapped"]["strongroom"]["outcome"] == "refused"
    check(refused and "1 of 2 tests of the rules fail" in json.dumps(entry), entry)
    # Replaced, they let it through; and without any of its own the next version keeps them.
    changed = rules.file("changed.toml", TESTS.replace('rule = "freeze"', 'rule = "thaw"'))
    check(rules.apply(thaw, "--tests", changed)["version"] == 3, "the tests were not replaced")
    check(rules.apply(rules.file("same.cedar", MORE.replace('"freeze"', '"thaw"') + "// note\n"))["tests"], "no tests")
    node.refused("policy", "apply", rules.more, "--reason", "x", code=3, says="SR-POL-0008")


def versions_are_listed_shown_and_compared(rules):
    node = rules.node
    listed = node.ok("policy", "list")["items"]
    check([v["version"] for v in listed] == [1, 2, 3, 4] and all(v["verified"] for v in listed), listed)
    check([v["in_force"] for v in listed] == [False, False, False, True], listed)
    check(all(v["author"] == "operator" and v["reason"] == "a test" and v["applied"] for v in listed), listed)
    check(node.run("policy", "show", "1").out == FREEZE, "version 1 is another text")
    node.refused("policy", "show", "9", code=3, says="`9`")
    change = node.ok("policy", "diff", "1", "2")
    check((change["added"], change["removed"], change["changed"]) == (["deployers-look"], [], []), change)
    looks = {"allowed": True, "role": "deployer", "operation": "dataset.list", "tenant": None}
    check(looks in change["rights"] and {**looks, "tenant": "acme"} in change["rights"], change)
    back = node.ok("policy", "diff", "1", "shipped")
    freed = {"allowed": True, "role": "tenant-admin", "operation": "key.create", "tenant": "acme"}
    check(back["removed"] == ["freeze"] and freed in back["rights"], back)
    check("nothing changes" in node.run("policy", "diff", "1", rules.freeze).out, "a file like version 1 differs")
    table = node.run("policy", "show", "2", "--table").out
    check("| dataset.list | Dataset | - | yes | yes | yes | yes | yes | yes |" in table, table[-600:])


def another_program_verifies_the_signature(rules):
    """openssl, which shares no code with the platform, with the key that the keeper publishes."""
    envelope = json.loads(rules.node.ok("policy", "show", "latest")["envelope"])
    payload = base64.b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"].encode()
    # The pre-authentication encoding of DSSE.
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = rules.file("signature", base64.b64decode(envelope["signatures"][0]["sig"], validate=True))
    key = os.path.join(rules.node.state, "log", "policy.pem")

    def verifies(data):
        words = ["openssl", "dgst", "-sha256", "-verify", key, "-signature", signature, rules.file("signed", data)]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    check(verifies(signed), "openssl does not verify it")
    check(not verifies(signed.replace(b'"version":4', b'"version":5')), "it verifies whatever is signed")
    statement = json.loads(payload)
    text = rules.node.ok("policy", "show", "4")["text"]
    check(statement["rules"] == hashlib.sha256(text.encode()).hexdigest(), statement)


def of_two_who_saw_the_same_version_one_applies(rules):
    node, seen = rules.node, rules.in_force()[0]
    before = len(node.ok("policy", "list")["items"])
    codes = []

    def apply():
        ran = node.run("policy", "apply", rules.freeze, "--reason", "at once", "--expect", seen)
        codes.append(ran.code)

    threads = [threading.Thread(target=apply) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(sorted(codes) == [0, 7, 7, 7, 7, 7], codes)
    check(len(node.ok("policy", "list")["items"]) == before + 1, "there are more versions")


def a_restart_keeps_it(rules):
    node = rules.node
    node.stop()
    node.start()
    check(rules.in_force() == [4], rules.in_force())
    status, said = Connection(rules, rules.keys["acme"]).ask("POST", "/v1/tenants/acme/keys", {"endpoint": "absent"})
    check(status == 403 and "thaw" in said["detail"], said)


def a_withdrawal_leaves_those_that_ship(rules):
    node = rules.node
    made = node.ok("policy", "withdraw", "--reason", "the audit is over")
    check(made["version"] == 5 and made["text"] == "" and made.get("tests") is None, made)
    check(made["policy_version"] == node.ok("policy", "show")["policy_version"], "others than those that ship decide")
    status, said = Connection(rules, rules.keys["acme"]).ask("POST", "/v1/tenants/acme/keys", {"endpoint": "absent"})
    check(status == 404, said)
    node.refused("policy", "withdraw", "--reason", "again", code=7, says="no own rules")
    node.refused("policy", "apply", rules.freeze, "--reason", "x", "--expect", "4", code=7, says="version 5")
    node.ok("policy", "apply", rules.freeze, "--reason", "again", "--expect", "5")


def a_request_that_is_repeated_makes_one_version(rules):
    connection, before = Connection(rules, None), len(rules.node.ok("policy", "list")["items"])
    answers = []
    for _ in range(2):
        body = json.dumps({"text": FREEZE, "reason": "once"})
        headers = {"Content-Type": "application/json", "Idempotency-Key": '"once"'}
        connection.http.request("POST", at(FREEZE), body, headers)
        reply = connection.http.getresponse()
        answers.append((reply.status, json.loads(reply.read())["version"]))
    check(answers == [(200, before + 1)] * 2, answers)


def what_cannot_be_is_refused_and_changes_nothing(rules):
    node, before = rules.node, rules.in_force()
    for name, text, says in [
        ("not Cedar", "permit (principal", "SR-POL-0002"),
        ("an operation that is not there", '@id("x") permit (principal, action == Action::"node.shell", resource);', "SR-POL-0003"),
        ("a name that ships", '@id("tenant-boundary") permit (principal, action, resource);', "SR-POL-0004"),
        ("a name alike to the eye", '@id("ten\u0430nt-boundary") permit (principal, action, resource);', "SR-POL-0004"),
        ("no name", "permit (principal, action, resource);", "SR-POL-0004"),
        ("the operator locked out", '@id("x") forbid (principal, action, resource);', "SR-POL-0006"),
        ("100,000 rules", "".join(f'@id("r{n}") permit (principal, action, resource);' for n in range(100_000)), "256"),
        ("10 MB", "// " + "x" * 10_000_000, "longer than"),
    ]:
        path = rules.file("bad.cedar", text)
        ran = node.run("policy", "apply", path, "--reason", "x")
        check(ran.code in (1, 2, 3) and (says in ran.err or "262144" in ran.err), f"{name}: {ran.code} {ran.err[:400]}")
        # The node itself, without the command line before it.
        http_ = UnixHttp(node.ready["socket"])
        try:
            http_.request("POST", at(text), json.dumps({"text": text, "reason": "x"}), {"Content-Type": "application/json"})
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = http_.getresponse()
        said = reply.read()
        check(reply.status in (413, 422), f"{name}: {reply.status} {said[:300]}")
    for name, text in [("not TOML", "[[test"), ("unknown", "[[tests]]\n"), ("no operation", TESTS.replace("key.create", "key.made")), ("not text", b"\xff")]:
        path = rules.file("bad.toml", text)
        ran = node.run("policy", "apply", rules.freeze, "--tests", path, "--reason", "x")
        check(ran.code in (1, 2, 3), f"{name}: {ran.code} {ran.out}")
        check(node.run("policy", "test", path).code in (1, 2, 3), name)
    for body in ({}, {"text": FREEZE}, {"text": FREEZE, "reason": " "}, {"text": FREEZE, "reason": "x", "force": True}, {"text": 1, "reason": "x"}, {"text": "", "reason": "x"}):
        status, said = Connection(rules, None).ask("POST", at(str(body.get("text", ""))), body)
        check(status == 400, f"{body}: {status} {said}")
    # Of other rules than the path says; and of other rules than are in force.
    status, said = Connection(rules, None).ask("POST", at(MORE), {"text": FREEZE, "reason": "x"})
    check(status == 400 and "SHA-256" in said["title"], said)
    for version, wanted in ((before[0] - 1, 409), (before[0] + 1, 409), ("latest", 409), (0, 404), ("x", 404)):
        status, said = Connection(rules, None).ask("POST", f"/v1/policy/versions/{version}/withdraw", {"reason": "x"})
        check(status == wanted, f"{version}: {status} {said}")
    check(rules.in_force() == before, "something changed")


def without_the_keeper_the_old_one_stays_or_the_new_one_is_whole(rules):
    node, rand, refused = rules.node, random.Random(3), 0
    for turn in range(6):
        old, name = rules.in_force()[0], f"kept-{turn}"
        path, ran = rules.file("kept.cedar", FREEZE.replace("freeze", name)), []
        thread = threading.Thread(target=lambda: ran.append(node.run("policy", "apply", path, "--reason", "no keeper")))
        # First with no keeper to sign or log; then it dies at some moment.
        if turn == 0:
            node.kill("keeper")
        thread.start()
        time.sleep(rand.uniform(0.02, 0.2))
        if turn > 0:
            node.kill("keeper")
        thread.join()
        wait_for("the keeper is there again", node.answers, 20)
        now = rules.in_force()
        check(now in ([old], [old + 1]), f"{old} was in force, {now} is")
        check(ran[0].code != 0 or now == [old + 1], "what was acknowledged is not in force")
        refused += ran[0].code != 0
        decided = node.run("-o", "json", "access", "check", "--as", "tenant-admin", "--tenant", "acme", "key.create").json()
        check((decided["rules"] == [name]) == (now == [old + 1]), f"{decided['rules']} decides, {now} is in force")
    print(f"  {refused} of 6 were not acknowledged")


def a_kill_at_any_moment_leaves_one_version_whole(rules):
    node, texts = rules.node, {}
    for version in node.ok("policy", "list")["items"]:
        texts[version["version"]] = node.ok("policy", "show", version["version"])["text"]
    rand = random.Random(7)
    for turn in range(6):
        last = max(texts)
        text = FREEZE.replace("freeze", f"freeze-{turn}")
        http_ = UnixHttp(node.ready["socket"])
        http_.request("POST", at(text), json.dumps({"text": text, "reason": "killed"}), {"Content-Type": "application/json"})
        time.sleep(rand.uniform(0, 0.06))
        node.kill_all()
        try:
            http_.getresponse().read()
            answered = True
        except (OSError, http.client.HTTPException):
            answered = False
        node.start()
        listed = node.ok("policy", "list")["items"]
        now = listed[-1]["version"]
        check(now in (last, last + 1) and all(v["verified"] for v in listed), listed)
        check(now == last + 1 or not answered, "what was acknowledged is gone")
        check(rules.in_force() == [now], "the newest is not in force")
        texts[now] = text if now > last else texts[last]
        check(node.ok("policy", "show", "latest")["text"] == texts[now], "a text is mixed up")
        decided = node.run("-o", "json", "access", "check", "--as", "tenant-admin", "--tenant", "acme", "key.create").json()
        check(f'"{decided["rules"][0]}"' in texts[now], f"{decided} decides, and not {texts[now]}")
    check("own rules" not in json.dumps(node.ok("status")["problems"]), node.ok("status")["problems"])
    node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                before_anything_is_applied_those_that_ship_decide,
                a_version_takes_effect_for_the_next_request_of_an_open_connection,
                the_node_says_what_is_in_force,
                tests_are_kept_and_keep_an_apply_that_breaks_them_out,
                versions_are_listed_shown_and_compared,
                another_program_verifies_the_signature,
                a_restart_keeps_it,
                a_withdrawal_leaves_those_that_ship,
                a_request_that_is_repeated_makes_one_version,
                of_two_who_saw_the_same_version_one_applies,
                what_cannot_be_is_refused_and_changes_nothing,
                without_the_keeper_the_old_one_stays_or_the_new_one_is_whole,
                a_kill_at_any_moment_leaves_one_version_whole,
            ],
            Policies(node),
        )
    close(*counts)
