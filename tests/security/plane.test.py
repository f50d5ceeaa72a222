#!/usr/bin/python3
"""The management plane over the network: TLS 1.3 alone, a key or a certificate for every caller, and never the operator.

Asked with curl, openssl and plain sockets; certificates of strangers are made with python3-cryptography.
"""

import contextlib
import datetime
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from cryptography import x509  # noqa: E402
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: E402
from node import ENDED, ROOT, Node, check, close, needs_root, run_tests, wait_for  # noqa: E402

ROUTE = re.compile(r'route\(\s*(Get|Post|Put),\s*"([^"]+)",\s*"([^"]+)",\s*(\w+),\s*(\w+),')
OF_ONE = 64
HANDSHAKE, HEAD, BODY = 5, 10, 30
# Requests that one tenant may have under way.
SHARE = 12


def routes():
    with open(os.path.join(ROOT, "crates", "api", "src", "table.rs")) as file:
        found = ROUTE.findall(file.read())
    check(len(found) >= 39, f"only {len(found)} endpoints are read from the table")
    return [(method.upper(), path, operation, who) for method, path, operation, _, who in found]


class Plane:
    """Two tenants; acme has a key, and services of several roles."""

    def __init__(self, node):
        self.node = node
        self.url = node.ready["management"]
        self.host, port = self.url.rsplit("/", 1)[-1].rsplit(":", 1)
        self.port = int(port)
        self.ca = node.ready["management_ca"]
        self.keys = {}
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
            path = node.path(f"{tenant}.key")
            node.ok("key", "create", "--out", path, "--tenant", tenant)
            with open(path) as file:
                self.keys[tenant] = file.read().strip()
        work.write(node.path("data", "a.txt"), b"globex's own")
        node.ok("dataset", "import", "data", node.path("data"), "--tenant", "globex")
        self.ci = self.service("ci", "tenant-admin")

    def service(self, name, role, tenant="acme", *more):
        out = self.node.path(f"id-{tenant}-{name}")
        made = self.node.ok("access", "service", "create", name, "--role", role, "--tenant", tenant, "--out", out, *more)
        check(made["id"] == f"spiffe://dev/tenant/{tenant}/service/{name}", made)
        return out

    def remote(self, identity):
        return ["--server", self.url, "--identity", identity]

    def curl(self, path, *more, key=None, identity=None, ca=None, method="GET", body=None):
        """Exit status of curl, HTTP status, type of the body, body."""
        words = ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", ca or self.ca, "--request", method]
        words += ["--write-out", "\n%{http_code} %{content_type}"]
        if key:
            words += ["--header", f"Authorization: Bearer {key}"]
        if identity:
            words += ["--cert", os.path.join(identity, "cert.pem"), "--key", os.path.join(identity, "key.pem")]
        if body is not None:
            words += ["--header", "Content-Type: application/json", "--data", json.dumps(body)]
        done = subprocess.run([*words, *more, self.url + path], capture_output=True, text=True, check=False)
        text, _, last = done.stdout.rpartition("\n")
        status, _, kind = last.partition(" ")
        with contextlib.suppress(ValueError):
            text = json.loads(text)
        return done.returncode, int(status or 0), kind, text if done.returncode == 0 else done.stderr

    def status(self, path, **more):
        code, status, _, body = self.curl(path, **more)
        check(code == 0, f"{path}: curl ended with {code}: {body}")
        return status, body

    def context(self, identity=None):
        context = ssl.create_default_context(cafile=self.ca)
        if identity:
            context.load_cert_chain(os.path.join(identity, "cert.pem"), os.path.join(identity, "key.pem"))
        return context

    def connect(self, source="127.0.0.1", identity=None, timeout=20):
        raw = socket.create_connection((self.host, self.port), timeout=timeout, source_address=(source, 0))
        return self.context(identity).wrap_socket(raw, server_hostname=self.host)

    def answers(self, source="127.0.0.9"):
        """Whether another client is answered, and how fast."""
        began = time.monotonic()
        with self.connect(source, timeout=5) as stream:
            stream.sendall(request("/v1/whoami", self.keys["globex"]))
            head = stream.recv(4096)
        check(head.startswith(b"HTTP/1.1 200 "), head[:60])
        return time.monotonic() - began


def request(path, key=None, method="GET", more=""):
    bearer = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nHost: node\r\n{bearer}{more}\r\n".encode()


