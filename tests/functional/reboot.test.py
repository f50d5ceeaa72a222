#!/usr/bin/python3
"""The machine is started again by a typed order: with a reason, not under running jobs unless that is said, never by a
node for development, and by the real system call. The node in service here is the first process of a pid namespace, in
which reboot(2) ends that namespace as by SIGHUP instead of starting the machine again; nothing else ends it so.
"""

import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from inservice import USERS, InService  # noqa: E402
from node import Node, check, close, needs_root, run_tests, wait_for  # noqa: E402
from procs import Process  # noqa: E402

REASON = "new kernel, ticket 4711"
SYS_BOOT = 1 << 22


def reboots(node):
    """Entries of the log, oldest first, as (asset or operation, outcome in OCSF)."""
    return [e for e in node.events("--kind", "node.reboot")]


def a_node_for_development_leaves_the_machine_alone():
    with Node() as node:
        warden = node.pids()["warden"]
        check(not Process(warden).sets["CapBnd"] & SYS_BOOT, "its warden could start the machine again")
        node.refused("node", "reboot", "--reason", REASON, code=7, says=["SR-WRD-0020", "development", "yourself"])
        check(node.answers() and node.pids()["warden"] == warden, "it did not go on as it was")
        found = reboots(node)
        check(len(found) == 2 and all(REASON in str(e) or "development" in str(e) for e in found), found)
        orders = [e for e in node.events("--kind", "warden.order") if "reboot" in str(e)]
        check(any("SR-WRD-0020" in str(e) for e in orders), f"the warden did not tell that it refused: {orders}")
        node.log_verifies()


def only_the_operator_may(node):
    node.ok("tenant", "create", "acme")
    key = node.path("admin.key")
    node.ok("key", "create", "--role", "tenant-admin", "--out", key, "--tenant", "acme")
    node.refused("node", "reboot", "--reason", REASON, code=3, says="SR-CTL-0005", key=key)
    node.refused("node", "diagnostics", code=3, says="SR-CTL-0005", key=key)
    for reason in ("", "  ", "two\nlines"):
        node.refused("node", "reboot", "--reason", reason, code=1, says="reason")
    check(node.run("node", "reboot").code == 2, "no reason was asked for")
    check(node.answers(), "the node is gone")


def what_runs_is_not_ended_unasked(node):
    node.submit(work.counting(node.path("long"), name="long", steps=100_000, word="long-job"))
    wait_for("the job runs", lambda: node.workload("long-job"))
    wait_for("a checkpoint", lambda: node.checkpoints("long"))
    error = node.refused("node", "reboot", "--reason", REASON, code=7, says=["SR-WRD-0021", "1 runs", "--stop-jobs"])
    check(error["code"] == "SR-WRD-0021", error)
    check(node.workload("long-job") and node.process.poll() is None, "the job or the node is gone")
    check(node.job("long")["state"] == "running", node.job("long"))


def the_machine_starts_again_and_work_goes_on(node):
    warden = Process(node.first())
    check(warden.sets["CapEff"] & SYS_BOOT and warden.sets["CapBnd"].bit_count() == 11, f"{warden.sets}")
    before = node.ok("status")["log_size"]
    steps = max(c["step"] for c in node.checkpoints("long"))
    answer = node.ok("node", "reboot", "--stop-jobs", "--reason", REASON)
    check((answer["state"], answer["jobs"]) == ("restarting", 1), answer)
    ended = node.ended()
    check(ended == -signal.SIGHUP, f"the namespace ended with {ended}, not by reboot(2): {node.said()}")
    node.start()
    # What was said and done before stands in the log.
    found = reboots(node)[-2:]
    check(len(found) == 2 and all(REASON in str(e) for e in found), found)
    ours = [e["unmapped"]["strongroom"] for e in node.events("--kind", "warden.order")]
    ours = [(e["phase"], e["outcome"]) for e in ours if e["index"] >= before and "reboot" in str(e)]
    check(ours == [("intent", "unknown"), ("outcome", "success")], f"order and outcome of the warden: {ours}")
    node.log_verifies()
    wait_for("the job goes on", lambda: node.workload("long-job"), 60)
    resumed = node.events("--kind", "job.resume", until=len)
    check(resumed, "nothing tells of a resume")
    wait_for("further than before", lambda: max(c["step"] for c in node.checkpoints("long")) > steps, 60)


def an_end_in_order_is_no_restart(node):
    """The control: told to end, the same node ends by itself and with status 0."""
    check({Process(p).uids[1] for p in node.pids().values()} >= set(USERS.values()), node.pids())
    node.stop()
    check(node.process.returncode == 0, node.process.returncode)


if __name__ == "__main__":
    needs_root()
    passed, failed = run_tests([a_node_for_development_leaves_the_machine_alone])
    with InService() as node:
        more = run_tests(
            [only_the_operator_may, what_runs_is_not_ended_unasked, the_machine_starts_again_and_work_goes_on, an_end_in_order_is_no_restart],
            node,
        )
    close(passed + more[0], failed + more[1])
