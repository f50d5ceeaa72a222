"""Measures what the platform spends while a job trains: CPU time of each of its processes beside the job's own.

usage: job.py STRONGROOM [EPOCHS]

The example trains as it is, with a checkpoint every 120 steps of some 20 ms: far more often than a real job would.
"""

import collections
import os
import shutil
import sys
import time

import kit

PERIOD = 0.2


def look(node, seen):
    """Takes the CPU time of every process of the node; what has ended keeps its last figure."""
    for pid in kit.processes(node.process.pid):
        try:
            words, spent = kit.command(pid), kit.cpu_seconds(pid)
        except (OSError, IndexError):
            continue
        name = words[0]
        if not name:
            # Ended, not yet waited for: its time is still there, its name is not.
            if pid in seen:
                seen[pid] = (seen[pid][0], spent)
            continue
        if name == "strongroom" and len(words) > 1:
            name += " " + words[1]
        if any(word.endswith("train.py") for word in words):
            name = "the job"
        elif not name.startswith("strongroom"):
            name = "others in the sandbox"
        seen[pid] = (name, spent)


def main():
    epochs = sys.argv[2] if len(sys.argv) > 2 else "1"
    with kit.node(sys.argv[1]) as node:
        code = os.path.join(node.work, "example")
        shutil.copytree(os.path.join(os.path.dirname(__file__), "../../examples/fashion-mnist"), code)
        path = os.path.join(code, "job.toml")
        with open(path) as text:
            job = text.read().replace('"--epochs", "3"', f'"--epochs", "{epochs}"')
        with open(path, "w") as text:
            text.write(job)
        node.json("tenant", "create", "acme")
        node.json("dataset", "import", "fashion-mnist", "/usr/share/datasets/fashion-mnist", "--tenant", "acme")
        before, seen = {}, {}
        look(node, before)
        name = node.json("job", "run", path)["name"]
        state, sealed, polled = "", 0, 0.0
        began = time.monotonic()
        while state not in ("finished", "failed", "stopped", "held"):
            if time.monotonic() - began > 300:
                raise SystemExit("the job did not end within 300 s")
            look(node, seen)
            if time.monotonic() - polled > 1:
                state, polled = node.json("job", "show", name, "--tenant", "acme")["state"], time.monotonic()
            time.sleep(PERIOD)
        if state != "finished":
            raise SystemExit(f"the job is {state}")
        took = time.monotonic() - began
        sealed = len(node.json("job", "checkpoint", "list", name, "--tenant", "acme")["items"])
    total = collections.Counter()
    for pid, (name, spent) in seen.items():
        total[name] += spent - before.get(pid, (name, 0.0))[1]
    own = total["the job"]
    if own == 0:
        raise SystemExit("the job was not seen")
    print(f"{epochs} epoch(s) in {took:.1f} s, {sealed} checkpoints kept; CPU seconds, from import done to job done")
    for name, spent in sorted(total.items(), key=lambda row: -row[1]):
        if spent > 0:
            print(f"{name:<28} {spent:>9.2f} {100 * spent / own:>8.2f} % of the job's")
    platform = sum(spent for name, spent in total.items() if name.startswith("strongroom"))
    porter = total["strongroom-porter"]
    print(f"{'the platform together':<28} {platform:>9.2f} {100 * platform / own:>8.2f} %")
    print(f"{'of which the porter':<28} {porter:>9.2f} {100 * porter / own:>8.2f} %")


main()
