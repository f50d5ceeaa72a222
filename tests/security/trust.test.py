#!/usr/bin/python3
"""Trust policies: whose signatures count for which models. Keys are made by OpenSSL, signatures by the command line on plain
files, as somebody does who is not at the node."""

import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import PROGRAM, Node, check, close, run_tests  # noqa: E402


class Trust:
    """A tenant that serves `lin@1`, and three people with keys of their own."""

    def __init__(self, node):
        self.node, self.version = node, 0
        node.ok("tenant", "create", "acme")
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.keys = {name: self.key(name) for name in ("ann", "bob", "eve")}
        node.ok("model", "export", "lin@1", node.path("out"), "--tenant", "acme")
        self.plain = node.path("out", "model")

    def key(self, name):
        private, public = self.node.path(f"{name}.pem"), self.node.path(f"{name}.pub.pem")
        for words in (["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], ["ec", "-in", private, "-pubout", "-out", public]):
            done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
            check(done.returncode == 0, done.stderr)
        os.chmod(private, 0o600)
        with open(public) as file:
            return private, file.read()

    def policy(self, signatures=2, who=("ann", "bob"), tenant="acme", floor=0, version=None, more=""):
        self.version = self.version + 1 if version is None else version
        text = f'schema = "strongroom.trust-policy/1"\ntenant = "{tenant}"\nversion = {self.version}\n'
        for name in who:
            text += f'[[signer]]\nprincipal = "{name}"\nmodels = ["lin*"]\nkeys = ["""\n{self.keys[name][1]}"""]\n'
        text += f'[[rule]]\nmodels = ["*"]\nsignatures = {signatures}\nfloor = {floor}\nbom = true\n{more}'
        path = self.node.path("trust.toml")
        work.write(path, text.encode())
        return path

    def apply(self, path):
        return self.node.ok("trust", "policy", "apply", path, "--reason", "a test", "--tenant", "acme")

    def sign(self, name, directory=None):
        path = self.node.path(f"by-{name}.sig")
        done = subprocess.run(
            [PROGRAM, "model", "sign", directory or self.plain, "--signature", path, "--method", "key", "--private-key", self.keys[name][0]],
            env=self.node.env, capture_output=True, text=True, check=False,
        )
        check(done.returncode == 0, done.stderr)
        return path

    def countersign(self, name, **refused):
        words = ("model", "countersign", "lin@1", "--signature", self.sign(name), "--tenant", "acme")
        return self.node.refused(*words, **refused) if refused else self.node.ok(*words)

    def deploys(self):
        return self.node.run("-o", "json", "endpoint", "deploy", "lin", "lin@1", "--tenant", "acme").code == 0

    def state(self):
        return self.node.ok("endpoint", "show", "lin", "--tenant", "acme")["state"]


def a_policy_can_be_tried_before_it_takes_effect(t):
    path = t.policy()
    result = t.node.run("-o", "json", "trust", "policy", "check", path, "--against", "registry", "--tenant", "acme")
    found = result.json()["items"]
    check(result.code == 3 and len(found) == 1, found)
    check(found[0]["served"] and not found[0]["admitted"] and "too-few-signatures" in found[0]["reasons"][0], found)
    check(t.state() == "serving", "trying it changed something")
    t.version = 0


def signatures_are_counted_by_person_and_by_key(t):
    """Positive control: with both signatures the same model serves under the same policy."""
    made = t.apply(t.policy())
    check(made["withdrawn"] == ["lin"] and t.state() == "refused", made)
    t.node.refused("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme", code=3, says=["trust policy", "too-few-signatures"])
    t.countersign("eve", code=3, says="not taken")
    t.countersign("ann")
    t.countersign("ann")
    check(not t.deploys(), "one of two signatures is enough")
    t.countersign("bob")
    check(t.deploys(), "two of two signatures are not enough")
    verified = t.node.ok("model", "verify", "lin@1", "--tenant", "acme")
    check(any(c["name"] == "trust policy" and "ann" in c["detail"] and "bob" in c["detail"] for c in verified["checks"]), verified)


def a_signature_over_other_files_is_none(t):
    other = t.node.path("other")
    shutil.copytree(t.plain, other)
    name = sorted(os.listdir(other))[0]
    with open(os.path.join(other, name), "ab") as file:
        file.write(b"more")
    path = t.sign("ann", other)
    t.node.refused("model", "countersign", "lin@1", "--signature", path, "--tenant", "acme", code=3, says="other files")
    work.write(path, b"{}")
    t.node.refused("model", "countersign", "lin@1", "--signature", path, "--tenant", "acme", code=3, says="does not verify")


def nothing_goes_back(t):
    t.node.refused("trust", "policy", "apply", t.policy(version=t.version), "--reason", "x", "--tenant", "acme", code=7, says="none goes back")
    # A floor above the release takes it out of service, and at it gives it back.
    made = t.apply(t.policy(floor=2))
    check(made["withdrawn"] == ["lin"], made)
    t.node.refused("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme", code=3, says="below-floor")
    t.apply(t.policy(floor=1))
    check(t.deploys(), "a floor at the release refuses it")
    listed = t.node.ok("trust", "policy", "list", "--tenant", "acme")["items"]
    check([v["version"] for v in listed] == [1, 2, 3] and all(v["verified"] for v in listed), listed)
    shown = t.node.ok("trust", "policy", "show", "--tenant", "acme")
    check(shown["version"] == 3 and "floor = 1" in shown["text"], shown)


def what_cannot_be_is_refused_and_the_policy_in_force_stays(t):
    for wrong, says in [
        ({"tenant": "globex"}, "globex"), ({"signatures": 3}, "may sign"), ({"more": "[[rule]]\n"}, "models"),
        ({"signatures": 0}, "no signature"),
    ]:
        t.node.refused("trust", "policy", "apply", t.policy(**wrong), "--reason", "x", "--tenant", "acme", code=1, says=says)
    key = t.node.path("trainer.key")
    t.node.ok("key", "create", "--role", "ml-engineer", "--out", key, "--tenant", "acme")
    t.node.refused("trust", "policy", "apply", t.policy(version=9), "--reason", "x", "--tenant", "acme", key=key, code=3, says="may not")
    check(t.node.ok("trust", "policy", "show", "--tenant", "acme")["version"] == 3 and t.state() == "serving", "something took effect")


def who_is_no_longer_named_counts_no_longer(t):
    made = t.apply(t.policy(who=("ann", "eve"), version=10))
    check(made["withdrawn"] == ["lin"] and not t.deploys(), made)
    t.countersign("eve")
    check(t.deploys(), "ann and eve are not enough")


def the_probes_hold_it_up(t):
    found = {c["id"]: c for c in t.node.run("-o", "json", "posture", "run").json()["controls"]}
    for name in ("IN-3", "IN-4", "IN-9"):
        check(found[name]["status"] == "pass", found[name])
    check("positive control" in json.dumps(found["IN-3"]) and "below" in json.dumps(found["IN-9"]), found["IN-3"])


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                a_policy_can_be_tried_before_it_takes_effect,
                signatures_are_counted_by_person_and_by_key,
                a_signature_over_other_files_is_none,
                nothing_goes_back,
                what_cannot_be_is_refused_and_the_policy_in_force_stays,
                who_is_no_longer_named_counts_no_longer,
                the_probes_hold_it_up,
            ],
            Trust(node),
        )
    close(*counts)
