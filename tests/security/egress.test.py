#!/usr/bin/python3
"""What leaves is counted by principal and in all, an alarm before the cap, refused at it, whatever happens to the node."""

import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, UnixHttp, check, close, run_tests, wait_for  # noqa: E402

FIRST, SECOND = "a.npy", "b.npy"


def array(count):
    """A NumPy array of so many bytes, format 1.0."""
    head = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % count
    head += " " * (118 - len(head) - 1) + "\n"
    return b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head.encode() + os.urandom(count)


class Leaving:
    """A tenant with a model of two files, keys that may take it out, and caps between two files and three, and four and five."""

    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
            directory = node.path(tenant)
            for name in (FIRST, SECOND):
                work.write(os.path.join(directory, name), array(1_000_000))
            made = node.ok("model", "import", "weights", directory, "--tenant", tenant)
            check(made["state"], made)
        self.size = os.path.getsize(node.path("acme", FIRST))
        self.keys = {}
        for tenant, role in (("acme", "ml-engineer"), ("acme", "tenant-admin"), ("globex", "tenant-admin")):
            made = node.ok("key", "create", "--role", role, "--tenant", tenant)
            self.keys[f"{tenant} {role}"] = (made["id"], made["secret"])
        self.caps(int(2.4 * self.size), int(4.4 * self.size))

    def caps(self, each, total):
        """Sets the caps as an operator does: in the configuration, then the node is started again."""
        self.node.stop()
        path = os.path.join(self.node.state, "strongroom.toml")
        with open(path) as file:
            text = file.read()
        kept = text[: text.rindex("[egress]")]
        with open(path, "w") as file:
            file.write(f'{kept}[egress]\nper_principal = "{each}B"\ntotal = "{total}B"\n')
        self.node.start()
        with open(path) as file:
            check(f'per_principal = "{each}B"' in file.read(), "what the operator set is gone after a start")

    def take(self, who, name=FIRST, read=None):
        """Asks for one file; with `read` only so many bytes of it, then hangs up."""
        tenant = who.split()[0] if who else "acme"
        connection = UnixHttp(self.node.ready["socket"])
        fields = {"Authorization": f"Bearer {self.keys[who][1]}"} if who else {}
        connection.request("GET", f"/v1/tenants/{tenant}/models/weights/1/files/{name}", None, fields)
        reply = connection.getresponse()
        body = reply.read(read) if read else reply.read()
        connection.close()
        return reply.status, body if reply.status == 200 else json.loads(body)

    def accounts(self, who=None):
        connection = UnixHttp(self.node.ready["socket"])
        connection.request("GET", "/v1/egress", None, {"Authorization": f"Bearer {self.keys[who][1]}"} if who else {})
        found = json.loads(connection.getresponse().read())
        connection.close()
        return {row["account"]: row for row in found["items"]}

    def account(self, who):
        return f"key:{self.keys[who][0]}"


def what_leaves_is_counted_and_an_alarm_comes_before_the_cap(leaving):
    who = "acme ml-engineer"
    status, body = leaving.take(who)
    check(status == 200 and len(body) == leaving.size, status)
    found = leaving.accounts()
    check(found[leaving.account(who)]["bytes"] == leaving.size == found["all"]["bytes"], found)
    check(not leaving.node.events("--kind", "egress."), "an alarm at two fifths of the cap")
    status, _ = leaving.take(who, SECOND)
    check(status == 200, status)
    alarms = leaving.node.events("--kind", "egress.alarm", until=lambda f: f)
    check(alarms, "four fifths of the cap left, and no alarm")
    check(leaving.account(who) in json.dumps(alarms[0]) and alarms[0]["severity_id"] >= 4, alarms[0])


def beyond_the_cap_nothing_leaves(leaving):
    who = "acme ml-engineer"
    status, body = leaving.take(who)
    check(status == 403 and body["code"] == "SR-EGR-0001" and "cap is" in body["detail"], f"{status} {body}")
    check("strongroom access egress" in body["help"] and "per_principal" in body["help"], body)
    check(leaving.accounts()[leaving.account(who)]["bytes"] == 2 * leaving.size, "a refusal was counted")
    refused = leaving.node.events("--kind", "egress.refuse", until=lambda f: f)
    check(refused and leaving.account(who) in json.dumps(refused), refused)
    # Another has room of its own: the control.
    status, _ = leaving.take("acme tenant-admin")
    check(status == 200, status)


def the_operator_has_a_cap_too_and_all_together_one(leaving):
    status, _ = leaving.take("globex tenant-admin")
    check(status == 200, status)
    status, body = leaving.take(None)
    check(status == 403 and "all principals" in body["title"] and "`total`" in body["help"], f"{status} {body}")


def a_restart_and_a_kill_forget_nothing(leaving):
    before = leaving.accounts()
    leaving.node.kill_all()
    leaving.node.start()
    check(leaving.accounts() == before, (before, leaving.accounts()))
    check(leaving.take("acme ml-engineer")[0] == 403, "the cap is gone after a kill")


def a_tenant_sees_its_own_accounts(leaving):
    found = leaving.accounts("globex tenant-admin")
    check(set(found) == {leaving.account("globex tenant-admin")}, found)
    shown = leaving.node.run("access", "egress")
    check(shown.code == 0 and "all" in shown.out and "operator" not in shown.out, shown.out + shown.err)


def what_was_not_sent_is_given_back(leaving):
    leaving.caps(60 * leaving.size, 100 * leaving.size)
    before = leaving.accounts()["all"]["bytes"]
    status, _ = leaving.take("acme tenant-admin", FIRST)
    check(leaving.accounts()["all"]["bytes"] == before + leaving.size, "a whole file counts whole")
    # Larger than what fits between the two ends of a connection, and broken off after the first bytes.
    directory = leaving.node.path("large")
    work.write(os.path.join(directory, "large.npy"), array(48_000_000))
    leaving.node.ok("model", "import", "large", directory, "--tenant", "acme")
    before = leaving.accounts()["all"]["bytes"]
    connection = UnixHttp(leaving.node.ready["socket"])
    key = leaving.keys["acme tenant-admin"][1]
    connection.request("GET", "/v1/tenants/acme/models/large/1/files/large.npy", None, {"Authorization": f"Bearer {key}"})
    reply = connection.getresponse()
    check(reply.status == 200 and leaving.accounts()["all"]["bytes"] == before + 48_000_128, "not counted before it is sent")
    reply.read(1000)
    connection.close()

    def settled():
        return leaving.accounts()["all"]["bytes"] < before + 48_000_128

    wait_for("what was not sent is given back", settled, 20)
    check(leaving.accounts()["all"]["bytes"] > before, "what was sent does not count")


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                what_leaves_is_counted_and_an_alarm_comes_before_the_cap,
                beyond_the_cap_nothing_leaves,
                the_operator_has_a_cap_too_and_all_together_one,
                a_restart_and_a_kill_forget_nothing,
                a_tenant_sees_its_own_accounts,
                what_was_not_sent_is_given_back,
            ],
            Leaving(node),
        )
    close(*counts)
