#!/usr/bin/python3
"""An endpoint answers right, and what is wrong with a request is said to its sender alone."""

import json
import os
import socket
import ssl
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, flip, run_tests, send  # noqa: E402


class Served:
    def __init__(self, node):
        self.node = node
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))
        node.ok("endpoint", "deploy", "lin", "lin@1", "--tenant", "acme")
        self.url = node.ok("endpoint", "show", "lin", "--tenant", "acme")["url"]
        made = node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")
        self.key, self.key_id = made["secret"], made["id"]

    def ask(self, body, **more):
        return self.node.ask(self.url, body, **{"key": self.key, **more})

    def works(self):
        status, answer = self.ask(work.request([[1, 2], [3, 4]]))
        check(status == 200, f"{status} {answer}")
        check(answer["outputs"][0]["data"] == [1, 2, 0, 3, 4, 2], answer)
        return answer

    def tls(self):
        parts = urllib.parse.urlsplit(self.url)
        context = ssl.create_default_context(cafile=self.node.ready["gateway_ca"])
        plain = socket.create_connection((parts.hostname, parts.port), timeout=60)
        return context.wrap_socket(plain, server_hostname=parts.hostname)


def it_answers_right(served):
    served.works()


def it_speaks_no_older_tls(served):
    parts = urllib.parse.urlsplit(served.url)
    context = ssl.create_default_context(cafile=served.node.ready["gateway_ca"])
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=10) as plain:
            context.wrap_socket(plain, server_hostname=parts.hostname).close()
    except (ssl.SSLError, ConnectionError):
        return
    check(False, "TLS 1.2 is spoken")


def a_wrong_key_is_refused(served):
    body = work.request([[1, 2]])
    kind, identity, secret = served.key.split("_")
    wrong = ["", "x", "srk_", served.key[:-1], served.key + "0", "_".join([kind, identity, secret[::-1]])]
    answers = {json.dumps(strip(served.ask(body, key=key))) for key in wrong}
    check(len(answers) == 1, f"wrong keys can be told apart: {answers}")
    check(json.loads(answers.pop())[0] == 401, "not 401")
    status, answer = served.node.ask(served.url, body)
    check(status == 401, f"without a key: {status} {answer}")
    management = served.node.path("management.key")
    served.node.ok("key", "create", "--out", management, "--tenant", "acme")
    with open(management) as file:
        status, answer = served.ask(body, key=file.read().strip())
    check(status in (401, 403, 404), f"a management key opens an endpoint: {status} {answer}")


def strip(answer):
    """Without what differs for every request."""
    status, body = answer
    if isinstance(body, dict):
        body = {k: v for k, v in body.items() if k not in ("request_id", "id")}
    return [status, body if isinstance(body, (dict, str)) else str(body)]


def a_revoked_key_opens_nothing(served):
    made = served.node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")
    check(served.ask(work.request([[1, 2]]), key=made["secret"])[0] == 200, "a new key does not work")
    served.node.ok("key", "revoke", made["id"], "--tenant", "acme")
    check(served.ask(work.request([[1, 2]]), key=made["secret"])[0] == 401, "a revoked key works")


def another_endpoint_does_not_exist_for_a_key(served):
    body = work.request([[1, 2]])
    path = urllib.parse.urlsplit(served.url).path
    absent = served.node.ask(served.url.replace(path, path.replace("lin", "absent")), body, key=served.key)
    check(absent[0] in (401, 403, 404), absent)


def requests_that_make_no_sense_are_refused(served):
    good = work.request([[1, 2]])

    def tensor(**change):
        return {"inputs": [{**good["inputs"][0], **change}]}

    for body in [
        b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"inputs": []}', {"inputs": [{}]}, {}, {"inputs": "x"},
        tensor(shape=[1, 3]), tensor(shape=[2, 2]), tensor(shape=[0, 2]), tensor(shape=[-1, 2]), tensor(shape=[]),
        tensor(shape=[1 << 62, 4]), tensor(shape=[1.5, 2]), tensor(shape="1,2"), tensor(shape=[1] * 100),
        tensor(datatype="FP16"), tensor(datatype="INT64"), tensor(datatype=7), tensor(name="z"), tensor(name="x" * 5000),
        tensor(data=["a", "b"]), tensor(data=[1]), tensor(data=[1, 2, 3]), tensor(data=[[[[1]]]]), tensor(data=None),
        {"inputs": good["inputs"] * 2}, {**good, "outputs": [{"name": "no-such-output"}]},
        b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    ]:
        status, answer = served.ask(body)
        shown = str(body)[:120]
        check(status in (400, 404, 413, 422), f"{shown} gave {status} {answer}")
        check(isinstance(answer, dict) and (answer.get("error") or answer.get("title")), f"{shown}: no reason: {answer}")
        check("panicked" not in str(answer), answer)
    served.works()


