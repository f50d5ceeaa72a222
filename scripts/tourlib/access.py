"""Scene 14: duties are split between roles, and the log names the rule of each decision."""

import os

from .kit import check, did, evidence, saw, say

ROLES = ("auditor", "ml-engineer", "deployer")
FORBIDDEN = "SR-CTL-0005"


def scene_14(tour):
    """who trains does not release, who releases does not train, who audits changes nothing; a revoked key is nobody"""
    keys, ids = {}, {}
    for role in ROLES:
        keys[role] = tour.path(f"{role}.key")
        ids[role] = tour.json("key", "create", "--role", role, "--out", keys[role], "--tenant", "acme")["id"]
    did(f"made a key of acme for each of {', '.join(ROLES)}; each tries its own work and that of the others")
    let_in = ("key", "create", "--endpoint", "classifier")
    deploy = ("endpoint", "deploy", "again", tour.model)
    show = ("model", "show", tour.model)
    bring = ("dataset", "import", "small", tour.path("secret"))
    export = ("model", "export", tour.model, tour.path("taken"))
    for role, words, may in (
        ("ml-engineer", bring, True), ("deployer", bring, False), ("auditor", bring, False),
        ("deployer", let_in, True), ("ml-engineer", let_in, False), ("auditor", let_in, False),
        ("ml-engineer", deploy, False), ("auditor", deploy, False),
        ("auditor", show, True), ("auditor", export, False), ("deployer", export, False),
    ):
        answer = tour.run("-o", "json", "--key-file", keys[role], *words, "--tenant", "acme", expect=None)
        told = answer.error()
        if may:
            check(answer.code == 0, f"{role} may not {words[:2]}: {answer.code} {answer.err[-400:]}")
        else:
            check(told.get("code") == FORBIDDEN, f"{role} {words[:2]}: {answer.code} {answer.out[:200]} {answer.err[-400:]}")
            check(not os.path.exists(tour.path("taken")), "a refused export left something behind")
        say(f"          {role:<12} {' '.join(words[:2]):<16} {'done' if may else told.get('what', '')}")
    why = tour.json("access", "check", "--as", "ml-engineer", "--tenant", "acme", "endpoint.deploy", "--why", expect=3)
    saw(f"without the node: endpoint.deploy by ml-engineer: no, {why['why']}")
    tour.json("key", "revoke", ids["deployer"], "--tenant", "acme")
    revoked = tour.run("-o", "json", "--key-file", keys["deployer"], *show, "--tenant", "acme", expect=4)
    saw(f"the deployer's key was revoked: {revoked.error().get('what')}")

    def named(entries):
        texts = [(e, str(e["unmapped"]["strongroom"])) for e in entries]
        return [e for e, text in texts if why["rules"][0] in text and why["policy_version"] in text]

    found = named(tour.events("--tenant", "acme", "--kind", "access.refuse", until=named))
    check(found, "no refusal in the log names its rule and the version of the rules")
    own = found[0]["unmapped"]["strongroom"]
    evidence(f"entry {own['index']}: {own['event']} by rule {why['rules'][0]}, rules {why['policy_version'][:16]}")
