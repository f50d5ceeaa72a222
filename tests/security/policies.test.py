#!/usr/bin/python3
"""Own rules are attacked: they give no tenant what ships as forbidden, and a version that was forged, set back or lost
its key never decides."""

import hashlib
import json
import os
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, flip, run_tests  # noqa: E402

ROLES = ("auditor", "tenant-admin", "ml-engineer", "deployer")
# As much as can be said: everything, to everybody.
GREEDY = """@id("everything")
permit (principal, action, resource);
@id("and-what-is-the-nodes")
permit (principal in Role::"tenant-admin", action in Action::"operate", resource);
@id("by-name")
permit (principal is Key, action in [Action::"policy.apply", Action::"policy.withdraw", Action::"tenant.create"], resource);
"""
LOCK = """@id("nothing-leaves")
forbid (principal, action == Action::"model.export", resource);
"""
# Tag of the policy key in the keeper's key set (`crates/keeper/src/keys.rs`).
SIGNING, POLICY = 2, 6


# What ships and keeps the node's own from everybody else.
BOUNDARIES = ("node-boundary", "oversight-boundary")


class Attack:
    """Tenants acme and globex, and a key of each role of acme."""

    def __init__(self, node):
        # What strangers may call, to become known, is decided by no rule.
        self.node, self.all, self.keys = node, [o for o in api.operations() if o.who != "stranger"], {}
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        for role in ROLES:
            self.keys[role] = node.ok("key", "create", "--role", role, "--tenant", "acme")["secret"]

    def apply(self, text, reason="a test"):
        path = self.node.path("rules.cedar")
        work.write(path, text.encode())
        return self.node.ok("policy", "apply", path, "--reason", reason)

    def ask(self, role, operation, tenant="acme"):
        body, kind = operation.body()
        return api.ask(self.node.ready["socket"], operation.method, operation.at(tenant=tenant), self.keys[role], body, kind)


def own_rules_give_no_tenant_what_ships_as_forbidden(attack):
    operators = [o for o in attack.all if o.who == "operator"]
    check({"policy.apply", "policy.withdraw", "policy.list", "policy.show"} <= {o.name for o in operators}, "not the operator's")
    attack.apply(GREEDY)
    asked = 0
    for role in ROLES:
        for operation in operators:
            answer = attack.ask(role, operation)
            check(answer.status == 403 and any(rule in answer.json["detail"] for rule in BOUNDARIES), f"{role} {operation.name}: {answer}")
            asked += 1
        for operation in (o for o in attack.all if o.who == "tenant"):
            answer = attack.ask(role, operation, "globex")
            check(answer.status == 404 and "globex" in answer.json["title"], f"{role} {operation.name} of globex: {answer}")
            asked += 1
    for role, name, rule in [
        ("auditor", "key.create", "auditors-change-nothing"),
        ("ml-engineer", "endpoint.deploy", "who-trains-does-not-release"),
        ("deployer", "job.run", "who-releases-does-not-train"),
    ]:
        answer = attack.ask(role, next(o for o in attack.all if o.name == name))
        check(answer.status == 403 and rule in answer.json["detail"], f"{role} {name}: {answer}")
    check(asked > 150, f"only {asked} were asked")
    # The control: what nothing forbids, the greedy rule gives.
    given = attack.ask("deployer", next(o for o in attack.all if o.name == "dataset.list"))
    check(given.status == 200, f"the rules are not in force: {given}")
    tenants = [t["name"] for t in attack.node.ok("tenant", "list")["items"]]
    check(tenants == ["acme", "globex"], tenants)


def the_operator_cannot_be_locked_out(attack):
    node = attack.node
    for text in (
        '@id("x") forbid (principal, action, resource);',
        '@id("x") forbid (principal is Operator, action, resource);',
        '@id("x") forbid (principal, action in [Action::"policy.withdraw"], resource);',
        '@id("x") forbid (principal, action, resource) unless { resource == Node::"" };',
        '@id("x") permit (principal, action, resource) when { 9223372036854775807 + 1 == 0 };',
    ):
        work.write(node.path("out.cedar"), text.encode())
        answer = api.ask(
            node.ready["socket"], "POST", "/v1/policy/apply/" + hashlib.sha256(text.encode()).hexdigest(), None,
            json.dumps({"text": text, "reason": "x"}), "application/json",
        )
        check(answer.status == 422 and answer.json["code"] == "SR-POL-0006", f"{text}: {answer}")
        check(node.run("policy", "check", node.path("out.cedar")).code == 3, text)
    node.ok("policy", "withdraw", "--reason", "the control")


