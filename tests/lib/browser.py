"""Chromium for a test, driven by plain WebDriver calls (W3C WebDriver and its Web Authentication extension).

The authority of the node is trusted by importing it into a throw-away database, never by ignoring certificates.
"""

import base64
import http.client
import json
import os
import shutil
import subprocess
import tempfile

from node import Failed, check, wait_for

DRIVER, CERTUTIL = shutil.which("chromedriver"), shutil.which("certutil")
# Names of an element in the wire protocol.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Refused(Failed):
    """What the driver said no to."""


class Browser:
    """A browser with a profile of its own. `ca` is a file in PEM: whom it trusts beside the public authorities."""

    def __init__(self, ca=None):
        check(DRIVER and CERTUTIL, "chromium-driver or libnss3-tools is missing; run `make deps`")
        self.home = tempfile.mkdtemp(prefix="strongroom-browser-")
        self.session = None
        if ca:
            store = os.path.join(self.home, ".pki", "nssdb")
            os.makedirs(store)
            for arguments in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "node", "-i", ca]):
                subprocess.run([CERTUTIL, "-d", f"sql:{store}", *arguments], check=True, capture_output=True)
        log = open(os.path.join(self.home, "driver.log"), "wb")
        self.driver = subprocess.Popen(
            [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=log,
            env={**os.environ, "HOME": self.home, "XDG_CONFIG_HOME": os.path.join(self.home, "config")},
        )
        log.close()
        self.port = self.listens_at()

    def listens_at(self):
        for line in self.driver.stdout:
            words = line.decode(errors="replace").split("started successfully on port ")
            if len(words) == 2:
                return int(words[1].strip().rstrip("."))
        raise Failed("chromedriver did not start")

    def __enter__(self):
        arguments = ["--headless=new", "--disable-gpu", "--window-size=900,900", "--disable-background-networking"]
        if os.geteuid() == 0:
            # Chromium's own sandbox does not run as root. The pages that it opens here are the node's.
            arguments.append("--no-sandbox")
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"args": arguments, "binary": shutil.which("chromium")}}
        wanted["goog:loggingPrefs"] = {"browser": "ALL"}
        try:
            made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        except BaseException:
            self.__exit__()
            raise
        self.session = made["sessionId"]
        return self

    def __exit__(self, *_):
        try:
            if self.session:
                self.ask("DELETE", f"/session/{self.session}")
        finally:
            self.driver.terminate()
            self.driver.wait(10)
            self.driver.stdout.close()
            shutil.rmtree(self.home, ignore_errors=True)

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            data = None if method in ("GET", "DELETE") else json.dumps(body or {})
            connection.request(method, path, data, {"Content-Type": "application/json"} if data else {})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise Refused(f"{method} {path}: {value['error']}: {value['message'][:300]}")
        return value

    def of_session(self, method, path, body=None):
        return self.ask(method, f"/session/{self.session}{path}", body)

    # ---- Pages ----

    def open(self, url):
        self.of_session("POST", "/url", {"url": url})

    def address(self):
        return self.of_session("GET", "/url")

    def run(self, script, *arguments):
        return self.of_session("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def element(self, css):
        found = self.of_session("POST", "/element", {"using": "css selector", "value": css})
        return f"/element/{found[ELEMENT]}"

    def click(self, css):
        self.of_session("POST", self.element(css) + "/click")

    def type(self, css, text):
        self.of_session("POST", self.element(css) + "/value", {"text": text})

    def text(self, css="main"):
        """What a person sees of it; nothing if it is not shown."""
        return self.of_session("GET", self.element(css) + "/text")

    def see(self, part, seconds=15):
        """Waits until the page shows this text."""
        shown = ""

        def shows():
            nonlocal shown
            try:
                shown = self.text("body")
            except Refused:
                # The page gives way to another just now.
                return False
            return part in shown

        try:
            wait_for(f"the page shows {part!r}", shows, seconds)
        except Failed as failure:
            raise Failed(f"{failure}; it shows {shown!r}") from failure

    def console(self):
        """What the browser said to developers since it was last asked."""
        return [entry["message"] for entry in self.of_session("POST", "/se/log", {"type": "browser"})]

    def picture(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.of_session("GET", "/screenshot")))

    # ---- Authenticators ----

    def authenticator(self, **unlike):
        """An authenticator within this machine, with passkeys, that verifies its user and finds that they agree."""
        wanted = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserConsenting": True, "isUserVerified": True, **unlike,
        }
        return self.of_session("POST", "/webauthn/authenticator", wanted)

    def passkeys(self, authenticator):
        return self.of_session("GET", f"/webauthn/authenticator/{authenticator}/credentials")

    def add_passkey(self, authenticator, passkey):
        self.of_session("POST", f"/webauthn/authenticator/{authenticator}/credential", passkey)

    def set_verified(self, authenticator, verified):
        """Whether its user can be verified from now on: whether they know its PIN."""
        self.of_session("POST", f"/webauthn/authenticator/{authenticator}/uv", {"isUserVerified": verified})

    def remove_authenticator(self, authenticator):
        self.of_session("DELETE", f"/webauthn/authenticator/{authenticator}")
