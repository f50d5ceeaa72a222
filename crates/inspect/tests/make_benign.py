"""Writes ordinary model files, as torch, NumPy and the standard library make them, into a directory.

Every file that this writes must be inspected as `load` without findings.
"""
import collections
import json
import pickle
import random
import struct
import sys
from pathlib import Path

import numpy as np
import torch

out = Path(sys.argv[1])
out.mkdir(parents=True, exist_ok=True)
torch.manual_seed(7)
np.random.seed(7)


class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, width, 3)
        self.norm = torch.nn.BatchNorm2d(width)
        self.lin = torch.nn.Linear(width * 36, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.lin(x.flatten(1))


def trained(width, optimizer):
    net = Net(width)
    opt = optimizer(net.parameters())
    for _ in range(2):
        opt.zero_grad()
        net(torch.rand(4, 1, 8, 8)).sum().backward()
        opt.step()
    return net, opt


optimizers = {
    "adam": lambda p: torch.optim.Adam(p, lr=1e-3, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-3),
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p),
}
# torch checkpoints: models, optimisers, counters, random states, NumPy values.
for name, make in optimizers.items():
    for width in (1, 4, 9):
        net, opt = trained(width, make)
        sched = torch.optim.lr_scheduler.StepLR(opt, 1)
        torch.save(net.state_dict(), out / f"model-{name}-{width}.pt")
        torch.save(
            {
                "model": net.state_dict(),
                "optimizer": opt.state_dict(),
                "scheduler": {k: v for k, v in sched.state_dict().items() if not callable(v)},
                "epoch": width,
                "big": 2**80,
                "loss": 0.25,
                "best": None,
                "done": False,
                "name": "übung",
                "history": [1.5, (1, 2), [True, None]],
                "torch_rng": torch.get_rng_state(),
                "python_rng": random.getstate(),
                "numpy_rng": np.random.get_state(),
                "np_scalar": np.float64(1.5),
                "np_array": np.arange(12, dtype=np.float32).reshape(3, 4),
                "np_fortran": np.asfortranarray(np.ones((2, 3))),
                "np_text": np.array(["ab", "c"]),
                "shape": torch.Size([2, 3]),
                "dtype": torch.float32,
                "tags": {"a", "b"},
                "frozen": frozenset({1, 2}),
                "z": complex(1, 2),
            },
            out / f"checkpoint-{name}-{width}.pt",
        )
for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
              torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128):
    torch.save({"x": torch.ones(3, 5).to(dtype)}, out / f"dtype-{str(dtype)[6:]}.pth")
base = torch.arange(24.0).reshape(4, 6)
torch.save({"t": base.t(), "slice": base[1:3, ::2], "same": base, "row": base[0], "empty": base[:0],
            "scalar": torch.tensor(1.0)}, out / "views.pt")
torch.save({"w": torch.zeros(1).expand(100)}, out / "expanded.pt")
torch.save(torch.nn.Parameter(torch.ones(2, 2)), out / "parameter.pt")
torch.save([torch.ones(1), (torch.zeros(2),)], out / "list.ckpt")
torch.save(collections.OrderedDict(a=torch.ones(1), b={"c": torch.ones(2)}), out / "ordered.bin")
torch.save({f"layer.{i}": torch.ones(i + 1) for i in range(300)}, out / "many.pt")
for protocol in (3, 4, 5):
    torch.save({"m": Net(2).state_dict()}, out / f"protocol-{protocol}.pt", pickle_protocol=protocol)

# ONNX, as torch exports it.
for width in (1, 3):
    net = Net(width).eval()
    torch.onnx.export(net, torch.zeros(1, 1, 8, 8), out / f"net-{width}.onnx", input_names=["x"],
                      output_names=["y"], dynamic_axes={"x": {0: "n"}})
torch.onnx.export(torch.nn.LSTM(3, 4), torch.zeros(2, 1, 3), out / "lstm.onnx")