def a_database_that_was_set_back_brings_no_old_rules_back(attack):
    node = attack.node
    node.stop()
    older = node.keep_database("without the lock")
    node.start()
    export = next(o for o in attack.all if o.name == "model.export")
    taken = lambda: api.ask(node.ready["socket"], export.method, export.at(tenant="acme"))  # noqa: E731
    check(taken().status == 404, f"the control: {taken()}")
    attack.apply(LOCK)
    check(taken().status == 403 and "nothing-leaves" in taken().json["detail"], f"the operator takes it: {taken()}")
    node.stop()
    newest = node.keep_database("with the lock")
    node.put_database_back(older)
    text = node.refused_start("set back or replaced")
    check("set back or replaced" in text, text[-2000:])
    node.put_database_back(newest)
    node.start()
    latest = node.ok("policy", "show", "latest")
    check(latest["in_force"] and latest["text"] == LOCK, latest)
    check(taken().status == 403, f"the operator takes it: {taken()}")


def a_database_with_a_changed_bit_is_refused(attack):
    node = attack.node
    node.stop()
    newest = node.keep_database("unchanged")
    # What stands behind the changed bit of the write-ahead log is not read any more, so this is an older database too.
    for path in node.database():
        if not path.endswith("-shm"):
            flip(path)
    node.refused_start("metadata database")
    node.put_database_back(newest)
    node.start()
    check(node.ok("policy", "show", "latest")["in_force"], "the control")


def without_the_policy_key(path):
    """Takes the policy key out of the keeper's key set, as who owns the keeper's files could: it then makes another."""
    with open(path, "rb") as file:
        data = file.read()
    kept, at, dropped = b"", 0, 0
    while at < len(data):
        length = struct.unpack_from("<I", data, at)[0]
        if length == 0:
            break
        end = at + 8 + length
        if data[at + 8 : at + 10] == bytes([SIGNING, POLICY]):
            dropped += 1
        else:
            kept += data[at:end]
        at = end
    check(dropped == 1, f"{dropped} policy keys in the key set")
    with open(path, "r+b") as file:
        file.write(kept)
        file.truncate()


def a_version_of_another_key_locks_the_node_and_the_operator_mends_it(attack):
    node = attack.node
    node.ok("policy", "show", "latest")
    node.stop()
    without_the_policy_key(os.path.join(node.state, "keeper", "keys"))
    node.start()
    status = node.ok("status")
    check(status["state"] == "degraded" and "own rules do not verify" in status["problems"][0], status["problems"])
    # Neither those that ship alone, under which the operator may export, nor any grant decide.
    for words in (["tenant", "create", "late"], ["key", "create", "--tenant", "acme"], ["posture", "run"]):
        ran = node.run("-o", "json", *words)
        check(ran.code == 3 and "policy-does-not-verify" in ran.err, f"{words}: {ran.code} {ran.err}")
    for role in ROLES:
        for operation in attack.all:
            answer = attack.ask(role, operation)
            check(answer.status in (403, 404), f"{role} {operation.name}: {answer}")
    check(attack.ask("auditor", next(o for o in attack.all if o.name == "model.list")).status == 403, "an auditor reads")
    listed = node.ok("policy", "list")["items"]
    check(not any(v["verified"] or v["in_force"] for v in listed), listed)
    found = node.events("--kind", "policy.unverified")
    check(found and all(e["severity_id"] == 5 for e in found), "the log does not say so")
    # Not by a new start, and then by the operator alone.
    node.stop()
    node.start()
    check(node.ok("status")["state"] == "degraded", "a new start unlocks it")
    made = attack.apply(LOCK, "given anew")
    check(made["in_force"] and made["verified"], made)
    check("own rules" not in json.dumps(node.ok("status")["problems"]), node.ok("status")["problems"])
    check(attack.ask("auditor", next(o for o in attack.all if o.name == "model.list")).status == 200, "still locked")
    node.stop()
    node.start()
    check(node.ok("policy", "show", "latest")["in_force"], "it is gone")
    node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                own_rules_give_no_tenant_what_ships_as_forbidden,
                the_operator_cannot_be_locked_out,
                a_database_that_was_set_back_brings_no_old_rules_back,
                a_database_with_a_changed_bit_is_refused,
                a_version_of_another_key_locks_the_node_and_the_operator_mends_it,
            ],
            Attack(node),
        )
    close(*counts)
