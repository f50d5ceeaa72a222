#!/usr/bin/python3
"""Models whose inspection names a risk: taken in, admitted and served only as long as the tenant's policy lists exactly those."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402
from work import field, tensor_info  # noqa: E402

DOMAIN = "onnx-custom-domain"


def custom(operator="MatMul", domain="com.example"):
    """y = operator(x, W) with an operator of a custom domain."""
    tensor = field(1, 2) + field(1, 2) + field(2, 1) + field(8, "W") + field(9, b"\0\0\x80?" * 4)
    node = field(1, "x") + field(1, "W") + field(2, "y") + field(4, operator) + field(7, domain)
    graph = field(1, node) + field(2, "g") + field(5, tensor)
    graph += field(11, tensor_info("x", ["batch", 2])) + field(12, tensor_info("y", ["batch", 2]))
    imports = field(8, field(1, "") + field(2, 13)) + field(8, field(1, domain) + field(2, 1))
    return field(1, 8) + field(2, "by-hand") + field(7, graph) + imports


def instances(*names):
    """A pickle of instances of classes of nobody's module."""
    made = b"".join(f"cmine\n{name}\n)\x81}}b".encode("latin-1") for name in names)
    return b"\x80\x02(" + made + b"l."


class Risky:
    """A tenant whose policy counts the node's own signature."""

    def __init__(self, node):
        self.node, self.version = node, 0
        node.ok("tenant", "create", "acme")
        self.key = node.ok("status")["model_public_key"]
        work.write(node.path("custom", "model.onnx"), custom())
        work.write(node.path("beside", "model.onnx"), work.onnx(work.WEIGHTS))
        work.write(node.path("beside", "notes.pkl"), instances("Notes", "Table"))

    def policy(self, *risks, models="*", signer=""):
        self.version += 1
        text = f'schema = "strongroom.trust-policy/1"\ntenant = "acme"\nversion = {self.version}\n'
        text += f'[[signer]]\nprincipal = "node"\nmodels = ["*"]\n{signer}keys = ["""\n{self.key}"""]\n'
        text += f'[[rule]]\nmodels = ["{models}"]\nsignatures = 1\naccept_risks = {list(risks)!r}\n'
        if models != "*":
            text += '[[rule]]\nmodels = ["*"]\nsignatures = 1\n'
        path = self.node.path("trust.toml")
        work.write(path, text.encode())
        return path

    def apply(self, *risks, **more):
        return self.node.ok("trust", "policy", "apply", self.policy(*risks, **more), "--reason", "a test", "--tenant", "acme")

    def bring(self, name, path, **refused):
        words = ("model", "import", name, self.node.path(path), "--tenant", "acme", "--source", "by hand", *work.SAID)
        return self.node.refused(*words, code=3, **refused) if refused else self.node.ok(*words)

    def step(self, what, name, **refused):
        words = ("model", "intake", what, name, "--tenant", "acme", *(("--reason", "a test") if what == "approve" else ()))
        return self.node.refused(*words, code=3, **refused) if refused else self.node.ok(*words)

    def intake(self, name):
        return self.node.run("-o", "json", "model", "intake", "show", name, "--tenant", "acme").json()

    def deploy(self, name, **refused):
        words = ("endpoint", "deploy", name, f"{name}@1", "--tenant", "acme")
        return self.node.refused(*words, code=3, **refused) if refused else self.node.ok(*words)

    def state(self, name):
        return self.node.ok("endpoint", "show", name, "--tenant", "acme")["state"]


def without_a_policy_no_risk_is_taken_in(r):
    error = r.bring("lin", "custom", says=["SR-CTL-0070", DOMAIN, "no trust policy", "accept_risks"])
    check("trust policy apply" in error["help"], error)
    check(r.intake("lin")["state"] == "refused", r.intake("lin"))


def a_policy_accepts_by_model_and_by_exact_name(r):
    r.apply()
    r.bring("lin", "custom", says=["SR-CTL-0070", "risk-not-accepted", DOMAIN])
    r.apply("hdf5", "pickle-global:mine:Notes")
    r.bring("lin", "custom", says=[DOMAIN])
    r.apply(DOMAIN, models="other-*")
    r.bring("lin", "custom", says=[DOMAIN])
    r.apply("pickle-global:mine:Notes")
    r.bring("nt", "beside", says=["pickle-global:mine:Table"])
    # The positive control: the same files under a policy that lists what is in them.
    r.apply("pickle-global:mine:Notes", "pickle-global:mine:Table", DOMAIN)
    brought = r.bring("nt", "beside")
    check(brought["risks"] == ["pickle-global:mine:Notes", "pickle-global:mine:Table"], brought)
    check(brought["verdict"] == "load-with-policy" and f"trust policy {r.version}" in str(brought["steps"]), brought)


