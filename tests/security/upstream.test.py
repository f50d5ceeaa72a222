#!/usr/bin/python3
"""By whom a model was signed before it came, and what the tenant's policy says of it: keys and certificates of OpenSSL, on a
live node. What a signer signed counts for as long as the policy in force believes it, also while it is served."""

import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import PROGRAM, Node, check, close, run_tests  # noqa: E402

CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n"
SIGNER = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\nsubjectAltName=email:{}@example.org\n"
LISTS = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ncrl_extensions=x\n[x]\nauthorityKeyIdentifier=keyid\n"


class Upstream:
    """A tenant, a model as it is elsewhere, and people there who sign it: ann and eve by keys, alice and bob by certificates
    of one authority."""

    def __init__(self, node):
        self.node, self.version = node, 0
        node.ok("tenant", "create", "acme")
        for name in ("ann", "eve", "ca", "alice", "bob"):
            self.openssl(f"ecparam -name prime256v1 -genkey -noout -out {name}.key")
            self.openssl(f"pkey -in {name}.key -pubout -out {name}.pub")
            os.chmod(node.path(f"{name}.key"), 0o600)
        self.certificate("ca", CA)
        self.certificate("alice", SIGNER.format("alice"), "ca")
        self.certificate("bob", SIGNER.format("bob"), "ca")
        work.write(node.path("model", "model.onnx"), work.onnx(work.WEIGHTS))

    def openssl(self, line):
        done = subprocess.run(["openssl", *line.split()], cwd=self.node.work, capture_output=True, text=True, check=False)
        check(done.returncode == 0, f"openssl {line}: {done.stderr}")
        return done.stdout

    def certificate(self, name, extensions, issuer=None):
        work.write(self.node.path(f"{name}.ext"), extensions.encode())
        self.openssl(f"req -new -key {name}.key -subj /O=Acme/CN={name} -out {name}.csr")
        by = f"-CA {issuer}.pem -CAkey {issuer}.key" if issuer else f"-key {name}.key"
        serial = int.from_bytes(os.urandom(6), "big")
        self.openssl(f"x509 -req -in {name}.csr {by} -set_serial {serial} -days 30 -extfile {name}.ext -out {name}.pem")

    def crl(self, *revoked):
        lines = ""
        for name in revoked:
            serial = self.openssl(f"x509 -noout -serial -in {name}.pem").strip().split("=")[1]
            lines += f"R\t301231000000Z\t261101000000Z\t{serial}\tunknown\t/CN={name}\n"
        for name, text in {"index.txt": lines, "index.txt.attr": "", "crlnumber": "01\n", "ca.cnf": LISTS}.items():
            work.write(self.node.path(name), text.encode())
        self.openssl("ca -config ca.cnf -gencrl -cert ca.pem -keyfile ca.key -crldays 5 -out list.crl")
        return self.text("list.crl")

    def text(self, name):
        with open(self.node.path(name)) as file:
            return file.read()

    def key(self, name, models="*"):
        return f'[[signer]]\nprincipal = "{name}"\nmodels = ["{models}"]\nkeys = ["""\n{self.text(name + ".pub")}"""]\n'

    def identity(self, name, crl=""):
        crls = f'crls = ["""\n{crl}"""]\n' if crl else ""
        return (
            f'[[signer]]\nprincipal = "{name}"\nmodels = ["*"]\n[[signer.certificate]]\nidentity = "{name}@example.org"\n'
            f'roots = """\n{self.text("ca.pem")}"""\n{crls}'
        )

    def policy(self, signers, upstream_signed=True, more=""):
        self.version += 1
        text = f'schema = "strongroom.trust-policy/1"\ntenant = "acme"\nversion = {self.version}\n{signers}'
        text += f'[[rule]]\nmodels = ["*"]\nsignatures = 1\nupstream_signed = {str(upstream_signed).lower()}\n{more}'
        path = self.node.path("trust.toml")
        work.write(path, text.encode())
        return path

    def apply(self, signers, **more):
        path = self.policy(signers, **more)
        return self.node.ok("trust", "policy", "apply", path, "--reason", "a test", "--tenant", "acme")

    def sign(self, name, directory="model", certificate=False):
        path = self.node.path(f"by-{name}.sig")
        words = ["--method", "certificate", "--signing-certificate", self.node.path(f"{name}.pem")] if certificate else ["--method", "key"]
        done = subprocess.run(
            [PROGRAM, "model", "sign", self.node.path(directory), "--signature", path, "--private-key", self.node.path(f"{name}.key"), *words],
            env=self.node.env, capture_output=True, text=True, check=False,
        )
        check(done.returncode == 0, done.stderr)
        return path

    def bring(self, name, *more, code=3, **refused):
        words = ("model", "import", name, self.node.path("model"), "--tenant", "acme", "--source", "by hand", *work.SAID, *more)
        return self.node.refused(*words, code=code, **refused) if refused else self.node.ok(*words)

    def go_on(self, what, name, **refused):
        words = ("model", "intake", what, name, "--tenant", "acme", *(("--reason", "a test") if what == "approve" else ()))
        return self.node.refused(*words, code=3, **refused) if refused else self.node.ok(*words)

    def deploys(self, name):
        return self.node.run("-o", "json", "endpoint", "deploy", name, f"{name}@1", "--tenant", "acme").code == 0