# Bare pickles of plain data in every protocol, and of NumPy arrays in those that write a listed global
# (protocol 5 makes arrays by another one).
values = {
    "plain": {"a": [1, 2.5, -3, 2**40, 2**200, None, True], "b": ("x", b"y", "\u20ac"), 3: {"n": []}},
    "numpy": {"w": np.random.rand(4, 5), "i": np.arange(7), "s": np.int64(3), "b": np.array([True])},
    "sets": [{1, 2, 3}, frozenset("ab"), collections.OrderedDict(a=1), bytearray(b"abc"), 1j],
    "deep": [[[[[["x"]]]]]],
    "large": list(range(5000)),
}
for name, value in values.items():
    for protocol in range(5 if name == "numpy" else 6):
        (out / f"{name}-{protocol}.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
# Arrays that are empty, of subarrays, dates, records, with a mask, of a subclass: protocols below 3 call `bytes`.
kinds = {
    "empty": np.zeros((0, 3)), "subarray": np.zeros(3, dtype=[("a", "f4"), ("b", "i8", (2,))]),
    "dates": np.array(["2020-01-01"], dtype="M8[D]"), "date": np.datetime64("2020-01-01"),
    "seconds": np.array([1], dtype="m8[25s]"), "titled": np.zeros(2, dtype=[(("title", "name"), "f4")]),
    "records": np.rec.array(np.zeros(2, dtype=[("a", "f4"), ("b", "S3")])), "matrix": np.matrix([[1, 2]]),
    "masked": np.ma.array([1.0, 2.0], mask=[0, 1]), "masked-text": np.ma.array(["a", "b"], fill_value="?"),
    "masked-fields": np.ma.zeros(2, dtype=[("a", "f4"), ("b", "i2")]), "nothing": [b"", bytearray()],
}
for name, value in kinds.items():
    for protocol in range(6):
        (out / f"{name}-{protocol}.pkl").write_bytes(pickle.dumps({"v": value}, protocol=protocol))
    torch.save({"v": value, "w": base}, out / f"{name}.pt")
    if isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray):
        np.save(out / f"kind-{name}.npy", value)
np.save(out / "latin.npy", np.zeros(2, dtype=[("na\xefve", "f4")]))
np.save(out / "wide.npy", np.zeros(2, dtype=[("\u540d", "f4")]))
torch.save({"csr": base.to_sparse_csr(), "coo": base.to_sparse()}, out / "sparse.pt")
# torch names the directory within after the file.
torch.save({"w": base}, out / "\u6a21\u578b \u00e9.pt")
(out / "two-streams.pkl").write_bytes(pickle.dumps([1], 4) + pickle.dumps({"a": 2}, 4))

# NumPy files.
for code in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "b1", "c8", "c16", "S5", "U7",
             "M8[ns]", ">f4"):
    np.save(out / f"array-{code.strip('>').replace('[', '').replace(']', '')}-{len(code)}.npy",
            np.zeros((2, 3), dtype=code))
np.save(out / "fortran.npy", np.asfortranarray(np.arange(6.0).reshape(2, 3)))
np.save(out / "scalar.npy", np.float32(3))
np.save(out / "empty.npy", np.zeros((0, 4)))
np.save(out / "structured.npy", np.zeros(3, dtype=[("a", "<f4"), ("b", "<i2", (2, 2)), ("c", [("d", "S3")])]))
np.savez(out / "stored.npz", a=np.ones(3), b=np.zeros((2, 2), dtype=np.int8))
np.savez_compressed(out / "deflated.npz", a=np.random.rand(50), b=np.zeros(4000))


# safetensors: header and data written by the format's definition.
def safetensors(path, tensors, metadata=None, pad=0):
    header, data = {}, b""
    if metadata:
        header["__metadata__"] = metadata
    for key, (code, array) in tensors.items():
        raw = array.tobytes()
        header[key] = {"dtype": code, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode() + b" " * pad
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


for n in range(12):
    safetensors(out / f"weights-{n}.safetensors",
                {"w": ("F32", np.random.rand(n + 1, 3).astype("f4")), "b": ("I64", np.arange(n)),
                 "h": ("F16", np.zeros((2, n), dtype="f2")), "s": ("F64", np.array(1.5))},
                {"format": "pt"} if n % 2 else None, n % 8)

# JSON and text.
for n in range(8):
    (out / f"config-{n}.json").write_text(json.dumps(
        {"hidden": n, "act": "gelu", "nested": {"a": [1, 2.5e-3, None, True, "\u00fc\n"]}}, indent=n or None))
(out / "merges.txt").write_text("#version: 0.2\n\u0120 t\n\u0120 a\nh e\n")
(out / "vocab.txt").write_text("[PAD]\n[UNK]\nthe\n")
(out / "README.md").write_text("# Model\n\nIt says (in short) what it is.\n")
(out / "badges.md").write_text("[![badge](x)](y)\n\nText.\n")
(out / "LICENSE").write_text("Copyright\nAll rights reserved.\n")
(out / "labels.txt").write_text("cat\ndog\n")
(out / "trainer_state.json").write_text(json.dumps({"best": float("inf"), "loss": [float("nan"), -float("inf")]}))
(out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": {"w": "a-1-of-1.safetensors"}}))
(out / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n")
(out / "card.md").write_text("---\nlicense: mit\ntags:\n- a\n---\nIt says `!!python/object/apply:os.system`.\n")
(out / "params.yaml").write_text("lr: 0.001\nlayers: [1, 2]\n")
print(len(list(out.iterdir())))
