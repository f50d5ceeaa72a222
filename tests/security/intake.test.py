#!/usr/bin/python3
"""A model that was made elsewhere, and who would use it before its time: every step skipped in turn, by the API itself."""

import glob
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, flip, run_tests  # noqa: E402
from people import granted, must, post  # noqa: E402

MODEL = work.onnx(work.WEIGHTS)
WORD = {"reason": "to see"}
MEASURE = {"metric": "first", "at_least": 0, "job": {"file": "j", "text": "", "code": "0" * 32, "imports": {}}}
BODIES = {"describe": {}, "evaluate": MEASURE, "approve": WORD, "admit": None, "refuse": WORD}


class Intakes:
    """Tenants acme and globex; ann trains, ben administers, dee deploys in acme, and two people are asked for."""

    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        self.ann = granted(node, "ann", "ml-engineer", "acme")
        self.ben = granted(node, "ben", "tenant-admin", "acme")
        self.dee = granted(node, "dee", "deployer", "acme")
        self.gil = granted(node, "gil", "tenant-admin", "globex")
        self.tokens = {who: getattr(self, who).login() for who in ("ann", "ben", "dee", "gil")}

    def token(self, who):
        return self.tokens[who]

    def again(self):
        self.tokens = {who: getattr(self, who).login() for who in self.tokens}

    def ask(self, who, name, verb, number=1, tenant="acme"):
        path = f"/tenants/{tenant}/intakes/{name}/{number}/{verb}"
        return post(self.node, path, BODIES[verb], self.token(who))

    def bring(self, who, name, data=MODEL, said=True, file="model.onnx", tenant="acme"):
        """Brings a model in by the API alone."""
        facts = {"license": "MIT", "producer": "p", "purpose": "p", "accountable": "a"} if said else {}
        begin = {"kind": "model", "name": name, "intake": {"source": "by hand", "facts": facts}}
        key = self.token(who)
        made = must(post(self.node, f"/tenants/{tenant}/imports", begin, key))
        at = f"/v1/tenants/{tenant}/imports/{made['id']}"
        sent = api.ask(self.node.ready["socket"], "PUT", f"{at}/files/{file}", key, data, "application/octet-stream")
        check(sent.status == 200, sent)
        return post(self.node, f"/tenants/{tenant}/imports/{made['id']}/commit", None, key)

    def state(self, name, number=1):
        return self.node.run("-o", "json", "model", "intake", "show", f"{name}@{number}", "--tenant", "acme").json()["state"]

    def deploy(self, name):
        return post(self.node, "/tenants/acme/endpoints", {"name": name, "model": f"{name}@1"}, self.token("ben"))


def no_step_is_left_out_by_asking_for_a_later_one(intakes):
    check(intakes.bring("ann", "skip", said=False).json["intake"]["state"] == "inspected", "not brought")
    for who, verb in (("ann", "evaluate"), ("dee", "approve"), ("dee", "admit")):
        answer = intakes.ask(who, "skip", verb)
        check(answer.status == 409 and answer.json["code"] == "SR-ITK-0001", answer)
    check(intakes.deploy("skip").status == 404, "a model in quarantine is there for an endpoint")
    described = {"license": "MIT", "producer": "p", "purpose": "p", "accountable": "a"}
    path = "/tenants/acme/intakes/skip/1/describe"
    check(must(post(intakes.node, path, described, intakes.token("ann")))["state"] == "described", "not described")
    check(intakes.ask("dee", "skip", "admit").json["code"] == "SR-ITK-0001", "admitted without approval")
    changed = post(intakes.node, path, {"license": "other"}, intakes.token("ann"))
    check(changed.status == 409, f"what was signed is said anew: {changed}")
    check(intakes.state("skip") == "described", intakes.state("skip"))


def who_brings_a_model_neither_approves_nor_admits_it(intakes):
    must(intakes.bring("ann", "own"))
    for verb in ("approve", "admit", "refuse"):
        check(intakes.ask("ann", "own", verb).status == 403, f"an ml-engineer may {verb}")
    check(intakes.ask("dee", "own", "describe").status == 403, "a deployer describes")
    # A tenant's administrator may all of it, and not alone.
    must(intakes.bring("ben", "his"))
    answer = intakes.ask("ben", "his", "approve")
    check(answer.status == 403 and answer.json["code"] == "SR-ITK-0005", answer)
    key = intakes.node.ok("key", "create", "--role", "tenant-admin", "--tenant", "acme")["secret"]
    path = "/tenants/acme/intakes/his/1/approve"
    check(post(intakes.node, path, WORD, key).status == 403, "a key approves")
    check(intakes.node.run("model", "intake", "approve", "his", "--reason", "x", "--tenant", "acme").code != 0,
          "the operator approves alone")
    # Nor does who only described it.
    must(intakes.bring("ann", "third", said=False))
    said = {"license": "MIT", "producer": "p", "purpose": "p", "accountable": "a"}
    must(post(intakes.node, "/tenants/acme/intakes/third/1/describe", said, intakes.token("ben")))
    check(intakes.ask("ben", "third", "approve").json["code"] == "SR-ITK-0005", "who described it approves it")
    approved = must(intakes.ask("dee", "his", "approve"))
    check("by another person" in approved["steps"][-1]["detail"], approved["steps"])
    check(must(intakes.ask("ben", "his", "admit"))["model"] == "his@1", "the positive control")


