#!/usr/bin/python3
"""The API keeps what its description promises: schemathesis makes requests from the description, good ones and broken
ones, and compares each answer with it. As the operator and as a tenant's key, with the names of real things and without.
"""

import json
import os
import re
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import ROOT, Node, check, close, run_tests  # noqa: E402

TOOLS = os.path.join(ROOT, ".venv", "bin")
# Cases of each endpoint beside those that cover its schema one by one. The seed is fixed: each run asks the same.
EXAMPLES, SEED, SECONDS = 6, 20_250_101, 240
# `ast.parse` of Python before 3.11.5 fails where it is entered again by the garbage collector (gh-106905).
START = "import gc, sys; gc.disable(); from schemathesis.cli import schemathesis; sys.exit(schemathesis(sys.argv[1:]))"
# Checks that are left out, and why.
LEFT_OUT = {
    # What the state does not allow (a name that is taken, a model that is not there) is refused though its form is good.
    "positive_data_acceptance",
    # On the operator's socket no key is needed: the kernel says who calls. Bad keys: every_endpoint.test.py.
    "ignored_auth",
}
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 413, 415, 422, 428, 429]
# Endpoints that are left out, and why.
NOT_ASKED = {
    # Runs every probe of the node, for seconds each time.
    "posture.run",
}


class Forwarder:
    """schemathesis speaks TCP, the API does not: bytes go from the one to the other as they are."""

    def __init__(self, path):
        self.path = path
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.connect(self.path)
            threading.Thread(target=self.copy, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(server, client, True), daemon=True).start()

    @staticmethod
    def copy(one, other, answers):
        try:
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            # A request may be refused before its end, and then the refusal is still passed on.
            pass
        if answers:
            one.close()
            other.close()


class Described:
    """Tenant acme with one of everything, and the description of the API in a file."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        work.write(node.path("data", "a.txt"), b"acme's own")
        node.ok("dataset", "import", "lin", node.path("data"), "--tenant", "acme")
        work.write(node.path("image", "etc", "marker"), b"acme's own")
        self.image = node.ok("image", "import", node.path("image"), "--tenant", "acme")["digest"]
        self.job = node.submit(work.served(node.path("lin"), name="lin"))
        node.wait_job(self.job)
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.key = node.ok("key", "create", "--tenant", "acme")["secret"]
        self.spare = node.ok("key", "create", "--tenant", "acme")["id"]
        self.file = node.path("openapi.json")
        with open(self.file, "w") as file:
            json.dump(api.description(), file)
        self.forwarder = Forwarder(node.ready["socket"])

    def run(self, name, key=None, real=False):
        config = self.node.path(f"{name}.toml")
        with open(config, "w") as file:
            file.write("[generation]\ndeterministic = true\n")
            # What is too long for a field may be too long for any request: 413 refuses it as 422 does.
            file.write(f"[checks.negative_data_rejection]\nexpected-statuses = {REFUSALS}\n")
            if real:
                things = {"tenant": "acme", "name": "lin", "version": "1", "job": self.job, "digest": self.image, "path": "model.onnx"}
                file.write("[parameters]\n" + "".join(f'"path.{k}" = "{v}"\n' for k, v in things.items()))
        words = [
            os.path.join(TOOLS, "python"), "-c", START, "--config-file", config, "run", self.file, "--url", self.forwarder.url,
            "--checks", "all", "--exclude-checks", ",".join(sorted(LEFT_OUT)), "--phases", "examples,coverage,fuzzing",
            "--max-examples", str(EXAMPLES), "--seed", str(SEED), "--workers", "1", "--continue-on-failure", "--no-shrink",
            "--generation-database", "none", "--request-timeout", "20", "--suppress-health-check", "all",
            "--warnings", "off", "--no-color",
        ]
        for operation in sorted(NOT_ASKED):
            words += ["--exclude-operation-id", operation]
        if key:
            # More often than a key may ask: schemathesis waits as `Retry-After` says.
            words += ["-H", f"Authorization: Bearer {key}", "--rate-limit", "auto"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=self.node.work)
        found = re.search(r"(\d+) generated", done.stdout)
        told = f"{done.stdout[-6000:]}\n{done.stderr[-1000:]}"
        check(done.returncode == 0, told)
        check(found and int(found.group(1)) > 1000, f"too few requests were made: {told[-1500:]}")
        print(f"  {found.group(1)} requests", flush=True)


def the_description_is_openapi(described):
    """By a validator that we did not write."""
    done = subprocess.run(
        [os.path.join(TOOLS, "openapi-spec-validator"), "--schema", "3.1", described.file],
        capture_output=True, text=True, check=False,
    )
    check(done.returncode == 0, done.stdout + done.stderr)
    # The control: it finds a fault.
    broken = api.description()
    del broken["paths"]["/v1/status"]["get"]["responses"]["200"]["description"]
    path = described.node.path("broken.json")
    with open(path, "w") as file:
        json.dump(broken, file)
    done = subprocess.run([os.path.join(TOOLS, "openapi-spec-validator"), "--schema", "3.1", path], capture_output=True, check=False)
    check(done.returncode != 0, "the validator takes a description without a description of an answer")


def the_node_answers_the_description_that_is_committed(described):
    answer = api.ask(described.node.ready["socket"], "GET", "/v1/openapi.json", described.key)
    with open(os.path.join(ROOT, "docs", "openapi.json")) as file:
        check(answer.status == 200 and answer.json == json.load(file), "docs/openapi.json is another")


def answers_are_as_described_to_the_operator(described):
    described.run("operator")


def answers_are_as_described_to_the_operator_about_real_things(described):
    described.run("operator-real", real=True)


def answers_are_as_described_to_a_key(described):
    described.run("key", described.key)


def answers_are_as_described_to_a_key_about_real_things(described):
    described.run("key-real", described.key, real=True)


def nothing_broke(described):
    described.node.ok("status")
    check("panicked" not in described.node.said(), described.node.said())
    described.node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                the_description_is_openapi,
                the_node_answers_the_description_that_is_committed,
                answers_are_as_described_to_a_key,
                answers_are_as_described_to_a_key_about_real_things,
                answers_are_as_described_to_the_operator,
                answers_are_as_described_to_the_operator_about_real_things,
                nothing_broke,
            ],
            Described(node),
        )
    close(*counts)
