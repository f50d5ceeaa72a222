"""The API as the product describes it: every endpoint, from `strongroom api openapi`, and requests to it over the socket.

What a test learns here is what a client learns: an endpoint that is added to the table is in every test of all endpoints.
"""

import json
import re
import subprocess

from node import PROGRAM, UnixHttp, check

# Ids that look right and stand for nothing.
NOTHING = {
    "import": "0" * 32, "job": "job_00000000000000000000000000", "key": "key_00000000000000000000000000",
    "receipt": "rcp_00000000000000000000000000", "digest": "1" * 64, "name": "absent", "version": "1", "to": "absent", "to_version": "1",
    "path": "absent", "session": "ses_00000000000000000000000000", "approval": "apr_00000000000000000000000000",
    "number": "1", "passkey": "1" * 64,
}
# A body that each endpoint with one can read.
BODIES = {
    "tenant.create": {"name": "by-a-test"},
    "import.begin": {"kind": "dataset", "name": "by-a-test"},
    "intake.describe": {"license": "by-a-test"},
    "intake.evaluate": {
        "metric": "accuracy", "at_least": 0.5,
        "job": {"file": "job.toml", "text": "", "code": NOTHING["import"], "imports": {}},
    },
    "intake.approve": {"reason": "to see"},
    "intake.refuse": {"reason": "to see"},
    "job.run": {"file": "job.toml", "text": "", "code": NOTHING["import"], "imports": {}},
    "job.resume": {"reason": "to see"},
    "endpoint.deploy": {"name": "by-a-test", "model": "absent@1"},
    "key.create": {"endpoint": "absent"},
    "egress.create": {"name": "by-a-test", "host": "hub.example", "port": 443},
    "service.create": {"name": "by-a-test", "role": "auditor", "request": ""},
    "policy.apply": {"text": "", "reason": "to see"},
    "policy.withdraw": {"reason": "to see"},
    "safe_mode.enter": {"reason": "to see"},
    "safe_mode.leave": {"reason": "to see", "proofs": []},
    "break_glass.seal": {"holders": []},
    "break_glass.open": {"reason": "to see", "seconds": 60, "proofs": []},
    "trust.apply": {"text": "", "reason": "to see"},
    "trust.check": {"text": ""},
    "model.countersign": {"bundle": ""},
    "revocation.create": {"model": "absent@1", "reason": "to see"},
    "revocation.lift": {"reason": "to see"},
    "identity.renew": {"request": ""},
    "user.create": {"name": "by-a-test"},
    "grant.create": {"role": "auditor", "tenant": "absent", "reason": "to see"},
    "login.begin": {"method": "absent"},
    "login.finish": {"login": "absent"},
    "login.challenge": {"ticket": "absent"},
    "login.prove": {"ticket": "absent", "credential": {}},
    "enrol.challenge": {"secret": "absent"},
    "enrol.finish": {"secret": "absent", "credential": {}},
    "approval.request": {"operation": "model.export", "resource": "absent/1", "reason": "to see"},
    "approval.decide": {"approve": True},
    "node.reboot": {"reason": "to see"},
    "release.stage": {"manifest": "", "signatures": ""},
    "release.activate": {"reason": "to see"},
    "release.back": {"reason": "to see"},
}


class Operation:
    """One endpoint."""

    def __init__(self, method, path, described):
        self.method, self.path, self.described = method.upper(), path, described
        self.name = described["operationId"]
        self.effect, self.who = described["x-strongroom-effect"], described["x-strongroom-for"]
        self.types = list(described.get("requestBody", {}).get("content", {}))
        self.parameters = {(p["in"], p["name"]): p for p in described["parameters"]}
        self.creates = ("header", "Idempotency-Key") in self.parameters
        self.lists = ("query", "after") in self.parameters

    def kind(self, parameter):
        """What a parameter of the path stands for, where its name alone does not say."""
        if parameter != "id":
            return parameter
        return next(noun for noun in ("import", "key", "receipt", "session", "approval", "passkey") if f"/{noun}s/" in self.path)

    def at(self, **things):
        """The path, with these things and of all others one that is not there."""
        return re.sub(r"\{(\w+)\}", lambda m: {**NOTHING, **things}[self.kind(m.group(1))], self.path)

    def body(self, **bodies):
        """Body and type of a request."""
        if not self.types:
            return None, None
        if self.types == ["application/json"]:
            check(self.name in {**BODIES, **bodies}, f"no body is known for {self.name}: add one to tests/lib/api.py")
            return json.dumps({**BODIES, **bodies}[self.name]), "application/json"
        return b"bytes", self.types[0]


def description():
    done = subprocess.run([PROGRAM, "api", "openapi"], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def operations():
    """Every endpoint of the product."""
    found = [Operation(m, path, o) for path, item in description()["paths"].items() for m, o in item.items()]
    check(len(found) >= 35 and len({o.name for o in found}) == len(found), f"{len(found)} endpoints are described")
    return found


class Answer:
    """What came back."""

    def __init__(self, status, headers, text):
        self.status, self.headers, self.text = status, headers, text
        try:
            self.json = json.loads(text)
        except ValueError:
            self.json = None

    def said(self, *names):
        """Status and body, without the request's own id and the names that were asked for."""
        body = self.json
        if isinstance(body, dict):
            body = {k: v for k, v in body.items() if k != "request_id"}
        text = json.dumps(body, sort_keys=True)
        for name in names:
            text = text.replace(name, "NAME")
        return self.status, text

    def __repr__(self):
        return f"{self.status} {self.text[:300]!r}"


def ask(socket, method, path, key=None, body=None, kind=None, headers=()):
    """One request over the socket; nothing of the path is changed on the way."""
    connection = UnixHttp(socket)
    fields = dict(headers)
    if kind is not None:
        fields["Content-Type"] = kind
    if key:
        fields["Authorization"] = f"Bearer {key}"
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        data = body.encode() if isinstance(body, str) else body
        if data is not None or method in ("POST", "PUT"):
            fields["Content-Length"] = str(len(data or b""))
        for name, value in fields.items():
            connection.putheader(name, value)
        try:
            connection.endheaders(data)
        except BrokenPipeError:
            # A refusal does not wait for the body; it is there to be read.
            pass
        reply = connection.getresponse()
        return Answer(reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), reply.read().decode(errors="replace"))
    finally:
        connection.close()