def reply(stream):
    """One answer with a length, so that the connection can go on."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        check(more, f"the connection ended after {data[:200]!r}")
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
    while len(body) < length:
        body += stream.recv(65536)
    return int(head.split()[1]), json.loads(body)


def read_now(stream):
    """What has come already."""
    stream.settimeout(0.05)
    try:
        return stream.recv(4096)
    except (TimeoutError, OSError):
        return b""


# ---- Certificates of strangers ----


def certificate(subject, issuer=None, uri=None, days=1, usage=ExtendedKeyUsageOID.CLIENT_AUTH, ca=False):
    """A key with a certificate: (key, certificate). `issuer` is such a pair; none signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    builder = (
        x509.CertificateBuilder().subject_name(name).issuer_name(issuer[1].subject if issuer else name)
        .public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if uri:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return key, builder.sign(issuer[0] if issuer else key, hashes.SHA256())


def authority_of_services(plane):
    """With its private key, which root reads from control's own directory."""
    state = os.path.join(plane.node.state, "control", "services")
    with open(os.path.join(state, "ca.key"), "rb") as key, open(os.path.join(state, "ca.pem"), "rb") as pem:
        return serialization.load_pem_private_key(key.read(), None), x509.load_pem_x509_certificate(pem.read())


def put(plane, name, pair, *chain):
    directory = plane.node.path(name)
    os.makedirs(directory)
    pem = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (pair[1], *chain))
    work.write(os.path.join(directory, "cert.pem"), pem)
    private = pair[0].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    work.write(os.path.join(directory, "key.pem"), private)
    os.chmod(os.path.join(directory, "key.pem"), 0o600)
    with open(plane.ca, "rb") as ca:
        work.write(os.path.join(directory, "ca.pem"), ca.read())
    return directory


# ---- Who is let in ----


def a_key_and_a_certificate_let_in(plane):
    status, me = plane.status("/v1/whoami", key=plane.keys["acme"])
    check((status, me["tenant"], me["role"]) == (200, "acme", "tenant-admin"), me)
    status, me = plane.status("/v1/whoami", identity=plane.ci)
    check((status, me["principal"], me["tenant"]) == (200, "service:acme/ci", "acme"), me)
    status, page = plane.status("/v1/tenants/acme/datasets", identity=plane.ci)
    check(status == 200 and page["items"] == [], page)


def a_stranger_is_told_what_is_missing(plane):
    before = len(plane.node.events("--kind", "access.refuse", until=lambda _: True))
    code, status, kind, body = plane.curl("/v1/tenants")
    check((code, status, kind) == (0, 401, "application/problem+json"), (code, status, kind, body))
    check(body["code"] == "SR-CTL-0004" and body["request_id"], body)
    told = plane.node.events("--kind", "access.refuse", until=lambda f: len(f) > before)
    check("addr:127.0.0.1" in json.dumps(told[before:]), "the log does not say where the stranger came from")


def root_is_never_remote(plane):
    """This test runs as root, who is the operator on the socket: here that counts for nothing."""
    check(plane.node.ok("whoami")["principal"] == "operator", "not the operator on the socket: nothing is shown")
    auditor = plane.service("reader", "auditor")
    callers = {"key": {"key": plane.keys["acme"]}, "service": {"identity": plane.ci}, "auditor": {"identity": auditor}}
    asked = 0
    for method, pattern, operation, who in routes():
        if who != "Operator" and operation != "service.create":
            continue
        path = "/v1" + re.sub(r"\{\*?(\w+)\}", lambda m: "acme" if m.group(1) == "tenant" else "checkpoint", pattern)
        body = None if method == "GET" else {"name": "mine", "role": "tenant-admin", "request": ""}
        for name, caller in callers.items():
            status, told = plane.status(path, method=method, body=body, **caller)
            check(status == 403, f"{name} {operation}: {status} {told}")
            asked += 1
        check(plane.status(path, method=method, body=body)[0] == 401, f"a stranger got into {operation}")
    check(asked >= 18, f"only {asked} were asked")
    names = {t["name"] for t in plane.node.ok("tenant", "list")["items"]}
    check(names == {"acme", "globex"}, names)
    # A key of the management plane hands out none of its own kind, there or here.
    status, told = plane.status("/v1/tenants/acme/keys", method="POST", body={}, identity=plane.ci)
    check(status == 403, told)


