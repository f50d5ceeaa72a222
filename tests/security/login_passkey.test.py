#!/usr/bin/python3
"""Logins by passkey, attacked: links used twice or read on their way, tickets and codes in the wrong hands, answers that
lie about any one thing, and pages into which somebody gets a script.

What a browser would send is made by tests/lib/people.py, so each lie is one changed member; the pages are opened in
Chromium.
"""

import http.server
import os
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import people  # noqa: E402
from browser import Browser  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from node import ROOT, Node, check, close, run_tests  # noqa: E402

PAGES = ("/login", "/enrol", "/passkey.js", "/passkey.css")
PAGES_DIR = os.path.join(ROOT, "crates", "control", "src", "http", "pages")
CALLBACK = "http://127.0.0.1:18080/callback"
# What is tried in a page: a handler, an element and a string that becomes code. `hit` counts what ran.
INJECT = """
window.hit = 0;
const tries = [
  () => { const s = document.createElement("script"); s.textContent = "window.hit++"; document.body.append(s); },
  () => { document.body.insertAdjacentHTML("beforeend", "<button id=x onclick='window.hit++'>x</button>"); },
  () => { document.getElementById("x").click(); },
  () => { window.setTimeout("window.hit++", 0); },
];
for (const one of tries) { try { one(); } catch (error) { } }
"""


def refused(answer, status, code):
    check(answer.status == status and answer.json["code"] == code, f"expected {status} {code}: {answer}")


def an_enrolment_link_is_good_once(node):
    person, link = people.known(node, "once")
    people.must(person.enrol(link))
    again = people.Person(node, "once")
    origin, secret = people.apart(link)
    refused(people.post(node, "/enrol/options", {"secret": secret}), 404, "SR-ACC-0011")
    # Two began before either ended: the first to end has it.
    first = people.must(people.post(node, "/users/once/enrol"))["enrolment"]
    second = people.must(people.post(node, "/users/once/enrol"))["enrolment"]
    _, old = people.apart(first)
    refused(people.post(node, "/enrol/options", {"secret": old}), 404, "SR-ACC-0011")
    origin, secret = people.apart(second)
    options = people.must(people.post(node, "/enrol/options", {"secret": secret}))["options"]
    own, other = again.passkey.create(options, origin), people.Passkey().create(options, origin)
    people.must(people.post(node, "/enrol", {"secret": secret, "credential": own}))
    refused(people.post(node, "/enrol", {"secret": secret, "credential": other}), 404, "SR-ACC-0011")
    shown = people.must(people.ask(node.ready["socket"], "GET", "/v1/users/once"))
    check(len(shown["passkeys"]) == 2 and not shown.get("enrolment_ends"), shown)


def a_link_of_one_person_enrols_nobody_else(node):
    _, anns = people.known(node, "link-ann")
    _, bobs = people.known(node, "link-bob")
    token = people.apart(anns)[1].rsplit(".", 1)[1]
    for secret in (
        f"link-bob.{token}", f"nobody.{token}", token, "", ".", "link-ann.", f"link-ann.{token[:-1]}", f"link-ann.{token}0",
        f"link-ann.{token.replace('sre_', 'srk_')}", "\u0000", "x" * 10000,
    ):
        refused(people.post(node, "/enrol/options", {"secret": secret}), 404, "SR-ACC-0011")
        refused(people.post(node, "/enrol", {"secret": secret, "credential": {}}), 404, "SR-ACC-0011")
    people.must(people.post(node, "/enrol/options", {"secret": people.apart(anns)[1]}))
    people.must(people.post(node, "/enrol/options", {"secret": people.apart(bobs)[1]}))


def a_passkey_of_one_person_is_registered_for_no_other(node):
    ann = people.granted(node, "own-ann", "auditor", "acme")
    bob, link = people.known(node, "own-bob")
    bob.passkey.id = ann.passkey.id
    refused(bob.enrol(link), 422, "SR-PKY-0017")
    bob.passkey.id = b"another"
    people.must(bob.enrol(link))


def whoever_reads_the_link_has_no_session(node):
    ann = people.granted(node, "ticket-ann", "auditor", "acme")
    login = ann.begin()
    ticket = people.apart(login["url"])[1]
    # The thief has a passkey of their own, which nobody registered.
    thief = people.Person(node, "ticket-ann")
    thief.passkey.handle = ann.passkey.handle
    refused(thief.prove(login["url"]), 422, "SR-PKY-0018")
    proof = people.must(ann.prove(login["url"]))
    for secret in (ticket, "srl_" + ticket, login["login"][:-1], login["login"].replace("srl_", "srs_")):
        answer = people.post(node, "/login/finish", {"login": secret, "code": proof["code"]})
        check(answer.status == 401, f"a ticket ends no login: {answer}")
    check(people.post(node, "/login/passkey/options", {"ticket": ticket}).status == 404, "the link is used")
    people.must(ann.finish(login, code=proof["code"]))
    check(ann.finish(login, code=proof["code"]).status == 401, "a login is ended once")


