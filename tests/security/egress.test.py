#!/usr/bin/python3
"""What leaves is counted by principal and in all, an alarm before the cap, refused at it, whatever happens to the node."""

import http.client
import json
import os
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Failed, Node, UnixHttp, check, close, run_tests, wait_for  # noqa: E402

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
            made = work.imported(node, "weights", directory, tenant)
            check(made["state"] == "admitted", made)
        self.size = os.path.getsize(node.path("acme", FIRST))
        self.keys = {}
        for tenant, role in (("acme", "ml-engineer"), ("acme", "tenant-admin"), ("globex", "tenant-admin")):
            made = node.ok("key", "create", "--role", role, "--tenant", tenant)
            self.keys[f"{tenant} {role}"] = (made["id"], made["secret"])
        self.caps(int(2.4 * self.size), int(4.4 * self.size))

    def caps(self, each, total, tenant=None):
        """Sets the caps as an operator does: in the configuration, then the node is started again."""
        tenant = tenant or total
        self.node.stop()
        path = os.path.join(self.node.state, "strongroom.toml")
        with open(path) as file:
            text = file.read()
        kept = text[: text.rindex("[egress]")]
        with open(path, "w") as file:
            file.write(f'{kept}[egress]\nper_principal = "{each}B"\nper_tenant = "{tenant}B"\ntotal = "{total}B"\n')
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
    check(set(found) == {leaving.account("globex tenant-admin"), "tenant:globex"}, found)
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
    work.imported(leaving.node, "large", directory)
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


# ---- Answers of endpoints: the attacker has a good key, and takes out what it can ----

ROWS = 400
ROOM = 400_000