def a_caller_of_one_tenant_sees_nothing_of_another(plane):
    check(plane.node.ok("dataset", "list", "--tenant", "globex")["items"], "there is nothing to see")
    callers = ({"key": plane.keys["acme"]}, {"identity": plane.ci})
    # First: later the log tells acme of its own refused requests, with the names in their paths.
    for caller in callers:
        for path in ("/v1/tenants", "/v1/status", "/v1/audit/entries"):
            status, body = plane.status(path, **caller)
            check(status == 200 and "globex" not in json.dumps(body), f"{path}: {json.dumps(body)[:300]}")
    for caller in callers:
        for path in ("datasets", "jobs", "models", "keys", "services", "datasets/data/1"):
            theirs = plane.status(f"/v1/tenants/globex/{path}", **caller)
            absent = plane.status(f"/v1/tenants/nobody/{path}", **caller)
            check(theirs[0] == absent[0] == 404, f"{path}: {theirs} {absent}")
            told = json.dumps({k: v for k, v in theirs[1].items() if k != "request_id"}).replace("globex", "nobody")
            check(told == json.dumps({k: v for k, v in absent[1].items() if k != "request_id"}), f"{theirs} {absent}")


def two_credentials_at_once_are_none(plane):
    status, body = plane.status("/v1/whoami", key=plane.keys["acme"], identity=plane.ci)
    check(status == 401 and "one of them" in json.dumps(body), body)
    status, body = plane.status("/v1/whoami", key=plane.keys["acme"][:-1] + "0")
    check(status == 401, body)


# ---- Certificates that are not good ----


def refused_in_the_handshake(plane, identity, alert):
    """TLS 1.3 clients hear of it with their first read."""
    code, status, _, told = plane.curl("/v1/whoami", identity=identity)
    check(code != 0 and status == 0, f"{identity}: {status} {told}")
    check(alert in told.lower() or "reset" in told.lower(), f"{identity}: {told}")
    result = plane.node.refused("whoami", *plane.remote(identity), code=4, says="does not take the client certificate")
    check(result["code"] == "SR-CLI-0021", result)


def certificates_of_other_authorities_are_refused(plane):
    uri = "spiffe://dev/tenant/acme/service/ci"
    with open(os.path.join(plane.ci, "cert.pem"), "rb") as file:
        own = x509.load_pem_x509_certificate(file.read())
    check(own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.UniformResourceIdentifier) == [uri], "the identity has another SPIFFE id")
    # An authority with the very name of the node's, another key.
    twin = certificate(own.issuer.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value, ca=True)
    refused_in_the_handshake(plane, put(plane, "twin", certificate("ci", twin, uri)), "alert")
    refused_in_the_handshake(plane, put(plane, "twin-chain", certificate("ci", twin, uri), twin[1]), "alert")
    refused_in_the_handshake(plane, put(plane, "self", certificate("ci", None, uri)), "alert")
    # The authority of the listener, whose key only root has: a certificate of it is no identity.
    for name, directory in (("server", "management"), ("gateway", "gateway")):
        state = os.path.join(plane.node.state, directory)
        with open(os.path.join(state, "ca.key"), "rb") as key, open(os.path.join(state, "ca.pem"), "rb") as pem:
            ca = serialization.load_pem_private_key(key.read(), None), x509.load_pem_x509_certificate(pem.read())
        refused_in_the_handshake(plane, put(plane, f"by-{name}", certificate("ci", ca, uri)), "alert")


