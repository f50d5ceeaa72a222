"""Holds the marker of its data set in memory, files, checkpoints and on its own loopback, until it is told to end."""

import json
import os
import signal
import socket
import sys
import threading
import time

with open(os.path.join(os.environ["SM_CHANNEL_SECRET"], "marker.txt")) as source:
    MARKER = source.read().strip()
CHECKPOINTS = os.environ["SM_CHECKPOINT_DIR"]


def serve(listener):
    listener.listen(16)
    while True:
        client, _ = listener.accept()
        with client:
            client.sendall(MARKER.encode() + b"\n")


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serving = []
    for family, address in ((socket.AF_INET, ("127.0.0.1", 7777)), (socket.AF_UNIX, "\0acme")):
        try:
            listener = socket.socket(family, socket.SOCK_STREAM)
            listener.bind(address)
            threading.Thread(target=serve, args=(listener,), daemon=True).start()
            serving.append(str(address).replace("\0", "@"))
        except OSError as error:
            print(f"not listening on {address!r}: {error}", flush=True)
    with open("/tmp/held.txt", "w") as out:
        out.write(MARKER)
    with open(os.path.join(os.environ["SM_MODEL_DIR"], "weights.json"), "w") as out:
        json.dump({"marker": MARKER}, out)
    step = 0
    while True:
        step += 1
        part = os.path.join(CHECKPOINTS, ".state.tmp")
        with open(part, "w") as out:
            json.dump({"step": step, "marker": MARKER}, out)
        os.replace(part, os.path.join(CHECKPOINTS, "state.json"))
        print(f"holding at step {step}, serving on {', '.join(serving) or 'nothing'}", flush=True)
        time.sleep(2)


if __name__ == "__main__":
    main()
