#!/usr/bin/python3
"""Models in use: what is revoked is served no more when the revocation is answered, and bytes that change under a runtime
end its endpoint. The change is made by root, through the very mount that the runtime uses."""

import http.client
import json
import os
import ssl
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import inuse  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, needs_root, run_tests, send, wait_for  # noqa: E402


class Serving:
    """A tenant with a data set, a model that was made of it, and an endpoint that answers with it."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        os.makedirs(node.path("data"))
        work.write(node.path("data", "rows.csv"), b"a,b\n1,2\n")
        node.ok("dataset", "import", "rows", node.path("data"), "--tenant", "acme")
        self.job = work.served(node.path("lin"), name="lin")
        with open(os.path.join(self.job, "job.toml"), "a") as file:
            file.write('\n[inputs]\ntrain = "dataset:rows@1"\n')
        node.wait_job(node.submit(self.job))
        self.deploy()
        self.path = urllib.parse.urlsplit(self.shown()["url"]).path

    def deploy(self):
        """A key is of one deployment."""
        self.node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.key = self.node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["secret"]

    def shown(self):
        return self.node.ok("endpoint", "show", "lin", "--tenant", "acme")

    def asks(self):
        """The status of one request."""
        host, port = self.node.ok("status")["gateway"].rsplit("/", 1)[-1].rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=self.node.ready["gateway_ca"]), timeout=10)
        try:
            return send(connection, self.path, work.request([[1, 2]]), self.key)[0]
        finally:
            connection.close()

    def verify(self):
        result = self.node.run("-o", "json", "endpoint", "verify", "lin", "--tenant", "acme")
        return result.code, {c["name"]: c for c in result.json()["checks"]}

    def revoke(self, *what):
        return self.node.ok("revocation", "create", *what, "--reason", "a test", "--tenant", "acme")

    def lift(self, made):
        self.node.ok("revocation", "lift", made["digest"], "--reason", "the test is over", "--tenant", "acme")

    def runtime(self):
        """The process that answers, in its sandbox."""
        return inuse.runtime(self.node.state, "lin")


def what_is_served_is_verified_over_the_bytes_in_use(s):
    code, checks = s.verify()
    check(code == 0 and all(c["ok"] for c in checks.values()), checks)
    check({"bytes in use", "signature", "model BoM", "not revoked"} <= set(checks), checks)
    check(s.asks() == 200, "it does not answer")
    s.node.refused("endpoint", "verify", "absent", "--tenant", "acme", code=3)


def a_revoked_model_is_served_no_more_when_that_is_answered(s):
    made = s.revoke("--model", "lin@1")
    check(made["withdrawn"] == ["lin"], made)
    check(s.asks() in (401, 404), "the gateway answers with a revoked model")
    check(s.shown()["state"] == "refused" and "a test" in s.shown()["reason"], s.shown())
    s.node.refused("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme", code=3, says=["not revoked", "a test"])
    s.node.refused("model", "verify", "lin@1", "--tenant", "acme", code=3)
    again = s.revoke("--model", "lin@1")
    check(again["since"] == made["since"] and len(s.node.ok("revocation", "list", "--tenant", "acme")["items"]) == 1, again)
    # It outlives the node.
    s.node.kill_all()
    s.node.start()
    s.node.refused("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme", code=3, says="not revoked")
    kinds = [e["unmapped"]["strongroom"]["event"] for e in s.node.events("--kind", "revocation.")]
    check("revocation.create" in kinds, kinds)
    s.lift(made)
    s.deploy()
    wait_for("it answers again", lambda: s.asks() == 200, 30)


def a_revoked_file_or_data_set_reaches_what_was_made_of_it(s):
    file = next(f for f in s.node.ok("model", "show", "lin@1", "--tenant", "acme")["files"] if f["path"] == "model.onnx")
    made = s.revoke("--file", file["digest"])
    check(made["withdrawn"] == ["lin"] and s.asks() in (401, 404), made)
    s.lift(made)
    s.deploy()
    made = s.revoke("--dataset", "rows@1")
    check(made["withdrawn"] == ["lin"] and "made of" in s.shown()["reason"], f"{made} {s.shown()}")
    s.node.refused("job", "run", os.path.join(s.job, "job.toml"), code=3, says=["revoked", "a test"])
    s.lift(made)
    s.deploy()
    for bad in ("0", "g" * 64, "0" * 63):
        s.node.refused("revocation", "create", "--file", bad, "--reason", "x", "--tenant", "acme", code=1, says="SHA-256")
    s.node.refused("revocation", "create", "--model", "absent@1", "--reason", "x", "--tenant", "acme", code=3)
    s.node.refused("revocation", "lift", "0" * 64, "--reason", "x", "--tenant", "acme", code=3)


def who_trains_revokes_nothing(s):
    path = s.node.path("trainer.key")
    s.node.ok("key", "create", "--role", "ml-engineer", "--out", path, "--tenant", "acme")
    s.node.refused("revocation", "create", "--model", "lin@1", "--reason", "x", "--tenant", "acme", key=path, code=3, says="may not")


def bytes_that_change_in_use_end_the_endpoint(s):
    """Positive controls: the mount refuses the write before it is forced, and what is unchanged verifies."""
    pid = s.runtime()
    check(pid, "no runtime was found")
    check(inuse.in_mounts_of(pid, inuse.as_it_is) == inuse.READ_ONLY, "root writes to the model without force")
    check(s.verify()[0] == 0, "it does not verify before")
    check(inuse.in_mounts_of(pid, inuse.by_force) == 0, "the attack did not work, so the test says nothing")
    code, checks = s.verify()
    check(code == 3 and not checks["bytes in use"]["ok"], checks)
    wait_for("the endpoint has ended", lambda: s.shown()["state"] == "failed", 20)
    check(s.asks() in (401, 404), "the gateway answers with changed bytes")
    found = s.node.events("--kind", "model.tampered")
    check(found and found[-1]["severity_id"] == 5, found)


def it_is_noticed_without_being_asked(s):
    s.node.stop()
    config = os.path.join(s.node.state, "strongroom.toml")
    with open(config) as file:
        text = file.read()
    check("recheck_seconds = 3600" in text, text)
    with open(config, "w") as file:
        file.write(text.replace("recheck_seconds = 3600", "recheck_seconds = 1"))
    s.node.start()
    s.deploy()
    before = len(s.node.events("--kind", "model.tampered"))
    wait_for("it was verified again by itself", lambda: any("resident" in json.dumps(e) for e in s.node.events("--kind", "model.verify")), 30)
    check(s.shown()["state"] == "serving", s.shown())
    check(inuse.in_mounts_of(s.runtime(), inuse.by_force) == 0, "the attack did not work, so the test says nothing")
    wait_for("the endpoint has ended", lambda: s.shown()["state"] == "failed", 30)
    check(len(s.node.events("--kind", "model.tampered")) > before, "no finding")


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        counts = run_tests(
            [
                what_is_served_is_verified_over_the_bytes_in_use,
                a_revoked_model_is_served_no_more_when_that_is_answered,
                a_revoked_file_or_data_set_reaches_what_was_made_of_it,
                who_trains_revokes_nothing,
                bytes_that_change_in_use_end_the_endpoint,
                it_is_noticed_without_being_asked,
            ],
            Serving(node),
        )
    close(*counts)