def certificates_of_the_right_authority_must_name_one_service(plane):
    """Made with the authority's own key, which lies in control's private directory: the checks behind the handshake."""
    ca = authority_of_services(plane)
    good = put(plane, "made-ci", certificate("ci", ca, "spiffe://dev/tenant/acme/service/ci"))
    check(plane.status("/v1/whoami", identity=good)[0] == 200, "the control is refused, so nothing is shown")
    for name, uri in (
        ("absent", "spiffe://dev/tenant/acme/service/absent"),
        ("of-globex", "spiffe://dev/tenant/globex/service/ci"),
        ("of-nobody", "spiffe://dev/tenant/nobody/service/ci"),
        ("domain", "spiffe://other/tenant/acme/service/ci"),
        ("path", "spiffe://dev/tenant/acme/service/ci/more"),
        ("case", "spiffe://dev/tenant/acme/service/CI"),
        ("none", None),
    ):
        status, body = plane.status("/v1/whoami", identity=put(plane, f"made-{name}", certificate(name, ca, uri)))
        check(status == 401, f"{name}: {status} {body}")
    ended = put(plane, "made-ended", certificate("ci", ca, "spiffe://dev/tenant/acme/service/ci", days=-0.5))
    code, status, _, told = plane.curl("/v1/whoami", identity=ended)
    check(code != 0 and status == 0, f"a certificate that has ended: {status} {told}")
    plane.node.refused("whoami", *plane.remote(ended), code=4, says=["its certificate ended", "SR-CLI-0022"])
    server = certificate("ci", ca, "spiffe://dev/tenant/acme/service/ci", usage=ExtendedKeyUsageOID.SERVER_AUTH)
    refused_in_the_handshake(plane, put(plane, "made-server", server), "alert")


def a_certificate_opens_nothing_of_another_tenant(plane):
    theirs = plane.service("ci", "tenant-admin", "globex")
    check(plane.status("/v1/tenants/globex/datasets/data/1", identity=theirs)[0] == 200, "globex sees not its own")
    check(plane.status("/v1/tenants/globex/datasets/data/1", identity=plane.ci)[0] == 404, "acme sees globex's")
    check(plane.status("/v1/tenants/acme/services", identity=theirs)[0] == 404, "globex sees acme's services")
    status, _ = plane.status("/v1/tenants/acme/services/ci/revoke", identity=theirs, method="POST")
    check(status == 404, f"globex revokes acme's service: {status}")
    check(plane.status("/v1/whoami", identity=plane.ci)[0] == 200, "acme's service is gone")


def a_revoked_service_is_refused_on_its_open_connection(plane):
    gone = plane.service("gone", "auditor")
    with plane.connect(identity=gone) as stream:
        stream.sendall(request("/v1/whoami"))
        status, me = reply(stream)
        check((status, me["principal"]) == (200, "service:acme/gone"), me)
        plane.node.ok("access", "service", "revoke", "gone", "--tenant", "acme")
        stream.sendall(request("/v1/whoami"))
        status, told = reply(stream)
        check(status == 401, f"after its revocation: {status} {told}")
        # Nor is it renewed.
        stream.sendall(request("/v1/identity/renew", method="POST", more="Content-Length: 0\r\n"))
        check(reply(stream)[0] == 401, "a revoked service is renewed")
    # The session that TLS would resume is no way around it.
    check(plane.status("/v1/whoami", identity=gone)[0] == 401, "a new connection is let in")
    again = plane.node.refused(
        "access", "service", "create", "gone", "--role", "auditor", "--tenant", "acme", "--out",
        plane.node.path("again"), code=7, says="not given twice",
    )
    check(again["code"] == "SR-CTL-0003" and not os.path.exists(plane.node.path("again")), again)
    listed = {s["name"]: s["revoked"] for s in plane.node.ok("access", "service", "list", "--tenant", "acme")["items"]}
    check(listed["gone"] and not listed["ci"], listed)
    kinds = json.dumps(plane.node.events("--kind", "service.revoke"))
    check("gone" in kinds, "the revocation is not in the log")


# ---- Renewal ----


def openssl(*words, stdin=None):
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, input=stdin, check=False)
    return done.returncode, done.stdout, done.stderr