def another_tenant_finds_nothing(intakes):
    for verb in BODIES:
        answer = intakes.ask("gil", "own", verb)
        check(answer.status == 404, f"{verb}: {answer}")
        answer = intakes.ask("gil", "own", verb, tenant="globex")
        check(answer.status == 404, f"{verb} in their own: {answer}")
    seen = api.ask(intakes.node.ready["socket"], "GET", "/v1/tenants/acme/intakes", intakes.token("gil"))
    check(seen.status == 404, seen)


def a_refused_model_is_never_used(intakes):
    must(intakes.bring("ann", "no"))
    check(must(intakes.ask("dee", "no", "refuse"))["state"] == "refused", "not refused")
    for who, verb in (("ann", "describe"), ("ann", "evaluate"), ("ben", "approve"), ("ben", "admit"), ("ben", "refuse")):
        answer = intakes.ask(who, "no", verb)
        check(answer.status in (200, 409) and intakes.state("no") == "refused", f"{verb}: {answer}")
    check(intakes.deploy("no").status == 404, "it is there for an endpoint")
    evil = intakes.bring("ann", "evil", b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.", file="model.pt")
    check(evil.status == 422 and "system" in evil.text, evil)
    check(intakes.state("evil") == "refused" and intakes.ask("ben", "evil", "admit").status == 409, "evil goes on")
    # The same files again are a new intake, from its beginning.
    check(intakes.bring("ann", "no").json["intake"]["version"] == 2 and intakes.state("no") == "refused", "no number of its own")


def files_that_change_between_the_steps_are_not_signed(intakes):
    # Content of its own, so that no other model shares the stored object.
    own = work.onnx([[9.0, 8.0, 7.0], [6.0, 5.0, 4.0]])
    before = objects(intakes.node)
    must(intakes.bring("ann", "swap", own))
    must(intakes.ask("dee", "swap", "approve"))
    new = [p for p in objects(intakes.node) - before if os.path.getsize(p) >= len(own)]
    check(new, "no object of the model is found")
    for path in new:
        flip(path)
    answer = intakes.ask("dee", "swap", "admit")
    check(answer.status == 422 and answer.json["code"] == "SR-ITK-0007", answer)
    check(intakes.state("swap") == "refused" and intakes.deploy("swap").status == 404, "it is used all the same")


def objects(node):
    return set(glob.glob(os.path.join(node.state, "**", "*.sef"), recursive=True))


def of_many_who_admit_at_once_one_does(intakes):
    must(intakes.bring("ann", "race"))
    must(intakes.ask("dee", "race", "approve"))
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(intakes.ask("dee", "race", "admit").status)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(sorted(answers) == [200] + [409] * 7, answers)
    versions = [m["version"] for m in intakes.node.ok("model", "list", "--tenant", "acme")["items"] if m["name"] == "race"]
    check(versions == [1], versions)


def a_kill_in_the_midst_leaves_a_whole_step(intakes):
    """The whole node is killed while a step is under way, over and over; where the record stands then, it goes on."""
    node = intakes.node
    must(intakes.bring("ann", "killed", said=False))
    plan = [("ann", "describe", {"license": "MIT", "producer": "p", "purpose": "p", "accountable": "a"}, "described"),
            ("dee", "approve", WORD, "approved"), ("dee", "admit", None, "admitted")]
    order = ["inspected", "described", "accepted", "approved", "admitted"]
    for who, verb, body, until in plan:
        for _ in range(3):
            before = intakes.state("killed")
            if before == until:
                break
            path, token = f"/tenants/acme/intakes/killed/1/{verb}", intakes.token(who)
            asking = threading.Thread(target=quietly, args=(lambda: post(node, path, body, token),))
            asking.start()
            node.kill_all()
            asking.join()
            node.start()
            intakes.again()
            after = intakes.state("killed")
            check(order.index(before) <= order.index(after) <= order.index(until), f"{before} became {after}")
        if intakes.state("killed") != until:
            check(must(post(node, f"/tenants/acme/intakes/killed/1/{verb}", body, intakes.token(who)))["state"] == until, until)
    shown = node.ok("model", "intake", "show", "killed", "--tenant", "acme")
    check([s["step"] for s in shown["steps"]] == ["source", "inspection", "description", "acceptance", "approval", "admission"], shown["steps"])
    check(node.ok("model", "verify", "killed@1", "--tenant", "acme")["verified"], "it does not verify")
    versions = [m["version"] for m in node.ok("model", "list", "--tenant", "acme")["items"] if m["name"] == "killed"]
    check(versions == [1], versions)
    node.log_verifies()


def quietly(work):
    try:
        work()
    except OSError:
        pass  # The node was killed under it.


if __name__ == "__main__":
    with Node(options=["--two-people"]) as node:
        intakes = Intakes(node)
        counts = run_tests(
            [
                no_step_is_left_out_by_asking_for_a_later_one,
                who_brings_a_model_neither_approves_nor_admits_it,
                another_tenant_finds_nothing,
                a_refused_model_is_never_used,
                files_that_change_between_the_steps_are_not_signed,
                of_many_who_admit_at_once_one_does,
                a_kill_in_the_midst_leaves_a_whole_step,
            ],
            intakes,
        )
    close(*counts)
