#!/usr/bin/python3
"""Lists in pages, answers that are not sent twice, and requests that are not done twice: also when control is killed."""

import json
import os
import signal
import socket
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import api  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, run_tests, wait_for  # noqa: E402

SETS = 7


class Tenants:
    """acme with some data sets and keys, and globex with as many data sets."""

    def __init__(self, node):
        self.node = node
        self.keys = {}
        for tenant in ("acme", "globex"):
            node.ok("tenant", "create", tenant)
            self.keys[tenant] = node.ok("key", "create", "--tenant", tenant)["secret"]
            for number in range(SETS):
                work.write(node.path(tenant, str(number)), f"{tenant} {number}".encode())
                node.ok("dataset", "import", f"set-{number}", node.path(tenant, str(number)), "--tenant", tenant)
        node.wait_job(node.submit(work.served(node.path("lin"), name="lin")))

    def get(self, path, key=None, headers=()):
        return api.ask(self.node.ready["socket"], "GET", f"/v1{path}", key, headers=headers)

    def post(self, path, body, once=None, key=None):
        headers = {"Idempotency-Key": once} if once else {}
        text = json.dumps(body) if body is not None else None
        return api.ask(self.node.ready["socket"], "POST", f"/v1{path}", key, text, "application/json", headers)


def pages(tenants, path, key=None, limit=2):
    """Every item of a list, page by page."""
    items, after = [], ""
    while True:
        page = tenants.get(f"{path}?limit={limit}{after}", key)
        check(page.status == 200 and len(page.json["items"]) <= limit, page)
        items += page.json["items"]
        if "next" not in page.json:
            return items
        after = f"&after={page.json['next']}"


def every_list_is_read_page_by_page(tenants):
    lists = [o for o in api.operations() if o.lists]
    check(len(lists) >= 8, [o.name for o in lists])
    job = tenants.node.ok("job", "list", "--tenant", "acme")["items"][0]["id"]
    for operation in lists:
        path = operation.at(tenant="acme", job=job)[3:]
        whole = tenants.get(path)
        check(whole.status == 200, f"{operation.name}: {whole}")
        check(pages(tenants, path, limit=1) == whole.json["items"], f"{operation.name}: its pages are not the list")
        for wrong in ("limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=1&limit=1", "before=x", "after=", "after=00"):
            refused = tenants.get(f"{path}?{wrong}")
            check(refused.status == 400, f"{operation.name}?{wrong}: {refused}")
    check(len(pages(tenants, "/tenants/acme/datasets")) == SETS, "not every data set")
    check(len(tenants.node.ok("dataset", "list", "--tenant", "acme")["items"]) == SETS, "the command line")


def what_comes_in_between_moves_nothing(tenants):
    first = tenants.get("/tenants/acme/datasets?limit=3").json
    for name in ("a-first", "set-3-and-more", "z-last"):
        tenants.node.ok("dataset", "import", name, tenants.node.path("acme", "0"), "--tenant", "acme")
    rest = tenants.get(f"/tenants/acme/datasets?after={first['next']}").json["items"]
    names = [d["name"] for d in first["items"] + rest]
    check(names == sorted([*(f"set-{n}" for n in range(SETS)), "set-3-and-more", "z-last"]), names)


def a_cursor_is_of_one_list_and_one_caller(tenants):
    acme, globex = tenants.keys["acme"], tenants.keys["globex"]
    good = tenants.get("/tenants/acme/datasets?limit=2", acme).json["next"]
    check(tenants.get(f"/tenants/acme/datasets?after={good}", acme).status == 200, "its own cursor")
    flipped = good[:-1] + ("0" if good[-1] != "0" else "1")
    wrong = [
        ("/tenants/globex/datasets", globex, good), ("/tenants/acme/models", acme, good),
        ("/tenants/acme/datasets", None, good), ("/tenants/globex/datasets", None, good), ("/tenants", None, good),
        *[("/tenants/acme/datasets", acme, c) for c in (flipped, good[32:], good[:32], good.upper(), good + "00", "f" * 900, "%00", "z" * 64)],
        # A place that was made up: the JSON of `["globex", 1]`.
        ("/tenants/acme/datasets", acme, "0" * 32 + b'["globex",1]'.hex()),
    ]
    for path, key, cursor in wrong:
        refused = tenants.get(f"{path}?after={cursor}", key)
        check(refused.status == 400 and refused.json["code"] == "SR-API-0004", f"{path} {cursor[:40]}: {refused}")
        check("globex" not in refused.text and "set-" not in refused.text, refused)