def serial(directory):
    with open(os.path.join(directory, "cert.pem"), "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


def a_certificate_renews_itself_and_never_beyond_its_grant(plane):
    renews = plane.service("renews", "deployer", "acme", "--days", "1")
    before = serial(renews)
    life = before.not_valid_after - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    check(datetime.timedelta(minutes=55) < life <= datetime.timedelta(hours=1), f"a life of {life}")
    check(before.extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False, "the leaf is an authority")
    usage = before.extensions.get_extension_for_class(x509.KeyUsage).value
    check(usage.digital_signature and not usage.key_cert_sign and not usage.crl_sign, usage)
    told = plane.node.ok("access", "service", "renew", *plane.remote(renews))
    after = serial(renews)
    check(after.serial_number != before.serial_number, "the certificate is the same")
    check(told["id"] == "spiffe://dev/tenant/acme/service/renews", told)
    check(plane.node.ok("whoami", *plane.remote(renews))["principal"] == "service:acme/renews", "it opens nothing")
    check(plane.node.events("--kind", "service.renew"), "the renewal is not in the log")
    # What openssl makes is as good: only the key counts, and no name in a request counts at all.
    key = plane.node.path("new.pem")
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key)
    code, asked, error = openssl(
        "req", "-new", "-key", key, "-subj", "/CN=operator", "-addext", "subjectAltName=URI:spiffe://dev/tenant/globex/service/ci"
    )
    check(code == 0, error)
    status, fresh = plane.status("/v1/identity/renew", method="POST", body={"request": asked}, identity=renews)
    check(status == 200, fresh)
    check(fresh["id"] == "spiffe://dev/tenant/acme/service/renews" and "globex" not in fresh["certificate"], fresh)
    other = plane.node.path("renews-new-key")
    os.makedirs(other)
    work.write(os.path.join(other, "cert.pem"), fresh["certificate"].encode())
    os.rename(key, os.path.join(other, "key.pem"))
    check(plane.status("/v1/whoami", identity=other)[1]["principal"] == "service:acme/renews", "the new key opens nothing")


def any_command_renews_a_certificate_past_half_of_its_life(plane):
    """The certificate that is nearly over is made with the authority's own key: no clock has to be set."""
    ca = authority_of_services(plane)
    old = put(plane, "nearly-over", certificate("ci", ca, "spiffe://dev/tenant/acme/service/ci", days=0.01))
    before = serial(old)
    check(plane.node.ok("whoami", *plane.remote(old))["principal"] == "service:acme/ci", "it is not taken")
    after = serial(old)
    left = after.not_valid_after - datetime.datetime.now(datetime.timezone.utc).replace(tzinfo=None)
    check(after.serial_number != before.serial_number and left > datetime.timedelta(minutes=55), f"not renewed: {left}")
    check(after.public_key().public_numbers() == before.public_key().public_numbers(), "the key in the directory is of another certificate")
    plane.node.ok("whoami", *plane.remote(old))
    check(serial(old).serial_number == after.serial_number, "it is renewed each time")


def requests_that_prove_nothing_are_refused(plane):
    rsa = openssl("req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x")[1]
    p384 = openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x")[1]
    good = openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x")[1]
    check(plane.status("/v1/identity/renew", method="POST", body={"request": good}, identity=plane.ci)[0] == 200, "the control is refused")
    lines = good.strip().splitlines()
    swapped = lines[2][:9] + ("A" if lines[2][9] != "A" else "B") + lines[2][10:]
    bad = {"rsa": rsa, "p384": p384, "empty": "", "cut": good[:200], "changed": "\n".join([*lines[:2], swapped, *lines[3:]]),
           "long": good + "x" * 9000, "certificate": open(os.path.join(plane.ci, "cert.pem")).read()}
    for name, text in bad.items():
        status, told = plane.status("/v1/identity/renew", method="POST", body={"request": text}, identity=plane.ci)
        check(status == 400 and told["code"] == "SR-NET-0060", f"{name}: {status} {told}")
    for caller in ({"key": plane.keys["acme"]},):
        status, told = plane.status("/v1/identity/renew", method="POST", body={"request": good}, **caller)
        check(status == 400 and "only a service" in told["title"], told)


# ---- TLS and HTTP ----


def only_tls_1_3_is_spoken(plane):
    at = f"{plane.host}:{plane.port}"
    code, out, error = openssl("s_client", "-connect", at, "-tls1_3", "-CAfile", plane.ca, "-verify_return_error", stdin="")
    check(code == 0 and "TLSv1.3" in out and "Verify return code: 0" in out, f"1.3 fails, so nothing is shown: {out[-400:]} {error[-300:]}")
    for older in ("-tls1_2", "-tls1_1", "-tls1"):
        code, out, error = openssl("s_client", "-connect", at, older, "-CAfile", plane.ca, "-cipher", "ALL:@SECLEVEL=0", stdin="")
        check(code != 0, f"{older} is spoken: {out[-300:]}")
    # The gateway's authority vouches for nothing here, and this one for nothing there.
    gateway = plane.node.ready["gateway_ca"]
    check(plane.curl("/v1/status", ca=gateway)[0] == 60, "the gateway's authority vouches for the management plane")
    result = plane.node.refused("whoami", "--server", plane.url, "--ca", gateway, code=5, says="does not verify", key=plane.node.path("acme.key"))
    check(result["code"] == "SR-CLI-0020", result)
    with open(gateway, "rb") as one, open(plane.ca, "rb") as other:
        check(one.read() != other.read(), "the planes share an authority")
    with socket.create_connection((plane.host, plane.port), timeout=10) as plain:
        plain.sendall(request("/v1/status"))
        with contextlib.suppress(ConnectionResetError):
            check(not plain.recv(4096).startswith(b"HTTP"), "it speaks without TLS")


