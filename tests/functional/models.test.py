#!/usr/bin/python3
"""Models from outside: taken if they are what they say and load without running anything, else refused whole."""

import io
import json
import os
import sys
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests  # noqa: E402

PICKLE = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R."


def models(node):
    return [m["name"] for m in node.ok("model", "list", "--tenant", "acme")["items"]]


def refused(node, name, data, *says):
    """Refused by the node and by the inspector alike, and nothing is listed."""
    path = work.write(node.path("bad", name), data)
    try:
        node.refused("model", "inspect", path, code=3, says=says)
        error = node.refused("model", "import", "bad", path, "--tenant", "acme", "--source", "x", code=3, says=name)
        check(error.get("code", "").startswith("SR-"), f"no code: {error}")
        check("bad" not in models(node), f"{name} is listed")
    finally:
        os.remove(path)


def torch_zip(payload):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("archive/data.pkl", payload)
        file.writestr("archive/version", "3\n")
    return out.getvalue()


def a_pickle_that_runs_a_program_is_refused(node):
    refused(node, "model.pt", PICKLE, "system")
    refused(node, "model.bin", torch_zip(PICKLE), "system")
    refused(node, "weights.npy", PICKLE)


def what_only_has_the_name_is_refused(node):
    refused(node, "model.onnx", b"this is text, not a model\n")
    refused(node, "model.safetensors", b"\xff" * 64)
    refused(node, "weights.npz", b"PK\x03\x04 and no archive")


def what_is_cut_is_refused(node):
    whole = work.onnx(work.WEIGHTS)
    refused(node, "model.onnx", whole[: len(whole) // 2])
    header = json.dumps({"w": {"dtype": "F32", "shape": [1000], "data_offsets": [0, 4000]}}).encode()
    refused(node, "model.safetensors", len(header).to_bytes(8, "little") + header + b"\0" * 100)


def a_program_beside_a_model_is_refused(node):
    work.write(node.path("mixed", "model.onnx"), work.onnx(work.WEIGHTS))
    work.write(node.path("mixed", "install.sh"), b"#!/bin/sh\nrm -rf /\n")
    node.refused(
        "model", "import", "mixed", node.path("mixed"), "--tenant", "acme", "--source", "x", code=3, says="install.sh"
    )
    check("mixed" not in models(node), "it is listed")


def a_good_model_is_signed_and_comes_back_whole(node):
    path = work.write(node.path("good", "model.onnx"), work.onnx(work.WEIGHTS))
    work.imported(node, "good", os.path.dirname(path))
    made = node.ok("model", "show", "good@1", "--tenant", "acme")
    check(made["version"] == 1 and made["verdict"] == "load", made)
    out = node.path("out")
    node.ok("model", "export", "good@1", out, "--tenant", "acme")
    with open(os.path.join(out, "model", "model.onnx"), "rb") as file:
        check(file.read() == work.onnx(work.WEIGHTS), "other bytes came back")
    verified = node.ok(
        "model", "verify", os.path.join(out, "model"), "--signature", os.path.join(out, "model.sig"),
        "--public-key", os.path.join(out, "model.pub.pem"),
    )
    check(verified["verified"], verified)


def a_model_in_quarantine_is_not_served(node):
    path = work.write(node.path("waits", "model.onnx"), work.onnx(work.WEIGHTS))
    node.ok("model", "import", "waits", path, "--tenant", "acme", "--source", "x")
    node.refused("endpoint", "deploy", "waits", "waits@1", "--tenant", "acme", code=3, says="waits")
    serving = [e for e in node.ok("endpoint", "list", "--tenant", "acme")["items"] if e["state"] == "serving"]
    check(not serving, serving)


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        counts = run_tests(
            [
                a_pickle_that_runs_a_program_is_refused,
                what_only_has_the_name_is_refused,
                what_is_cut_is_refused,
                a_program_beside_a_model_is_refused,
                a_good_model_is_signed_and_comes_back_whole,
                a_model_in_quarantine_is_not_served,
            ],
            node,
        )
    close(*counts)
