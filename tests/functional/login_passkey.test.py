#!/usr/bin/python3
"""A person's way in, as they walk it: the operator's link in Chromium, a passkey, `strongroom login`, work, `strongroom
logout`. The browser trusts the node's authority because it was imported, and its authenticator is Chromium's own.
"""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from browser import Browser  # noqa: E402
from node import PROGRAM, Node, check, close, run_tests, wait_for  # noqa: E402


class Ann:
    """A person at another place: a browser, and a command line with a configuration of its own."""

    def __init__(self, node, browser):
        self.node, self.browser = node, browser
        self.env = {k: v for k, v in node.env.items() if not k.startswith("STRONGROOM_")}
        self.env["XDG_CONFIG_HOME"] = node.path("ann")
        self.there = ["--server", node.ready["management"].replace("127.0.0.1", "localhost"), "--ca", node.ready["management_ca"]]

    def words(self, *arguments):
        return [PROGRAM, "-o", "json", *arguments, *self.there]

    def run(self, *arguments):
        return subprocess.run(self.words(*arguments), env=self.env, capture_output=True, text=True, timeout=60, check=False, cwd=self.node.work)

    def login(self, *arguments):
        """Starts the command; gives it, and the link that it prints."""
        said = self.node.path("login.err")
        with open(said, "wb") as err:
            command = subprocess.Popen(
                self.words("login", *arguments), env=self.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True
            )

        def link():
            with open(said) as text:
                lines = text.read()
            check(command.poll() is None, f"the command ended: {lines}")
            return next((word for word in lines.split() if word.startswith("https://") and "#" in word), None)

        return command, wait_for("the link is printed", link, 20)

    def done(self, command, typed=None):
        out, _ = command.communicate(typed, timeout=30)
        with open(self.node.path("login.err")) as text:
            check(command.returncode == 0, f"login ended with {command.returncode}: {text.read()}")
        return out


def the_operator_makes_a_person_known_who_registers_a_passkey(ann):
    node, browser = ann.node, ann.browser
    made = node.ok("access", "user", "create", "ann", "--display", "Ann Lee")
    browser.open(made["enrolment"])
    check("#" not in browser.address(), "the secret does not stay in the address")
    browser.type("#label", "laptop")
    browser.click("#go")
    browser.see("The passkey of ann is registered")
    shown = node.ok("access", "user", "show", "ann")
    check([p["label"] for p in shown["passkeys"]] == ["laptop"] and not shown["enrolment_ends"], shown)
    browser.open("about:blank")
    browser.open(made["enrolment"])
    browser.click("#go")
    browser.see("a new link")


def she_logs_in_works_and_logs_out(ann):
    node, browser = ann.node, ann.browser
    node.ok("access", "grant", "ann", "auditor", "--tenant", "acme", "--reason", "looks at the model")
    command, link = ann.login()
    browser.open(link)
    browser.see(ann.there[1].split("//")[1])
    browser.click("#go")
    browser.see("close this window")
    check(browser.address().startswith("http://127.0.0.1:"), browser.address())
    ann.done(command)
    told = ann.run("whoami")
    check(told.returncode == 0 and "ann" in told.stdout and "auditor" in told.stdout, f"{told.stdout} {told.stderr}")
    listed = ann.run("model", "list", "--tenant", "acme")
    check(listed.returncode == 0, listed.stderr)
    refused = ann.run("model", "list", "--tenant", "globex")
    check(refused.returncode != 0 and "globex" in refused.stdout + refused.stderr, "another tenant")
    check(node.events("--kind", "session.open"), "the login is in the log")
    ended = ann.run("logout")
    check(ended.returncode == 0, ended.stderr)
    after = ann.run("model", "list", "--tenant", "acme")
    check(after.returncode == 2 and "strongroom login" in after.stderr, f"who logged out is nobody: {after.stderr}")
    sessions = node.ok("access", "session", "list")["items"]
    check([s["state"] for s in sessions if s["user"] == "ann"] == ["revoked"], sessions)


def she_types_the_code_in_where_the_browser_is_elsewhere(ann):
    command, link = ann.login("--code")
    ann.browser.open(link)
    ann.browser.click("#go")
    ann.browser.see("Code for the command line")
    ann.done(command, ann.browser.text("#code-text").lower() + "\n")
    check(ann.run("whoami").returncode == 0, "she is known")
    ann.run("logout")


def pages_say_nothing_to_developers(ann):
    said = [line for line in ann.browser.console() if "404" not in line and "Failed to load" not in line]
    check(not said, said)


TESTS = [
    the_operator_makes_a_person_known_who_registers_a_passkey,
    she_logs_in_works_and_logs_out,
    she_types_the_code_in_where_the_browser_is_elsewhere,
    pages_say_nothing_to_developers,
]

if __name__ == "__main__":
    with Node() as started, Browser(started.ready["management_ca"]) as browser:
        for tenant in ("acme", "globex"):
            started.ok("tenant", "create", tenant)
        browser.authenticator()
        passed, failed = run_tests(TESTS, Ann(started, browser))
    close(passed, failed)