def the_command_line_says_what_is_wrong(plane):
    node, key = plane.node, plane.node.path("acme.key")
    node.refused("whoami", "--server", plane.url, "--ca", plane.ca, code=2, says="without a credential")
    node.refused("whoami", "--server", plane.url, code=2, says="--ca FILE", key=key)
    free = socket.socket()
    free.bind(("127.0.0.1", 0))
    node.refused("whoami", "--server", f"https://127.0.0.1:{free.getsockname()[1]}", "--ca", plane.ca, code=5, says="does not answer", key=key)
    free.close()
    node.refused("whoami", "--server", "http://127.0.0.1:1", code=2, says="https://HOST:PORT")
    me = node.ok("whoami", "--server", plane.url, "--ca", plane.ca, key=key)
    check(me["principal"].startswith("key:") and me["state"] == plane.url, me)
    check(node.ok("dataset", "list", *plane.remote(plane.ci))["items"] == [], "a service's tenant is not its own")
    node.ok("dataset", "import", "over-tls", node.path("data"), *plane.remote(plane.ci))
    check([d["name"] for d in node.ok("dataset", "list", "--tenant", "acme")["items"]] == ["over-tls"], "nothing was imported")
    shown = node.ok("status")
    check(shown["management"] == plane.url and shown["management_ca"] == plane.ca, shown)


def slow_and_many_clients_hold_nobody_up(plane):
    held = []

    def fill(count, begin):
        for _ in range(count):
            client = socket.create_connection((plane.host, plane.port), timeout=10)
            held.append(client)
            begin(client)

    # A thousand connections that say nothing: one address has its share, the rest is closed at once.
    fill(1000, lambda client: None)
    check(plane.answers() < 2, "silent connections hold up another client")
    with contextlib.suppress(OSError):
        with plane.connect("127.0.0.1", timeout=3):
            raise AssertionError("the address with a thousand connections gets more")
    ended = time.monotonic() + HANDSHAKE + 5
    for client in held:
        client.settimeout(max(ended - time.monotonic(), 0.1))
        with contextlib.suppress(ConnectionResetError):
            check(client.recv(1) == b"", "a connection without a handshake is answered")
        client.close()
    wait_for("its places are free again", lambda: plane.answers("127.0.0.1"), 5)
    # Half a head, and bodies that never come, on every place that one address has.
    slow = []
    for number in range(OF_ONE - 4):
        stream = plane.connect("127.0.0.1")
        half = request("/v1/whoami", plane.keys["acme"])[:-20] if number % 2 else request(
            "/v1/tenants/acme/keys", plane.keys["acme"], "POST", "Content-Type: application/json\r\nContent-Length: 100\r\n") + b"{"
        stream.sendall(half)
        slow.append(stream)
    check(plane.answers() < 3, "half requests hold up another client")
    began = time.monotonic()
    for stream in slow[1::2]:
        stream.settimeout(HEAD + 10)
        with contextlib.suppress(OSError):
            told = stream.recv(4096)
            check(not told.startswith(b"HTTP/1.1 2"), told[:80])
    check(time.monotonic() - began < HEAD + 5, "half a head is waited for too long")
    # One tenant's slow bodies take no more than its own share, and end.
    answered = sum(bool(read_now(stream)) for stream in slow[2::2])
    check(answered >= len(slow[2::2]) - SHARE, f"{answered} of {len(slow[2::2])} slow bodies of one tenant were turned away")
    slow[0].settimeout(BODY + 5)
    told = slow[0].recv(4096)
    check(told.split()[1] == b"400" and b"in time" in told, told[:200])
    check(time.monotonic() - began < BODY + 5, "a body is waited for too long")
    for stream in slow:
        stream.close()
    with plane.connect() as stream:
        stream.sendall(request("/v1/whoami", plane.keys["acme"], more="X-Long: " + "x" * 20000 + "\r\n"))
        told = b""
        with contextlib.suppress(OSError):
            told = stream.recv(4096)
        check(told == b"" or told.split()[1] in (b"400", b"431"), told[:80])
    check(plane.answers("127.0.0.1") < 3, "afterwards it does not answer")


