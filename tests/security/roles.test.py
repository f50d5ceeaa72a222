#!/usr/bin/python3
"""Each role may what docs/access.md says and nothing else: asked over the live node, endpoint by endpoint."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import ROOT, Node, check, close, run_tests  # noqa: E402

ROLES = ("auditor", "tenant-admin", "ml-engineer", "deployer")


def golden():
    """What the committed table says: operation -> roles that may."""
    with open(os.path.join(ROOT, "docs", "access.md")) as file:
        rows = [[c.strip() for c in line.strip().strip("|").split("|")] for line in file if line.startswith("|")]
    heads = rows[0][3:]
    return {row[0]: {role for role, cell in zip(heads, row[3:]) if cell == "yes"} for row in rows[2:]}


class Roles:
    """Tenant acme with a model, and a key of each role; globex with nothing but its name."""

    def __init__(self, node):
        self.node, self.all = node, [o for o in api.operations() if o.who != "stranger"]
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        work.write(node.path("data", "a.txt"), b"acme's own")
        node.ok("dataset", "import", "data", node.path("data"), "--tenant", "acme")
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        self.keys, self.ids = {}, {}
        for role in ROLES:
            made = node.ok("key", "create", "--role", role, "--tenant", "acme")
            self.keys[role], self.ids[role] = made["secret"], made["id"]
            check(made["role"] == role, made)

    def call(self, method, path, key=None, body=None):
        body = None if body is None else json.dumps(body)
        answer = api.ask(self.node.ready["socket"], method, path, key, body, "application/json")
        return answer.status, answer.json if answer.json is not None else answer.text

    def ask(self, role, operation):
        """Asks for a thing that is not there: what is allowed gets as far as not finding it, and changes nothing."""
        body, kind = operation.body()
        path = operation.at(tenant="acme")
        answer = api.ask(self.node.ready["socket"], operation.method, path, self.keys[role], body, kind)
        return answer.status, answer.json if answer.json is not None else answer.text

    def state(self):
        """Everything of acme that a change would show in."""
        lists = {}
        for noun in ("datasets", "images", "jobs", "models", "endpoints", "keys", "services"):
            status, lists[noun] = self.call("GET", f"/v1/tenants/acme/{noun}")
            check(status == 200, lists[noun])
        lists["tenants"] = self.call("GET", "/v1/tenants")[1]
        return lists


def every_endpoint_answers_each_role_as_the_table_says(roles):
    table, asked = golden(), 0
    # What is not an endpoint: the gateway asks one (applications.test.py), a submitted job the other (egress_named.test.py).
    check(set(table) == {o.name for o in roles.all} | {"endpoint.infer", "egress.use"}, "docs/access.md and the endpoints differ")
    before = roles.state()
    # Only people approve, and who may not do a thing at all asks for no approval: tests/security/people.test.py.
    for described in (o for o in roles.all if not o.name.startswith("approval.")):
        operation = described.name
        for role in ROLES:
            status, body = roles.ask(role, described)
            told = f"{role} {operation}: {status} {body}"
            if role in table[operation]:
                check(status not in (401, 403) and status < 500, told)
            else:
                check(status == 403, told)
                check(body["code"] == "SR-CTL-0005" and role in body["title"] and body["detail"], told)
                able = [r for r in ROLES if r in table[operation]]
                check(all(r in body["help"] for r in able), f"the help names nobody who may: {told}")
                check(able or "operator" in body["help"], told)
            asked += 1
    check(asked >= 140, f"only {asked} were asked")
    check(roles.state() == before, "asking for what is not there changed something")


def attempts(roles):
    """Changes that would come about if they were let through."""
    things = {key: roles.ids[key] for key in ROLES}
    yield "import.begin", "/v1/tenants/acme/imports", {"kind": "dataset", "name": "theirs"}
    yield "endpoint.deploy", "/v1/tenants/acme/endpoints", {"name": "theirs", "model": "lin@1"}
    yield "key.create", "/v1/tenants/acme/keys", {}
    yield "key.create", "/v1/tenants/acme/keys", {"role": "tenant-admin"}
    yield "key.revoke", f"/v1/tenants/acme/keys/{things['tenant-admin']}/revoke", {}
    yield "key.revoke", f"/v1/tenants/acme/keys/{things['auditor']}/revoke", {}
    yield "tenant.create", "/v1/tenants", {"name": "theirs"}


def an_auditor_changes_nothing(roles):
    before = roles.state()
    for operation, path, body in attempts(roles):
        status, answer = roles.call("POST", path, roles.keys["auditor"], body)
        check(status == 403, f"{operation}: {status} {answer}")
    for name in ("model.onnx", "absent"):
        status, answer = roles.call("GET", f"/v1/tenants/acme/models/lin/1/files/{name}", roles.keys["auditor"])
        check(status == 403, f"an auditor took {name}: {status}")
    check(roles.state() == before, "an auditor changed something")
    # The control: it reads.
    for path in ("models/lin/1", "datasets", "jobs", "keys"):
        status, answer = roles.call("GET", f"/v1/tenants/acme/{path}", roles.keys["auditor"])
        check(status == 200, f"{path}: {status} {answer}")
    status, log = roles.call("GET", "/v1/audit/entries", roles.keys["auditor"])
    check(status == 200 and log["entries"], log)


def who_trains_does_not_deploy_and_who_deploys_does_not_train(roles):
    trains, deploys, admin = (roles.keys[r] for r in ("ml-engineer", "deployer", "tenant-admin"))
    wanted = {"name": "lin", "model": "lin@1"}
    for operation, path, body in attempts(roles):
        if operation != "import.begin":
            status, answer = roles.call("POST", path, trains, body)
            check(status == 403, f"ml-engineer {operation}: {status} {answer}")
    status, answer = roles.call("POST", "/v1/tenants/acme/imports", deploys, {"kind": "dataset", "name": "theirs"})
    check(status == 403, f"deployer import.begin: {status} {answer}")
    # The controls.
    status, answer = roles.call("POST", "/v1/tenants/acme/imports", trains, {"kind": "dataset", "name": "theirs"})
    check(status == 200, f"ml-engineer import.begin: {status} {answer}")
    for role, key in (("deployer", deploys), ("tenant-admin", admin)):
        status, answer = roles.call("POST", "/v1/tenants/acme/endpoints", key, {**wanted, "name": f"by-{role}"})
        check(status == 200, f"{role} endpoint.deploy: {status} {answer}")
        status, answer = roles.call("POST", "/v1/tenants/acme/keys", key, {"endpoint": f"by-{role}"})
        check(status == 200 and answer["secret"] and answer["role"] == "application", f"{role} key.create: {status} {answer}")
        status, answer = roles.call("POST", f"/v1/tenants/acme/endpoints/by-{role}/stop", key, {})
        check(status == 200, f"{role} endpoint.stop: {status} {answer}")


def no_key_makes_a_key_with_rights(roles):
    for role in ("deployer", "tenant-admin"):
        for body in ({}, {"role": "deployer"}, {"role": "tenant-admin"}):
            status, answer = roles.call("POST", "/v1/tenants/acme/keys", roles.keys[role], body)
            check(status == 403, f"{role} {body}: {status} {answer}")
    for body in ({"role": "platform-operator"}, {"role": "root"}, {"role": "Auditor"}, {"role": "auditor", "endpoint": "x"}):
        status, answer = roles.call("POST", "/v1/tenants/acme/keys", None, body)
        check(status == 400, f"{body}: {status} {answer}")


def roles_are_shown(roles):
    listed = {k["id"]: k["role"] for k in roles.node.ok("key", "list", "--tenant", "acme")["items"]}
    for role in ROLES:
        check(listed[roles.ids[role]] == role, listed)
        status, me = roles.call("GET", "/v1/whoami", roles.keys[role])
        check(status == 200 and me["role"] == role and me["tenant"] == "acme", me)
    check(roles.call("GET", "/v1/whoami")[1]["role"] == "platform-operator", "the operator's role")
    made = roles.node.ok("key", "create", "--tenant", "acme")
    check(made["role"] == "tenant-admin", made)


def the_log_names_the_decision(roles):
    version = roles.node.ok("policy", "show")["policy_version"]
    refused = roles.node.events("--kind", "access.refuse", until=lambda f: len(f) > 5)
    text = [json.dumps(e) for e in refused]
    check(any(version in e and "who-trains-does-not-release" in e for e in text), "no refusal names its rule")
    deployed = [json.dumps(e) for e in roles.node.events("--kind", "endpoint.deploy", until=lambda f: len(f) > 1)]
    check(any(version in e and "deployer-releases" in e for e in deployed), "no deployment names its rule")
    roles.node.log_verifies()


def the_command_line_says_the_same(roles):
    table = golden()
    for operation in table:
        for role in ROLES:
            ran = roles.node.run("-o", "json", "access", "check", "--as", role, "--tenant", "acme", operation, "--why")
            check(ran.code == (0 if role in table[operation] else 3), f"{role} {operation}: {ran.code} {ran.err}")
    foreign = roles.node.run("access", "check", "--as", "tenant-admin", "--tenant", "acme", "model.show", "lin/1", "--in", "globex", "--why")
    check(foreign.code == 3 and "tenant-boundary" in foreign.out, foreign.out + foreign.err)
    check(roles.node.run("access", "check", "--as", "auditor", "--tenant", "acme", "model.shw").code == 2, "a typing error")
    wrong = roles.node.path("wrong.cedar")
    work.write(wrong, b'\n@id("x")\npermit (principal in Role::"root", action, resource);\n')
    ran = roles.node.run("policy", "check", wrong)
    check(ran.code == 3 and "SR-POL-0003" in ran.err and "line 3" in ran.err, ran.err)
    good = roles.node.path("good.cedar")
    work.write(good, b'@id("more") permit (principal in Role::"deployer", action == Action::"dataset.list", resource);\n')
    check(roles.node.run("policy", "check", good).code == 0, "own rules do not check")
    # Those that ship are in force anyway, and no file takes their names.
    work.write(good, roles.node.run("policy", "show").out.encode())
    ran = roles.node.run("policy", "check", good)
    check(ran.code == 3 and "SR-POL-0004" in ran.err and "ships" in ran.err, ran.err)


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                # First: of refusals the log has so many a minute one by one, and counts the rest.
                who_trains_does_not_deploy_and_who_deploys_does_not_train,
                the_log_names_the_decision,
                every_endpoint_answers_each_role_as_the_table_says,
                an_auditor_changes_nothing,
                no_key_makes_a_key_with_rights,
                roles_are_shown,
                the_command_line_says_the_same,
            ],
            Roles(node),
        )
    close(*counts)
