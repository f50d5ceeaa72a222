"""Measures a whole node: time from `strongroom dev` to ready, and the resident memory of each of its processes.

usage: node.py STRONGROOM [ROUNDS]
"""

import statistics
import sys
import time

import kit


def resident(pid):
    """Its name with its first argument, and its resident and its private memory in KiB."""
    fields = {}
    for name in ("status", "smaps_rollup"):
        with open(f"/proc/{pid}/{name}") as text:
            for line in text:
                key, _, value = line.partition(":")
                if value.strip().endswith("kB"):
                    fields[key] = int(value.split()[0])
    words = kit.command(pid)
    name = words[0]
    if len(words) > 1 and not words[1].startswith("-"):
        name += " " + words[1]
    return name, fields["VmRSS"], fields["Private_Clean"] + fields["Private_Dirty"]


def main():
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 5
    times, rows = [], []
    for _ in range(rounds):
        with kit.node(sys.argv[1]) as node:
            times.append(node.ready_ms)
            time.sleep(0.5)
            rows = [resident(pid) for pid in kit.processes(node.process.pid)]
    print(f"start to ready, new state, {rounds} times: min {min(times):.0f} ms, median {statistics.median(times):.0f} ms")
    print(f"{'idle process':<28} {'resident MiB':>14} {'private MiB':>13}")
    for name, all_kib, own_kib in rows:
        print(f"{name:<28} {all_kib / 1024:>14.1f} {own_kib / 1024:>13.1f}")
    print(f"{'all of them':<28} {'':>14} {sum(own for _, _, own in rows) / 1024:>13.1f}")


main()
