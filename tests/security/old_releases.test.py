#!/usr/bin/python3
"""Older releases of a model: each deployment raises the floor of its name by at most one, and what is older is not deployed
anew, though everything about it verifies."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402


class Releases:
    """Tenant acme, whose policy counts the node's own signature, and globex, which has none."""

    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        text = 'schema = "strongroom.trust-policy/1"\ntenant = "acme"\nversion = 1\n'
        text += f'[[signer]]\nprincipal = "node"\nmodels = ["*"]\nkeys = ["""\n{node.ok("status")["model_public_key"]}"""]\n'
        text += '[[rule]]\nmodels = ["*"]\nsignatures = 1\n'
        work.write(node.path("trust.toml"), text.encode())
        node.ok("trust", "policy", "apply", node.path("trust.toml"), "--reason", "a test", "--tenant", "acme")
        self.file = work.write(node.path("files", "model.onnx"), work.onnx(work.WEIGHTS))

    def releases(self, name, many, tenant="acme"):
        for _ in range(many):
            made = work.imported(self.node, name, os.path.dirname(self.file), tenant)
        return made["model"]

    def stop(self, endpoint, tenant="acme"):
        """Ends what serves there, if anything does; after a restart it may be about to serve again."""

        def ended():
            self.node.run("endpoint", "stop", endpoint, "--tenant", tenant)
            shown = self.node.run("-o", "json", "endpoint", "show", endpoint, "--tenant", tenant)
            return not shown.out or shown.json()["state"] not in ("serving", "starting")

        wait_for(f"{endpoint} is stopped", ended, 60)

    def deploy(self, endpoint, model, tenant="acme"):
        """Deploys it in the place of what serves there."""
        self.stop(endpoint, tenant)
        self.node.ok("endpoint", "deploy", endpoint, model, "--tenant", tenant)

    def refused(self, endpoint, model):
        self.stop(endpoint)
        says = ["SR-CTL-0012", "below-floor", "model import"]
        self.node.refused("endpoint", "deploy", endpoint, model, "--tenant", "acme", code=3, says=says)

    def state(self, endpoint):
        return self.node.ok("endpoint", "show", endpoint, "--tenant", "acme")["state"]


def an_older_release_is_not_deployed_anew(r):
    r.releases("lin", 2)
    r.deploy("one", "lin@1")
    r.deploy("stays", "lin@1")
    r.deploy("two", "lin@2")
    r.refused("one", "lin@1")
    verified = r.node.ok("model", "verify", "lin@1", "--tenant", "acme")
    check(verified["verified"], "everything about it verifies: it is refused for its age alone")
    r.deploy("two", "lin@2")
    told = r.node.events("--kind", "endpoint.deploy")
    check('"floor"' in str(told).replace("'", '"'), told[-1])


def what_serves_goes_on_over_a_restart(r):
    check(r.state("stays") == "serving", "a later release took an earlier one out of service")
    r.node.stop()
    r.node.start()
    wait_for("it serves again", lambda: r.state("stays") == "serving", 60)
    r.refused("stays", "lin@1")


def the_floor_stays_when_versions_come(r):
    check(r.releases("lin", 1) == "lin@3", "no third release")
    r.refused("one", "lin@1")
    r.deploy("one", "lin@3")
    r.refused("two", "lin@2")


def a_number_that_jumps_moves_it_no_further(r):
    r.releases("jump", 4)
    r.deploy("jump", "jump@4")
    # Raised by one: what is not older than the first release may still be deployed.
    r.deploy("jump", "jump@1")
    r.deploy("jump", "jump@4")
    r.refused("jump", "jump@1")
    r.deploy("jump", "jump@2")


def an_older_release_comes_back_on_purpose_as_a_new_one(r):
    out = r.node.path("out")
    r.node.ok("model", "export", "lin@1", out, "--tenant", "acme")
    made = work.imported(r.node, "lin", os.path.join(out, "model"))
    check(made["model"] == "lin@4", made)
    r.deploy("back", "lin@4")
    check(r.state("back") == "serving", "it does not serve")


def without_a_policy_and_for_others_nothing_changes(r):
    r.releases("lin", 2, "globex")
    r.deploy("lin", "lin@2", "globex")
    r.deploy("lin", "lin@1", "globex")


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                an_older_release_is_not_deployed_anew,
                what_serves_goes_on_over_a_restart,
                the_floor_stays_when_versions_come,
                a_number_that_jumps_moves_it_no_further,
                an_older_release_comes_back_on_purpose_as_a_new_one,
                without_a_policy_and_for_others_nothing_changes,
            ],
            Releases(node),
        )
    close(*counts)