def what_the_caller_has_is_not_sent_again(tenants):
    for path in ("/tenants/acme/models/lin/1", "/tenants/acme/datasets/set-0/1", "/tenants/acme/datasets", "/posture", "/openapi.json",
                 "/tenants/acme/jobs/lin", "/tenants/acme/models/lin/1/signature"):
        first = tenants.get(path)
        tag = first.headers.get("etag", "")
        check(first.status == 200 and tag.startswith('"') and tag.endswith('"'), f"{path}: {first.headers}")
        for have in (tag, f'"other", {tag}', f"W/{tag}", "*"):
            again = tenants.get(path, headers={"If-None-Match": have})
            check(again.status == 304 and again.text == "" and again.headers["etag"] == tag, f"{path} {have}: {again}")
            check("x-request-id" in again.headers and again.headers["cache-control"] == "no-store", again.headers)
        for have in ('"other"', tag.strip('"'), ""):
            check(tenants.get(path, headers={"If-None-Match": have}).status == 200, f"{path} {have}")
    # It changes with the answer, and who may not see the thing learns nothing by it.
    before = tenants.get("/tenants/acme/datasets").headers["etag"]
    tenants.node.ok("dataset", "import", "one-more", tenants.node.path("acme", "1"), "--tenant", "acme")
    check(tenants.get("/tenants/acme/datasets", headers={"If-None-Match": before}).status == 200, "a list that changed")
    stranger = tenants.get("/tenants/acme/datasets", tenants.keys["globex"], {"If-None-Match": "*"})
    check(stranger.status == 404 and "etag" not in stranger.headers, stranger)


def a_repeated_request_makes_one_thing(tenants):
    keys = len(tenants.node.ok("key", "list", "--tenant", "acme")["items"])
    first = tenants.post("/tenants/acme/keys", {"days": 3}, '"make-a-key"')
    check(first.status == 200 and first.json["secret"].startswith("srk_"), first)
    again = tenants.post("/tenants/acme/keys", {"days": 3}, '"make-a-key"')
    check(again.status == 200 and "secret" not in again.json and again.json["id"] == first.json["id"], again)
    secret = first.json.pop("secret")
    check(again.json == first.json and secret not in again.text, f"{again} {first}")
    other = tenants.post("/tenants/acme/keys", {"days": 4}, '"make-a-key"')
    check(other.status == 422 and other.json["code"] == "SR-API-0007", other)
    check(tenants.post("/tenants/globex/keys", {"days": 3}, '"make-a-key"').status == 422, "another path")
    for bad in ("bare", '""', '"a" "b"', '"a b"', '"' + "x" * 65 + '"', '"ä"'.encode().decode("latin-1")):
        refused = tenants.post("/tenants/acme/keys", {"days": 3}, bad)
        check(refused.status == 400 and refused.json["code"] == "SR-API-0005", f"{bad}: {refused}")
    check(len(tenants.node.ok("key", "list", "--tenant", "acme")["items"]) == keys + 1, "more than one was made")
    # The same key of another caller is another one.
    begun = [tenants.post("/tenants/acme/imports", {"kind": "dataset", "name": "x"}, '"k"', tenants.keys["acme"]) for _ in range(2)]
    check(begun[0].json == begun[1].json, begun)
    mine = tenants.post("/tenants/globex/imports", {"kind": "dataset", "name": "x"}, '"k"', tenants.keys["globex"])
    check(mine.status == 200 and mine.json["id"] != begun[0].json["id"], mine)


def what_was_refused_may_be_asked_for_again(tenants):
    body = {"name": "later"}
    refused = tenants.post("/tenants", {"name": "NOT A NAME"}, '"t"')
    check(refused.status == 400, refused)
    made = [tenants.post("/tenants", body, '"t"') for _ in range(2)]
    check([m.status for m in made] == [200, 200] and made[0].json == made[1].json, made)
    check(tenants.post("/tenants", body).status == 409, "without a key it is a second one")


def an_import_is_committed_once(tenants):
    key = tenants.keys["acme"]
    for kind, name in (("dataset", "once"), ("code", "once")):
        begun = tenants.post("/tenants/acme/imports", {"kind": kind, "name": name}, None, key).json["id"]
        put = api.ask(tenants.node.ready["socket"], "PUT", f"/v1/tenants/acme/imports/{begun}/files/a", key, b"once")
        check(put.status == 200, put)
        made = [tenants.post(f"/tenants/acme/imports/{begun}/commit", None, f'"commit-{kind}"', key) for _ in range(3)]
        check({m.status for m in made} == {200} and made[0].json == made[1].json == made[2].json, made)
        check(tenants.post(f"/tenants/acme/imports/{begun}/commit", None, None, key).status in (404, 409), "without its key")


def an_endpoint_is_deployed_once(tenants):
    body = {"name": "lin", "model": "lin@1"}
    made = [tenants.post("/tenants/acme/endpoints", body, '"deploy"') for _ in range(2)]
    check([m.status for m in made] == [200, 200] and made[0].json["id"] == made[1].json["id"], made)
    check(tenants.post("/tenants/acme/endpoints", body).status == 409, "the control: a second one")


