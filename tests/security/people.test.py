#!/usr/bin/python3
"""People in sessions: what a session may, when it ends, what needs a fresh proof, and what two people must agree on."""

import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, run_tests  # noqa: E402
from people import granted, known, must, post  # noqa: E402

# As the node is configured below: short, so that ends are seen.
IDLE, ABSOLUTE, FRESH = 6, 45, 4


class Staff:
    """Tenant acme with a model, and people: ann trains, ben administers, dee deploys, sam watches over the node."""

    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        self.ann = granted(node, "ann", "ml-engineer", "acme")
        self.ben = granted(node, "ben", "tenant-admin", "acme")
        self.dee = granted(node, "dee", "deployer", "acme")
        self.sam = granted(node, "sam", "security")

    def get(self, path, key=None):
        return api.ask(self.node.ready["socket"], "GET", f"/v1{path}", key)

    def post(self, path, body=None, key=None):
        return post(self.node, path, body, key)

    def deploy(self, name, key):
        return self.post("/tenants/acme/endpoints", {"name": name, "model": "lin@1"}, key)

    def file(self, key, model="lin/1"):
        return self.get(f"/tenants/acme/models/{model}/files/model.onnx", key)


def refused(answer, status, code, *words):
    check(answer.status == status and answer.json["code"] == code, answer)
    check(all(word in answer.text for word in words), answer)


def a_session_is_of_one_person_in_one_role(staff):
    token = staff.ann.login()
    me = must(staff.get("/whoami", token))
    check((me["principal"], me["role"], me["tenant"]) == ("user:ann", "ml-engineer", "acme"), me)
    check(me["session"]["state"] == "live" and "token" not in me["session"], me)
    check(staff.get("/tenants/acme/models", token).status == 200, "the control: she reads her tenant")
    check(staff.get("/tenants/globex/models", token).status == 404, "another tenant is there for her")
    refused(staff.get("/users", token), 403, "SR-CTL-0005", "operator")
    refused(staff.post("/tenants/acme/keys", {"endpoint": "x"}, token), 403, "SR-CTL-0005", "who trains")
    entry = staff.node.events("--kind", "session.open", until=lambda found: found)[-1]
    check(entry["class_uid"] == 3002 and entry["user"]["name"] == "ann", entry)


def a_token_that_is_not_its_own_is_nobody(staff):
    token, other = staff.ann.login(), staff.ben.login()
    for bad in (token[:-1] + ("0" if token[-1] != "0" else "1"), other[:31] + token[31:], token.replace("srs_", "srk_"), "srs_", token + "0"):
        check(staff.get("/whoami", bad).status == 401, bad[:8])
    check(staff.get("/whoami", token).status == 200, "the control")


def who_watches_over_the_node_sees_all_and_makes_nothing(staff):
    token = staff.sam.login()
    for path in ("/tenants/acme/models", "/users", "/sessions", "/audit/entries", "/posture"):
        check(staff.get(path, token).status == 200, f"{path}: {staff.get(path, token)}")
    refused(staff.deploy("theirs", token), 403, "SR-CTL-0005")
    refused(staff.post("/tenants", {"name": "theirs"}, token), 403, "SR-CTL-0005")
    refused(staff.file(token), 403, "SR-CTL-0005")
    refused(staff.post("/users", {"name": "friend"}, token), 403, "SR-CTL-0005")


def a_session_ends_unused(staff):
    used, unused = staff.ann.login(), staff.ann.login()
    for _ in range(IDLE + 2):
        time.sleep(1)
        check(staff.get("/whoami", used).status == 200, "a session in use ended")
    refused(staff.get("/whoami", unused), 401, "SR-CTL-0004", "not used for too long", "strongroom login")


