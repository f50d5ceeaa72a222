"""Runs the example and tells what its steps took: `steps.py MB BESIDE [argument of train.py ...]`.

Every second checkpoint goes to the directory BESIDE instead of the watched one, so that stretches of steps with and
without a sealing take turns within one process. A step is from one call of the scheduler to the next, less what
`torch.save` took in between. MB of random numbers go into every checkpoint beside what the example saves.
"""

import json
import os
import statistics
import sys
import time

import torch

# With two threads each waits for the other, and anything that runs beside them stops both: that would be measured.
torch.set_num_threads(1)
ballast = torch.randn(int(sys.argv.pop(1)) * 250_000)
beside = sys.argv.pop(1)
# One stretch of steps after each checkpoint; the first, before any, is of neither kind.
stretches, saves = [[]], []
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR
step, save = scheduler.step, torch.save
last = None


def timed_step(self, *args):
    global last
    step(self, *args)
    now = time.perf_counter()
    if last:
        stretches[-1].append((now - last) * 1000)
    last = now


def timed_save(value, path):
    global last
    if "optimizer" not in value:
        return save(value, path)
    if len(ballast):
        value = dict(value, ballast=ballast)
    if len(saves) % 2:
        path = os.path.join(beside, os.path.basename(path))
    began = time.perf_counter()
    save(value, path)
    now = time.perf_counter()
    saves.append((now - began) * 1000)
    stretches.append([])
    last += now - began


def percentile(values, part):
    return sorted(values)[min(int(len(values) * part), len(values) - 1)]


os.makedirs(beside, exist_ok=True)
scheduler.step, torch.save = timed_step, timed_save
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import train  # noqa: E402

train.main()
told = {"stretches": len(stretches) // 2 - 1}
# What follows the last checkpoint is cut short by the end of the training.
sealed, not_sealed = stretches[1:-1:2], stretches[2:-1:2]
for name, kind in (("sealed", sealed), ("beside", not_sealed)):
    steps = [one for stretch in kind for one in stretch]
    told[name + "_median"] = statistics.median(steps)
    told[name + "_p95"] = percentile(steps, 0.95)
    told[name + "_mean"] = statistics.fmean(steps)
pairs = [statistics.fmean(a) - statistics.fmean(b) for a, b in zip(sealed, not_sealed)]
told["added_mean"] = statistics.fmean(pairs)
told["added_error"] = statistics.stdev(pairs) / len(pairs) ** 0.5
told["save_sealed"] = statistics.median(saves[0::2])
told["save_beside"] = statistics.median(saves[1::2])
output = os.environ.get("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data")
with open(os.path.join(os.path.dirname(os.path.abspath(output)), "metrics.jsonl"), "a") as metrics:
    for name, value in told.items():
        metrics.write(json.dumps({"step": 0, "name": name, "value": round(value, 4)}) + "\n")
