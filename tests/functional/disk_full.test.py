#!/usr/bin/python3
"""A full disk during an import and during sealing: a clear error, nothing half-done, nothing acknowledged lost."""

import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, needs_root, run_tests, wait_for  # noqa: E402

# A segment of the log is 64 MiB from its start; beside it the database and little more.
ROOM = 112 << 20

# Each checkpoint has a file of its own content, so that none is kept only once.
LARGE = work.COUNT.replace(
    "save(path, npy([step] + state))",
    "save(path, npy([step] + state)); save(os.path.join(os.path.dirname(path), 'noise.npy'), npy("
    "list(struct.unpack('<131072Q', os.urandom(1 << 20)))))",
    1,
)


def listed(node, what):
    return [thing["name"] for thing in node.ok(what, "list", "--tenant", "acme")["items"]]


def free(node):
    found = os.statvfs(node.state)
    return found.f_bavail * found.f_frsize


def fill(node, leave):
    """Takes the room away; gives a function that gives it back."""
    path = os.path.join(node.state, "ballast")
    try:
        with open(path, "ab", buffering=0) as out:
            out.write(b"\0" * max(0, free(node) - leave))
    except OSError:
        pass  # The node took the rest meanwhile: it is full, which is what is wanted.
    return lambda: os.remove(path)


def objects(node):
    return sorted(
        os.path.join(d, f) for d, _, files in os.walk(os.path.join(node.state, "control", "store")) for f in files
    )


def an_import_larger_than_the_disk_is_refused_and_leaves_nothing(node):
    work.write(node.path("small", "a.bin"), os.urandom(100_000))
    node.ok("dataset", "import", "small", node.path("small"), "--tenant", "acme")
    before, room = objects(node), free(node)
    work.write(node.path("large", "a.bin"), os.urandom(1000))
    with open(node.path("large", "b.bin"), "wb") as out:
        for _ in range(60):
            out.write(os.urandom(1 << 20))
    node.refused("dataset", "import", "large", node.path("large"), "--tenant", "acme", code=1, says="no space left")
    check("large" not in listed(node, "dataset"), "half a data set is listed")
    stays = set(objects(node)) - set(before)
    check(all(os.path.getsize(path) < 65536 for path in stays), f"left behind: {stays}")
    check(free(node) > room - (2 << 20), f"{room - free(node)} bytes of room are gone")
    check(node.ok("dataset", "verify", "small@1", "--tenant", "acme")["verified"], "what was there is gone")


def a_checkpoint_that_finds_no_room_is_an_alarm_and_the_job_goes_on(node):
    directory = work.job(
        node.path("large-job"), LARGE, name="large-job", word="large-job", memory="512MiB",
        checkpoints="required = true\nmax_lost_seconds = 5\nkeep = 2", steps=4000, every=8, pause=0.1,
    )
    job = node.submit(directory)
    wait_for("a first checkpoint", lambda: node.checkpoints(job), 30)
    give_back = fill(node, 300_000)
    sealed = node.checkpoints(job)

    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        fill(node, 300_000)  # Again, as what retention removes makes room for a while.
        time.sleep(0.5)
    check(node.job(job)["state"] == "running", f"the job is {node.job(job)['state']}: {node.job(job)['reason']}")
    versions = [c["version"] for c in node.checkpoints(job)]
    check(set(c["version"] for c in sealed) <= set(versions), f"{sealed} became {versions}")

    def failed(found):
        bad = [e for e in found if e["unmapped"]["strongroom"]["outcome"] in ("failure", "refused")]
        return [e for e in bad if job in str(e) and "no space" in str(e).lower()]

    # The log takes entries on a full disk; what a search reads of it may lag, and then the answer says so.
    def told():
        shown = node.run("-o", "json", "audit", "search", "--limit", 0, "--kind", "checkpoint.")
        check(shown.code == 0, shown.err)
        answer = shown.json()
        hidden = answer["not_searchable"]
        check(answer["log_entries"] == answer["searched_to"] + hidden, f"{answer['log_entries']} entries: {answer['searched_to']} searched, {hidden} not")
        check((hidden > 0) == ("not yet searchable" in shown.err), f"{hidden} entries cannot be searched: {shown.err}")
        return hidden, failed(answer["items"])

    hidden, found = told()
    check(hidden or found, "the failed sealing is neither found nor said to be among what cannot be searched yet")
    lag = wait_for("a search says how much of the log it did not see", lambda: fill(node, 0) and told()[0], 20, 0.5)
    give_back()
    wait_for("a checkpoint after there is room", lambda: node.checkpoints(job)[-1]["version"] > max(versions), 30)
    check(failed(node.events("--kind", "checkpoint.", until=failed, seconds=20)), "no entry tells that sealing failed, and why")
    wait_for(f"all is searchable once there is room, {lag} entries were not", lambda: told()[0] == 0, 20, 0.5)
    node.ok("job", "stop", job, "--tenant", "acme")
    node.wait_job(job, until=("stopped",), seconds=20)
    newest = [c for c in node.checkpoints(job) if c["state"] == "good"]
    check(newest, "no good checkpoint")


def a_full_disk_refuses_changes_and_keeps_the_log_whole(node):
    give_back = fill(node, 0)
    try:
        wait_for("a change is refused", lambda: node.run("tenant", "create", f"t{os.urandom(4).hex()}").code != 0, 60, 0.01)
        before = [t["name"] for t in node.ok("tenant", "list")["items"]]
        shown = node.run("tenant", "create", "late")
        check(shown.code not in (0, None), "a tenant was made though the log is full")
        check("panicked" not in shown.err and shown.err.strip(), shown.err)
        check([t["name"] for t in node.ok("tenant", "list")["items"]] == before, "what was refused is listed")
    finally:
        give_back()
    wait_for("the node works again", lambda: node.run("tenant", "create", "later").code in (0, 7), 30)
    node.log_verifies()


def all_of_it_is_there_after_a_restart(node):
    tenants = [t["name"] for t in node.ok("tenant", "list")["items"]]
    node.stop()
    node.start()
    check([t["name"] for t in node.ok("tenant", "list")["items"]] == tenants, "tenants differ")
    check(node.ok("dataset", "verify", "small@1", "--tenant", "acme")["verified"], "what was there is gone")
    node.log_verifies()


def main():
    needs_root()
    node = Node()
    os.makedirs(node.state, 0o711)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM},mode=0711", "strongroom-test", node.state], check=True)
    try:
        node.start()
        node.ok("tenant", "create", "acme")
        return run_tests(
            [
                an_import_larger_than_the_disk_is_refused_and_leaves_nothing,
                a_checkpoint_that_finds_no_room_is_an_alarm_and_the_job_goes_on,
                a_full_disk_refuses_changes_and_keeps_the_log_whole,
                all_of_it_is_there_after_a_restart,
            ],
            node,
        )
    finally:
        state = node.state
        try:
            node.stop()
        finally:
            subprocess.run(["umount", state], check=False)
            node.close()


if __name__ == "__main__":
    close(*main())
