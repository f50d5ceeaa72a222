"""Writes an OCI bundle for crun that starts /usr/bin/true with the limits that our sandbox has in the measurement.

usage: bundle.py DIRECTORY
"""

import json
import os
import subprocess
import sys

where = sys.argv[1]
root = os.path.join(where, "rootfs")
for name in ("usr", "proc", "dev", "tmp"):
    os.makedirs(os.path.join(root, name))
for name in ("bin", "lib", "lib64"):
    os.symlink("usr/" + name, os.path.join(root, name))

# crun's own default, with its masks, its list of capabilities and its mounts, less what a test of starting lacks.
subprocess.run(["crun", "spec"], cwd=where, check=True)
path = os.path.join(where, "config.json")
with open(path) as text:
    config = json.load(text)
config["process"].update(terminal=False, args=["/usr/bin/true"])
config["root"] = {"path": "rootfs", "readonly": True}
config["mounts"] = [m for m in config["mounts"] if m["destination"] in ("/proc", "/dev")]
config["mounts"] += [
    {"destination": "/usr", "type": "bind", "source": "/usr", "options": ["rbind", "ro", "nosuid", "nodev"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "size=16m"]},
]
config["linux"]["resources"] = {
    "memory": {"limit": 256 << 20},
    "cpu": {"quota": 100_000, "period": 100_000},
    "pids": {"limit": 64},
}
with open(path, "w") as text:
    json.dump(config, text)
