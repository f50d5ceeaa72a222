#!/usr/bin/python3
"""Several people may be the operator: the log names the login of each, and nobody takes the login of another."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import PROGRAM, Node, check, close, needs_root, run_tests  # noqa: E402

LOGIN = "4711"


def logged_in(node, *words):
    """A command of somebody who logged in as user 4711 and became the operator since."""

    def login():
        with open("/proc/self/loginuid", "w") as file:
            file.write(LOGIN)

    return subprocess.run(
        [PROGRAM, "-o", "json", *words], env=node.env, capture_output=True, text=True, check=False, preexec_fn=login
    )


def own_login():
    """The login that this test runs in; none where nobody logged in."""
    with open("/proc/self/loginuid") as file:
        found = file.read().strip()
    return None if found == str(2**32 - 1) else found


def host_keeps_logins():
    """Whether a login can be set here at all, as pam_loginuid does."""
    script = f"open('/proc/self/loginuid', 'w').write('{LOGIN}')"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, check=False).returncode == 0


def the_log_names_the_login_of_the_operator(node):
    made = logged_in(node, "tenant", "create", "acme")
    check(made.returncode == 0, made.stderr)
    node.ok("tenant", "create", "globex")
    entries = node.events("--kind", "tenant.create")
    logins = {e["unmapped"]["strongroom"]["asset"]["id"]: e["unmapped"]["strongroom"]["details"].get("login_uid") for e in entries}
    check(logins.get("acme") == LOGIN, logins)
    # Positive control: it is not the same for everybody.
    check(logins.get("globex") == own_login(), logins)


def ac_2_passes_where_a_human_is_known_and_nowhere_else(node):
    def found(result):
        return next(c for c in result["controls"] if c["id"] == "AC-2")

    nobody = found(node.ok("posture", "run"))
    if own_login() is None:
        check(nobody["status"] == "unknown" and "pam_loginuid" in nobody["reason"], nobody)
    done = logged_in(node, "posture", "run")
    check(done.returncode == 0, done.stderr)
    known = found(node.ok("posture", "show"))
    check(known["status"] == "pass" and LOGIN in str(known["evidence"]), known)


def a_request_does_not_choose_its_login(node):
    """A header, an environment variable and a name of a process are no login."""
    env = dict(node.env, LOGNAME=LOGIN, SUDO_UID=LOGIN, AUDIT_LOGINUID=LOGIN)
    done = subprocess.run([PROGRAM, "tenant", "create", "initech"], env=env, capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stderr)
    entries = [e for e in node.events("--kind", "tenant.create") if e["unmapped"]["strongroom"]["asset"]["id"] == "initech"]
    check(entries and all(e["unmapped"]["strongroom"]["details"].get("login_uid") == own_login() for e in entries), entries)


if __name__ == "__main__":
    needs_root()
    if not host_keeps_logins():
        print("the kernel keeps no logins here: skipped\n0 passed, 0 failed")
        sys.exit(0)
    with Node() as node:
        passed, failed = run_tests(
            [
                the_log_names_the_login_of_the_operator, ac_2_passes_where_a_human_is_known_and_nowhere_else,
                a_request_does_not_choose_its_login,
            ],
            node,
        )
    close(passed, failed)
