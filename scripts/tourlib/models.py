"""Scenes 7 to 9: a signed model, its bill of materials, and an endpoint that answers right."""

import gzip
import json
import os
import time
import random
import shutil
import struct

from .kit import DATA, TOOLS, check, did, evidence, saw, say

VALIDATE = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())
print("valid" if error is None else f"invalid: {error}")
sys.exit(0 if error is None else 1)
"""

IMAGES = 2000
BATCH = 50


def reference_verify(tour, directory, signature, key):
    return tour.tool(
        os.path.join(TOOLS, "model_signing"), "verify", "key", directory,
        "--signature", signature, "--public_key", key,
    )


def scene_7(tour):
    """the model is inspected, signed, and verified by the reference signer's tool"""
    out = tour.path("export")
    tour.json("model", "export", tour.model, out, "--tenant", "acme")
    model, signature, key = (os.path.join(out, n) for n in ("model", "model.sig", "model.pub.pem"))
    did(f"exported {tour.model}: {sorted(os.listdir(model))}")
    report = tour.json("model", "inspect", model)
    for file in report["files"]:
        say(f"          {file['path']}: {file['verdict']}, {file['format']}, {file['tensors']} tensors")
    check(report["verdict"] == "load", "the inspector does not load it")
    ours = tour.json("model", "verify", model, "--signature", signature, "--method", "key", "--public-key", key)
    theirs = reference_verify(tour, model, signature, key)
    check(ours["verified"], "our own verification fails")
    check(theirs.code == 0, f"model_signing refuses it: {theirs.out}{theirs.err}")
    saw("strongroom and model_signing 1.1.1 both verify it")
    changed = tour.path("changed")
    shutil.copytree(model, changed)
    tour.flip(os.path.join(changed, "model.onnx"))
    bad = tour.json(
        "model", "verify", changed, "--signature", signature, "--method", "key", "--public-key", key, expect=3
    )
    check(reference_verify(tour, changed, signature, key).code != 0, "model_signing takes a changed model")
    check(not bad["verified"] and bad["differences"], "a changed model does not name the file")
    saw(f"with one bit changed neither does: {bad['differences'][0]}")
    evil = tour.path("evil.pt")
    with open(evil, "wb") as file:
        file.write(b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R.")
    refused = tour.json("model", "inspect", evil, expect=3)
    say(f"          a pickle that runs a program is refused: {refused['files'][0]['findings'][0]['explanation']}")
    tour.export = out
    evidence(f"root digest {ours['digest']}, key {ours['key'][:16]}")


def scene_8(tour):
    """the Model BoM is shown, valid, and tells of the attack"""
    file = tour.path("model.bom.json")
    made = tour.json("bom", "export", tour.model, file, "--tenant", "acme")
    did(f"exported the signed BoM, {os.path.getsize(file)} bytes")
    model = os.path.join(tour.export, "model")
    checked = tour.json("bom", "verify", file, "--public-key", made["key"], "--model", model)
    check(checked["verified"] and checked["files_compared"], f"the BoM does not verify: {checked['problems']}")
    valid = tour.tool(os.path.join(TOOLS, "python"), "-c", VALIDATE, made["document"])
    check(valid.code == 0, f"cyclonedx says: {valid.out}{valid.err}")
    text = tour.run("bom", "show", tour.model, "--tenant", "acme").out
    for line in text.splitlines():
        if any(word in line.lower() for word in ("interrupt", "resum", "reject", "dataset", "data ", "accuracy")):
            say("          " + line[:140])
    lower = text.lower()
    check("reject" in lower and "resum" in lower, "the BoM does not tell of the attack")
    saw("signature, references and model files agree; strict CycloneDX 1.6; interruption, rejection and resume are in it")
    shown = tour.json("model", "show", tour.model, "--tenant", "acme")
    check(shown["bom_digest"] == checked["bom_digest"], "the model names another BoM")
    tampered = tour.path("tampered.bom.json")
    shutil.copy(file, tampered)
    with open(tampered) as source:
        envelope = json.load(source)
    envelope["payload"] = envelope["payload"][:100] + ("A" if envelope["payload"][100] != "A" else "B") + envelope["payload"][101:]
    with open(tampered, "w") as out:
        json.dump(envelope, out)
    tour.json("bom", "verify", tampered, "--public-key", made["key"], expect=3)
    evidence(f"BoM digest {checked['bom_digest']}; one changed character and it does not verify")


def test_images():
    with gzip.open(os.path.join(DATA, "t10k-images-idx3-ubyte.gz")) as file:
        _, count, rows, columns = struct.unpack(">IIII", file.read(16))
        size = rows * columns
        images = [file.read(size) for _ in range(count)]
    with gzip.open(os.path.join(DATA, "t10k-labels-idx1-ubyte.gz")) as file:
        file.read(8)
        labels = file.read()
    return images, labels


def infer(images):
    """A request of the Open Inference Protocol v2: pixels in 0..1, four digits as good as float32 for this."""
    data = [round(pixel / 255, 6) for image in images for pixel in image]
    return {"inputs": [{"name": "image", "datatype": "FP32", "shape": [len(images), 1, 28, 28], "data": data}]}


def scene_9(tour):
    """the endpoint answers test images over TLS, at least 85 % right"""
    endpoint = tour.json("endpoint", "deploy", "classifier", tour.model, "--tenant", "acme", timeout=180)
    check(endpoint["state"] == "serving", f"the endpoint is {endpoint['state']}: {endpoint.get('reason')}")
    key_file = tour.path("classifier.key")
    tour.json("key", "create", "--endpoint", "classifier", "--out", key_file, "--tenant", "acme")
    with open(key_file) as file:
        tour.key = file.read().strip()
    tour.endpoint = endpoint
    did(f"deployed {tour.model} at {endpoint['url']}, made a key for it alone")
    connection = tour.connect(endpoint["url"])
    path = endpoint["url"].split("/", 3)[3]
    images, labels = test_images()
    chosen = random.Random(7).sample(range(len(images)), IMAGES)
    right, receipts = 0, []
    for start in range(0, IMAGES, BATCH):
        part = chosen[start : start + BATCH]
        status, headers, body = tour.ask(connection, "/" + path, infer([images[i] for i in part]), tour.key)
        check(status == 200, f"status {status}: {body[:300]!r}")
        output = json.loads(body)["outputs"][0]
        width = len(output["data"]) // len(part)
        for row, index in enumerate(part):
            logits = output["data"][row * width : (row + 1) * width]
            right += logits.index(max(logits)) == labels[index]
        receipts.append(headers.get("strongroom-receipt"))
    protocol = connection.sock.version()
    accuracy = right / IMAGES
    saw(f"{protocol}; {right} of {IMAGES} test images right: {accuracy:.1%}")
    check(accuracy >= 0.85, "that is below 85 %")
    status, _, _ = tour.ask(tour.connect(endpoint["url"]), "/" + path, infer([images[0]]), "wrong")
    check(status in (401, 403), f"a wrong key gets {status}")
    check(receipts[-1], "the answer carries no receipt")
    for _ in range(20):
        receipt = tour.json("receipt", "show", receipts[-1])
        if receipt["state"] != "pending":
            break
        time.sleep(0.1)
    check(receipt["state"] == "logged", f"the receipt is {receipt['state']}")
    model = tour.json("model", "show", tour.model, "--tenant", "acme")
    check(receipt["model_digest"] == model["digest"], "the receipt names another model")
    check(receipt["bom_digest"] == model["bom_digest"], "the receipt names another BoM")
    evidence(f"receipt {receipts[-1]}: log entry {receipt['index']}, model {receipt['model_digest'][:16]}, proof of {len(receipt['proof'])} hashes")
