#!/usr/bin/python3
"""An older copy of the metadata database is refused: it could bring back a revoked key. A kill is no such thing."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import Node, check, close, run_tests  # noqa: E402


def tenants(node):
    return [t["name"] for t in node.ok("tenant", "list")["items"]]


def revoked(node):
    return {k["id"]: k["revoked"] for k in node.ok("key", "list", "--tenant", "acme")["items"]}


def a_kill_in_the_middle_of_work_is_no_set_back(node):
    node.ok("tenant", "create", "acme")
    for n in range(8):
        node.ok("tenant", "create", f"t{n}")
        node.kill_all()
        node.start()
        check(f"t{n}" in tenants(node), "what was acknowledged is gone")


def an_older_copy_is_refused_and_the_log_says_so(node):
    key = node.ok("key", "create", "--tenant", "acme")["id"]
    node.stop()
    node.aside = node.keep_database("older")
    node.start()
    node.ok("key", "revoke", key, "--tenant", "acme")
    check(revoked(node)[key], "the key is not revoked")
    node.stop()
    node.newest = node.keep_database("newest")
    node.put_database_back(node.aside)
    text = node.refused_start("accept-set-back")
    check("was set back or replaced" in text, text[-3000:])
    node.key = key


def a_copy_without_its_write_ahead_log_or_none_at_all_is_refused(node):
    node.put_database_back(node.newest)
    os.remove(os.path.join(node.state, "control", "metadata.db"))
    text = node.refused_start("accept-set-back")
    check("was set back or replaced" in text, text[-3000:])


def the_newest_is_taken_again(node):
    node.put_database_back(node.newest)
    node.start()
    check(revoked(node)[node.key], "the key is not revoked")

    def told(found):
        return [e for e in found if e["unmapped"]["strongroom"]["outcome"] == "refused"]

    found = told(node.events("--kind", "metadata.set_back", until=told))
    check(found, "the log does not have the refusal")
    check(all(e["severity_id"] == 5 for e in found), "it is not critical")


def an_operator_can_take_the_older_one_once(node):
    node.stop()
    node.put_database_back(node.aside)
    text = node.refused_start("accept-set-back")
    words = text.split("by writing `")[1].split("`")[0]
    path = os.path.join(node.state, "control", "accept-set-back")
    with open(path, "w") as file:
        file.write("1/2\n")
    node.refused_start("accept-set-back")
    with open(path, "w") as file:
        file.write(words + "\n")
    node.start()
    check(not revoked(node)[node.key], "this is not the older database")
    check(not os.path.exists(path), "the permission is still there")
    found = node.events("--kind", "metadata.set_back", until=lambda f: len(f) > 3)
    last = [e["unmapped"]["strongroom"] for e in found][-2:]
    check([(e["phase"], e["outcome"]) for e in last] == [("intent", "unknown"), ("outcome", "success")], last)
    # The same copy and the same words once more: the log is longer by now.
    node.ok("tenant", "create", "after")
    node.stop()
    node.put_database_back(node.aside)
    with open(path, "w") as file:
        file.write(words + "\n")
    node.refused_start("accept-set-back")
    os.remove(path)


def main():
    with Node() as node:
        return run_tests(
            [
                a_kill_in_the_middle_of_work_is_no_set_back,
                an_older_copy_is_refused_and_the_log_says_so,
                a_copy_without_its_write_ahead_log_or_none_at_all_is_refused,
                the_newest_is_taken_again,
                an_operator_can_take_the_older_one_once,
            ],
            node,
        )


if __name__ == "__main__":
    close(*main())