def a_session_ends_in_use(staff):
    token, began = staff.ann.login(), time.monotonic()
    while (answer := staff.get("/whoami", token)).status == 200:
        check(time.monotonic() - began < ABSOLUTE + 3, "it goes on and on")
        time.sleep(1)
    check(time.monotonic() - began > ABSOLUTE - 3, "it ended early")
    refused(answer, 401, "SR-CTL-0004", "ended")


def an_old_proof_is_not_enough_for_what_is_of_high_risk(staff):
    token = staff.dee.login()
    must(staff.deploy("fresh", token))
    time.sleep(FRESH + 0.5)
    answer = staff.deploy("stale", token)
    refused(answer, 401, "SR-ACC-0001", "strongroom login")
    check("insufficient_user_authentication" in answer.headers.get("www-authenticate", ""), answer.headers)
    check(staff.get("/tenants/acme/endpoints", token).status == 200, "the control: reading needs no fresh proof")
    must(staff.deploy("anew", staff.dee.login()))
    found = staff.node.events("--kind", "access.refuse", until=lambda found: found)
    check(any("fresh-proof" in json.dumps(entry) for entry in found), "the log does not name the rule")
    for name in ("fresh", "anew"):
        must(staff.post(f"/tenants/acme/endpoints/{name}/stop", None, token))


def what_was_given_is_taken_back_at_once(staff):
    person = granted(staff.node, "eve", "auditor", "acme")
    for what, take in (
        ("its session is revoked", lambda me: f"/sessions/{me['session']['id']}/revoke"),
        ("the person logs out", None),
        ("the grant is revoked", lambda me: "/users/eve/grants/1/revoke"),
    ):
        token = person.login()
        me = must(staff.get("/whoami", token))
        must(staff.post("/logout", None, token) if take is None else staff.post(take(me)))
        check(staff.get("/whoami", token).status == 401, f"it goes on after {what}")
    # Without a grant nobody gets in; with one again they do, until they are disabled.
    login = person.begin()
    code = must(person.prove(login["url"]))["code"]
    refused(person.finish(login, code=code), 403, "SR-CTL-0005", "granted no such role")
    must(staff.post("/users/eve/grants", {"role": "auditor", "tenant": "acme", "reason": "again"}))
    token = person.login()
    check(staff.get("/whoami", token).status == 200, "the control")
    must(staff.post("/users/eve/disable"))
    check(staff.get("/whoami", token).status == 401, "it goes on after the person was disabled")


def a_person_sees_and_ends_their_own_sessions_alone(staff):
    mine, theirs = staff.ann.login(), staff.ben.login()
    ids = {key: must(staff.get("/whoami", key))["session"]["id"] for key in (mine, theirs)}
    seen = {s["id"] for s in must(staff.get("/sessions", mine))["items"]}
    check(ids[mine] in seen and ids[theirs] not in seen, seen)
    check(staff.post(f"/sessions/{ids[theirs]}/revoke", None, mine).status == 404, "she ended another's session")
    absent = staff.post(f"/sessions/{api.NOTHING['session']}/revoke", None, mine)
    check(absent.status == 404, absent)
    must(staff.post(f"/sessions/{ids[mine]}/revoke", None, mine))
    check(staff.get("/whoami", mine).status == 401 and staff.get("/whoami", theirs).status == 200, "not just hers")


def one_person_has_one_duty_in_a_tenant(staff):
    for role in ("deployer", "auditor", "tenant-admin"):
        answer = staff.post("/users/ann/grants", {"role": role, "tenant": "acme", "reason": "both"})
        refused(answer, 409, "SR-CTL-0003", "one duty")
    for body in ({"role": "security", "tenant": "acme"}, {"role": "auditor"}, {"role": "platform-operator"}, {"role": "root"}):
        answer = staff.post("/users/ann/grants", {**body, "reason": "odd"})
        check(answer.status == 400, f"{body}: {answer}")
    for hours in (0, 2161):
        answer = staff.post("/users/ann/grants", {"role": "auditor", "tenant": "globex", "reason": "long", "hours": hours})
        check(answer.status == 400, answer)
    must(staff.post("/users/ann/grants", {"role": "auditor", "tenant": "globex", "reason": "elsewhere"}))
    # She says as what she comes, once there are two.
    login = staff.ann.begin()
    code = must(staff.ann.prove(login["url"]))["code"]
    refused(staff.ann.finish(login, code=code), 409, "SR-CTL-0003", "several roles")
    me = must(staff.get("/whoami", staff.ann.login(tenant="globex")))
    check((me["role"], me["tenant"]) == ("auditor", "globex"), me)
    must(staff.post("/users/ann/grants/2/revoke"))


