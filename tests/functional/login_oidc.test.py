#!/usr/bin/python3
"""People log in by an OpenID provider that is not ours, by code and by device code, with its groups as roles."""

import os
import re
import subprocess
import sys
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import PROGRAM, Node, check, close, run_tests, wait_for  # noqa: E402
from openid import ALICE, Browser, Provider  # noqa: E402

GRANTS = [("ml-engineers", "acme", "ml-engineer"), ("oversight", None, "security")]


class Login:
    """`strongroom login` under way, as a person sees it."""

    def __init__(self, node, *words):
        self.lines = open(node.path("login.err"), "w+")
        self.process = subprocess.Popen(
            [PROGRAM, "-o", "json", "login", *words], env=node.env, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=self.lines, text=True, cwd=node.work,
        )

    def said(self):
        with open(self.lines.name) as text:
            return text.read()

    def told(self, pattern):
        def look():
            check(self.process.poll() is None, f"the login ended: {self.said()}")
            return re.search(pattern, self.said())

        return wait_for(f"the login says {pattern}", look, 20)

    def ends(self, seconds=40):
        out, _ = self.process.communicate(timeout=seconds)
        self.lines.close()
        return self.process.returncode, out, self.said()


def configure(node, text):
    """Adds to the configuration of a node that is stopped; `strongroom dev` keeps what is set there."""
    with open(os.path.join(node.state, "strongroom.toml"), "a") as file:
        file.write(text)


def with_provider(node, provider, **more):
    node.stop()
    configure(node, provider.settings(**more))
    node.start()


def known(node, provider, name="alice"):
    node.ok("access", "user", "create", name, "--issuer", provider.issuer, "--subject", name)


def a_login_by_code_opens_a_session(node, provider):
    browser = Browser(provider.ca)
    login = Login(node, "--by", "oidc")
    url = login.told(r"(https://localhost:\S+)")[1]
    check("code_challenge_method=S256" in url and "prompt=login" in url, url)
    page = browser.log_in(url, ALICE)
    check("close this window" in page, page)
    code, out, said = login.ends()
    check(code == 0, f"the login ended with {code}: {out} {said}")
    check("srs_" not in out + said, "the token is shown")
    me = node.ok("whoami")
    check(me["principal"] == "user:alice" and me["role"] == "ml-engineer" and me["tenant"] == "acme", me)
    check(me["subject"] == {"issuer": provider.issuer, "subject": "alice"}, me)
    check("which named a second factor" in me["source"] and me["session"]["method"] == "oidc-code", me)
    node.ok("dataset", "list", "--tenant", "acme")
    node.refused("tenant", "create", "initech", code=3)
    node.ok("logout")
    check(node.ok("whoami")["principal"] == "operator", "the session stayed")
    check(node.events("--kind", "session.open"), "the login is not in the log")


def a_login_by_device_opens_a_session(node, provider):
    browser = Browser(provider.ca)
    login = Login(node, "--by", "device")
    page = login.told(r"open (https://localhost:\S+)")[1]
    code = login.told(r"type the code (\S+)")[1]
    browser.agree(page, code, ALICE)
    ended, out, said = login.ends(60)
    check(ended == 0, f"the login ended with {ended}: {out} {said}")
    me = node.ok("whoami")
    check(me["principal"] == "user:alice" and me["session"]["method"] == "oidc-device", me)
    node.ok("logout")


def refused(node, provider, person, code, *words):
    login = Login(node, "--by", "oidc", *words)
    browser = Browser(provider.ca)
    browser.log_in(login.told(r"(https://localhost:\S+)")[1], person)
    ended, out, said = login.ends()
    check(ended != 0 and code in said, f"not {code}: {ended} {out} {said}")
    return said


def who_is_not_known_or_has_no_second_factor_is_refused(node, provider):
    refused(node, provider, {"login": "alice", "amr": "pwd"}, "SR-OID-0012")
    said = refused(node, provider, {"login": "bob", "amr": "mfa"}, "SR-CTL-0005")
    check("--subject bob" in said, f"the next step is not said: {said}")
    check("\u202e" not in said, "what the provider calls a person is shown as it came")
    known(node, provider, "bob")
    refused(node, provider, {"login": "bob", "amr": "mfa"}, "SR-CTL-0005")
    refused(node, provider, {"deny": "1"}, "access_denied")
    refused(node, provider, ALICE, "SR-CTL-0005", "--role", "tenant-admin")
    node.ok("access", "user", "disable", "bob")
    refused(node, provider, {"login": "bob", "amr": "mfa"}, "SR-CTL-0005")
    check(node.events("--kind", "session.refuse"), "refused logins are not in the log")


