#!/usr/bin/python3
"""Programs: the key of an application asks its endpoint as far as the rules say, a service that is an application may
nothing else, what runs is who it is only while it runs, and a node is who it is on all of its listeners.

Asked with curl and openssl.
"""

import json
import os
import subprocess
import sys
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests  # noqa: E402

ROW = json.dumps(work.request([[1, 2]]))


class Served:
    """A tenant that serves a model to two applications, one of which has a certificate."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.identity = node.path("shop")
        node.ok("access", "service", "create", "shop", "--role", "application", "--tenant", "acme", "--out", self.identity)
        self.bound = node.ok("key", "create", "--service", "shop", "--endpoint", "lin", "--tenant", "acme")
        self.loose = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")

    def infer(self, key, identity=None):
        url = self.node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]
        address = self.node.ok("status")["gateway"].rsplit("/", 1)[-1]
        words = ["curl", "--silent", "--max-time", "30", "--cacert", self.node.ready["gateway_ca"], "--write-out", "%{http_code}",
                 "--output", "/dev/null", "--header", f"Authorization: Bearer {key['secret']}",
                 "--header", "Content-Type: application/json", "--data", ROW]
        if identity:
            words += ["--cert", os.path.join(identity, "cert.pem"), "--key", os.path.join(identity, "key.pem")]
        return int(subprocess.run([*words, f"https://{address}{urllib.parse.urlsplit(url).path}"],
                                  capture_output=True, text=True, check=False).stdout or 0)

    def as_service(self, *words):
        return self.node.run("-o", "json", *words, "--server", self.node.ready["management"], "--identity", self.identity)


def a_service_that_is_an_application_asks_and_nothing_else(served):
    me = served.as_service("whoami").json()
    check(me["role"] == "application" and me["principal"] == "service:acme/shop", me)
    check(served.infer(served.bound, served.identity) == 200, "it may not ask its own endpoint")
    for words in (["model", "list"], ["job", "list"], ["endpoint", "list"], ["key", "list"], ["audit", "search"], ["dataset", "list"]):
        done = served.as_service(*words, "--tenant", "acme")
        check(done.code == 3 and "may not" in done.err, f"{words}: {done.code} {done.err}")
    listed = {key["id"]: key["role"] for key in served.node.ok("key", "list", "--tenant", "acme")["items"]}
    check(set(listed.values()) == {"application"}, listed)
    served.node.refused("key", "create", "--role", "application", "--tenant", "acme", code=1, says="--endpoint")
    for role in ("application", "node"):
        served.node.refused("access", "grant", "ann", role, "--tenant", "acme", "--reason", "x", code=2)


def own_rules_say_who_asks_what(served):
    """Positive control: before and after the rule, the same key asks the same endpoint."""
    node = served.node
    check(served.infer(served.loose) == 200, "it may not ask before")
    rules = node.path("rules.cedar")
    work.write(rules, (
        '@id("not-this-key") @because("it is under suspicion")\n'
        f'forbid (principal == Key::"{served.loose["id"]}", action == Action::"endpoint.infer", resource);\n'
    ).encode())
    node.ok("policy", "apply", rules, "--reason", "a key under suspicion")
    check(served.infer(served.loose) == 401, "the gateway lets in whom a rule forbids")
    check(served.infer(served.bound, served.identity) == 200, "the rule holds others too")
    work.write(rules, b'@id("not-lin") forbid (principal, action == Action::"endpoint.infer", resource == Endpoint::"lin");\n')
    node.ok("policy", "apply", rules, "--reason", "an endpoint under suspicion")
    check(served.infer(served.bound, served.identity) == 401, "the gateway lets in where a rule forbids")
    # No rule makes somebody else an application.
    work.write(rules, b'@id("all") permit (principal, action == Action::"endpoint.infer", resource);\n')
    node.ok("policy", "apply", rules, "--reason", "the other way round")
    node.refused("access", "check", "--as", "tenant-admin", "--tenant", "acme", "endpoint.infer", code=3)
    node.ok("policy", "withdraw", "--reason", "over")
    check(served.infer(served.loose) == 200, "it may not ask after")


def a_node_is_who_it_is_on_each_of_its_listeners(served):
    for name, authority in (("management", "management_ca"), ("gateway", "gateway_ca")):
        address = urllib.parse.urlsplit(served.node.ok("status")[name]).netloc
        done = subprocess.run(["openssl", "s_client", "-connect", address, "-CAfile", served.node.ready[authority], "-verify_return_error"],
                              input="", capture_output=True, text=True, check=False)
        text = subprocess.run(["openssl", "x509", "-noout", "-ext", "subjectAltName"], input=done.stdout, capture_output=True, text=True, check=False).stdout
        check(text.count("URI:spiffe://dev/node/dev") == 1 and text.count("URI:") == 1, f"{name}: {text} {done.stderr}")


def the_probe_meets_nodes_and_jobs_that_are_not_there(served):
    found = served.node.run("-o", "json", "posture", "run").json()
    seen = next(c for c in found["controls"] if c["id"] == "AC-5")
    text = json.dumps(seen)
    for what in ("a job that does not run", "a node that is not this one", "spiffe://dev/node/dev is let in, with the role `node`"):
        check(what in text, seen)


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                a_service_that_is_an_application_asks_and_nothing_else,
                own_rules_say_who_asks_what,
                a_node_is_who_it_is_on_each_of_its_listeners,
                the_probe_meets_nodes_and_jobs_that_are_not_there,
            ],
            Served(node),
        )
    close(*counts)