def weights_leave_by_two_people(staff):
    node = staff.node
    key = node.ok("key", "create", "--role", "ml-engineer", "--tenant", "acme")["secret"]
    for who, token in (("ann", staff.ann.login()), ("the operator", None), ("a key", key)):
        refused(staff.file(token), 403, "SR-ACC-0002", "strongroom access approval request model.export lin/1 --tenant acme")
        check(who, who)
    asked = {"operation": "model.export", "tenant": "acme", "resource": "lin/1", "reason": "for the lab"}
    request = must(staff.post("/approvals", asked, staff.ann.login()))
    path = f"/approvals/{request['id']}/decide"
    yes = {"approve": True, "reason": "agreed"}
    # Not by who asked, were she an administrator; not by the operator, not by a key, not by who may not approve.
    refused(staff.post(path, yes, staff.ann.login()), 403, "SR-CTL-0005")
    refused(staff.post(path, yes), 403, "SR-CTL-0005", "only a person")
    refused(staff.post(path, yes, node.ok("key", "create", "--tenant", "acme")["secret"]), 403, "SR-CTL-0005", "only a person")
    refused(staff.post(path, yes, staff.dee.login()), 403, "SR-CTL-0005")
    check(staff.file(staff.ann.login()).status == 403, "it left before anybody approved")
    done = must(staff.post(path, yes, staff.ben.login()))
    check((done["state"], done["decided_by"]) == ("approved", "user:ben"), done)
    refused(staff.post(path, {"approve": False}, staff.sam.login()), 409, "SR-CTL-0003", "approved already")
    taken = staff.file(staff.ann.login())
    check(taken.status == 200, "the control: two people agreed")
    # Just that: not by another, not another model.
    check(staff.file(staff.ben.login()).status == 403, "the approver took it")
    check(staff.file(key).status == 403, "a key took it")
    check(staff.file(staff.ann.login(), "lin/10").status == 403, "it covers another version")
    # An administrator who asks does not approve it either.
    own = must(staff.post("/approvals", {**asked, "reason": "my own"}, staff.ben.login()))
    refused(staff.post(f"/approvals/{own['id']}/decide", yes, staff.ben.login()), 409, "SR-CTL-0003", "another person")
    no = must(staff.post(f"/approvals/{own['id']}/decide", {"approve": False, "reason": "why?"}, staff.sam.login()))
    check(no["state"] == "refused" and staff.file(staff.ben.login()).status == 403, no)
    kinds = {entry["unmapped"]["strongroom"]["event"] for entry in node.events("--kind", "approval.", until=lambda f: len(f) > 4)}
    check(kinds == {"approval.request", "approval.decide"}, kinds)