def where_there_is_no_browser_the_device_flow_is_named(node, _provider):
    result = node.run("-o", "json", "login", "--by", "oidc", "--code")
    check(result.code != 0 and "--by device" in result.err, result.err)


def two_duties_by_groups_and_grants_are_none(node, provider):
    node.ok("access", "grant", "alice", "deployer", "--tenant", "acme", "--reason", "a test")
    said = refused(node, provider, ALICE, "SR-CTL-0005")
    check("nobody has both duties" in said, said)
    node.ok("access", "revoke", "alice", "1")


def the_provider_may_be_down(node, provider):
    browser = Browser(provider.ca)
    login = Login(node, "--by", "oidc")
    browser.log_in(login.told(r"(https://localhost:\S+)")[1], ALICE)
    check(login.ends()[0] == 0, "no login")
    begun = Login(node, "--by", "oidc")
    back = Browser(provider.ca).log_in(begun.told(r"(https://localhost:\S+)")[1], ALICE, hand_over=False)
    provider.stop()
    check(node.ok("whoami")["principal"] == "user:alice", "the session ended with the provider")
    node.ok("dataset", "list", "--tenant", "acme")
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(back, timeout=10).read()
    code, out, said = begun.ends()
    check(code != 0 and "SR-OID-0002" in said, f"{code} {out} {said}")
    check("sessions that there are go on" in said, f"the next step is not said: {said}")
    node.ok("logout")
    # The node starts without it, too.
    node.stop()
    node.start()
    result = node.run("-o", "json", "login", "--by", "device")
    check(result.code != 0 and "SR-OID-0002" in result.err, result.err)
    provider.start()


def an_authority_that_is_not_named_vouches_for_nobody(node, provider):
    file = os.path.join(node.state, "strongroom.toml")
    node.stop()
    with open(file) as text:
        kept = text.read()
    with open(file, "w") as text:
        text.write(re.sub(r"ca_file = .*\n", "", kept))
    node.start()
    result = node.run("-o", "json", "login", "--by", "device")
    check("SR-OID-0002" in result.err and "certificate" in result.err, result.err)
    node.stop()
    with open(file, "w") as text:
        text.write(kept)
    node.start()


def ac_4(node):
    # Other controls fail on a development node, so the command ends with no.
    return next(c for c in node.run("-o", "json", "posture", "run").json()["controls"] if c["id"] == "AC-4")


def a_second_factor_that_the_node_cannot_see_is_said(node, provider):
    check(ac_4(node)["status"] == "pass", f"positive control: {ac_4(node)}")
    file = os.path.join(node.state, "strongroom.toml")
    with open(file) as text:
        kept = text.read()
    node.stop()
    with open(file, "w") as text:
        # Written by `strongroom dev` again, so as it writes it.
        text.write(re.sub(r'\n\[login\.oidc\.second_factor\]\namr = [^\n]*\n', "\n", kept).replace(
            f'issuer = "{provider.issuer}"', f'issuer = "{provider.issuer}"\nsecond_factor = "provider"', 1))
    node.start()
    login = Login(node, "--by", "oidc")
    browser = Browser(provider.ca)
    browser.log_in(login.told(r"(https://localhost:\S+)")[1], {"login": "alice"})
    check(login.ends()[0] == 0, "no login")
    check("vouches for a second factor unseen" in node.ok("whoami")["source"], node.ok("whoami"))
    node.ok("logout")
    check(any("second factor" in line for line in node.ok("status")["simulated"]), node.ok("status"))
    found = ac_4(node)
    check(found["status"] == "unknown" and "cannot see" in found["reason"], found)
    node.stop()
    with open(file, "w") as text:
        text.write(kept)
    node.start()


if __name__ == "__main__":
    with Node() as node, Provider(node.work) as provider:
        node.ok("tenant", "create", "acme")
        with_provider(node, provider, grants=GRANTS)
        known(node, provider)
        counts = run_tests(
            [
                a_login_by_code_opens_a_session,
                a_login_by_device_opens_a_session,
                who_is_not_known_or_has_no_second_factor_is_refused,
                where_there_is_no_browser_the_device_flow_is_named,
                two_duties_by_groups_and_grants_are_none,
                the_provider_may_be_down,
                an_authority_that_is_not_named_vouches_for_nobody,
                a_second_factor_that_the_node_cannot_see_is_said,
            ],
            node,
            provider,
        )
        node.log_verifies()
    close(*counts)
