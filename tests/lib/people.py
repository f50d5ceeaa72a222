"""People for tests: an authenticator in software, and logins by passkey without a browser.

What a browser would send is made here to the letter (Web Authentication Level 2), so a test can also leave it.
"""

import base64
import hashlib
import json
import os
import urllib.parse

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api import ask
from node import check

PRESENT, VERIFIED, ATTESTED = 1, 4, 64


def b64(raw):
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def cbor(value):
    """As much of CBOR (RFC 8949) as authenticators write."""

    def head(major, number):
        for size, code in ((0, None), (1, 24), (2, 25), (4, 26)):
            if size == 0 and number < 24:
                return bytes([major << 5 | number])
            if size and number < 1 << (8 * size):
                return bytes([major << 5 | code]) + number.to_bytes(size, "big")
        raise ValueError(number)

    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        return head(3, len(value.encode())) + value.encode()
    return head(5, len(value)) + b"".join(cbor(k) + cbor(v) for k, v in value.items())


class Passkey:
    """One passkey of an authenticator that verifies its user. What it says can be changed by name: `origin`, `flags`,
    `counter`, `site`, `challenge`, `handle`, `id`, `kind`, `key`."""

    def __init__(self):
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.id, self.handle, self.counter = os.urandom(32), b"", 0

    def _client(self, kind, options, origin, lies):
        told = {
            "type": lies.get("kind", kind), "challenge": lies.get("challenge", options["challenge"]),
            "origin": lies.get("origin", origin), "crossOrigin": False,
        }
        return json.dumps(told).encode()

    def _data(self, site, flags, lies):
        site = hashlib.sha256(lies.get("site", site).encode()).digest()
        return site + bytes([lies.get("flags", PRESENT | VERIFIED) | flags]) + lies.get("counter", self.counter).to_bytes(4, "big")

    def create(self, options, origin, /, **lies):
        """`navigator.credentials.create()`"""
        options = options["publicKey"]
        self.handle = unb64(options["user"]["id"])
        numbers = self.key.public_key().public_numbers()
        cose = cbor({1: 2, 3: -7, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")})
        data = self._data(options["rp"]["id"], ATTESTED, lies) + bytes(16) + len(self.id).to_bytes(2, "big") + self.id + cose
        response = {
            "clientDataJSON": b64(self._client("webauthn.create", options, origin, lies)),
            "attestationObject": b64(cbor({"fmt": "none", "attStmt": {}, "authData": data})),
        }
        return {"id": b64(self.id), "rawId": b64(self.id), "type": "public-key", "response": response}

    def get(self, options, origin, /, **lies):
        """`navigator.credentials.get()`"""
        options = options["publicKey"]
        client = self._client("webauthn.get", options, origin, lies)
        data = self._data(options["rpId"], 0, lies)
        signature = lies.get("key", self.key).sign(data + hashlib.sha256(client).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": b64(client), "authenticatorData": b64(data), "signature": b64(signature),
            "userHandle": b64(lies.get("handle", self.handle)),
        }
        own = b64(lies.get("id", self.id))
        return {"id": own, "rawId": own, "type": "public-key", "response": response}

    def for_a_browser(self, site):
        """As WebDriver adds it to an authenticator."""
        key = self.key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "credentialId": b64(self.id), "isResidentCredential": True, "rpId": site, "privateKey": b64(key),
            "userHandle": b64(self.handle), "signCount": self.counter,
        }


def apart(link):
    """Origin and secret of a link."""
    url = urllib.parse.urlsplit(link)
    return f"{url.scheme}://{url.netloc}", url.fragment


def post(node, path, body=None, key=None):
    said = (None, None) if body is None else (json.dumps(body), "application/json")
    return ask(node.ready["socket"], "POST", f"/v1{path}", key, *said)


def must(answer):
    check(answer.status == 200, answer)
    return answer.json


def known(node, name):
    """Makes a person known, who is given back with the link by which they enrol."""
    made = must(post(node, "/users", {"name": name}))
    return Person(node, name), made["enrolment"]


def granted(node, name, role, tenant=None, **more):
    """A person with a passkey who has a role."""
    person, link = known(node, name)
    must(person.enrol(link))
    body = {"role": role, "reason": "for a test", **({"tenant": tenant} if tenant else {}), **more}
    must(post(node, f"/users/{name}/grants", body))
    return person


class Person:
    """Somebody with an account on a node, and a passkey once they enrolled."""

    def __init__(self, node, name):
        self.node, self.name, self.passkey = node, name, Passkey()

    def enrol(self, link, **lies):
        origin, secret = apart(link)
        options = must(post(self.node, "/enrol/options", {"secret": secret}))["options"]
        body = {"secret": secret, "credential": self.passkey.create(options, origin, **lies), "label": "in software"}
        return post(self.node, "/enrol", body)

    def begin(self, **wanted):
        """Begins a login as the command line does."""
        return must(post(self.node, "/login", {"method": "passkey", **wanted}))

    def prove(self, link, **lies):
        """Does what the page behind the link does."""
        origin, ticket = apart(link)
        options = must(post(self.node, "/login/passkey/options", {"ticket": ticket}))["options"]
        return post(self.node, "/login/passkey", {"ticket": ticket, "credential": self.passkey.get(options, origin, **lies)})

    def attempt(self, **lies):
        """One attempt to prove it, in a login that is ended afterwards: so many are under way at most."""
        login = self.begin()
        answer = self.prove(login["url"], **lies)
        self.finish(login, code="over")
        return answer

    def finish(self, login, **handed_over):
        return post(self.node, "/login/finish", {"login": login["login"], **handed_over})

    def login(self, **wanted):
        """The token of a new session."""
        login = self.begin(**wanted)
        done = must(self.finish(login, code=must(self.prove(login["url"]))["code"]))
        check(done["state"] == "done", done)
        return done["session"]["token"]