def what_cannot_be_approved_is_not_asked_for(staff):
    ann, dee = staff.ann.login(), staff.dee.login()
    asked = {"operation": "model.export", "tenant": "acme", "resource": "lin/1", "reason": "x"}
    for token, change, status in (
        (ann, {"operation": "job.run"}, 400), (ann, {"operation": "nothing"}, 400), (ann, {"reason": " "}, 400),
        (ann, {"reason": "a\nb"}, 400), (ann, {"resource": ""}, 400), (ann, {"resource": "lin/1/"}, 400),
        (ann, {"resource": "\u043bin/1"}, 400), (ann, {"tenant": "globex"}, 404), (ann, {"tenant": "nobody"}, 404), (dee, {}, 403),
    ):
        answer = staff.post("/approvals", {**asked, **change}, token)
        check(answer.status == status, f"{change}: {answer}")
    other = granted(staff.node, "gil", "tenant-admin", "globex").login()
    mine = must(staff.post("/approvals", asked, ann))
    check(must(staff.get("/approvals", other))["items"] == [], "another tenant sees it")
    hidden = staff.post(f"/approvals/{mine['id']}/decide", {"approve": True}, other).said(mine["id"])
    absent = staff.post(f"/approvals/{api.NOTHING['approval']}/decide", {"approve": True}, other).said(api.NOTHING["approval"])
    check(hidden == absent and hidden[0] == 404, f"{hidden} {absent}")


def who_made_a_model_does_not_deploy_it(staff):
    refused(staff.deploy("own", None), 403, "SR-ACC-0003", "lin@1", "operator")
    must(staff.deploy("anothers", staff.dee.login()))
    must(staff.post("/tenants/acme/endpoints/anothers/stop", None, staff.dee.login()))


def names_are_not_given_twice_and_links_are_shown_once(staff):
    _, link = known(staff.node, "new")
    check(link, "no link")
    check("enrolment" not in must(staff.get("/users/new")), "the link is shown again")
    refused(staff.post("/users", {"name": "new"}), 409, "SR-CTL-0003", "not given twice")
    must(staff.post("/users/new/disable"))
    refused(staff.post("/users", {"name": "new"}), 409, "SR-CTL-0003")
    for bad in ("", "Ann", "\u0430nn", "a b", "../x", "a" * 200, "ann\n"):
        check(staff.post("/users", {"name": bad}).status == 400, repr(bad))


def sessions_outlive_the_node_and_their_ends_do_too(staff):
    token, ended = staff.ann.login(), staff.ben.login()
    must(staff.post("/logout", None, ended))
    staff.node.kill_all()
    staff.node.start()
    check(staff.get("/whoami", token).status == 200, "a session is gone after kill -9")
    check(staff.get("/whoami", ended).status == 401, "a session that was ended is back")


def the_probes_see_it(staff):
    found = {c["id"]: c for c in staff.node.run("-o", "json", "posture", "run").json()["controls"]}
    for control in ("AC-4", "AC-6", "AC-7", "AC-9"):
        check(found[control]["status"] == "pass", found[control])


def configured():
    """A node that asks for two people, and whose sessions are short."""
    node = Node()
    node.start()
    node.stop()
    path = os.path.join(node.state, "strongroom.toml")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(
            text.replace("two_people = false", "two_people = true").replace("idle_seconds = 900", f"idle_seconds = {IDLE}")
            .replace("absolute_seconds = 43200", f"absolute_seconds = {ABSOLUTE}").replace("fresh_seconds = 300", f"fresh_seconds = {FRESH}")
        )
    return node


if __name__ == "__main__":
    with configured() as node:
        tests = [
            a_session_is_of_one_person_in_one_role,
            a_token_that_is_not_its_own_is_nobody,
            who_watches_over_the_node_sees_all_and_makes_nothing,
            an_old_proof_is_not_enough_for_what_is_of_high_risk,
            what_was_given_is_taken_back_at_once,
            a_person_sees_and_ends_their_own_sessions_alone,
            one_person_has_one_duty_in_a_tenant,
            weights_leave_by_two_people,
            what_cannot_be_approved_is_not_asked_for,
            who_made_a_model_does_not_deploy_it,
            names_are_not_given_twice_and_links_are_shown_once,
            sessions_outlive_the_node_and_their_ends_do_too,
            the_probes_see_it,
            a_session_ends_unused,
            a_session_ends_in_use,
        ]
        counts = run_tests(tests, Staff(node))
    close(*counts)
