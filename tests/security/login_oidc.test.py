#!/usr/bin/python3
"""Logins by OpenID Connect from the side of a thief: codes, states and secrets that are another's, and a provider that lies."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import Node, UnixHttp, check, close, run_tests, wait_for  # noqa: E402
from openid import ALICE, SCRIPTS, Browser, Provider, parameter  # noqa: E402

REDIRECT = "http://127.0.0.1:9/callback"
GRANTS = [("ml-engineers", "acme", "ml-engineer")]


def ask(node, path, body):
    """Status and document of a request by nobody."""
    connection = UnixHttp(node.ready["socket"], timeout=60)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    answer = reply.status, json.loads(reply.read())
    connection.close()
    return answer


def begin(node, **more):
    status, begun = ask(node, "/v1/login", {"method": "oidc-code", "redirect": REDIRECT, **more})
    check(status == 200, begun)
    return begun


def finish(node, login, back=None, **more):
    """Status and code of an error, or of the session."""
    body = {"login": login}
    if back:
        body.update(code=parameter(back, "code"), state=parameter(back, "state"))
    status, answer = ask(node, "/v1/login/finish", {**body, **more})
    return status, answer.get("code") or answer.get("state"), answer


def agreed(provider, begun, person=None):
    """Where the browser of a person who agreed is sent: what a thief may see of it."""
    return Browser(provider.ca).log_in(begun["url"], person or ALICE, hand_over=False)


def honest(node, provider):
    begun = begin(node)
    status, state, answer = finish(node, begun["login"], agreed(provider, begun))
    check((status, state) == (200, "done"), f"an honest login is refused: {answer}")
    return answer["session"]["token"]


def sessions(node):
    return len(node.ok("access", "session", "list")["items"])


def a_stolen_code_is_worth_nothing_without_the_secret_of_the_login(node, provider):
    before = sessions(node)
    victim = begin(node)
    back = agreed(provider, victim)
    for secret in ("", "x", "srl_" + "0" * 60, victim["login"][:-1] + ("a" if victim["login"][-1] != "a" else "b")):
        status, code, answer = finish(node, secret, back)
        check(status == 401, f"{secret!r}: {status} {answer}")
    # The thief begins a login of their own: its state, proof key and nonce are others.
    status, code, _ = finish(node, begin(node)["login"], back)
    check((status, code) == (403, "SR-OID-0010"), f"the state of another: {status} {code}")
    thief = begin(node)
    status, code, _ = finish(node, thief["login"], code=parameter(back, "code"), state=parameter(thief["url"], "state"))
    check((status, code) == (403, "SR-OID-0014"), f"the code of another: {status} {code}")
    check(sessions(node) == before, "a thief has a session")
    honest(node, provider)
    check(sessions(node) == before + 1, "the honest login is not there")


def who_lures_somebody_onto_a_link_gets_no_session(node, provider):
    """The thief began the login and the victim agreed: the code is at the victim's own machine, never at the thief's."""
    thief = begin(node)
    status, code, answer = finish(node, thief["login"])
    check((status, code) == (403, "SR-OID-0010"), f"without a code: {status} {answer}")
    check(parameter(thief["url"], "redirect_uri") == REDIRECT, thief)
    for elsewhere in ("https://thief.example/callback", "http://localhost:9/callback", "http://127.0.0.1:9@thief.example/"):
        status, answer = ask(node, "/v1/login", {"method": "oidc-code", "redirect": elsewhere})
        check((status, answer["code"]) == (400, "SR-OID-0017"), f"{elsewhere}: {status} {answer}")


def a_code_a_login_and_a_session_are_each_good_once(node, provider):
    begun = begin(node)
    back = agreed(provider, begun)
    check(finish(node, begun["login"], back)[0] == 200, "the first time")
    check(finish(node, begun["login"], back)[0] == 401, "the same login again")
    again = begin(node)
    status, code, _ = finish(node, again["login"], code=parameter(back, "code"), state=parameter(again["url"], "state"))
    check((status, code) == (403, "SR-OID-0014"), f"the code again: {status} {code}")
    # One wrong try and the login is over, so that nothing can be tried through.
    begun = begin(node)
    back = agreed(provider, begun)
    check(finish(node, begun["login"], back, state="0" * 64)[:2] == (403, "SR-OID-0010"), "a wrong state")
    check(finish(node, begun["login"], back)[0] == 401, "a login is tried twice")


def a_device_login_is_of_who_began_it(node, provider):
    status, begun = ask(node, "/v1/login", {"method": "oidc-device"})
    check(status == 200 and "device_code" not in json.dumps(begun), f"the device code is given out: {begun}")
    status, state, answer = finish(node, begun["login"])
    check((status, state) == (200, "pending") and answer["interval"] >= 1, answer)
    Browser(provider.ca).agree(begun["url"], begun["user_code"], ALICE)
    check(finish(node, begun["login"][:-2] + "zz")[0] == 401, "another secret")
    for _ in range(20):
        time.sleep(answer.get("interval") or 1)
        status, state, answer = finish(node, begun["login"])
        if state != "pending":
            break
    check((status, state) == (200, "done"), answer)
    check(finish(node, begun["login"])[0] == 401, "the login again")


def what_the_provider_says_of_nobody_in_particular_gives_nothing(node, provider):
    """A role that a request names is one of those that groups or grants give, and none else."""
    begun = begin(node, role="tenant-admin", tenant="acme")
    status, _, answer = finish(node, begun["login"], agreed(provider, begun))
    check(status == 403, f"a role that nobody gave: {status} {answer}")
    begun = begin(node, tenant="globex")
    status, _, answer = finish(node, begun["login"], agreed(provider, begun))
    check(status == 403, f"a tenant that nobody gave: {status} {answer}")


def logins_under_way_are_bounded(node, _provider):
    statuses = []
    for _ in range(40):
        status, answer = ask(node, "/v1/login", {"method": "oidc-code", "redirect": REDIRECT})
        statuses.append(status)
        if status == 429:
            break
    check(statuses[-1] == 429 and len(statuses) <= 20, f"so many logins under way: {statuses}")
    check(node.ok("status")["mode"] == "dev", "the operator is held up")


class Liar:
    """The provider that lies (tests/lib/oidc/evil.mjs); what it signs is for the code `LIE.NONCE`."""

    def __enter__(self):
        self.process = subprocess.Popen(
            ["node", os.path.join(SCRIPTS, "evil.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.origin = json.loads(self.process.stdout.readline())["origin"]
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def issuer(node, provider, place=""):
    """The node with another provider, the one that lies, at one of its issuers."""
    file = os.path.join(node.state, "strongroom.toml")
    with open(file) as text:
        kept = text.read()
    with Liar() as liar:
        node.stop()
        with open(file, "w") as text:
            text.write(kept.replace(provider.issuer, liar.origin + place).replace("ca_file", "#ca_file"))
        node.start()
        try:
            yield liar.origin + place
        finally:
            node.stop()
            with open(file, "w") as text:
                text.write(kept)
            node.start()


def a_provider_that_hangs_holds_nobody_up(node, provider):
    with issuer(node, provider, "/token-silent"):
        answers = []
        # Begun before: the first of them asks the provider what it offers.
        logins = [begin(node) for _ in range(11)]

        def one(begun):
            state = parameter(begun["url"], "state")
            answers.append(finish(node, begun["login"], code="x", state=state)[1])

        threads = [threading.Thread(target=one, args=(begun,)) for begun in logins]
        for thread in threads:
            thread.start()
        wait_for("three are told to ask again", lambda: len(answers) >= 3)
        node.ok("status")
        node.ok("tenant", "list")
        # The operator was answered while eight wait for the provider.
        check(answers == ["pending"] * 3, f"eight wait for the provider, and three are told to ask again: {answers}")
        # The provider never answers: that they end is that they are cut off, and all at one time.
        for thread in threads:
            thread.join()
        check(answers[3:] == ["SR-OID-0002"] * 8, f"not as one exchange that took too long: {answers}")


def a_provider_that_lies_logs_nobody_in(node, provider):
    with issuer(node, provider) as origin:
        node.ok("access", "user", "create", "mallory", "--issuer", origin, "--subject", "mallory")

        def lie(what):
            begun = begin(node)
            nonce, state = parameter(begun["url"], "nonce"), parameter(begun["url"], "state")
            return finish(node, begun["login"], code=f"{what}.{nonce}", state=state)

        status, state, answer = lie("honest")
        check((status, state) == (200, "done"), f"the positive control is refused: {answer}")
        before = sessions(node)
        for what, expected in (
            ("alg-none", "SR-OID-0006"), ("hs256-public-pem", "SR-OID-0006"), ("foreign-key", "SR-OID-0006"),
            ("kid-of-nowhere", "SR-OID-0007"), ("iss-other", "SR-OID-0004"), ("aud-two", "SR-OID-0008"),
            ("expired", "SR-OID-0009"), ("nonce-other", "SR-OID-0010"), ("auth-old", "SR-OID-0011"),
            ("amr-pwd", "SR-OID-0012"), ("sub-unicode", "SR-OID-0016"), ("groups-many", "SR-OID-0016"),
        ):
            status, code, answer = lie(what)
            check(status in (403, 503) and code == expected, f"{what}: {status} {answer}")
        check(sessions(node) == before, "a lie opened a session")
        refusals = node.events("--kind", "session.refuse")
        check(refusals, "lies are not in the log")


def a_secret_that_everybody_may_read_keeps_the_node_from_starting(node, provider):
    secret, file = node.path("secret"), os.path.join(node.state, "strongroom.toml")
    with open(file) as text:
        kept = text.read()
    with open(secret, "w") as text:
        text.write("s3cret/+%:\n")
    node.stop()
    with open(file, "w") as text:
        words = kept.replace('client_id = "strongroom"', f'client_id = "with-secret"\nclient_secret_file = "{secret}"')
        text.write(words)

    def starts(mode):
        os.chmod(secret, mode)
        if os.geteuid() == 0:
            os.chown(secret, 890_002, 890_002)
        try:
            node.start()
        except Exception as failure:  # noqa: BLE001
            return str(failure)
        return None

    why = starts(0o644)
    check(why and "everybody may use it" in why, f"a secret that everybody may read is used: {why}")
    node.stop()
    why = starts(0o600)
    check(why is None, f"the secret is not used: {why}")
    honest(node, provider)
    node.stop()
    with open(file, "w") as text:
        text.write(kept)
    node.start()


if __name__ == "__main__":
    with Node() as node, Provider(node.work) as provider:
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        node.stop()
        with open(os.path.join(node.state, "strongroom.toml"), "a") as text:
            text.write(provider.settings(grants=GRANTS))
        node.start()
        node.ok("access", "user", "create", "alice", "--issuer", provider.issuer, "--subject", "alice")
        counts = run_tests(
            [
                a_stolen_code_is_worth_nothing_without_the_secret_of_the_login,
                who_lures_somebody_onto_a_link_gets_no_session,
                a_code_a_login_and_a_session_are_each_good_once,
                a_device_login_is_of_who_began_it,
                what_the_provider_says_of_nobody_in_particular_gives_nothing,
                a_provider_that_lies_logs_nobody_in,
                a_provider_that_hangs_holds_nobody_up,
                a_secret_that_everybody_may_read_keeps_the_node_from_starting,
                logins_under_way_are_bounded,
            ],
            node,
            provider,
        )
        node.log_verifies()
    close(*counts)
