#!/usr/bin/python3
"""Jobs that go wrong: started again with a pause and then held, alarmed about, ended at their limits; never a model."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402

EXITS = 'import sys\nprint("about to fail", flush=True)\nsys.exit(1)\n'

# Runs for a while and never writes a checkpoint, then leaves a model.
SILENT = work.COUNT.replace("if step % EVERY == 0:", "if False:")

# The first run takes more memory than it may after its second checkpoint; a run that resumes does not.
HUNGRY = work.COUNT.replace(
    'print("step %d" % step, flush=True)',
    '''print("step %d" % step, flush=True)
    if step == 12 and not os.environ["STRONGROOM_RESUME_STEP"] and os.environ["STRONGROOM_RESTART_COUNT"] == "0":
        time.sleep(2.5)
        hoard = [bytearray(b"x" * (8 << 20)) for _ in range(200)]''',
)

PICKLE = b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00id\x85R."


def leaves(name, data):
    """A script that leaves one file as its model."""
    return (
        "import os\n"
        f"with open(os.path.join(os.environ['SM_MODEL_DIR'], {name!r}), 'wb') as out:\n    out.write({data!r})\n"
    )


WAIVED = "required = false"


class Cases:
    """Jobs that are started together, so that their pauses pass together."""

    def __init__(self, node):
        def start(name, script, **more):
            return node.submit(work.job(node.path(name), script, name=name, **more))

        self.node = node
        self.exits = start("exits", EXITS, checkpoints=WAIVED)
        self.silent = start(
            "silent", SILENT, checkpoints="required = true\nmax_lost_seconds = 5\nkeep = 2", steps=90, every=1, pause=0.1
        )
        self.hungry = start("hungry", HUNGRY, memory="96MiB", steps=30, every=4, pause=0.1)
        self.pickled = start("pickled", leaves("model.pt", PICKLE), checkpoints=WAIVED)
        self.text = start("text", leaves("model.onnx", b"this is no onnx file\n"), checkpoints=WAIVED)
        self.nothing = start("nothing", "print('done')\n", checkpoints=WAIVED)

    def models(self):
        return [m["name"] for m in self.node.ok("model", "list", "--tenant", "acme")["items"]]


def a_pickle_that_runs_a_program_is_no_model(cases):
    record = cases.node.wait_job(cases.pickled, until=("failed",))
    check("system" in record["reason"] or "model.pt" in record["reason"], record["reason"])
    check("pickled" not in cases.models(), "it is listed as a model")
    found = cases.node.events("--kind", "model.inspect", "--asset", cases.pickled)
    check(found, "no event tells of the inspection")


def text_that_is_named_onnx_is_no_model(cases):
    record = cases.node.wait_job(cases.text, until=("failed",))
    check("onnx" in record["reason"].lower(), record["reason"])
    check("text" not in cases.models(), "it is listed as a model")


def a_job_that_leaves_nothing_has_no_model(cases):
    record = cases.node.wait_job(cases.nothing, until=("failed",))
    check("model" in record["reason"], record["reason"])
    check("nothing" not in cases.models(), "it is listed as a model")


def a_job_that_is_watched_says_by_its_exit_code_that_it_failed(cases):
    shown = cases.node.run("job", "watch", cases.nothing, "--tenant", "acme")
    check(shown.code == 3, f"`job watch` of a failed job ended with {shown.code}")


def the_memory_limit_ends_a_run_and_the_job_goes_on_from_its_checkpoint(cases):
    record = cases.node.wait_job(cases.hungry, seconds=60)
    causes = [s["cause"] for s in record["segments"]]
    check(causes == ["out-of-memory", "completed"], f"segments ended by {causes}")
    check(record["segments"][1]["resumed_from"], f"it began again: {record['segments'][1]}")
    found = cases.node.events("--kind", "job.interrupt", "--asset", cases.hungry)
    check(any("memory" in e.get("status_detail", "") for e in found), f"no entry tells of the memory limit: {found}")
    shown = cases.node.ok("bom", "show", "hungry@1", "--tenant", "acme")
    check("out-of-memory" in str(shown).lower() or "out of memory" in str(shown).lower(), "the BoM does not tell of it")


def a_checkpoint_that_does_not_come_is_an_alarm(cases):
    def overdue(found):
        return [e for e in found if cases.silent in str(e)]

    found = overdue(cases.node.events("--kind", "checkpoint.overdue", until=overdue, seconds=25))
    check(found, "no entry `checkpoint.overdue`")
    check("max_lost_seconds" in str(found[0]), found[0])
    check(len(found) == 1, f"{len(found)} alarms for one silence")


def a_job_that_exits_with_1_is_started_again_and_then_held(cases):
    record = cases.node.wait_job(cases.exits, until=("held",), seconds=90)
    check("exited with 1" in record["reason"], record["reason"])
    runs = record["segments"]
    check([r["cause"] for r in runs] == ["exited"] * 6, f"{len(runs)} runs: {runs}")
    check("about to fail" in record["output_tail"], "its output is not shown")
    check(cases.node.events("--kind", "job.hold", "--asset", cases.exits), "no event tells that it is held")
    check("exits" not in cases.models(), "it is listed as a model")


def a_held_job_goes_on_when_its_owner_says_so(cases):
    node = cases.node
    node.refused("job", "resume", cases.exits, "--tenant", "acme", code=2, says="--reason")
    node.ok("job", "resume", cases.exits, "--reason", "try again", "--tenant", "acme")
    wait_for("it runs again", lambda: len(node.job(cases.exits)["segments"]) > 6, 15)
    node.ok("job", "stop", cases.exits, "--tenant", "acme")
    node.wait_job(cases.exits, until=("stopped",), seconds=20)
    node.refused("job", "stop", cases.exits, "--tenant", "acme", code=7)


def the_log_tells_all_of_it(cases):
    cases.node.log_verifies()


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        cases = Cases(node)
        counts = run_tests(
            [
                a_pickle_that_runs_a_program_is_no_model,
                text_that_is_named_onnx_is_no_model,
                a_job_that_leaves_nothing_has_no_model,
                a_job_that_is_watched_says_by_its_exit_code_that_it_failed,
                the_memory_limit_ends_a_run_and_the_job_goes_on_from_its_checkpoint,
                a_checkpoint_that_does_not_come_is_an_alarm,
                a_job_that_exits_with_1_is_started_again_and_then_held,
                a_held_job_goes_on_when_its_owner_says_so,
                the_log_tells_all_of_it,
            ],
            cases,
        )
    close(*counts)
