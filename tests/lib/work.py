"""Small work for a node: a job that counts, and models made by hand. Standard library only, so a test needs no torch."""

import os
import struct

JOB = """version = 1
[job]
name = "{name}"
tenant = "{tenant}"
command = {command}
code = "."
image = "host"
[hyperparameters]
{hyperparameters}
[checkpoints]
{checkpoints}
[resources]
cpus = 1
memory = "{memory}"
wall_time = "5m"
[isolation]
class = "standard"
"""

# Each step folds the step into 64 numbers, so that one step lost or done twice shows in every later state. The whole
# state is one .npy file, written beside its name and moved over it.
COUNT = '''"""Counts: each step changes every number of its state. Goes on from its checkpoint, if there is one."""
import json, os, struct, sys, time

HYPER = json.loads(os.environ["SM_HPS"])
STEPS, EVERY, PAUSE = int(HYPER["steps"]), int(HYPER["every"]), float(HYPER["pause"])
MASK = (1 << 64) - 1


def npy(values):
    head = "{'descr': '<u8', 'fortran_order': False, 'shape': (%d,), }" % len(values)
    head += " " * (-(10 + len(head) + 1) % 64) + "\\n"
    return b"\\x93NUMPY\\x01\\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack("<%dQ" % len(values), *values)


def save(path, data):
    part = os.path.join(os.path.dirname(path), "." + os.path.basename(path) + ".tmp")
    with open(part, "wb") as out:
        out.write(data)
    os.replace(part, path)


path = os.path.join(os.environ["SM_CHECKPOINT_DIR"], "state.npy")
step, state = 0, list(range(64))
if os.path.exists(path):
    with open(path, "rb") as file:
        numbers = struct.unpack("<65Q", file.read()[-65 * 8:])
    step, state = numbers[0], list(numbers[1:])
print("from step %d" % step, flush=True)
while step < STEPS:
    state = [(x * 6364136223846793005 + 1442695040888963407 + step + i) & MASK for i, x in enumerate(state)]
    step += 1
    time.sleep(PAUSE)
    print("step %d" % step, flush=True)
    if step % EVERY == 0:
        save(path, npy([step] + state))
MODEL = os.environ["SM_MODEL_DIR"]
save(os.path.join(MODEL, "weights.npy"), npy([step] + state))
if "onnx" in HYPER:
    save(os.path.join(MODEL, "model.onnx"), bytes.fromhex(HYPER["onnx"]))
'''


def hyper(values):
    return "\n".join(f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in values.items())


def job(directory, script, name="job", tenant="acme", word=None, memory="256MiB", checkpoints=None, **values):
    """A directory with a job file and its script; `word` on its command line finds its process."""
    os.makedirs(directory)
    with open(os.path.join(directory, "main.py"), "w") as file:
        file.write(script)
    command = '["python3", "main.py"' + (f', "{word}"' if word else "") + "]"
    text = JOB.format(
        name=name, tenant=tenant, command=command, hyperparameters=hyper(values), memory=memory,
        checkpoints=checkpoints or "required = true\nmax_lost_seconds = 30\nkeep = 3",
    )
    with open(os.path.join(directory, "job.toml"), "w") as file:
        file.write(text)
    return directory


def counting(directory, steps=40, every=4, pause=0.1, **more):
    """A job that counts `steps` and commits every `every`-th."""
    return job(directory, COUNT, steps=steps, every=every, pause=float(pause), **more)


def served(directory, **more):
    """A job that at once leaves an ONNX model of two inputs and three outputs."""
    return counting(directory, **{"steps": 2, "every": 1, "onnx": onnx(WEIGHTS).hex(), **more})


# ---- ONNX (onnx.proto3), as few fields as a model needs ----


def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor_info(name, shape):
    dims = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)))


def onnx(weights):
    """y = x . W for a batch of rows; `weights` is a list of rows."""
    rows, columns = len(weights), len(weights[0])
    raw = struct.pack(f"<{rows * columns}f", *(v for row in weights for v in row))
    tensor = field(1, rows) + field(1, columns) + field(2, 1) + field(8, "W") + field(9, raw)
    node = field(1, "x") + field(1, "W") + field(2, "y") + field(3, "matmul") + field(4, "MatMul")
    graph = field(1, node) + field(2, "g") + field(5, tensor)
    graph += field(11, tensor_info("x", ["batch", rows])) + field(12, tensor_info("y", ["batch", columns]))
    return field(1, 8) + field(2, "by-hand") + field(7, graph) + field(8, field(1, "") + field(2, 13))


WEIGHTS = [[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
    return path


def request(rows):
    """An inference request for these rows."""
    flat = [v for row in rows for v in row]
    return {"inputs": [{"name": "x", "shape": [len(rows), len(rows[0])], "datatype": "FP32", "data": flat}]}


# ---- Models that were made elsewhere ----

SAID = ("--license", "Apache-2.0", "--producer", "Example", "--purpose", "to be tested", "--accountable", "Ann")


def imported(node, name, path, tenant="acme"):
    """Brings a model in by every step that a development node asks for."""
    node.ok("model", "import", name, path, "--tenant", tenant, "--source", "by hand", *SAID)
    node.ok("model", "intake", "approve", name, "--tenant", tenant, "--reason", "a test")
    return node.ok("model", "intake", "admit", name, "--tenant", tenant)


# Multiplies [3, 4] by the matrix of the model, which it finds by its known bytes, and reports the first number.
MEASURE = '''"""Measures the model in the channel `model`: looks for what it may and may not do there, and reports a number."""
import json, os, struct, sys

CHANNEL = os.environ["SM_CHANNEL_MODEL"]
data = open(os.path.join(CHANNEL, "model.onnx"), "rb").read()
at = data.index(b"W\\x4a") + 3
w = struct.unpack("<6f", data[at:at + 24])
try:
    open(os.path.join(CHANNEL, "planted"), "w")
    print("WRITTEN", flush=True)
except OSError:
    print("read-only", flush=True)
value = HYPER_VALUE if HYPER_VALUE is not None else 3 * w[0] + 4 * w[3]
with open(os.path.join(os.environ["SM_OUTPUT_DIR"], "metrics.jsonl"), "a") as out:
    out.write(json.dumps({"step": 1, "name": "first", "value": value}) + "\\n")
for name in os.listdir(CHANNEL) if COPY else []:
    open(os.path.join(os.environ["SM_MODEL_DIR"], name), "wb").write(open(os.path.join(CHANNEL, name), "rb").read())
'''


def measuring(directory, value=None, copy=False, **more):
    """A job that measures a model in quarantine; with `copy` it also tries to make a model of it."""
    script = MEASURE.replace("HYPER_VALUE", repr(value)).replace("COPY", repr(copy))
    return job(directory, script, checkpoints="required = false", **more)