def a_code_is_of_its_own_login(node):
    ann = people.granted(node, "code-ann", "auditor", "acme")
    login, thiefs = ann.begin(), ann.begin()
    code = people.must(ann.prove(login["url"]))["code"]
    refused(ann.finish(thiefs, code=code), 401, "SR-CTL-0004")
    refused(ann.finish(thiefs, code=code), 401, "SR-CTL-0004")
    token = people.must(ann.finish(login, code=code.lower().replace("-", "")))["session"]["token"]
    told = people.must(people.ask(node.ready["socket"], "GET", "/v1/whoami", token))
    check("code-ann" in str(told), told)


def who_lures_somebody_onto_a_link_gets_nothing(node):
    """The thief holds the secret of a login whose link somebody else was made to open."""
    ann = people.granted(node, "lured-ann", "auditor", "acme")
    login = ann.begin()
    people.must(ann.prove(login["url"]))
    waiting = people.must(ann.finish(login))
    check(waiting["state"] == "pending" and not waiting.get("session"), waiting)
    refused(ann.finish(login, code="00000-00000"), 401, "SR-CTL-0004")
    check(ann.finish(login).status == 401, "one guess ends the login")


def a_browser_hands_over_on_its_own_machine_alone(node):
    ann = people.granted(node, "redirect-ann", "auditor", "acme")
    for elsewhere in (
        "https://evil.example/", "http://evil.example:80/", "http://localhost:8080/", "http://127.0.0.1/",
        "http://127.0.0.1:8080@evil.example/", "http://127.0.0.1:8080/?x=", "javascript:alert(1)", "//evil.example",
    ):
        answer = people.post(node, "/login", {"method": "passkey", "redirect": elsewhere})
        check(answer.status == 400, f"{elsewhere}: {answer}")
    login = ann.begin(redirect=CALLBACK)
    proof = people.must(ann.prove(login["url"]))
    check("code" not in proof and proof["redirect"].startswith(CALLBACK + "?code="), proof)
    handed = dict(pair.split("=") for pair in proof["redirect"].split("?")[1].split("&"))
    people.must(ann.finish(login, **handed))
    login = ann.begin(redirect=CALLBACK)
    proof = people.must(ann.prove(login["url"]))
    handed = dict(pair.split("=") for pair in proof["redirect"].split("?")[1].split("&"))
    check(ann.finish(login, code=handed["code"], state="0" * 32).status == 401, "a code with another state")


def an_answer_that_lies_about_any_one_thing_is_refused(node):
    ann = people.granted(node, "lies-ann", "auditor", "acme")
    key = ec.generate_private_key(ec.SECP256R1())
    for lie, code in (
        ({"origin": "https://evil.example"}, "SR-PKY-0007"),
        ({"site": "evil.example"}, "SR-PKY-0009"),
        ({"flags": people.VERIFIED}, "SR-PKY-0010"),
        ({"flags": people.PRESENT}, "SR-PKY-0011"),
        ({"challenge": people.b64(bytes(32))}, "SR-PKY-0006"),
        ({"kind": "webauthn.create"}, "SR-PKY-0005"),
        ({"key": key}, "SR-PKY-0012"),
        ({"handle": bytes(16)}, "SR-PKY-0018"),
        ({"id": b"nobody's"}, "SR-PKY-0018"),
    ):
        login = ann.begin()
        refused(ann.prove(login["url"], **lie), 422, code)
        # The same login, with the truth: a refusal is of the answer. It also ends the count of failures.
        people.must(ann.finish(login, code=people.must(ann.prove(login["url"]))["code"]))
    ann.passkey.counter = 7
    people.must(ann.attempt())
    for counter in (7, 6, 0):
        refused(ann.attempt(counter=counter), 422, "SR-PKY-0013")
    ann.passkey.counter = 8
    people.must(ann.attempt())
    said = node.events("SR-PKY-0013", until=lambda found: len(found) >= 3)
    check(len(said) >= 3, f"a counter that went back is in the log: {len(said)}")


