#!/usr/bin/python3
"""Signatures of models on plain files, without a node: by keys and by certificates of OpenSSL's authorities, beside the
reference implementation, and what must be refused. Exit 0 means verified, and nothing else does."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from node import PROGRAM, ROOT, check, close, run_tests  # noqa: E402

REFERENCE = [os.path.join(ROOT, ".venv", "bin", "python"), "-c", "from model_signing._cli import main; main()"]

CA = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n"
SIGNER = """basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=codeSigning
subjectAltName=email:alice@example.org
"""


class Bench:
    """A directory with a model and keys."""

    def __init__(self):
        self.work = tempfile.mkdtemp(prefix="strongroom-oms-")
        self.fresh()
        for name in ("key", "other"):
            self.openssl(f"ecparam -name prime256v1 -genkey -noout -out {name}.key")
            self.openssl(f"pkey -in {name}.key -pubout -out {name}.pub")

    def path(self, *parts):
        return os.path.join(self.work, *parts)

    def write(self, name, content):
        os.makedirs(os.path.dirname(self.path(name)), exist_ok=True)
        with open(self.path(name), "wb") as file:
            file.write(content)

    def fresh(self):
        """The model as it is before anybody touches it."""
        shutil.rmtree(self.path("model"), ignore_errors=True)
        self.write("model/config.json", b"{}")
        self.write("model/empty", b"")
        self.write("model/w.bin", os.urandom(3_000_000))
        self.write("model/w/a:1.bin", b"colon")

    def openssl(self, line):
        done = subprocess.run(["openssl", *line.split()], cwd=self.work, capture_output=True, text=True)
        check(done.returncode == 0, f"openssl {line}: {done.stderr}")

    def certificate(self, name, issuer, extensions, days=30):
        self.write(f"{name}.ext", extensions.encode())
        self.openssl(f"ecparam -name prime256v1 -genkey -noout -out {name}.key")
        self.openssl(f"req -new -key {name}.key -subj /O=Acme/CN={name} -out {name}.csr")
        by = f"-key {name}.key" if issuer == name else f"-CA {issuer}.pem -CAkey {issuer}.key"
        self.openssl(
            f"x509 -req -in {name}.csr {by} -set_serial {int.from_bytes(os.urandom(6), 'big')}"
            f" -days {days} -extfile {name}.ext -out {name}.pem"
        )

    def run(self, *words):
        return subprocess.run([PROGRAM, *words], cwd=self.work, capture_output=True, text=True)

    def sign(self, *words, code=0):
        done = self.run("model", "sign", "model", "--signature", "model.sig", *words)
        check(done.returncode == code, f"sign {words}: {done.returncode} {done.stdout} {done.stderr}")
        return done

    def verify(self, *words, code=0, says=()):
        done = self.run("model", "verify", "model", "--signature", "model.sig", *words, "-o", "json")
        check(done.returncode == code, f"verify {words}: {done.returncode} {done.stdout} {done.stderr}")
        for text in says:
            check(text in done.stdout + done.stderr, f"verify {words} does not say {text}: {done.stdout} {done.stderr}")
        return json.loads(done.stdout) if done.stdout else None

    def reference(self, *words):
        return subprocess.run([*REFERENCE, *words], cwd=self.work, capture_output=True, text=True)


def every_hash_and_method_round_trips(bench):
    for words in [
        [],
        ["--hash-algorithm", "blake2b"],
        ["--hash-algorithm", "blake3"],
        ["--shard-size", "1000000"],
        ["--shard-size"],
        ["--shard-size", "999", "--hash-algorithm", "blake3"],
    ]:
        bench.sign("--private-key", "key.key", *words)
        said = bench.verify("--public-key", "key.pub")
        shards = "--shard-size" in words
        check(len(said["files"]) == (3 if shards else 4), said)
        check(said["ignored"] == (["empty"] if shards else []), said)
        bench.verify("--public-key", "other.pub", code=3, says=["SR-INT-0011"])


def the_reference_agrees_on_keys_and_certificates(bench):
    bench.certificate("root", "root", CA, 3650)
    bench.certificate("middle", "root", CA)
    bench.certificate("signer", "middle", SIGNER)
    with open(bench.path("chain.pem"), "wb") as chain:
        for name in ("middle", "root"):
            with open(bench.path(f"{name}.pem"), "rb") as file:
                chain.write(file.read())
    bench.sign("--private-key", "key.key")
    done = bench.reference("verify", "key", "--public_key", "key.pub", "--signature", "model.sig", "model")
    check(done.returncode == 0, done.stdout + done.stderr)
    bench.sign(
        "--method", "certificate", "--private-key", "signer.key", "--signing-certificate", "signer.pem",
        "--certificate-chain", "middle.pem",
    )
    done = bench.reference(
        "verify", "certificate", "--certificate_chain", "root.pem", "--signature", "model.sig", "model"
    )
    check(done.returncode == 0, done.stdout + done.stderr)
    said = bench.verify("--method", "certificate", "--certificate-chain", "root.pem", "--identity", "alice@example.org")
    check(said["signer"]["names"] == ["alice@example.org"], said)
    # And the other way round, with the spelling of its flags.
    done = bench.reference(
        "sign", "certificate", "--private_key", "signer.key", "--signing_certificate", "signer.pem",
        "--certificate_chain", "chain.pem", "--signature", "model.sig", "model",
    )
    check(done.returncode == 0, done.stdout + done.stderr)
    bench.verify("--method", "certificate", "--certificate_chain", "root.pem")


def certificates_are_refused_for_what_is_wrong_with_them(bench):
    with_root = ["--method", "certificate", "--certificate-chain", "root.pem"]
    bench.certificate("stranger", "stranger", CA)
    bench.verify("--method", "certificate", "--certificate-chain", "stranger.pem", code=3, says=["SR-INT-0032"])
    bench.verify(*with_root, "--identity", "bob@example.org", code=3, says=["SR-INT-0038"])
    # An authority in between is no root.
    bench.verify("--method", "certificate", "--certificate-chain", "middle.pem", code=3, says=["SR-INT-0032"])
    bench.certificate("server", "root", SIGNER.replace("codeSigning", "serverAuth"))
    bench.sign("--method", "certificate", "--private-key", "server.key", "--signing-certificate", "server.pem")
    bench.verify(*with_root, code=3, says=["SR-INT-0034"])
    bench.sign(
        "--method", "certificate", "--private-key", "key.key", "--signing-certificate", "server.pem", code=1
    )
    bench.verify("--public-key", "key.pub", code=3, says=["SR-INT-0006"])


def revocation_lists_are_asked_and_must_be_there(bench):
    bench.certificate("leaf", "root", SIGNER)
    bench.sign("--method", "certificate", "--private-key", "leaf.key", "--signing-certificate", "leaf.pem")
    with_root = ["--method", "certificate", "--certificate-chain", "root.pem"]
    config = "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\n"
    for name, content in {"index.txt.attr": "", "crlnumber": "01\n", "ca.cnf": config}.items():
        bench.write(name, content.encode())
    serial = subprocess.run(
        ["openssl", "x509", "-noout", "-serial", "-in", bench.path("leaf.pem")], capture_output=True, text=True
    ).stdout.strip().split("=")[1]
    for name, index in {"clean": "", "listed": f"R\t301231000000Z\t261101000000Z\t{serial}\tunknown\t/CN=x\n"}.items():
        bench.write("index.txt", index.encode())
        bench.openssl(f"ca -config ca.cnf -gencrl -cert root.pem -keyfile root.key -crldays 5 -out {name}.crl")
    bench.write("index.txt", b"")
    bench.openssl("ca -config ca.cnf -gencrl -cert middle.pem -keyfile middle.key -crldays 5 -out middle.crl")
    bench.verify(*with_root)
    bench.verify(*with_root, "--crl", "clean.crl")
    bench.verify(*with_root, "--crl", "listed.crl", code=3, says=["SR-INT-0035"])
    bench.verify(*with_root, "--crl", "middle.crl", code=3, says=["SR-INT-0036"])


def what_is_not_as_signed_is_named_and_refused(bench):
    def changed(path):
        with open(path, "r+b") as file:
            file.seek(1_500_000)
            file.write(b"x" if file.read(1) != b"x" else b"y")

    model = bench.path("model")
    edits = {
        "w.bin": lambda: changed(os.path.join(model, "w.bin")),
        "missing": lambda: os.remove(os.path.join(model, "config.json")),
        "extra": lambda: bench.write("model/extra", b""),
        "void": lambda: os.mkdir(os.path.join(model, "void")),
        "W.bin": lambda: os.rename(os.path.join(model, "w.bin"), os.path.join(model, "W.bin")),
    }
    for words in ([], ["--shard-size", "1000000"]):
        for what, edit in edits.items():
            bench.fresh()
            bench.sign("--private-key", "key.key", *words)
            edit()
            if words and what == "extra":
                # An empty file is not covered by shards: it is reported, and refused where asked for.
                check("extra" in bench.verify("--public-key", "key.pub")["ignored"], "not reported")
                bench.verify("--public-key", "key.pub", "--exact", code=3, says=["SR-INT-0015"])
            else:
                bench.verify("--public-key", "key.pub", code=3, says=["SR-INT-0015", what])


def links_pipes_and_second_names_are_refused_by_both_commands(bench):
    model = bench.path("model")
    bench.write("outside", b"x")
    for make in [
        lambda: os.symlink("w.bin", os.path.join(model, "x")),
        lambda: os.symlink("/etc", os.path.join(model, "x")),
        lambda: os.link(bench.path("outside"), os.path.join(model, "x")),
        lambda: os.mkfifo(os.path.join(model, "x")),
    ]:
        bench.fresh()
        bench.sign("--private-key", "key.key")
        bench.verify("--public-key", "key.pub")
        make()
        bench.verify("--public-key", "key.pub", code=1, says=["SR-CLI-0007"])
        bench.sign("--private-key", "key.key", code=1)


def what_is_planted_under_an_ignored_path_is_never_part_of_the_model(bench):
    bench.fresh()
    bench.sign("--private-key", "key.key", "--ignore-paths", "model/notes")
    bench.write("model/.git/hooks/x.bin", b"planted")
    bench.write("model/notes/x.bin", b"planted")
    said = bench.verify("--public-key", "key.pub")
    check(said["ignored"] == [".git/hooks/x.bin", "notes/x.bin"], said)
    check(len(said["files"]) == 4, said)
    bench.verify("--public-key", "key.pub", "--exact", code=3, says=["SR-INT-0015"])
    bench.write("model/other.bin", b"planted")
    bench.verify("--public-key", "key.pub", code=3, says=["other.bin"])
    said = bench.verify("--public-key", "key.pub", "--ignore-unsigned-files")
    check("other.bin" in said["ignored"] and "other.bin" not in said["files"], said)


def every_cut_and_flipped_byte_of_a_signature_is_refused(bench):
    bench.fresh()
    bench.sign("--private-key", "key.key")
    with open(bench.path("model.sig"), "rb") as file:
        good = file.read()
    for at in range(0, len(good) - 1, 97):
        bench.write("model.sig", good[:at])
        bench.verify("--public-key", "key.pub", code=3)
        flipped = bytearray(good)
        flipped[at] ^= 0x04
        bench.write("model.sig", bytes(flipped))
        done = bench.run("model", "verify", "model", "--signature", "model.sig", "--public-key", "key.pub", "-o", "json")
        # The hint in a form that names no key, and the name of the empty list of log entries, change nothing.
        harmless = good.rfind(b'"', 0, at) in range(good.index(b'"hint"'), good.index(b'"tlogEntries"') + 1)
        check(done.returncode == 3 or harmless, f"byte {at}: {done.returncode} {done.stdout}")


def a_command_line_that_names_nobody_to_trust_is_refused(bench):
    bench.write("model.sig", b"{}")
    for words in [
        [],
        ["--method", "certificate"],
        ["--method", "certificate", "--public-key", "key.pub"],
        ["--method", "sigstore", "--identity", "a"],
        ["--public-key", "key.pub", "--certificate-chain", "root.pem"],
        ["--public-key", "key.pub", "--trust-config", "root.pem"],
    ]:
        bench.verify(*words, code=2)


def trust_policies_are_checked_without_a_node(bench):
    example = bench.run("trust", "policy", "example").stdout
    bench.write("trust.toml", example.encode())
    done = bench.run("trust", "policy", "check", "trust.toml", "--model", "vision-7b", "-o", "json")
    said = json.loads(done.stdout)
    check(done.returncode == 0 and said["model"]["rule"]["signatures"] == 2, done.stdout)
    bench.write("bad.toml", example.replace("signatures = 2", "signatures = 3").encode())
    done = bench.run("trust", "policy", "check", "bad.toml", "-o", "json")
    check(done.returncode == 3 and "SR-INT-0042" in done.stdout, done.stdout)


if __name__ == "__main__":
    bench = Bench()
    try:
        counts = run_tests(
            [
                every_hash_and_method_round_trips,
                the_reference_agrees_on_keys_and_certificates,
                certificates_are_refused_for_what_is_wrong_with_them,
                revocation_lists_are_asked_and_must_be_there,
                what_is_not_as_signed_is_named_and_refused,
                links_pipes_and_second_names_are_refused_by_both_commands,
                what_is_planted_under_an_ignored_path_is_never_part_of_the_model,
                every_cut_and_flipped_byte_of_a_signature_is_refused,
                a_command_line_that_names_nobody_to_trust_is_refused,
                trust_policies_are_checked_without_a_node,
            ],
            bench,
        )
    finally:
        shutil.rmtree(bench.work, ignore_errors=True)
    close(*counts)
