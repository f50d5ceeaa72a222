"""Makes a small CNN with a dynamic batch axis, its ONNX file, and what torch itself answers."""
import json
import os
import sys

import torch

out = sys.argv[1]
torch.manual_seed(7)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2),
    torch.nn.Flatten(), torch.nn.Linear(4 * 4 * 4, 5),
).eval()
os.makedirs(os.path.join(out, "model"), exist_ok=True)
torch.onnx.export(
    model, torch.zeros(1, 1, 8, 8), os.path.join(out, "model", "model.onnx"),
    input_names=["input"], output_names=["logits"],
    dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}}, opset_version=13,
)
cases = []
for batch in (1, 2, 7):
    x = torch.randn(batch, 1, 8, 8)
    with torch.no_grad():
        cases.append({"batch": batch, "input": x.flatten().tolist(), "logits": model(x).flatten().tolist()})
json.dump(cases, open(os.path.join(out, "cases.json"), "w"))
