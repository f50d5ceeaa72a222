"""Trains a small image classifier on Fashion-MNIST.

An ordinary PyTorch script: it knows the SageMaker directories and variables and nothing of Strongroom.
It writes its checkpoint with a plain `torch.save` over one file and continues from that file if it is there.
"""

import argparse
import gzip
import json
import os
import signal
import struct
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}

# Of the pixels of the training images. Part of the model, so that it is served with raw images in 0..1.
MEAN, DEVIATION = 0.2860, 0.3530


class Classifier(nn.Module):
    """28x28 grey images to 10 logits; 105,866 parameters."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.fc1 = nn.Linear(32 * 7 * 7, 64)
        self.fc2 = nn.Linear(64, 10)

    def forward(self, image):
        x = (image - MEAN) / DEVIATION
        x = functional.max_pool2d(functional.relu(self.conv1(x)), 2)
        x = functional.max_pool2d(functional.relu(self.conv2(x)), 2)
        x = functional.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


def parse_args():
    env = os.environ
    hyper = json.loads(env.get("SM_HPS", "{}"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=hyper.get("epochs", 3))
    parser.add_argument("--batch-size", type=int, default=hyper.get("batch_size", 64))
    parser.add_argument("--lr", type=float, default=hyper.get("lr", 0.001))
    parser.add_argument("--seed", type=int, default=hyper.get("seed", 7))
    parser.add_argument("--checkpoint-every", type=int, default=hyper.get("checkpoint_every", 120))
    parser.add_argument("--data", default=env.get("SM_CHANNEL_TRAINING", "/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--checkpoints", default=env.get("SM_CHECKPOINT_DIR", "/opt/ml/checkpoints"))
    parser.add_argument("--model", default=env.get("SM_MODEL_DIR", "/opt/ml/model"))
    parser.add_argument("--output", default=env.get("SM_OUTPUT_DATA_DIR", "/opt/ml/output/data"))
    return parser.parse_args()


def read_idx(path):
    """The IDX format of the MNIST family: magic, dimensions big-endian, unsigned bytes."""
    with gzip.open(path, "rb") as file:
        data = file.read()
    zero, kind, rank = struct.unpack(">HBB", data[:4])
    if zero != 0 or kind != 8:
        raise ValueError(f"{path}: not an IDX file of unsigned bytes")
    shape = struct.unpack(f">{rank}I", data[4 : 4 + 4 * rank])
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank)
    return torch.from_numpy(values.reshape(shape).copy())


def load(directory, part):
    images, labels = (read_idx(os.path.join(directory, name)) for name in FILES[part])
    if len(images) != len(labels) or len(images) == 0:
        raise ValueError(f"{part}: {len(images)} images but {len(labels)} labels")
    return images.unsqueeze(1).float().div_(255.0), labels.long()


def order(seed, epoch, count):
    """The order of the examples is a function of seed and epoch, so a resumed run sees the same batches."""
    generator = torch.Generator().manual_seed(seed * 100_003 + epoch)
    return torch.randperm(count, generator=generator)


def save(path, model, optimizer, scheduler, epoch, step):
    torch.save(
        {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "rng_state": torch.get_rng_state(),
            "epoch": epoch,
            "step": step,
        },
        path,
    )


def accuracy(model, images, labels):
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(x).argmax(1) == y).sum()) for x, y in zip(images.split(1000), labels.split(1000))
        )
    model.train()
    return right / len(labels)


def export(model, directory):
    os.makedirs(directory, exist_ok=True)
    model.eval()
    torch.onnx.export(
        model,
        torch.zeros(1, 1, 28, 28),
        os.path.join(directory, "model.onnx"),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}},
        opset_version=13,
    )
    torch.save(model.state_dict(), os.path.join(directory, "model.pt"))


def main():
    args = parse_args()
    torch.manual_seed(args.seed)
    wanted = {"save": False, "leave": False}
    signal.signal(signal.SIGUSR1, lambda *_: wanted.update(save=True))
    signal.signal(signal.SIGTERM, lambda *_: wanted.update(save=True, leave=True))

    images, labels = load(args.data, "train")
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), lr=args.lr)
    per_epoch = (len(images) + args.batch_size - 1) // args.batch_size
    total = args.epochs * per_epoch
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total)

    os.makedirs(args.checkpoints, exist_ok=True)
    last = os.path.join(args.checkpoints, "last.pt")
    step = 0
    if os.path.exists(last):
        state = torch.load(last, map_location="cpu")
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng_state"])
        step = state["step"]
        print(f"resuming at step {step}/{total}", flush=True)

    metrics_dir = os.path.dirname(os.path.abspath(args.output))
    os.makedirs(metrics_dir, exist_ok=True)
    metrics = open(os.path.join(metrics_dir, "metrics.jsonl"), "a", buffering=1)

    def record(name, value):
        metrics.write(json.dumps({"step": step, "name": name, "value": value}) + "\n")

    began, seen = time.monotonic(), 0
    while step < total:
        epoch = step // per_epoch
        batches = order(args.seed, epoch, len(images)).split(args.batch_size)
        for indices in batches[step - epoch * per_epoch :]:
            loss = functional.cross_entropy(model(images[indices]), labels[indices])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            step += 1
            seen += len(indices)
            if step % 20 == 0 or step == total:
                rate = seen / (time.monotonic() - began)
                record("loss", loss.item())
                record("images_per_second", round(rate, 1))
                print(
                    f"epoch {epoch + 1}/{args.epochs} step {step}/{total} "
                    f"loss {loss.item():.4f} {rate:.0f} images/s",
                    flush=True,
                )
            if step % args.checkpoint_every == 0 or wanted["save"]:
                wanted["save"] = False
                save(last, model, optimizer, scheduler, epoch, step)
            if wanted["leave"]:
                sys.exit(143)

    test_accuracy = accuracy(model, *load(args.data, "test"))
    record("test_accuracy", test_accuracy)
    export(model, args.model)
    print(f"test accuracy {test_accuracy:.4f}", flush=True)


if __name__ == "__main__":
    main()