def without_a_policy_a_signature_needs_its_key(u):
    u.bring("a", "--signature", u.sign("eve"), code=1, says=["--public-key", "trust policy"])
    brought = u.bring("a", "--signature", u.sign("eve"), "--public-key", u.node.path("eve.pub"))
    check(brought["signed_by"], brought)
    u.bring("a", "--signature", u.sign("eve"), "--public-key", u.node.path("ann.pub"), says="SR-ITK-0003")


def what_comes_is_signed_by_whom_the_policy_names(u):
    u.apply(u.key("ann"))
    u.bring("b", says=["SR-CTL-0071", "none came", "trust policy show"])
    u.bring("b", "--signature", u.sign("eve"), says="SR-CTL-0071")
    # That the bringer names a key does not make it one of the policy's.
    u.bring("b", "--signature", u.sign("eve"), "--public-key", u.node.path("eve.pub"), says="SR-CTL-0071")
    # Nor is the key that the bringer expects another's.
    u.bring("b", "--signature", u.sign("ann"), "--public-key", u.node.path("eve.pub"), says="SR-ITK-0003")
    shutil.copytree(u.node.path("model"), u.node.path("other"))
    work.write(u.node.path("other", "more.json"), b"{}")
    u.bring("b", "--signature", u.sign("ann", "other"), says=["SR-CTL-0071", "other files"])
    # The positive control.
    brought = u.bring("b", "--signature", u.sign("ann"))
    check("by `ann`" in brought["steps"][0]["detail"] and brought["signed_by"], brought["steps"])
    # A signature that comes counts in any case, also where none must come.
    u.apply(u.key("ann"), upstream_signed=False)
    u.bring("c", "--signature", u.sign("eve"), says="SR-CTL-0071")
    check(u.bring("c")["state"] == "described", "without a signature it is not taken in where none is asked for")


def a_name_counts_for_its_models_alone(u):
    u.apply(u.key("ann", "b*") + u.key("eve"))
    u.bring("d", "--signature", u.sign("ann"), says="SR-CTL-0071")
    check(u.bring("d", "--signature", u.sign("eve"))["signed_by"], "the positive control")


def a_signer_who_is_dropped_counts_no_longer_on_the_way(u):
    u.apply(u.key("ann"))
    u.bring("e", "--signature", u.sign("ann"))
    u.go_on("approve", "e")
    u.apply(u.key("eve"))
    u.go_on("admit", "e", says="SR-CTL-0071")
    shown = u.node.ok("model", "intake", "show", "e", "--tenant", "acme")
    check(shown["state"] == "approved", "it did not wait where it stood")
    u.apply(u.key("ann"))
    check(u.go_on("admit", "e")["model"] == "e@1", "the positive control")


def the_signature_that_came_goes_on_counting(u):
    """The policy does not name the node: it is ann's signature, and nobody's but hers, that lets the model serve."""
    verified = u.node.ok("model", "verify", "e@1", "--tenant", "acme")
    check(any(c["name"] == "trust policy" and "ann" in c["detail"] for c in verified["checks"]), verified)
    check(u.deploys("e"), "it does not serve")
    check(u.apply(u.key("eve"))["withdrawn"] == ["e"], "it serves on")


def certificates_of_the_policy_count_with_its_lists(u):
    u.apply(u.identity("alice"))
    u.bring("f", "--method", "certificate", "--signature", u.sign("bob", certificate=True), says="SR-CTL-0071")
    u.bring("f", "--method", "certificate", "--signature", u.sign("alice", certificate=True), "--public-key", u.node.path("alice.pub"), code=2, says="--method key")
    u.apply(u.identity("alice", u.crl("bob")))
    brought = u.bring("f", "--method", "certificate", "--signature", u.sign("alice", certificate=True))
    check("by `alice`" in brought["steps"][0]["detail"], brought["steps"])
    u.go_on("approve", "f")
    u.go_on("admit", "f")
    check(u.deploys("f"), "it does not serve")
    # A list that names her certificate ends what is served, and lets nothing more in.
    gone = u.apply(u.identity("alice", u.crl("alice")))
    check(gone["withdrawn"] == ["f"] and not u.deploys("f"), gone)
    u.bring("g", "--method", "certificate", "--signature", u.sign("alice", certificate=True), says="SR-CTL-0071")


def a_policy_says_what_it_believes(u):
    path = u.policy(u.identity("alice", u.crl()))
    done = u.node.run("trust", "policy", "check", path)
    check(done.code == 0 and "certificate of alice@example.org (1 revocation lists)" in done.out, done.out)
    sigstore = '[[signer]]\nprincipal = "ci"\nmodels = ["*"]\n[[signer.sigstore]]\nidentity = "a@b"\nissuer = "https://id"\n'
    for pinned, says in [("", "pins no"), ("[sigstore]\ntrusted_root = '{}'\n", "trusted_root")]:
        path = u.policy(pinned + sigstore)
        done = u.node.run("-o", "json", "trust", "policy", "check", path)
        check(done.code == 3 and says in done.json()["sigstore"], done.out)
        u.node.refused("trust", "policy", "apply", path, "--reason", "x", "--tenant", "acme", code=1, says="sigstore")


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                without_a_policy_a_signature_needs_its_key,
                what_comes_is_signed_by_whom_the_policy_names,
                a_name_counts_for_its_models_alone,
                a_signer_who_is_dropped_counts_no_longer_on_the_way,
                the_signature_that_came_goes_on_counting,
                certificates_of_the_policy_count_with_its_lists,
                a_policy_says_what_it_believes,
            ],
            Upstream(node),
        )
    close(*counts)
