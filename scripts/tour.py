#!/usr/bin/python3
"""The tour: every promise of the platform on real input, through the public command line and HTTPS.

Each scene prints what it did, what it saw and the evidence. The last line is `tour: N scenes passed, M failed`; the exit
status is 1 if M > 0. KEEP=1 leaves the node up. Arguments name scenes to stop after, as in `tour.py --until 6`.
"""

import argparse
import os
import signal
import sys
import time
import traceback

from tourlib import access, kit, models, recovery, training, trust, verified

SCENES = [
    training.scene_1, training.scene_2, training.scene_3, training.scene_4, training.scene_5, training.scene_6,
    models.scene_7, models.scene_8, models.scene_9,
    trust.scene_10, trust.scene_11, trust.scene_12, trust.scene_13,
    access.scene_14, access.scene_15,
    recovery.scene_16, recovery.scene_17,
    verified.scene_18, verified.scene_19,
]


def play(tour, number, scene):
    """Whether a scene passed."""
    began = time.monotonic()
    print(f"\n{number:>2} {scene.__doc__}", flush=True)
    try:
        scene(tour)
        print(f"   passed    after {time.monotonic() - began:.1f} s", flush=True)
        return True
    except kit.Failed as failure:
        print(f"   FAILED    {failure}", flush=True)
    except AttributeError as error:
        print(f"   FAILED    an earlier scene did not leave what this one needs ({error})", flush=True)
    except Exception:  # noqa: BLE001 - a scene that breaks is a scene that failed
        print("   FAILED    " + traceback.format_exc().replace("\n", "\n             "), flush=True)
    if tour.node and tour.node.poll() is not None:
        with open(tour.path("dev.log"), errors="replace") as text:
            print(f"   the node has ended ({tour.node.returncode}):\n" + text.read()[-2500:], flush=True)
    return False


def next_steps(tour):
    state = tour.state
    print(f"""
The node is still up (KEEP=1). Try next:
  export STRONGROOM_STATE={state}
  {kit.PROGRAM} status
  {kit.PROGRAM} job list --tenant acme
  {kit.PROGRAM} bom show fashion-mnist@2 --tenant acme
  {kit.PROGRAM} audit search --kind checkpoint. --tenant acme
Stop it with: kill -INT {tour.node.pid}""")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--until", type=int, default=len(SCENES), metavar="SCENE", help="stop after this scene")
    args = parser.parse_args()
    if not os.access(kit.PROGRAM, os.X_OK):
        sys.exit(f"tour: {kit.PROGRAM} is missing; run `make build` first")
    # Ended by a time limit or a shell, the node is stopped all the same.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    began = time.monotonic()
    tour = kit.Tour(bool(os.environ.get("KEEP")))
    passed = failed = 0
    try:
        for number, scene in enumerate(SCENES[: args.until], 1):
            if play(tour, number, scene):
                passed += 1
            else:
                failed += 1
                if number == 1:
                    break
        if tour.keep and tour.node and tour.node.poll() is None:
            next_steps(tour)
    except KeyboardInterrupt:
        failed += 1
        print("   interrupted", flush=True)
    finally:
        tour.close()
    print(f"\ntook {time.monotonic() - began:.0f} s")
    print(f"tour: {passed} scenes passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
