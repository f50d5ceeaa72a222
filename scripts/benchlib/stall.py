"""Measures what the sealing of checkpoints adds to a step of the example.

usage: stall.py STRONGROOM [MB] [EPOCHS]

One job writes every second checkpoint into the watched directory, where it is sealed, and the others beside it on the
same mount, where nobody looks: whatever else the machine does falls on both kinds of steps alike. A checkpoint, one
each 240 steps, is MB (default 0) larger than the 1.3 MB of the example.
"""

import json
import os
import shutil
import sys
import time

import kit

HERE = os.path.dirname(os.path.abspath(__file__))
EVERY = 240
BESIDE = "/opt/ml/output/data/beside"


def submit(node, size, epochs):
    """A directory with the example, the script that times it, and a job file."""
    code = os.path.join(node.work, "example")
    shutil.copytree(os.path.join(HERE, "../../examples/fashion-mnist"), code)
    shutil.copy(os.path.join(HERE, "steps.py"), code)
    words = ["python3", "steps.py", str(size), BESIDE, "--epochs", epochs, "--checkpoint-every", str(EVERY)]
    path = os.path.join(code, "job.toml")
    with open(path) as text:
        job = text.read().replace('["python3", "train.py", "--epochs", "3"]', json.dumps(words))
    if json.dumps(words) not in job:
        raise SystemExit("the job file of the example is not as expected")
    with open(path, "w") as text:
        text.write(job)
    return node.json("job", "run", path)["name"]


def main():
    size = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    epochs = sys.argv[3] if len(sys.argv) > 3 else "3"
    with kit.node(sys.argv[1]) as node:
        node.json("tenant", "create", "acme")
        node.json("dataset", "import", "fashion-mnist", "/usr/share/datasets/fashion-mnist", "--tenant", "acme")
        name = submit(node, size, epochs)
        began = time.monotonic()
        while True:
            shown = node.json("job", "show", name, "--tenant", "acme")
            if shown["state"] == "finished":
                break
            if shown["state"] in ("failed", "stopped", "held") or time.monotonic() - began > 400:
                raise SystemExit(f"the job is {shown['state']}")
            time.sleep(2)
        newest = node.json("job", "checkpoint", "list", name, "--tenant", "acme")["items"][-1]["version"]
    told = {name: float(value) for name, value in shown["metrics"].items()}
    if newest < told["stretches"]:
        raise SystemExit(f"only {newest} checkpoints were sealed")
    print(f"checkpoints of {size + 1.3:.1f} MB, {newest} sealed, {EVERY} steps after each; milliseconds")
    print(f"{'':<30}{'step: median':>13}{'p95':>9}{'mean':>9}{'save: median':>14}")
    for kind, what in (("sealed", "sealed"), ("beside", "not sealed")):
        figures = [told[f"{kind}_{figure}"] for figure in ("median", "p95", "mean")] + [told[f"save_{kind}"]]
        print("{:<30}{:>13.2f}{:>9.2f}{:>9.2f}{:>14.1f}".format(f"checkpoint {what}", *figures))
    part = 100 / told["beside_mean"]
    added, error = told["added_mean"], told["added_error"]
    print(f"sealing adds {added:+.3f} ms to the mean step, standard error {error:.3f}: {added * part:+.2f} % ± {error * part:.2f}")


main()
