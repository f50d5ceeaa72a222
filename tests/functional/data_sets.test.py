#!/usr/bin/python3
"""Data sets: what cannot be read whole is refused, and nothing of it is visible."""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, UnixHttp, check, close, flip, run_tests, wait_for  # noqa: E402

OTHER = 65534


def importing(name, path):
    return ("dataset", "import", name, path, "--tenant", "acme")


def names(node):
    return [d["name"] for d in node.ok("dataset", "list", "--tenant", "acme")["items"]]


def refused(node, path, says, code=1):
    node.refused(*importing("bad", path), code=code, says=says)
    check("bad" not in names(node), "a refused data set is listed")


def an_empty_directory_is_refused(node):
    os.makedirs(node.path("empty"))
    refused(node, node.path("empty"), "empty")


def a_path_that_is_not_there_is_refused(node):
    refused(node, node.path("absent"), "absent")


def links_and_devices_are_refused(node):
    work.write(node.path("linked", "a.txt"), b"a")
    os.symlink("/etc/shadow", node.path("linked", "b.txt"))
    refused(node, node.path("linked"), "b.txt")
    os.makedirs(node.path("piped"))
    os.mkfifo(node.path("piped", "pipe"))
    refused(node, node.path("piped"), "pipe")
    refused(node, "/dev/zero", "/dev/zero")


def a_file_that_may_not_be_read_is_refused(node):
    """As an ordinary user with a key of the tenant, who may not read one of the files."""
    if os.geteuid() != 0:
        return
    work.write(node.path("private", "open.txt"), b"open")
    os.chmod(work.write(node.path("private", "secret.txt"), b"secret"), 0o600)
    key = node.path("import.key")
    node.ok("key", "create", "--out", key, "--tenant", "acme")
    os.chown(key, OTHER, OTHER)
    node.refused(
        *importing("bad", node.path("private")), code=1, says=["secret.txt", "permission denied"], user=OTHER, key=key
    )
    check("bad" not in names(node), "a refused data set is listed")


def an_upload_that_breaks_off_leaves_nothing(node):
    """Announces a megabyte, sends half and goes: no file, no data set, and no object that stays."""
    socket_path = node.ready["socket"]
    before = stages(node)
    begin = UnixHttp(socket_path)
    begin.request("POST", "/v1/tenants/acme/imports", b'{"kind": "dataset", "name": "half"}', {"Content-Type": "application/json"})
    reply = begin.getresponse()
    identity = json.loads(reply.read())["id"]
    upload = UnixHttp(socket_path)
    upload.connect()
    head = f"PUT /v1/tenants/acme/imports/{identity}/files/a.bin HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
    upload.sock.sendall(head.encode() + b"x" * 500_000)
    upload.sock.close()
    commit = UnixHttp(socket_path)

    def status():
        commit.request("POST", f"/v1/tenants/acme/imports/{identity}/commit", b"")
        answer = commit.getresponse()
        answer.read()
        return answer.status

    check(status() >= 400, "half an upload was committed")
    check("half" not in names(node), "half an upload is listed")
    wait_for("the half file is gone", lambda: stages(node) == before, 10)


def stages(node):
    return sorted(
        os.path.join(d, f) for d, _, files in os.walk(os.path.join(node.state, "control", "store")) for f in files
    )


def a_good_one_is_whole_and_reads_back(node):
    work.write(node.path("good", "deep", "a.bin"), os.urandom(3_000_001))
    work.write(node.path("good", "empty.txt"), b"")
    made = node.ok(*importing("good", node.path("good")))
    check(made["version"] == 1 and len(made["files"]) == 2, made)
    check(node.ok("dataset", "verify", "good@1", "--tenant", "acme")["verified"], "it does not verify")


def a_changed_object_does_not_verify(node):
    work.write(node.path("flip", "a.bin"), os.urandom(200_000))
    before = stages(node)
    node.ok(*importing("flip", node.path("flip")))
    (new,) = set(stages(node)) - set(before)
    flip(new)
    node.refused("dataset", "verify", "flip@1", "--tenant", "acme", code=3)


def many_imports_one_after_another_are_taken(node):
    """Imports that are done do not count against those that may be open."""
    for number in range(70):
        path = work.write(node.path("many", "a.txt"), b"%d" % number)
        made = node.ok(*importing("many", path))
        check(made["version"] == number + 1, made)


COUNT = """import os
found = [os.path.join(d, f) for d, _, files in os.walk("/opt/ml/input/data/train") for f in files]
print(len(found), "files,", sum(os.path.getsize(path) for path in found), "bytes", flush=True)
"""


def more_files_than_an_hour_has_keys(node):
    """Small files share keys in groups, so a data set of many can be verified and used."""
    count, total = 3700, 0
    for number in range(count):
        content = b"%d " % number + os.urandom(number % 50)
        total += len(content)
        work.write(node.path("small-files", f"{number % 7}", f"{number}.bin"), content)
    before = set(stages(node))
    check(len(node.ok(*importing("small-files", node.path("small-files")), timeout=300)["files"]) == count, "not all were imported")
    new = sorted(set(stages(node)) - before)
    verified = node.ok("dataset", "verify", "small-files@1", "--tenant", "acme")
    check(verified["verified"] and len(verified["checks"]) == count, "it does not verify")
    directory = work.job(node.path("counts-files"), COUNT, name="counts-files", checkpoints="required = false")
    with open(os.path.join(directory, "job.toml"), "a") as file:
        file.write('\n[inputs]\ntrain = "dataset:small-files@1"\n')
    job = node.submit(directory)
    said = node.wait_job(job, until=("finished", "failed", "held"))["output_tail"]
    check(f"{count} files, {total} bytes" in said, said)
    releases = len(node.events("--kind", "key.release", "--tenant", "acme"))
    check(releases < 40, f"{releases} keys were released")
    # One that is changed is still found among the others.
    flip(new[count // 2])
    node.refused("dataset", "verify", "small-files@1", "--tenant", "acme", code=3)


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        counts = run_tests(
            [
                an_empty_directory_is_refused,
                a_path_that_is_not_there_is_refused,
                links_and_devices_are_refused,
                a_file_that_may_not_be_read_is_refused,
                an_upload_that_breaks_off_leaves_nothing,
                a_good_one_is_whole_and_reads_back,
                a_changed_object_does_not_verify,
                more_files_than_an_hour_has_keys,
                many_imports_one_after_another_are_taken,
            ],
            node,
        )
    close(*counts)