def an_answer_is_good_for_its_own_link_once(node):
    ann = people.granted(node, "replay-ann", "auditor", "acme")
    first, second = ann.begin(), ann.begin()
    origin, ticket = people.apart(first["url"])
    other = people.apart(second["url"])[1]
    options = people.must(people.post(node, "/login/passkey/options", {"ticket": ticket}))["options"]
    credential = ann.passkey.get(options, origin)
    refused(people.post(node, "/login/passkey", {"ticket": other, "credential": credential}), 422, "SR-PKY-0006")
    people.must(people.post(node, "/login/passkey/options", {"ticket": other}))
    refused(people.post(node, "/login/passkey", {"ticket": other, "credential": credential}), 422, "SR-PKY-0006")
    # A challenge that a newer one took the place of.
    people.must(people.post(node, "/login/passkey/options", {"ticket": ticket}))
    refused(people.post(node, "/login/passkey", {"ticket": ticket, "credential": credential}), 422, "SR-PKY-0006")
    people.must(ann.prove(first["url"]))
    check(people.post(node, "/login/passkey", {"ticket": ticket, "credential": credential}).status == 404, "proved already")
    for login in (first, second):
        ann.finish(login, code="over")


def what_is_no_answer_is_refused(node):
    ann = people.granted(node, "rubbish-ann", "auditor", "acme")
    origin, ticket = people.apart(ann.begin()["url"])
    for credential in (None, [], {}, "x", {"rawId": "x" * 20000, "type": "public-key", "response": {}}, {"a": {"b": {}}}):
        people.must(people.post(node, "/login/passkey/options", {"ticket": ticket}))
        answer = people.post(node, "/login/passkey", {"ticket": ticket, "credential": credential})
        check(answer.status == 422 and answer.json["code"] in ("SR-PKY-0002", "SR-PKY-0003"), f"{credential!r:.60}: {answer}")
    for ticket in ("", "0" * 64, "x", "\u0000"):
        refused(people.post(node, "/login/passkey/options", {"ticket": ticket}), 404, "SR-ACC-0011")


def who_fails_too_often_waits_and_everybody_sees_it(node):
    ann = people.granted(node, "locked-ann", "auditor", "acme")
    bob = people.granted(node, "locked-bob", "auditor", "acme")
    for _ in range(5):
        refused(ann.attempt(flags=people.PRESENT), 422, "SR-PKY-0011")
    answer = ann.attempt()
    refused(answer, 429, "SR-ACC-0010")
    check(int(answer.headers["retry-after"]) <= 30, answer.headers)
    shown = people.must(people.ask(node.ready["socket"], "GET", "/v1/users/locked-ann"))
    check(shown["locked_until"], shown)
    check(node.events("--kind", "user.lock", until=len), "the lock is in the log")
    # Nobody else waits.
    bob.login()


def a_lost_device_proves_nobody_any_more(node):
    ann = people.granted(node, "lost-ann", "auditor", "acme")
    token = ann.login()
    check(people.ask(node.ready["socket"], "GET", "/v1/whoami", token).status == 200, "she is in a session")
    link = people.must(people.post(node, "/users/lost-ann/enrol"))["enrolment"]
    other = people.Person(node, "lost-ann")
    people.must(other.enrol(link))
    shown = people.must(people.ask(node.ready["socket"], "GET", "/v1/users/lost-ann"))["passkeys"]
    check(len(shown) == 2, shown)
    lost = f"/users/lost-ann/passkeys/{shown[0]['id']}/revoke"
    check(people.post(node, lost, key=token).status in (403, 404), "an auditor takes nobody's passkey away")
    people.must(people.post(node, lost))
    check(people.post(node, lost).status == 404, "it is gone")
    check(people.ask(node.ready["socket"], "GET", "/v1/whoami", token).status == 401, "her sessions are over")
    refused(ann.attempt(), 422, "SR-PKY-0018")
    other.login()


def who_was_disabled_proves_nothing(node):
    ann = people.granted(node, "gone-ann", "auditor", "acme")
    login = ann.begin()
    code = people.must(ann.prove(login["url"]))["code"]
    people.must(people.post(node, "/users/gone-ann/disable"))
    check(ann.finish(login, code=code).status in (401, 403), "who was disabled since has no session")
    refused(ann.attempt(), 422, "SR-PKY-0018")


