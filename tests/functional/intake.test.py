#!/usr/bin/python3
"""A model that was made elsewhere, brought in by every step, in every form in which models come, and served at the end."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import PROGRAM, Node, check, close, run_tests  # noqa: E402

MODEL = work.onnx(work.WEIGHTS)
STEPS = ["source", "inspection", "description", "acceptance", "approval", "admission"]


def intake(node, verb, name, *more):
    return node.ok("model", "intake", verb, name, "--tenant", "acme", *more)


def bring(node, name, path, *more):
    return node.ok("model", "import", name, path, "--tenant", "acme", "--source", "https://example.org/m", *more)


def a_model_goes_the_whole_way_and_is_served(node):
    directory = node.path("whole")
    work.write(os.path.join(directory, "model.onnx"), MODEL)
    begun = bring(node, "whole", directory)
    check(begun["state"] == "inspected" and "license" in begun["next"], begun)
    check(begun["verdict"] == "load" and begun["files"][0]["format"] == "onnx", begun)
    shown = node.run("model", "intake", "show", "whole", "--tenant", "acme")
    check("model intake describe whole@1 --license TEXT" in shown.out + shown.err, f"no next step: {shown.out}{shown.err}")
    described = intake(node, "describe", "whole", *work.SAID)
    check(described["state"] == "described" and described["bom_digest"], described)
    job = work.measuring(node.path("measure"), name="measure")
    asked = intake(node, "evaluate", "whole", os.path.join(job, "job.toml"), "--metric", "first", "--at-least", "3")
    run = asked["evaluations"][0]["job"]
    ended = node.wait_job(run)
    check("is 3" in ended["reason"] and "read-only" in ended["output_tail"], ended)
    measured = intake(node, "show", "whole")
    check(measured["state"] == "accepted" and measured["evaluations"][0]["value"] == "3", measured)
    check(len(measured["evaluations"][0]["code"]) == 64, measured)
    approved = intake(node, "approve", "whole", "--reason", "seen it")
    check(approved["state"] == "approved" and "one person alone" in approved["steps"][-1]["detail"], approved)
    admitted = intake(node, "admit", "whole")
    check(admitted["state"] == "admitted" and admitted["model"] == "whole@1", admitted)
    check([s["step"] for s in admitted["steps"]] == STEPS, admitted["steps"])
    check(node.ok("model", "verify", "whole@1", "--tenant", "acme")["verified"], "the model does not verify")
    node.ok("endpoint", "deploy", "whole", "whole@1", "--tenant", "acme")
    url = node.ok("endpoint", "show", "whole", "--tenant", "acme")["url"]
    key = node.ok("key", "create", "--endpoint", "whole", "--tenant", "acme")["secret"]
    status, answer = node.ask(url, work.request([[1, 2]]), key=key)
    check(status == 200 and answer["outputs"][0]["data"] == [1, 2, 0], f"{status} {answer}")


def its_bill_of_materials_tells_where_it_is_from_and_how_it_was_measured(node):
    record = node.ok("bom", "show", "whole@1", "--tenant", "acme")
    text = json.dumps(record)
    check(record["version"] == 2, record["version"])
    for word in ("https://example.org/m", "Apache-2.0", "to be tested", "acceptance by job_", "intake.approve"):
        check(word in text, f"no `{word}` in the record")


def the_log_tells_of_every_step_with_before_and_after(node):
    found = node.events("--asset", "whole@1", "--kind", "intake.", until=lambda f: len(f) >= 12)
    own = [e["unmapped"]["strongroom"] for e in found]
    steps = {(o["details"].get("before"), o["details"].get("after")) for o in own if o["phase"] == "outcome" and "after" in o.get("details", {})}
    states = ["quarantined", "sourced", "inspected", "described", "accepted", "approved", "admitted"]
    for pair in zip(states, states[1:]):
        check(pair in steps, f"no entry of {pair}: {steps}")
    node.log_verifies()


def a_model_that_measures_too_low_is_refused_for_good(node):
    path = work.write(node.path("low", "model.onnx"), MODEL)
    bring(node, "low", path, *work.SAID)
    job = os.path.join(work.measuring(node.path("low-job"), name="low-job"), "job.toml")
    asked = intake(node, "evaluate", "low", job, "--metric", "first", "--at-least", "3.5")
    node.wait_job(asked["evaluations"][0]["job"])
    state = node.run("-o", "json", "model", "intake", "show", "low", "--tenant", "acme")
    check(state.code == 3 and state.json()["state"] == "refused" and "is 3" in state.json()["reason"], state.out)


def a_measurement_leaves_no_model_and_none_below_its_bound_is_asked_for_later(node):
    path = work.write(node.path("kept", "model.onnx"), MODEL)
    bring(node, "kept", path, *work.SAID)
    job = os.path.join(work.measuring(node.path("thief"), name="thief", value="nothing", copy=True), "job.toml")
    asked = intake(node, "evaluate", "kept", job, "--metric", "first", "--at-least", "3")
    node.wait_job(asked["evaluations"][0]["job"], until=("finished", "failed"))
    names = [m["name"] for m in node.ok("model", "list", "--tenant", "acme")["items"]]
    check("thief" not in names, f"a model in quarantine came out as {names}")
    after = intake(node, "show", "kept")
    check(after["state"] == "described" and after["evaluations"][0]["ended"], after)
    node.refused(
        "model", "intake", "evaluate", "kept", job, "--metric", "first", "--at-least", "1", "--tenant", "acme",
        code=7, says="not changed after",
    )
    # What is asked for is not left out any more, although this node may.
    node.refused("model", "intake", "approve", "kept", "--reason", "x", "--tenant", "acme", code=7, says="acceptance")


def a_signature_that_came_with_it_is_verified(node):
    directory, key = node.path("signed"), node.path("up.key")
    work.write(os.path.join(directory, "model.onnx"), MODEL)
    run = lambda *words: subprocess.run(words, check=True, capture_output=True)  # noqa: E731
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    run("openssl", "ec", "-in", key, "-pubout", "-out", key + ".pub")
    run(PROGRAM, "model", "sign", directory, "--signature", node.path("up.sig"), "--method", "key", "--private-key", key)
    signed = ("--signature", node.path("up.sig"), "--method", "key", "--public-key", key + ".pub")
    made = bring(node, "signed", directory, *signed)
    check(made["signed_by"] and made["state"] == "inspected", made)
    other = node.path("other.key")
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", other)
    run("openssl", "ec", "-in", other, "-pubout", "-out", other + ".pub")
    words = ("model", "import", "signed", directory, "--tenant", "acme", "--source", "x")
    node.refused(*words, "--signature", node.path("up.sig"), "--public-key", other + ".pub", code=3, says="does not verify")
    work.write(os.path.join(directory, "more.json"), b"{}")
    node.refused(*words, *signed, code=3, says="more.json")
    check([i["state"] for i in node.ok("model", "intake", "list", "--tenant", "acme")["items"] if i["name"] == "signed"]
          == ["inspected", "refused", "refused"], "the refusals are not kept")


def archives_layouts_and_snapshots_are_taken(node):
    def packed(mode):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=mode) as tar:
            info = tarfile.TarInfo("m/model.onnx")
            info.size = len(MODEL)
            tar.addfile(info, io.BytesIO(MODEL))
        return out.getvalue()

    forms = {
        "tar": work.write(node.path("forms", "m.tar"), packed("w")),
        "gz": work.write(node.path("forms", "m.tar.gz"), packed("w:gz")),
    }
    digest = hashlib.sha256(MODEL).hexdigest()
    layout = node.path("forms", "layout")
    work.write(os.path.join(layout, "blobs/sha256", digest), MODEL)
    title = {"org.opencontainers.image.title": "m/model.onnx"}
    manifest = json.dumps({"schemaVersion": 2, "layers": [
        {"mediaType": "application/octet-stream", "digest": f"sha256:{digest}", "size": len(MODEL), "annotations": title}
    ]}).encode()
    of = hashlib.sha256(manifest).hexdigest()
    work.write(os.path.join(layout, "blobs/sha256", of), manifest)
    listed = {"schemaVersion": 2, "manifests": [{"digest": f"sha256:{of}", "size": len(manifest)}]}
    work.write(os.path.join(layout, "index.json"), json.dumps(listed).encode())
    work.write(os.path.join(layout, "oci-layout"), b'{"imageLayoutVersion": "1.0.0"}')
    forms["layout"] = layout
    cache = node.path("forms", "models--example--m")
    work.write(os.path.join(cache, "blobs", digest), MODEL)
    os.makedirs(os.path.join(cache, "snapshots", "abc", "m"))
    os.symlink(f"../../../blobs/{digest}", os.path.join(cache, "snapshots", "abc", "m", "model.onnx"))
    forms["snapshot"] = os.path.join(cache, "snapshots", "abc")
    found = {form: bring(node, form, path)["digest"] for form, path in forms.items()}
    check(len(set(found.values())) == 1, f"one model, several digests: {found}")
    os.symlink("/etc/passwd", os.path.join(cache, "snapshots", "abc", "evil"))
    node.refused("model", "import", "evil", forms["snapshot"], "--tenant", "acme", "--source", "x", code=1, says="link")


def the_probe_sees_that_no_step_is_left_out(node):
    found = node.run("-o", "json", "posture", "run").json()
    state = next(c for c in found["controls"] if c["id"] == "IN-5")
    check(state["status"] == "pass", state)
    left = [i["name"] for i in node.ok("model", "intake", "list", "--tenant", "acme")["items"]]
    check("strongroom-probe" not in left, left)


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        counts = run_tests(
            [
                a_model_goes_the_whole_way_and_is_served,
                its_bill_of_materials_tells_where_it_is_from_and_how_it_was_measured,
                the_log_tells_of_every_step_with_before_and_after,
                a_model_that_measures_too_low_is_refused_for_good,
                a_measurement_leaves_no_model_and_none_below_its_bound_is_asked_for_later,
                a_signature_that_came_with_it_is_verified,
                archives_layouts_and_snapshots_are_taken,
                the_probe_sees_that_no_step_is_left_out,
            ],
            node,
        )
    close(*counts)