def what_the_inspection_refuses_no_policy_accepts(r):
    work.write(r.node.path("evil", "model.pkl"), b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.")
    r.apply("pickle-global:posix:system", "pickle-global:mine:Notes", "pickle-global:mine:Table", DOMAIN)
    r.bring("evil", "evil", says=["SR-CTL-0011", "system"])


def acceptance_is_asked_again_when_it_is_admitted(r):
    r.bring("lin", "custom")
    r.step("approve", "lin")
    r.apply()
    r.step("admit", "lin", says=["SR-CTL-0070", DOMAIN])
    check(r.intake("lin")["state"] == "approved", "it did not wait where it stood")
    r.apply(DOMAIN)
    check(r.step("admit", "lin")["model"] == "lin@1", "the positive control")
    shown = r.node.ok("model", "show", "lin@1", "--tenant", "acme")
    check(shown["risks"] == [DOMAIN] and shown["verdict"] == "load-with-policy", shown)
    bom = r.node.ok("bom", "show", "lin@1", "--tenant", "acme")
    check("accepted by trust policy" in str(bom), bom)


def it_serves_as_long_as_it_is_accepted(r):
    made = r.deploy("lin")
    check(made["state"] == "serving", made)
    url = r.node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]
    key = r.node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["secret"]
    status, answer = r.node.ask(url, work.request([[1, 2]]), key)
    check(status == 200 and answer["outputs"][0]["data"] == [3, 3], answer)
    opinion = r.node.run("-o", "json", "trust", "policy", "check", r.policy(), "--against", "registry", "--tenant", "acme")
    check(opinion.code == 3 and DOMAIN in opinion.out, opinion.out)
    gone = r.apply()
    check(gone["withdrawn"] == ["lin"] and r.state("lin") == "refused", gone)
    status, answer = r.node.ask(url, work.request([[1, 2]]), key)
    check(status in (401, 404), f"the gateway answers with it: {status} {answer}")
    r.deploy("lin", says=["risk-not-accepted", DOMAIN])
    verified = r.node.run("-o", "json", "model", "verify", "lin@1", "--tenant", "acme")
    failed = {c["name"] for c in verified.json()["checks"] if not c["ok"]}
    check(verified.code == 3 and {"trust policy", "inspection"} <= failed, failed)
    r.apply(DOMAIN)
    check(r.deploy("lin")["state"] == "serving", "accepted again, it does not serve")


def what_is_accepted_serves_again_after_a_restart(r):
    r.node.stop()
    r.node.start()
    wait_for("it serves again", lambda: r.state("lin") == "serving", 60)


def an_operator_that_no_runtime_has_does_not_serve(r):
    work.write(r.node.path("own", "model.onnx"), custom("Frobnicate"))
    r.bring("own", "own")
    r.step("approve", "own")
    check(r.step("admit", "own")["model"] == "own@1", "not admitted")
    # The answer to the deployment says so, or on a slow machine the endpoint does a moment later.
    result = r.node.run("-o", "json", "endpoint", "deploy", "own", "own@1", "--tenant", "acme")
    wait_for("it ends", lambda: r.state("own") == "failed", 60)
    reason = r.node.ok("endpoint", "show", "own", "--tenant", "acme")["reason"]
    check("runtime ended" in reason and DOMAIN in reason, reason)
    check(result.code == 0 or (DOMAIN in result.err and "model export" in result.err), result.err)
    # It is there for those who have a runtime of their own.
    exported = r.node.path("exported")
    r.node.ok("model", "export", "own@1", exported, "--tenant", "acme")
    with open(os.path.join(exported, "model", "model.onnx"), "rb") as file:
        check(file.read() == custom("Frobnicate"), "another model came out")


def what_admitted_it_ends_by_itself(r):
    """The signer's time is over while the model serves: found on the schedule, with nobody asking."""
    r.node.stop()
    config = os.path.join(r.node.state, "strongroom.toml")
    with open(config) as file:
        text = file.read()
    check("recheck_seconds = 3600" in text, text)
    work.write(config, text.replace("recheck_seconds = 3600", "recheck_seconds = 1").encode())
    r.node.start()
    wait_for("it serves again", lambda: r.state("lin") == "serving", 60)
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 8))
    r.apply(DOMAIN, signer=f'not_after = "{ends}"\n')
    wait_for("it is refused", lambda: r.state("lin") == "refused", 60)
    reason = r.node.ok("endpoint", "show", "lin", "--tenant", "acme")["reason"]
    check("too-few-signatures" in reason, reason)


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                without_a_policy_no_risk_is_taken_in,
                a_policy_accepts_by_model_and_by_exact_name,
                what_the_inspection_refuses_no_policy_accepts,
                acceptance_is_asked_again_when_it_is_admitted,
                it_serves_as_long_as_it_is_accepted,
                what_is_accepted_serves_again_after_a_restart,
                an_operator_that_no_runtime_has_does_not_serve,
                what_admitted_it_ends_by_itself,
            ],
            Risky(node),
        )
    close(*counts)