def of_two_at_once_one_is_done(tenants):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(tenants.post("/tenants", {"name": "at-once"}, '"at-once"')))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = sorted({(a.status, (a.json or {}).get("code")) for a in answers}, key=str)
    check(200 in {a.status for a in answers}, told)
    check(all(t in ((200, None), (409, "SR-API-0006")) for t in told), told)


def a_key_holds_when_control_is_killed(tenants):
    """Killed at any moment between request and answer: under its key the request is done once."""
    node, lost, names = tenants.node, 0, []
    for number in range(5):
        name = f"killed-{number}"
        names.append(name)
        answers = []

        def send(name=name, answers=answers):
            try:
                answers.append(tenants.post("/tenants", {"name": name}, f'"{name}"'))
            except OSError:
                answers.append(None)
            except Exception:  # noqa: BLE001 - http.client has its own for a connection that ends
                answers.append(None)

        control = node.pids()["control"]
        thread = threading.Thread(target=send)
        thread.start()
        threading.Event().wait(0.002 * number)
        os.kill(control, signal.SIGKILL)
        thread.join()
        lost += answers[0] is None
        wait_for("control is back", node.answers, 40)
        again = tenants.post("/tenants", {"name": name}, f'"{name}"')
        check(again.status == 200 and again.json["name"] == name, f"{name}: {again}")
        check(tenants.post("/tenants", {"name": name + "x"}, f'"{name}"').status == 422, "the key stands for its request")
    check(lost > 0, "no answer was lost: the test killed nothing in time")
    listed = [t["name"] for t in node.ok("tenant", "list")["items"]]
    check(sorted(n for n in listed if n.startswith("killed-")) == names, listed)
    node.log_verifies()


class Losing:
    """Stands before the API's socket: passes everything on, but the first answers to POST are lost on their way."""

    def __init__(self, node, directory, lost):
        os.makedirs(os.path.join(directory, "run"))
        self.node, self.lost, self.asked = node, lost, []
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(os.path.join(directory, "run", "control.sock"))
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.listener.accept()
            with client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
                server.connect(self.node.ready["socket"])
                server.settimeout(20)
                request = client.recv(1 << 20)
                while b"\r\n\r\n" not in request or request.startswith(b"POST") and not request.rstrip().endswith(b"}"):
                    request += client.recv(1 << 20)
                server.sendall(request)
                reply = server.recv(65536)
                head, _, body = reply.partition(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                while len(body) < length:
                    body += server.recv(65536)
                reply = head + b"\r\n\r\n" + body
                if request.startswith(b"POST"):
                    self.asked.append(request)
                    if len(self.asked) <= self.lost:
                        continue
                client.sendall(reply)


def the_command_line_asks_once_more_when_an_answer_is_lost(tenants):
    node = tenants.node
    keys = {k["id"] for k in node.ok("key", "list", "--tenant", "acme")["items"]}
    for words, lost, code in (
        (("tenant", "create", "once-more"), 1, 0), (("tenant", "create", "never"), 2, 5), (("key", "create", "--tenant", "acme"), 1, 1),
    ):
        directory = node.path(f"{words[0]}-{lost}")
        losing = Losing(node, directory, lost)
        ran = node.run("-o", "json", "--state", directory, *words)
        check(ran.code == code, f"{words}: {ran.code} {ran.out} {ran.err}")
        check(len(losing.asked) == 2 and losing.asked[0] == losing.asked[1], f"{words}: {losing.asked}")
        check(b"idempotency-key: \"" in losing.asked[0], losing.asked[0])
    names = [t["name"] for t in node.ok("tenant", "list")["items"]]
    check("once-more" in names and "never" in names, names)
    made = [k["id"] for k in node.ok("key", "list", "--tenant", "acme")["items"] if k["id"] not in keys]
    check(len(made) == 1 and "SR-CLI-0023" in ran.err and made[0] in ran.err, f"{made} {ran.err}")


if __name__ == "__main__":
    with Node() as node:
        counts = run_tests(
            [
                every_list_is_read_page_by_page,
                what_comes_in_between_moves_nothing,
                a_cursor_is_of_one_list_and_one_caller,
                what_the_caller_has_is_not_sent_again,
                a_repeated_request_makes_one_thing,
                what_was_refused_may_be_asked_for_again,
                an_import_is_committed_once,
                an_endpoint_is_deployed_once,
                of_two_at_once_one_is_done,
                a_key_holds_when_control_is_killed,
                the_command_line_asks_once_more_when_an_answer_is_lost,
            ],
            Tenants(node),
        )
    close(*counts)