class Answers:
    """An endpoint of acme, served on the node of before, and keys that open it."""

    def __init__(self, leaving):
        self.node, self.leaving = leaving.node, leaving
        self.node.wait_job(self.node.submit(work.served(self.node.path("lin"), name="lin")))
        self.node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.body = json.dumps(work.request([[i, i + 0.5] for i in range(ROWS)])).encode()
        self.key()

    def key(self):
        """Another key of the endpoint; its account is empty."""
        made = self.node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")
        self.secret, self.id = made["secret"], made["id"]

    def url(self):
        return wait_for("the endpoint serves", lambda: self.node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"])

    def used(self, account=None):
        return self.leaving.accounts().get(account or f"key:{self.id}", {"bytes": 0})["bytes"]

    def stream(self, most):
        """Takes answers on one connection until it has so many bytes, or is refused: bytes, status, problem."""
        path = urllib.parse.urlsplit(self.url()).path
        fields = {"Authorization": f"Bearer {self.secret}", "Content-Type": "application/json"}
        came, connection = 0, self.node.connect()
        try:
            while came < most:
                connection.request("POST", path, self.body, fields)
                reply = connection.getresponse()
                text = reply.read()
                if reply.status != 200:
                    return came, reply.status, json.loads(text)
                came += len(text)
            return came, 200, {}
        finally:
            connection.close()

    def serves(self):
        """After a start: until the gateway has its policy and control grants again."""

        def answered():
            try:
                return self.stream(1)[1] in (200, 429)
            except (Failed, OSError, http.client.HTTPException):
                return False

        wait_for("the endpoint answers or refuses", answered, 60, 0.2)


def answers_leave_below_the_cap_and_are_counted(answers):
    """The control: with room enough the same attack goes through."""
    answers.leaving.caps(100_000_000, 400_000_000)
    answers.serves()
    before = answers.used("all")
    came, status, problem = answers.stream(3 * ROOM)
    check(status == 200 and came >= 3 * ROOM, f"{came} {status} {problem}")
    for account in (f"key:{answers.id}", "tenant:acme"):
        check(answers.used(account) >= came, f"{account} does not count what left")
    check(answers.used("all") >= before + came, "the account of all does not count what left")


def answers_end_at_the_cap_and_an_alarm_comes_before(answers):
    answers.key()
    answers.leaving.caps(ROOM, 400_000_000)
    answers.serves()
    before = answers.used()
    came, status, problem = answers.stream(10 * ROOM)
    check(status == 429 and problem["code"] == "SR-GWY-0116", f"{came} bytes left, then {status} {problem}")
    check("strongroom access egress" in problem["help"], problem)
    check(came <= ROOM, f"{came} bytes left, {ROOM} may")
    check(came + before > ROOM // 2, f"only {came} bytes left: the refusal says nothing")
    check(came <= answers.used() <= ROOM, f"{came} left, {answers.used()} counted")
    mine = f"key:{answers.id}"
    refused = answers.node.events("--kind", "egress.refuse", until=lambda f: any(mine in json.dumps(e) for e in f))
    alarms = [e for e in answers.node.events("--kind", "egress.alarm") if mine in json.dumps(e)]
    refused = [e for e in refused if mine in json.dumps(e)]
    check(alarms and refused, f"{len(alarms)} alarms, {len(refused)} refusals in the log")
    check(alarms[0]["time"] <= refused[0]["time"] and alarms[0]["severity_id"] >= 4, (alarms[0], refused[0]))


def kills_free_no_bytes_of_answers(answers):
    for victim in ("gateway", "control", None):
        before = answers.used()
        if victim:
            pid = answers.node.kill(victim)
            wait_for(f"another {victim}", lambda victim=victim, pid=pid: answers.node.pids().get(victim, pid) != pid, 30)
        else:
            answers.node.kill_all()
            answers.node.start()
        answers.serves()
        came, status, problem = answers.stream(10 * ROOM)
        check(status == 429, f"after a kill of {victim or 'all'} {came} bytes left, then {status} {problem}")
        check(answers.used() >= before, f"a kill of {victim or 'all'} freed {before - answers.used()} bytes")
        check(answers.used() <= ROOM, "more is counted than may leave")


def a_kill_in_between_loses_no_count(answers):
    """What left before the kill counts after it, and the rest of the cap is all that is left."""
    answers.key()
    answers.serves()
    first, status, problem = answers.stream(ROOM // 3)
    check(status == 200, f"{status} {problem}")
    answers.node.kill_all()
    answers.node.start()
    check(answers.used() >= first, f"{first} bytes left, {answers.used()} are counted after a kill")
    answers.serves()
    second, status, _ = answers.stream(10 * ROOM)
    check(status == 429 and first + second <= ROOM, f"{first} and {second} bytes left, then {status}")
    check(second > 0, "nothing left after the kill: the sum says nothing")


def more_keys_do_not_help(answers):
    """A tenant makes keys for itself: the cap on the tenant holds them together."""
    answers.leaving.caps(5_000_000, 400_000_000, tenant=answers.used("tenant:acme") + ROOM)
    came = 0
    for _ in range(4):
        answers.key()
        answers.serves()
        more, status, problem = answers.stream(10 * ROOM)
        check(status == 429, f"{status} {problem}")
        came += more
    check(ROOM // 2 < came <= ROOM, f"{came} bytes left by four keys, {ROOM} may")
    status, problem = answers.leaving.take("acme ml-engineer")
    check(status == 403 and "tenant `acme`" in problem["title"] and "per_tenant" in problem["help"], f"{status} {problem}")
    # Another tenant is not held up: the control.
    used = answers.used(answers.leaving.account("globex tenant-admin"))
    answers.leaving.caps(used + 2 * answers.leaving.size, 400_000_000, tenant=used + 2 * answers.leaving.size)
    check(answers.leaving.take("globex tenant-admin")[0] == 200, "another tenant is refused as well")


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
            leaving := Leaving(node),
        )
        more = run_tests(
            [
                answers_leave_below_the_cap_and_are_counted,
                answers_end_at_the_cap_and_an_alarm_comes_before,
                kills_free_no_bytes_of_answers,
                a_kill_in_between_loses_no_count,
                more_keys_do_not_help,
            ],
            Answers(leaving),
        )
    close(*(sum(both) for both in zip(counts, more)))
