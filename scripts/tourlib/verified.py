"""Scenes 18 and 19: models from outside and whose signatures count; models in use that were revoked or changed."""

import os
import shutil
import sys
import threading
import time
import urllib.parse

from .kit import check, did, evidence, saw, say

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tests", "lib"))

# A pickle that would leave a file behind in whoever loads it.
HOSTILE = b"\x80\x02cposix\nsystem\nX\x14\x00\x00\x00touch /tmp/was-loadedq\x00\x85R."


def key(tour, name):
    """A key pair of somebody, made by OpenSSL: the path of the private half, and the public one."""
    private, public = tour.path(f"{name}.pem"), tour.path(f"{name}.pub.pem")
    for words in (["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], ["ec", "-in", private, "-pubout", "-out", public]):
        done = tour.tool("openssl", *words)
        check(done.code == 0, done.err)
    os.chmod(private, 0o600)
    with open(public) as file:
        return private, file.read()


def policy(tour, version, **keys):
    """A trust policy: one signature of these people for every model."""
    path = tour.path("trust.toml")
    with open(path, "w") as file:
        file.write(f'schema = "strongroom.trust-policy/1"\ntenant = "acme"\nversion = {version}\n')
        for name, public in keys.items():
            file.write(f'[[signer]]\nprincipal = "{name}"\nmodels = ["*"]\nkeys = ["""\n{public}"""]\n')
        file.write('[[rule]]\nmodels = ["*"]\nsignatures = 1\nbom = true\n')
    return path


def scene_18(tour):
    """a hostile model is refused with its explanation, and a signature counts only of whom the tenant trusts"""
    evil = tour.path("evil")
    os.makedirs(evil)
    with open(os.path.join(evil, "model.pt"), "wb") as file:
        file.write(HOSTILE)
    seen = tour.json("model", "inspect", evil, expect=3)["files"][0]
    finding = seen["findings"][0]
    did("somebody offers a model that is a program: a pickle that calls posix.system")
    say(f"          {finding['code']} at byte {finding['offset']}: {finding['explanation']}")
    say(f"          what to do: {finding['remedy']}")
    refused = tour.run("-o", "json", "model", "import", "evil", evil, "--source", "an unknown sender", "--tenant", "acme", expect=3).error()
    saw(f"it does not come in: {refused['what']}")
    (ann, ann_public), (eve, _) = key(tour, "ann"), key(tour, "eve")
    path = policy(tour, 1, ann=ann_public)
    opinion = tour.json("trust", "policy", "check", path, "--against", "registry", "--tenant", "acme", expect=3)
    ends = [item["model"] for item in opinion["items"] if item["served"] and not item["admitted"]]
    did(f"a policy is tried against the registry first: it would end {', '.join(ends)}")
    made = tour.json("trust", "policy", "apply", path, "--reason", "only what ann signed", "--tenant", "acme")
    check("guarded" in made["withdrawn"], f"what ann did not sign is still served: {made}")
    saw(f"with it in force {', '.join(made['withdrawn'])} is served no more")
    out = tour.path("small-out")
    tour.json("model", "export", "small@1", out, "--tenant", "acme")
    plain = os.path.join(out, "model")
    for name, private, code in (("eve", eve, 3), ("ann", ann, 0)):
        signature = tour.path(f"{name}.sig")
        tour.json("model", "sign", plain, "--signature", signature, "--private-key", private)
        words = ("model", "countersign", "small@1", "--signature", signature, "--tenant", "acme")
        answer = tour.run("-o", "json", *words, expect=code)
        say(f"          signed by {name}: {'taken' if code == 0 else answer.error()['what']}")
    deployed = tour.json("endpoint", "deploy", "guarded", "small@1", "--tenant", "acme", timeout=180)
    check(deployed["state"] == "serving", f"what ann signed is not served: {deployed}")
    check(not os.path.exists("/tmp/was-loaded"), "somebody loaded the hostile model")
    checks = {c["name"]: c["detail"] for c in tour.json("model", "verify", "small@1", "--tenant", "acme")["checks"]}
    evidence(f"trust policy: {checks['trust policy']}")


def asking(tour, endpoint, token, answers, stop):
    """Asks without a pause, and notes when each answer came."""
    import work  # noqa: PLC0415

    path = urllib.parse.urlsplit(endpoint["url"]).path
    while not stop.is_set():
        try:
            status, _, _ = tour.ask(tour.connect(endpoint["url"]), path, work.request([[1, 2]]), token)
        except OSError:
            status = 0
        answers.append((time.monotonic(), status))


def scene_19(tour):
    """a model is revoked while it serves, another's bytes change in use, a third's between check and load: none is used"""
    import inuse  # noqa: PLC0415

    endpoint = tour.json("endpoint", "show", "guarded", "--tenant", "acme")
    token = tour.json("key", "create", "--endpoint", "guarded", "--tenant", "acme")["secret"]
    answers, stop = [], threading.Event()
    client = threading.Thread(target=asking, args=(tour, endpoint, token, answers, stop))
    client.start()
    ends = time.monotonic() + 20
    while not any(status == 200 for _, status in answers) and time.monotonic() < ends:
        time.sleep(0.05)
    began = time.monotonic()
    made = tour.json("revocation", "create", "--model", "small@1", "--reason", "its weights are on a forum", "--tenant", "acme")
    done = time.monotonic()
    time.sleep(0.7)
    stop.set()
    client.join()
    good = [at for at, status in answers if status == 200]
    check(good and good[0] < began, "it did not answer before, so its end shows nothing")
    late = [at for at in good if at > done]
    check(not late and made["withdrawn"] == ["guarded"], f"{len(late)} answers came after it was revoked: {made}")
    check(any(at > done for at, _ in answers), "nobody asked after it")
    saw(f"{len(good)} answers, then it was revoked: that took {done - began:.2f} s, and not one answer came after it")
    tour.json("revocation", "lift", made["digest"], "--reason", "it was another forum", "--tenant", "acme")
    tour.json("endpoint", "deploy", "guarded", "small@1", "--tenant", "acme", timeout=180)
    pid = inuse.runtime(tour.state, "guarded")
    check(pid, "the runtime is not found")
    check(inuse.in_mounts_of(pid, inuse.as_it_is) == inuse.READ_ONLY, "root writes to the model without force")
    check(inuse.in_mounts_of(pid, inuse.by_force) == 0, "the attack did not work, so its end shows nothing")
    changed = tour.json("endpoint", "verify", "guarded", "--tenant", "acme", expect=3)
    told = next(c["detail"] for c in changed["checks"] if c["name"] == "bytes in use")
    saw(f"root forced the mount and changed a bit of the weights in use: {told}")
    finding = tour.events("--kind", "model.tampered", until=len)[-1]["unmapped"]["strongroom"]
    tour.json("model", "verify", "small@1", "--tenant", "acme")
    did("a third way: after the model verified, its stored object is swapped for another one, and then it is deployed")
    objects = [tour.object_file(name) for name in tour.json("model", "show", "small@1", "--tenant", "acme")["objects"]]
    others = [tour.object_file(name) for name in tour.json("model", "show", tour.model, "--tenant", "acme")["objects"]]
    other = next(path for path in others if os.path.exists(path) and path not in objects)
    kept = tour.path("kept-object")
    shutil.copy2(objects[0], kept)
    shutil.copyfile(other, objects[0])
    answer = tour.run("-o", "json", "endpoint", "deploy", "swapped", "small@1", "--tenant", "acme", expect=3, timeout=180)
    saw(f"refused: {answer.error().get('what')}: {'; '.join(answer.error().get('because', []))[:110]}")
    shutil.copy2(kept, objects[0])
    evidence(f"entry {finding['index']}: {finding['event']} of {finding['asset']['id']}")
