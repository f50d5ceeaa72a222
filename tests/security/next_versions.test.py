#!/usr/bin/python3
"""A next version of a model of which little changed: what did not change is not sent and not hashed again, and is verified all
the same where it is used."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, flip, run_tests  # noqa: E402

# Text that no other file of these tests has, so that no other model shares its object.
LARGE = b"".join(b"word %d of a vocabulary\n" % n for n in range(200_000))


class Versions:
    """Tenant acme with `big@1`: a model, a large file beside it and a small one. Tenant globex has nothing."""

    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        for name, content in {"model.onnx": work.onnx(work.WEIGHTS), "vocab.txt": LARGE, "notes.txt": b"first\n"}.items():
            work.write(node.path("big", name), content)
        made = work.imported(node, "big", node.path("big"))
        check(made["model"] == "big@1" and made["reused_bytes"] == 0, made)
        self.whole = sum(os.path.getsize(node.path("big", name)) for name in os.listdir(node.path("big")))
        check(made["hashed_bytes"] == self.whole, made)
        self.changed = 0

    def change(self, content, *more, **refused):
        """Brings a next version of which notes.txt alone comes."""
        self.changed += 1
        directory = self.node.path(f"changed-{self.changed}")
        work.write(os.path.join(directory, "notes.txt"), content)
        words = ("model", "import", "big", directory, "--source", "by hand", *work.SAID, "--tenant", refused.pop("tenant", "acme"), *more)
        return self.node.refused(*words, **refused) if refused else self.node.ok(*words)

    def admit(self, **refused):
        self.node.ok("model", "intake", "approve", "big", "--tenant", "acme", "--reason", "a test")
        words = ("model", "intake", "admit", "big", "--tenant", "acme")
        return self.node.refused(*words, **refused) if refused else self.node.ok(*words)

    def objects(self, model):
        """The file of the store that holds each file of a model."""
        shown = self.node.ok("model", "show", model, "--tenant", "acme")
        return {file["path"]: self.node.object_file(name) for file, name in zip(shown["files"], shown["objects"], strict=True)}


def only_what_changed_is_hashed(v):
    brought = v.change(b"second\n", "--based-on", "big@1")
    check(brought["based_on"] == "big@1", brought)
    check((brought["hashed_bytes"], brought["reused_bytes"]) == (7, v.whole - 6), brought)
    check([f["path"] for f in brought["files"]] == ["model.onnx", "notes.txt", "vocab.txt"], brought["files"])
    made = v.admit()
    check(made["model"] == "big@2" and "7 bytes hashed" in made["steps"][-1]["detail"], made["steps"])
    # What was signed is the whole, as anybody verifies who reads all of it.
    check(v.node.ok("model", "verify", "big@2", "--tenant", "acme")["verified"], "the next version does not verify")
    out = v.node.path("out")
    v.node.ok("model", "export", "big@2", out, "--tenant", "acme")
    with open(os.path.join(out, "model", "notes.txt"), "rb") as notes, open(os.path.join(out, "model", "vocab.txt"), "rb") as vocab:
        check(notes.read() == b"second\n" and vocab.read() == LARGE, "another version came out")
    v.node.ok("endpoint", "deploy", "two", "big@2", "--tenant", "acme")


def a_file_can_be_left_out(v):
    brought = v.change(b"third\n", "--based-on", "big@2", "--without", "vocab.txt")
    check([f["path"] for f in brought["files"]] == ["model.onnx", "notes.txt"], brought["files"])
    v.change(b"x", "--based-on", "big@2", "--without", "absent.txt", code=1, says="absent.txt")
    v.change(b"x", "--without", "vocab.txt", code=2, says="--based-on")


def another_tenant_and_what_may_not_be_used_lend_nothing(v):
    v.change(b"x", "--based-on", "big@1", tenant="globex", code=3, says="big")
    v.change(b"x", "--based-on", "big@99", code=3, says="big@99")
    made = v.node.ok("revocation", "create", "--model", "big@1", "--reason", "a test", "--tenant", "acme")
    v.change(b"x", "--based-on", "big@1", code=3, says=["SR-CTL-0012", "revoked"])
    v.node.ok("revocation", "lift", made["digest"], "--reason", "the test is over", "--tenant", "acme")


def the_result_of_a_job_is_hashed_once_before_it_lends(v):
    v.node.wait_job(v.node.submit(work.served(v.node.path("job"), name="lin")))
    work.write(v.node.path("beside", "notes.txt"), b"beside\n")
    words = ("--source", "by hand", *work.SAID, "--based-on", "lin@1", "--tenant", "acme")
    brought = v.node.ok("model", "import", "next", v.node.path("beside"), *words)
    check(brought["based_on"] == "lin@1" and brought["reused_bytes"] == 0 and brought["hashed_bytes"] > 500, brought)


def bytes_that_changed_in_the_store_are_never_used(v):
    """What came is hashed again when it is admitted; what was taken over is not, and does not open where it is used."""
    v.change(b"fourth version, and its own\n", "--based-on", "big@2")
    before = v.objects("big@2")
    flip(before["vocab.txt"])
    check(v.admit()["model"] == "big@3", "the file that was taken over was read")
    found = v.node.run("-o", "json", "model", "verify", "big@3", "--tenant", "acme")
    check(found.code == 3 and "vocab.txt" in found.out, found.out)
    deployed = v.node.run("-o", "json", "endpoint", "deploy", "three", "big@3", "--tenant", "acme")
    check(deployed.code == 3, f"it serves bytes that nobody signed: {deployed.out}{deployed.err}")


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                only_what_changed_is_hashed,
                a_file_can_be_left_out,
                another_tenant_and_what_may_not_be_used_lend_nothing,
                the_result_of_a_job_is_hashed_once_before_it_lends,
                bytes_that_changed_in_the_store_are_never_used,
            ],
            Versions(node),
        )
    close(*counts)
