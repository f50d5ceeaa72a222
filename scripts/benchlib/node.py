"""Measures a whole node: time from `strongroom dev` to ready, and the resident memory of each of its processes.

usage: node.py STRONGROOM [ROUNDS]
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time


def children(pid):
    """The process and all below it, parents first."""
    found = [pid]
    for one in found:
        try:
            with open(f"/proc/{one}/task/{one}/children") as text:
                found += map(int, text.read().split())
        except OSError:
            continue
    return found


def resident(pid):
    """Its name with its first argument, and its resident and its private memory in KiB."""
    with open(f"/proc/{pid}/cmdline", "rb") as text:
        words = text.read().decode().split("\0")
    fields = {}
    for name in ("status", "smaps_rollup"):
        with open(f"/proc/{pid}/{name}") as text:
            for line in text:
                key, _, value = line.partition(":")
                if value.strip().endswith("kB"):
                    fields[key] = int(value.split()[0])
    name = os.path.basename(words[0])
    if len(words) > 1 and words[1] and not words[1].startswith("-"):
        name += " " + words[1]
    return name, fields["VmRSS"], fields["Private_Clean"] + fields["Private_Dirty"]


def one_round(program, work):
    """Starts a node, waits until it is ready, looks at it, ends it."""
    ready = os.path.join(work, "ready.json")
    env = dict(os.environ, XDG_CONFIG_HOME=os.path.join(work, "config"))
    env.pop("STRONGROOM_STATE", None)
    began = time.monotonic()
    with open(os.path.join(work, "dev.log"), "wb") as log:
        node = subprocess.Popen(
            [program, "dev", "--state", os.path.join(work, "state"), "--ready-file", ready],
            env=env, stdout=log, stderr=log, start_new_session=True,
        )
    try:
        while not os.path.exists(ready):
            if node.poll() is not None or time.monotonic() - began > 60:
                with open(os.path.join(work, "dev.log"), errors="replace") as log:
                    raise SystemExit("the node did not start:\n" + log.read()[-2000:])
            time.sleep(0.005)
        waited = time.monotonic() - began
        with open(ready) as text:
            reported = json.load(text)["ready_ms"]
        time.sleep(0.5)
        return waited * 1000, reported, [resident(pid) for pid in children(node.pid)]
    finally:
        node.send_signal(signal.SIGINT)
        try:
            node.wait(40)
        except subprocess.TimeoutExpired:
            node.kill()
            node.wait()


def main():
    program = sys.argv[1]
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    times, processes = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(prefix="strongroom-bench-") as work:
            os.chmod(work, 0o755)
            waited, _, processes = one_round(program, work)
            times.append(waited)
    times.sort()
    print(f"start to ready, new state, {rounds} times: min {times[0]:.0f} ms, median {statistics.median(times):.0f} ms")
    print(f"{'idle process':<28} {'resident MiB':>14} {'private MiB':>13}")
    for name, all_kib, own_kib in processes:
        print(f"{name:<28} {all_kib / 1024:>14.1f} {own_kib / 1024:>13.1f}")
    total = sum(own for _, _, own in processes)
    print(f"{'all of them':<28} {'':>14} {total / 1024:>13.1f}")


main()
