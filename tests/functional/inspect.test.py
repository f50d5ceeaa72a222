#!/usr/bin/python3
"""`strongroom model inspect` on what people have on their disks: links, caches of Hugging Face, archives. No node runs."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "lib"))
from node import PROGRAM, ROOT, check, close, run_tests  # noqa: E402

CALL = b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R."


def inspect(path, code):
    """The files of a report by their names, and the whole verdict."""
    done = subprocess.run([PROGRAM, "model", "inspect", path, "-o", "json"], capture_output=True, text=True, check=False)
    check(done.returncode == code, f"exit {done.returncode}, wanted {code}: {done.stdout}{done.stderr}")
    report = json.loads(done.stdout)
    return {file["path"]: file for file in report["files"]}, report["verdict"]


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)


def cache(directory):
    """A repository of a Hugging Face cache with one snapshot."""
    repository = os.path.join(directory, "hub", "models--org--name")
    snapshot = os.path.join(repository, "snapshots", "0a1b2c")
    for name, data in (("aa", b'{"a": 1}'), ("bb", (2).to_bytes(8, "little") + b"{}")):
        write(os.path.join(repository, "blobs", name), data)
    os.makedirs(os.path.join(snapshot, "sub"))
    os.symlink("../../blobs/aa", os.path.join(snapshot, "config.json"))
    os.symlink("../../../blobs/bb", os.path.join(snapshot, "sub", "model.safetensors"))
    return repository, snapshot


def a_link_is_a_finding_and_the_other_files_are_inspected(directory):
    write(os.path.join(directory, "m", "config.json"), b"{}")
    os.symlink("/etc/passwd", os.path.join(directory, "m", "vocab.txt"))
    os.mkfifo(os.path.join(directory, "m", "pipe"))
    files, verdict = inspect(os.path.join(directory, "m"), 3)
    check(verdict == "refuse" and files["config.json"]["verdict"] == "load", str(files))
    for name in ("vocab.txt", "pipe"):
        file = files[name]
        check(file["verdict"] == "refuse" and file["digest"] == "", str(file))
        check([found["code"] for found in file["findings"]] == ["SR-CLI-0007"], str(file))
    check("root:" not in json.dumps(files), "a link was followed")


def a_snapshot_of_a_cache_is_inspected_through_its_links(directory):
    repository, snapshot = cache(directory)
    files, verdict = inspect(snapshot, 0)
    check(sorted(files) == ["config.json", "sub/model.safetensors"] and verdict == "load", str(files))
    check(files["sub/model.safetensors"]["format"] == "safetensors", str(files))
    one, verdict = inspect(os.path.join(snapshot, "config.json"), 0)
    check(verdict == "load" and one["config.json"]["digest"] == files["config.json"]["digest"], str(one))
    # The name of the link counts: a blob has none.
    write(os.path.join(repository, "blobs", "cc"), CALL)
    os.symlink("../../blobs/cc", os.path.join(snapshot, "pytorch_model.bin"))
    files, verdict = inspect(snapshot, 3)
    check(files["pytorch_model.bin"]["verdict"] == "refuse", str(files))


def a_link_out_of_its_repository_is_a_finding(directory):
    repository, snapshot = cache(directory)
    write(os.path.join(directory, "hub", "models--other--one", "blobs", "dd"), b"{}")
    os.symlink("/", os.path.join(repository, "blobs", "root"))
    os.symlink("../refs", os.path.join(repository, "blobs", "again"))
    places = ["/etc/passwd", "../../../../secret", "../../blobs/root/etc/passwd", "../../blobs/again", "../../blobs",
              "../../../models--other--one/blobs/dd", "../../blobs/none", "../../blobs/../refs/main"]
    write(os.path.join(repository, "refs", "main"), b"0a1b2c")
    for at, place in enumerate(places):
        os.symlink(place, os.path.join(snapshot, f"link-{at}.json"))
    files, verdict = inspect(snapshot, 3)
    for at, place in enumerate(places):
        file = files[f"link-{at}.json"]
        check(file["verdict"] == "refuse" and file["findings"][0]["code"] == "SR-CLI-0007", f"{place}: {file}")
    check(files["config.json"]["verdict"] == "load", str(files))


def a_7z_archive_is_looked_into(directory):
    made = os.path.join(ROOT, "crates", "inspect", "tests", "it", "data", "sevenz")
    files, verdict = inspect(os.path.join(made, "lzma2.7z"), 3)
    check(verdict == "load-with-policy" and files["lzma2.7z"]["risks"] == ["archive"], str(files))
    files, verdict = inspect(os.path.join(made, "encrypted.7z"), 3)
    check(verdict == "refuse" and "encryption" in json.dumps(files), str(files))
    del directory


TESTS = [
    a_link_is_a_finding_and_the_other_files_are_inspected,
    a_snapshot_of_a_cache_is_inspected_through_its_links,
    a_link_out_of_its_repository_is_a_finding,
    a_7z_archive_is_looked_into,
]


def alone(test):
    def run():
        with tempfile.TemporaryDirectory(prefix="strongroom-test-") as directory:
            test(directory)
    run.__name__ = test.__name__
    return run


if __name__ == "__main__":
    close(*run_tests([alone(test) for test in TESTS]))