def a_job_reaches_neither_plane(plane):
    node = plane.node
    gateway = node.ready["gateway"].rsplit(":", 1)[-1]
    code = (
        "import json, os, socket\n"
        "told = {}\n"
        f"for name, port in (('management', {plane.port}), ('gateway', {gateway})):\n"
        "    try:\n"
        "        socket.create_connection(('127.0.0.1', port), timeout=5).close()\n"
        "        told[name] = 'connected'\n"
        "    except OSError as error:\n"
        "        told[name] = type(error).__name__\n"
        "print('reached:', json.dumps(told), flush=True)\n"
    )
    for port in (plane.port, int(gateway)):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    directory = work.job(node.path("reach"), code, name="reach", memory="128MiB", checkpoints="required = false")
    record = node.wait_job(node.submit(directory), until=ENDED, seconds=60)
    found = re.search(r"reached: (\{.*\})", record["output_tail"])
    check(found, f"the job did not try: {record['state']} {record['output_tail'][-600:]}")
    told = json.loads(found.group(1))
    check(set(told) == {"management", "gateway"} and "connected" not in told.values(), told)


def keys_stay_where_they_are_made(plane):
    check(oct(os.stat(os.path.join(plane.ci, "key.pem")).st_mode & 0o777) == "0o600", "others read the key")
    with open(os.path.join(plane.ci, "key.pem"), "rb") as file:
        secret = serialization.load_pem_private_key(file.read(), None).private_numbers().private_value.to_bytes(32, "big")
    for base, _, names in os.walk(plane.node.state):
        for name in names:
            path = os.path.join(base, name)
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    check(secret not in file.read(), f"the private key of a service lies in {path}")
    state = os.path.join(plane.node.state, "control", "services")
    for path in (os.path.join(state, "ca.key"), os.path.join(plane.node.state, "management", "ca.key")):
        check(oct(os.stat(path).st_mode & 0o777) == "0o600", f"others read {path}")
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    check(subprocess.run([*as_nobody, "cat", plane.ca], capture_output=True, check=False).returncode == 0, "clients cannot read the authority")
    check(subprocess.run([*as_nobody, "ls", state], capture_output=True, check=False).returncode != 0, "others list the authority of services")
    digests = {hashlib.sha256(open(p, "rb").read()).hexdigest() for p in (
        plane.ca, plane.node.ready["gateway_ca"], os.path.join(state, "ca.pem"))}
    check(len(digests) == 3, "two authorities are one")
    plane.node.log_verifies()


def what_lasts_outlives_a_restart(plane):
    node = plane.node
    node.stop()
    node.start()
    plane.url = node.ready["management"]
    plane.port = int(plane.url.rsplit(":", 1)[-1])
    check(plane.status("/v1/whoami", identity=plane.ci)[1]["principal"] == "service:acme/ci", "its service is gone")
    gone = node.path("id-acme-gone")
    check(plane.status("/v1/whoami", identity=gone)[0] == 401, "a revoked service is back")


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        counts = run_tests(
            [
                a_key_and_a_certificate_let_in,
                a_stranger_is_told_what_is_missing,
                root_is_never_remote,
                a_caller_of_one_tenant_sees_nothing_of_another,
                two_credentials_at_once_are_none,
                certificates_of_other_authorities_are_refused,
                certificates_of_the_right_authority_must_name_one_service,
                a_certificate_opens_nothing_of_another_tenant,
                a_revoked_service_is_refused_on_its_open_connection,
                a_certificate_renews_itself_and_never_beyond_its_grant,
                any_command_renews_a_certificate_past_half_of_its_life,
                requests_that_prove_nothing_are_refused,
                only_tls_1_3_is_spoken,
                the_command_line_says_what_is_wrong,
                slow_and_many_clients_hold_nobody_up,
                a_job_reaches_neither_plane,
                keys_stay_where_they_are_made,
                what_lasts_outlives_a_restart,
            ],
            Plane(node),
        )
    close(*counts)
