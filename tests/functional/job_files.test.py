#!/usr/bin/python3
"""A job file that is wrong is refused before anything runs: file, line, column, reason and what to do."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests  # noqa: E402


def with_file(node, change):
    """Submits a good job file after a change; what the command gave."""
    directory = work.counting(os.path.join(node.path(), f"job-{os.urandom(4).hex()}"))
    path = os.path.join(directory, "job.toml")
    with open(path) as file:
        text = file.read()
    changed = change(text)
    check(changed != text, "the test changes nothing")
    with open(path, "w") as file:
        file.write(changed)
    return path


def refused(node, change, *says, code=1):
    path = with_file(node, change)
    node.refused("job", "run", path, "--tenant", "acme", code=code, says=says)
    return path


def a_misspelt_key_is_named_with_its_place_and_the_right_spelling(node):
    path = with_file(node, lambda t: t.replace("memory =", "memroy ="))
    node.refused("job", "run", path, "--tenant", "acme", code=1, says=["job.toml:", "memroy", "did you mean `memory`?"])
    with open(path) as file:
        line = 1 + [text.startswith("memroy") for text in file].index(True)
    told = node.run("job", "run", path, "--tenant", "acme").err
    check(f"job.toml:{line}:1" in told, f"not the place job.toml:{line}:1: {told}")
    check("panicked" not in told and "\n" in told, told)


def a_misspelt_section_is_named(node):
    refused(node, lambda t: t.replace("[resources]", "[resorces]"), "resorces", "did you mean `resources`?")


def a_job_without_a_checkpoint_policy_is_refused(node):
    start = "[checkpoints]"
    refused(
        node, lambda t: t[: t.index(start)] + t[t.index("[resources]") :], "[checkpoints]", "missing", "required"
    )


def required_without_a_bound_is_refused(node):
    refused(node, lambda t: t.replace("max_lost_seconds = 30\n", ""), "max_lost_seconds")


def impossible_values_are_refused_at_their_place(node):
    for change, says in [
        (lambda t: t.replace("cpus = 1", "cpus = 5000"), ["job.toml:", "cpus"]),
        (lambda t: t.replace('"256MiB"', '"900TiB"'), ["job.toml:", "memory"]),
        (lambda t: t.replace('"256MiB"', '"256MB!"'), ["job.toml:", "memory"]),
        (lambda t: t.replace('"5m"', '"5 fortnights"'), ["job.toml:", "wall_time"]),
        (lambda t: t.replace('class = "standard"', 'class = "standart"'), ["did you mean `standard`?"]),
        (lambda t: t.replace("version = 1", "version = 9"), ["job.toml:1:", "version"]),
        (lambda t: t.replace('image = "host"', 'image = "ubuntu"'), ["image", "host"]),
        (lambda t: t.replace("[job]\n", "[job]\nname = \"twice\"\n"), ["job.toml:", "name"]),
    ]:
        refused(node, change, *says)


def what_is_no_toml_is_refused_with_its_line(node):
    refused(node, lambda t: t.replace("keep = 3", "keep = = 3"), "job.toml:")
    refused(node, lambda _: "\x00\x01\x02", "job.toml")
    refused(node, lambda _: "", "job.toml")


def inputs_that_are_not_there_are_refused(node):
    refused(node, lambda t: t.replace("[checkpoints]", '[inputs]\nx = "dataset:absent@1"\n[checkpoints]'), "absent", code=3)
    refused(node, lambda t: t.replace("[checkpoints]", '[inputs]\nx = "no/such/path"\n[checkpoints]'), "no/such/path")
    refused(node, lambda t: t.replace('code = "."', 'code = "no-such-code"'), "no-such-code")


def a_job_file_that_is_not_there_is_refused(node):
    node.refused("job", "run", node.path("absent.toml"), "--tenant", "acme", code=1, says="absent.toml")


def nothing_of_them_is_left(node):
    check(node.ok("job", "list", "--tenant", "acme")["items"] == [], "a refused job is listed")
    check(node.ok("dataset", "list", "--tenant", "acme")["items"] == [], "a data set of a refused job is listed")


def a_good_file_is_taken(node):
    job = node.submit(work.counting(node.path("good"), steps=2, every=1))
    check(node.wait_job(job)["model"], "no model")


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        counts = run_tests(
            [
                a_misspelt_key_is_named_with_its_place_and_the_right_spelling,
                a_misspelt_section_is_named,
                a_job_without_a_checkpoint_policy_is_refused,
                required_without_a_bound_is_refused,
                impossible_values_are_refused_at_their_place,
                what_is_no_toml_is_refused_with_its_line,
                inputs_that_are_not_there_are_refused,
                a_job_file_that_is_not_there_is_refused,
                nothing_of_them_is_left,
                a_good_file_is_taken,
            ],
            node,
        )
    close(*counts)