def pages_are_for_the_network_alone_and_say_how_they_may_be_used(node):
    for page in PAGES:
        check(people.ask(node.ready["socket"], "GET", page).status == 404, f"{page} is not on the local socket")
        words = ["curl", "--silent", "--show-error", "--cacert", node.ready["management_ca"], "--include"]
        told = subprocess.run([*words, node.ready["management"] + page], capture_output=True, text=True, check=True).stdout
        head = told.partition("\r\n\r\n")[0].lower()
        for needed in (
            "200 ok", "content-security-policy: default-src 'none'; script-src 'self'", "frame-ancestors 'none'",
            "x-content-type-options: nosniff", "cache-control: no-store", "referrer-policy: no-referrer",
            "cross-origin-opener-policy: same-origin",
        ):
            check(needed in head, f"{page} lacks `{needed}`: {head}")
        for other in (["--request", "POST"], ["--head"], ["--get", "--data", "x=1"]):
            done = subprocess.run([*words, "--max-time", "5", *other, node.ready["management"] + page], capture_output=True, text=True, check=False)
            check(" 401 " in done.stdout.partition("\r\n")[0] + " ", f"{page} {other}: {done.stdout[:100]}")


def a_script_that_gets_into_a_page_does_not_run(node):
    """With a positive control: the same attempts run in the same page without the header."""

    class Bare(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    bare = http.server.ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Bare(*a, directory=PAGES_DIR))
    threading.Thread(target=bare.serve_forever, daemon=True).start()
    try:
        with Browser(node.ready["management_ca"]) as browser:
            for url, may_run in (
                (f"http://127.0.0.1:{bare.server_port}/login.html", True),
                (node.ready["management"].replace("127.0.0.1", "localhost") + "/login", False),
            ):
                browser.open(url)
                check("Log in to Strongroom" in browser.text(), browser.text())
                browser.run(INJECT)
                browser.run("return new Promise(done => setTimeout(done, 200))")
                hits = browser.run("return window.hit")
                check((hits >= 3) if may_run else (hits == 0), f"{url}: {hits} injected scripts ran")
    finally:
        bare.shutdown()
        bare.server_close()


def a_browser_whose_user_is_not_verified_proves_nothing(node):
    ann = people.granted(node, "unverified-ann", "auditor", "acme")
    with Browser(node.ready["management_ca"]) as browser:
        held = browser.authenticator()
        browser.add_passkey(held, ann.passkey.for_a_browser("localhost"))
        login = ann.begin()
        browser.open(login["url"])
        check("#" not in browser.address(), "the ticket does not stay in the address")
        browser.set_verified(held, False)
        browser.click("#go")
        browser.see("No passkey was used")
        browser.set_verified(held, True)
        browser.click("#go")
        browser.see("You proved who you are")
        code = browser.text("#code-text")
    people.must(ann.finish(login, code=code))


def passkeys_are_of_the_name_that_is_configured(node):
    """The node starts again under a name of its own: its certificate vouches for it, links lead there, and pages under
    another name make no passkey that counts."""
    ann = people.granted(node, "named-ann", "auditor", "acme")
    node.stop()
    with open(os.path.join(node.state, "strongroom.toml"), "a") as config:
        config.write('\n[login.passkeys]\nhost = "node.test"\n')
    node.start()
    login = ann.begin()
    origin, _ = people.apart(login["url"])
    host, port = origin.split("//")[1].split(":")
    check(host == "node.test", login["url"])
    words = ["curl", "--silent", "--show-error", "--cacert", node.ready["management_ca"], "--resolve", f"node.test:{port}:127.0.0.1"]
    done = subprocess.run([*words, f"{origin}/login"], capture_output=True, text=True, check=False)
    check("Log in to Strongroom" in done.stdout, f"{done.stdout[:200]} {done.stderr}")
    refused(ann.prove(login["url"], origin=f"https://localhost:{port}"), 422, "SR-PKY-0007")
    refused(ann.prove(login["url"], site="localhost"), 422, "SR-PKY-0009")
    people.must(ann.prove(login["url"]))


TESTS = [
    an_enrolment_link_is_good_once,
    a_link_of_one_person_enrols_nobody_else,
    a_passkey_of_one_person_is_registered_for_no_other,
    whoever_reads_the_link_has_no_session,
    a_code_is_of_its_own_login,
    who_lures_somebody_onto_a_link_gets_nothing,
    a_browser_hands_over_on_its_own_machine_alone,
    an_answer_that_lies_about_any_one_thing_is_refused,
    an_answer_is_good_for_its_own_link_once,
    what_is_no_answer_is_refused,
    who_fails_too_often_waits_and_everybody_sees_it,
    a_lost_device_proves_nobody_any_more,
    who_was_disabled_proves_nothing,
    pages_are_for_the_network_alone_and_say_how_they_may_be_used,
    a_script_that_gets_into_a_page_does_not_run,
    a_browser_whose_user_is_not_verified_proves_nothing,
    passkeys_are_of_the_name_that_is_configured,
]

if __name__ == "__main__":
    with Node() as started:
        started.ok("tenant", "create", "acme")
        passed, failed = run_tests(TESTS, started)
    close(passed, failed)
