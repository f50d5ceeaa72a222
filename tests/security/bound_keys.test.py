#!/usr/bin/python3
"""A key that is bound to a service is good on that service's certificate alone: on the management plane and at the gateway.

Asked with curl; certificates of strangers are made with openssl.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402

ROW = json.dumps(work.request([[1, 2]]))


def openssl(*words):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    check(done.returncode == 0, f"openssl {words[0]}: {done.stderr}")


class Bound:
    """Two tenants with services; acme serves a model. Each kind of key, bound to `ci`."""

    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.path = urllib.parse.urlsplit(node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]).path
        self.identities = {
            "own": self.service("ci", "acme"), "another": self.service("other", "acme"),
            "of globex": self.service("ci", "globex"), "forged": self.forged(),
        }
        self.manage = node.ok("key", "create", "--service", "ci", "--role", "auditor", "--tenant", "acme")
        self.ask = node.ok("key", "create", "--service", "ci", "--endpoint", "lin", "--tenant", "acme")
        self.loose = node.ok("key", "create", "--role", "auditor", "--tenant", "acme")

    def service(self, name, tenant):
        out = self.node.path(f"id-{tenant}-{name}")
        self.node.ok("access", "service", "create", name, "--role", "auditor", "--tenant", tenant, "--out", out)
        return out

    def forged(self):
        """The right names, by an authority of our own."""
        out = self.node.path("forged")
        os.makedirs(out)
        at = lambda name: os.path.join(out, name)  # noqa: E731
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1"]
        openssl("req", "-x509", *curve, "-keyout", at("ca.key"), "-out", at("ca.pem"), "-subj", "/CN=Strongroom services")
        openssl("req", *curve, "-keyout", at("key.pem"), "-out", at("ci.csr"), "-subj", "/CN=ci")
        work.write(at("ext"), b"subjectAltName=URI:spiffe://dev/tenant/acme/service/ci\nextendedKeyUsage=clientAuth\n")
        openssl("x509", "-req", "-in", at("ci.csr"), "-CA", at("ca.pem"), "-CAkey", at("ca.key"), "-days", "1",
                "-extfile", at("ext"), "-out", at("cert.pem"))
        return out

    def curl(self, url, authority, key=None, identity=None, body=None):
        """HTTP status and body; status 0 where not even the handshake was done."""
        words = ["curl", "--silent", "--show-error", "--max-time", "30", "--cacert", authority, "--write-out", "\n%{http_code}"]
        if key:
            words += ["--header", f"Authorization: Bearer {key}"]
        if identity:
            words += ["--cert", os.path.join(identity, "cert.pem"), "--key", os.path.join(identity, "key.pem")]
        if body:
            words += ["--header", "Content-Type: application/json", "--data", body]
        done = subprocess.run([*words, url], capture_output=True, text=True, check=False)
        text, _, status = done.stdout.rpartition("\n")
        with contextlib.suppress(ValueError):
            text = json.loads(text)
        return int(status or 0) if done.returncode == 0 else 0, text

    def whoami(self, key=None, who=None):
        return self.curl(self.node.ready["management"] + "/v1/whoami", self.node.ready["management_ca"], key, self.identities.get(who))

    def infer(self, key=None, who=None):
        address = self.node.ok("status")["gateway"].rsplit("/", 1)[-1]
        return self.curl(f"https://{address}{self.path}", self.node.ready["gateway_ca"], key, self.identities.get(who), ROW)


def same(one, other):
    """The same answer, but for what names the request."""
    strip = lambda answer: (answer[0], {k: v for k, v in answer[1].items() if k != "request_id"})  # noqa: E731
    return strip(one) == strip(other)


def unknown(secret):
    """A key of the same form that does not exist."""
    head, _, tail = secret.rpartition("_")
    swapped = tail.translate(str.maketrans("0123456789", "1234567890"))
    check(swapped != tail, "no digit to change")
    return f"{head}_{swapped}"


def it_is_good_on_its_own_certificate(bound):
    status, me = bound.whoami(bound.manage["secret"], "own")
    check(status == 200 and me["principal"] == f"key:{bound.manage['id']}" and me["role"] == "auditor", f"{status} {me}")
    status, answer = bound.infer(bound.ask["secret"], "own")
    check(status == 200 and answer["outputs"][0]["data"] == [1, 2, 0], f"{status} {answer}")
    shown = {key["id"]: key.get("service") for key in bound.node.ok("key", "list", "--tenant", "acme")["items"]}
    check(shown[bound.manage["id"]] == "ci" and shown[bound.loose["id"]] is None, shown)


def elsewhere_it_is_a_key_that_does_not_exist(bound):
    for name, call, key in (("plane", bound.whoami, bound.manage), ("gateway", bound.infer, bound.ask)):
        for who in (None, "another", "of globex"):
            met = call(key["secret"], who)
            check(met[0] == 401, f"{name}: with the certificate {who}: {met}")
            check(same(met, call(unknown(key["secret"]), who)), f"{name}: with the certificate {who} it is told apart: {met}")
        # A certificate of another authority ends the connection.
        check(call(key["secret"], "forged")[0] == 0, f"{name}: a forged certificate is taken")
    # The local socket has no certificates, so a bound key is nobody there.
    path = bound.node.path("bound.key")
    work.write(path, bound.manage["secret"].encode())
    os.chmod(path, 0o600)
    bound.node.refused("whoami", key=path, code=4, says="not known")


def the_log_tells_of_a_stolen_key(bound):
    for key in (bound.manage, bound.ask):
        def told(found, key=key):
            return any(key["id"] in json.dumps(e) and "without the certificate of" in json.dumps(e) for e in found)

        found = bound.node.events("--kind", "access.refuse", until=told)
        check(told(found), f"the log does not tell that {key['id']} was used without its certificate")


def other_credentials_are_as_before(bound):
    check(bound.whoami(bound.loose["secret"])[0] == 200, "a key that is not bound is refused")
    status, told = bound.whoami(bound.loose["secret"], "own")
    check(status == 401 and "one of them" in json.dumps(told), f"{status} {told}")
    check(bound.whoami(None, "own")[0] == 200, "a service is refused")
    check(bound.infer(None, "own")[0] == 401, "a certificate alone opens an endpoint")


def the_command_line_presents_both(bound):
    path = bound.node.path("both.key")
    work.write(path, bound.manage["secret"].encode())
    os.chmod(path, 0o600)
    remote = ["--server", bound.node.ready["management"], "--identity", bound.identities["own"]]
    check(bound.node.ok("whoami", *remote, "--key-file", path)["principal"] == f"key:{bound.manage['id']}", "not the key's holder")
    check(bound.node.ok("whoami", *remote)["principal"] == "service:acme/ci", "not the service")


def a_key_is_bound_to_what_there_is(bound):
    bound.node.refused("key", "create", "--service", "absent", "--tenant", "acme", code=3, says="there is no service")
    bound.node.refused("key", "create", "--service", "other", "--tenant", "globex", code=3, says="there is no service")


def the_probe_says_what_is_loose(bound):
    def state():
        # Its exit says whether anything fails; on a host of tests something may.
        found = bound.node.run("-o", "json", "posture", "run").json()
        return next(c for c in found["controls"] if c["id"] == "AC-5")

    seen = state()
    text = json.dumps(seen)
    check(seen["status"] == "unknown" and bound.loose["id"] in text and "key create --service" in seen["reason"], seen)
    check("positive control: with its own it is good" in text and "that has ended" in text, seen)
    bound.node.ok("key", "revoke", bound.loose["id"], "--tenant", "acme")
    seen = state()
    check(seen["status"] == "pass", seen)
    # What it made for itself is gone.
    check(len(bound.node.ok("key", "list", "--tenant", "acme")["items"]) == 3, "the probe leaves a key behind")


def it_ends_with_its_service(bound):
    moved = bound.node.path("moved")
    shutil.copytree(bound.identities["own"], moved)
    bound.identities["own"] = moved
    bound.node.ok("access", "service", "revoke", "ci", "--tenant", "acme")
    check(bound.whoami(bound.manage["secret"], "own")[0] == 401, "the plane takes the key of a revoked service")
    check(bound.infer(bound.ask["secret"], "own")[0] == 401, "the gateway takes the key of a revoked service")
    # It is refused after a start as well, when the gateway is told anew.
    bound.node.kill_all()
    bound.node.start()

    def asked():
        with contextlib.suppress(Exception):
            return bound.infer(bound.ask["secret"], "own")[0]

    check(wait_for("the gateway has its policy", lambda: asked() in (200, 401) and asked(), 60) == 401, "it is good again")


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                it_is_good_on_its_own_certificate,
                elsewhere_it_is_a_key_that_does_not_exist,
                the_log_tells_of_a_stolen_key,
                other_credentials_are_as_before,
                the_command_line_presents_both,
                a_key_is_bound_to_what_there_is,
                the_probe_says_what_is_loose,
                it_ends_with_its_service,
            ],
            Bound(node),
        )
    close(*counts)
