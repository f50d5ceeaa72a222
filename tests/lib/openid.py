"""An OpenID provider that is not ours, for tests, and a browser for its pages. Standard library only."""

import http.cookiejar
import json
import os
import re
import subprocess
import urllib.error
import urllib.parse
import urllib.request

from node import ROOT, Failed, check

SCRIPTS = os.path.join(ROOT, "tests", "lib", "oidc")
# What a person answers at the provider: who they are, and by which methods.
ALICE = {"login": "alice", "amr": "pwd,mfa"}


class Provider:
    """`oidc-provider`, below a certificate of the test's own where `directory` is given."""

    def __init__(self, directory=None, **more):
        self.ca, self.process, self.issuer = None, None, None
        self.given = dict(more)
        if directory:
            self.ca, self.given["cert"], self.given["key"] = certificate(directory)
        self.start()

    def start(self):
        check(os.path.isdir(os.path.join(SCRIPTS, "node_modules", "oidc-provider")), "run scripts/install-deps.sh")
        self.process = subprocess.Popen(
            ["node", os.path.join(SCRIPTS, "provider.mjs"), json.dumps(self.given)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )
        self.issuer = json.loads(self.process.stdout.readline())["issuer"]
        self.given["port"] = urllib.parse.urlsplit(self.issuer).port

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def settings(self, second_factor='{ amr = ["mfa"] }', client="strongroom", grants=()):
        """`[login.oidc]` for a node; grants are (group, tenant or None, role)."""
        text = f'\n[login.oidc]\nissuer = "{self.issuer}"\nclient_id = "{client}"\n'
        text += f'scopes = ["openid", "profile", "groups"]\nsecond_factor = {second_factor}\n'
        if self.ca:
            text += f'ca_file = "{self.ca}"\n'
        for group, tenant, role in grants:
            where = f'tenant = "{tenant}"\n' if tenant else ""
            text += f'[[login.oidc.grants]]\ngroup = "{group}"\n{where}role = "{role}"\n'
        return text


def certificate(directory):
    """Paths of an authority, and of a certificate by it for `localhost` with its key."""
    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=directory, check=True, capture_output=True)

    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl("req", "-x509", *ec, "-keyout", "idp-ca.key", "-out", "idp-ca.pem", "-subj", "/CN=provider's authority")
    openssl(
        "req", "-x509", *ec, "-CA", "idp-ca.pem", "-CAkey", "idp-ca.key", "-keyout", "idp.key", "-out", "idp.pem",
        "-subj", "/CN=provider", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE",
    )
    paths = [os.path.join(directory, name) for name in ("idp-ca.pem", "idp.pem", "idp.key")]
    os.chmod(paths[0], 0o644)
    return paths


class Browser:
    """Keeps cookies and follows redirects, except to where `stop` says."""

    def __init__(self, ca=None):
        import ssl

        self.stop, self.stopped = None, None
        context = ssl.create_default_context(cafile=ca)
        browser = self

        class Redirects(urllib.request.HTTPRedirectHandler):
            def redirect_request(self, request, file, code, message, headers, url):
                if browser.stop and browser.stop(url):
                    browser.stopped = url
                    return None
                return super().redirect_request(request, file, code, message, headers, url)

        self.opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()),
            Redirects(),
        )

    def open(self, url, form=None):
        """The last URL and its page."""
        data = urllib.parse.urlencode(form).encode() if form else None
        try:
            with self.opener.open(url, data, timeout=20) as answer:
                return answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.url, error.read().decode(errors="replace")

    def answer(self, page, person):
        check("/interaction/" in page, f"the provider asks nobody: {page}")
        return self.open(page + "?" + urllib.parse.urlencode(person))

    def log_in(self, url, person, hand_over=True):
        """Opens a login by code. With `hand_over` the browser goes back to the command line; else that URL is returned."""
        back = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)["redirect_uri"][0]
        self.stop = None if hand_over else (lambda to: to.startswith(back))
        page, _ = self.open(url)
        last, text = self.answer(page, person)
        if hand_over:
            return text
        check(self.stopped, f"the browser was not sent back: {last} {text[:300]}")
        return self.stopped

    def agree(self, url, user_code, person):
        """The pages of a login by device code."""
        def xsrf(page):
            found = re.search(r'name="xsrf" value="([^"]*)"', page)
            check(found, f"no form: {page[:400]}")
            return found[1]

        place = url.split("?")[0]
        _, page = self.open(place)
        _, page = self.open(place, {"xsrf": xsrf(page), "user_code": user_code})
        last, _ = self.open(place, {"xsrf": xsrf(page), "user_code": user_code, "confirm": "yes"})
        return self.answer(last, person)[1]


def parameter(url, name):
    found = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query).get(name)
    if not found:
        raise Failed(f"no `{name}` in {url}")
    return found[0]