def a_request_that_is_too_large_is_refused_early(served):
    connection = served.tls()
    head = f"POST {urllib.parse.urlsplit(served.url).path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {served.key}\r\n"
    connection.sendall((head + "Content-Type: application/json\r\nContent-Length: 9000000000\r\n\r\n").encode())
    check(b"413" in connection.recv(4096).split(b"\r\n")[0], "a body of 9 GB is waited for")
    connection.close()
    rows = 1_000_000
    body = work.request([[1.5, 2.5]] * rows)
    began = time.monotonic()
    try:
        status, answer = served.ask(json.dumps(body).encode() + b" " * (17 << 20))
        check(status == 413, f"{status} {answer}")
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
        pass  # Refused while it was still being sent.
    check(time.monotonic() - began < 20, "it took long to refuse")
    connection = served.tls()
    try:
        connection.sendall((head + "X: " + "y" * 40_000 + "\r\n\r\n").encode())
        said = connection.recv(4096)
        check(said.split(b" ")[1:2] in ([b"431"], [b"400"]), f"a header of 40 kB is taken: {said[:60]}")
    except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
        pass  # Refused and closed while it was still being sent.
    connection.close()
    served.works()


def slow_clients_are_cut_and_hold_up_nobody(served):
    path = urllib.parse.urlsplit(served.url).path
    key = served.node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["secret"]
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    no_head = [served.tls() for _ in range(40)]
    for connection in no_head:
        connection.sendall(b"POST /v2/mod")
    no_body = [served.tls() for _ in range(40)]
    for connection in no_body:
        connection.sendall((head + "Content-Length: 1000\r\n\r\n{").encode())
    for _ in range(3):
        began = time.monotonic()
        served.works()
        check(time.monotonic() - began < 5, "others wait for slow clients")
    began = time.monotonic()
    for connection in no_head + no_body:
        connection.settimeout(40)
        try:
            while connection.recv(4096):
                pass
        except (ConnectionError, ssl.SSLError):
            pass
        connection.close()
    check(time.monotonic() - began < 40, "slow clients are kept for ever")
    served.works()


def a_client_that_reads_slowly_holds_up_nobody(served):
    """Asks for answers and takes none of them, until nothing more can be sent."""
    path = urllib.parse.urlsplit(served.url).path
    key = served.node.ok("key", "create", "--endpoint", "lin", "--tenant", "acme")["secret"]
    body = json.dumps(work.request([[1.5, 2.5]] * 20_000)).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json\r\n"
    message = (head + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    greedy = []
    for _ in range(4):
        connection = served.tls()
        connection.settimeout(2)
        greedy.append(connection)
        try:
            for _ in range(40):
                connection.sendall(message)
        except (TimeoutError, ssl.SSLError, OSError):
            pass
    began = time.monotonic()
    served.works()
    check(time.monotonic() - began < 5, "others wait for a slow reader")
    for connection in greedy:
        connection.close()
    served.works()


def what_was_refused_is_recorded(served):
    found = served.node.events("--outcome", "refused", until=lambda f: len(f) > 3)
    check(found, "no entry tells of a refusal")
    check(not any(served.key in json.dumps(e) for e in found), "a key stands in the log")
    served.node.log_verifies()


def a_model_whose_bytes_changed_is_set_aside_and_the_log_says_so_before_and_after(served):
    node = served.node
    node.wait_job(node.submit(work.served(node.path("changed"), name="changed", steps=3)))
    model = node.ok("model", "show", "changed@1", "--tenant", "acme")
    own = set(model["objects"]) - set(node.ok("model", "show", "lin@1", "--tenant", "acme")["objects"])
    flip(node.object_file(sorted(own or model["objects"])[0]))
    node.run("endpoint", "deploy", "changed", "changed@1", "--tenant", "acme")
    state = node.ok("model", "show", "changed@1", "--tenant", "acme")["state"]
    check(state == "quarantined", f"the model is {state}")

    def phases(found):
        own = [e["unmapped"]["strongroom"] for e in found]
        return [(o["phase"], o["outcome"]) for o in own]

    found = node.events("--kind", "model.quarantine", "--asset", "changed@1", until=lambda f: len(f) >= 2)
    check(phases(found) == [("intent", "unknown"), ("outcome", "success")], phases(found))


def a_stopped_endpoint_answers_nobody(served):
    connection = served.node.connect()
    path = urllib.parse.urlsplit(served.url).path
    check(send(connection, path, work.request([[1, 2]]), served.key)[0] == 200, "it does not serve")
    served.node.ok("endpoint", "stop", "lin", "--tenant", "acme")
    status, _ = send(connection, path, work.request([[1, 2]]), served.key)
    check(status in (401, 403, 404, 503), f"a stopped endpoint answers {status} on an open connection")


if __name__ == "__main__":
    with Node() as node:
        served = Served(node)
        counts = run_tests(
            [
                it_answers_right,
                it_speaks_no_older_tls,
                a_wrong_key_is_refused,
                a_revoked_key_opens_nothing,
                another_endpoint_does_not_exist_for_a_key,
                requests_that_make_no_sense_are_refused,
                a_request_that_is_too_large_is_refused_early,
                slow_clients_are_cut_and_hold_up_nobody,
                a_client_that_reads_slowly_holds_up_nobody,
                what_was_refused_is_recorded,
                a_model_whose_bytes_changed_is_set_aside_and_the_log_says_so_before_and_after,
                a_stopped_endpoint_answers_nobody,
            ],
            served,
        )
    close(*counts)
