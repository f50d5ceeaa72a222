#!/usr/bin/python3
"""A revocation cuts what is being sent: streams of keys and of services, within the second that is declared."""

import http.client
import json
import os
import ssl
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, UnixHttp, check, close, run_tests, wait_for  # noqa: E402

# What is declared (SECURITY.md), and what a busy machine may add until the reader sees it.
DECLARED, BUSY = 1.0, 1.5
LARGE = 48_000_000


class Stream:
    """An answer that is read by a thread until it ends, however it ends."""

    def __init__(self, connection, path, key=None):
        self.connection = connection
        connection.request("GET", path, None, {"Authorization": f"Bearer {key}"} if key else {})
        self.reply = connection.getresponse()
        check(self.reply.status == 200, f"{path}: {self.reply.status} {self.reply.status != 200 and self.reply.read()[:300]}")
        self.bytes, self.ended, self.broken = 0, None, None
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            while piece := self.reply.read1(65536):
                self.bytes += len(piece)
        except (OSError, http.client.HTTPException) as error:
            self.broken = repr(error)
        self.ended = time.monotonic()

    def after(self, began):
        """Seconds until it ended."""
        wait_for("the stream ends", lambda: self.ended, 10, 0.02)
        return self.ended - began

    def runs_on(self):
        before = self.bytes
        wait_for("the stream goes on", lambda: self.bytes > before, 10, 0.05)
        return self.ended is None


class Cut:
    """A job of acme that says something all the time, a large model, and callers."""

    def __init__(self, node):
        self.node = node
        node.ok("tenant", "create", "acme")
        head = "{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % LARGE
        head = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + (head + " " * (117 - len(head)) + "\n").encode()
        work.write(node.path("large", "large.npy"), head + os.urandom(LARGE))
        work.imported(node, "large", node.path("large"))
        self.job = node.submit(work.counting(node.path("long"), steps=100_000, every=2, pause=0.05))
        wait_for("the job runs", lambda: node.job(self.job)["state"] == "running")
        self.watched = f"/v1/tenants/acme/jobs/{self.job}/events"

    def key(self, role):
        made = self.node.ok("key", "create", "--role", role, "--tenant", "acme")
        return made["id"], made["secret"]

    def local(self, path, key=None):
        return Stream(UnixHttp(self.node.ready["socket"]), path, key)

    def revoke(self, key):
        self.node.ok("key", "revoke", key, "--tenant", "acme")
        return time.monotonic()


def a_revoked_key_is_cut_off_from_a_watch(cut):
    (one, secret), (_, other) = cut.key("auditor"), cut.key("auditor")
    watching, beside, operator = (cut.local(cut.watched, key) for key in (secret, other, None))
    check(watching.runs_on() and beside.runs_on() and operator.runs_on(), "a watch ended by itself")
    took = watching.after(cut.revoke(one))
    print(f"    a watch ended {took:.2f} s after the revocation of its key was answered")
    check(took < DECLARED + BUSY, f"it ended after {took} s")
    check(watching.broken, "it ended as if it were whole")
    # The controls: nobody else is cut.
    check(beside.runs_on() and operator.runs_on(), "another watch was cut")


def a_silent_stream_is_cut_too(cut):
    key, secret = cut.key("auditor")
    quiet = cut.node.submit(work.counting(cut.node.path("quiet"), name="quiet", steps=2, every=1, pause=600))
    wait_for("the quiet job runs", lambda: cut.node.job(quiet)["state"] == "running")
    watching = cut.local(f"/v1/tenants/acme/jobs/{quiet}/events", secret)
    took = watching.after(cut.revoke(key))
    check(took < DECLARED + BUSY, f"it ended after {took} s")
    cut.node.ok("job", "stop", quiet, "--tenant", "acme")


def what_is_being_taken_out_stays(cut):
    key, secret = cut.key("ml-engineer")
    connection = UnixHttp(cut.node.ready["socket"])
    connection.request("GET", "/v1/tenants/acme/models/large/1/files/large.npy", None, {"Authorization": f"Bearer {secret}"})
    reply = connection.getresponse()
    taken = len(reply.read(1000))
    cut.revoke(key)
    time.sleep(DECLARED + 0.5)
    try:
        while piece := reply.read1(1 << 20):
            taken += len(piece)
    except (OSError, http.client.HTTPException):
        pass
    # What lay in buffers is gone with them; the rest stays.
    check(taken < LARGE // 2, f"{taken} bytes came after the key was revoked")
    print(f"    of {LARGE} bytes {taken} had left")
    # The control: with a key that is good all of it comes.
    whole = cut.local("/v1/tenants/acme/models/large/1/files/large.npy", cut.key("ml-engineer")[1])
    whole.after(time.monotonic())
    check(whole.bytes == LARGE + 128 and not whole.broken, f"{whole.bytes} {whole.broken}")


def a_revoked_service_is_cut_off_over_the_network(cut):
    node = cut.node
    streams = []
    for name in ("one", "other"):
        out = node.path(f"id-{name}")
        node.ok("access", "service", "create", name, "--role", "auditor", "--tenant", "acme", "--out", out)
        context = ssl.create_default_context(cafile=node.ready["management_ca"])
        context.load_cert_chain(os.path.join(out, "cert.pem"), os.path.join(out, "key.pem"))
        host, port = node.ready["management"].rsplit("/", 1)[-1].rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), timeout=30, context=context)
        streams.append(Stream(connection, cut.watched))
    check(all(s.runs_on() for s in streams), "a watch ended by itself")
    node.ok("access", "service", "revoke", "one", "--tenant", "acme")
    took = streams[0].after(time.monotonic())
    print(f"    a watch over TLS ended {took:.2f} s after the revocation of its service was answered")
    check(took < DECLARED + BUSY and streams[0].broken, f"it ended after {took} s: {streams[0].broken}")
    check(streams[1].runs_on(), "another service was cut")


def the_command_line_says_why_it_ended(cut):
    key, secret = cut.key("auditor")
    path = cut.node.path("auditor.key")
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(secret + "\n")
    ended = {}

    def watch():
        ended["ran"] = cut.node.run("-o", "json", "--key-file", path, "job", "watch", cut.job, "--tenant", "acme")

    thread = threading.Thread(target=watch)
    thread.start()
    time.sleep(1)
    cut.revoke(key)
    thread.join(20)
    ran = ended.get("ran")
    check(ran and ran.code != 0, f"it goes on, or ended well: {ran and ran.code}")
    check(json.dumps(ran.error()) != "{}", ran.err)


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                a_revoked_key_is_cut_off_from_a_watch,
                a_silent_stream_is_cut_too,
                what_is_being_taken_out_stays,
                a_revoked_service_is_cut_off_over_the_network,
                the_command_line_says_why_it_ended,
            ],
            Cut(node),
        )
    close(*counts)
