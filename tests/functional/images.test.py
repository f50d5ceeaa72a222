#!/usr/bin/python3
"""Jobs in images: a directory or an OCI layout, pinned by digest, made with other people's tools. What the digest names
is what the job sees, or the job does not start."""

import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import rootfs  # noqa: E402
import work  # noqa: E402
from node import Node, check, close, flip, needs_root, run_tests, wait_for  # noqa: E402

LOOK = """
import os
def text(path):
    try:
        return open(path).read().strip()
    except OSError as error:
        return type(error).__name__
for path in ("/etc/image-marker", "/etc/added", "/etc/gone", "/etc/debian_version", "/opt/own/data"):
    print("SEES", path, text(path), flush=True)
for path in ("/usr/bin/dpkg", "/etc/shadow", "/home", "/var/log"):
    print("HOST", path, os.path.exists(path), flush=True)
for path in ("/etc/image-marker", "/usr/bin/new", "/new"):
    try:
        open(path, "w")
        print("WROTE", path, flush=True)
    except OSError as error:
        print("REFUSED", path, error.errno, flush=True)
print("ENV", os.environ.get("FROM_IMAGE"), os.environ.get("SM_MODEL_DIR"), os.environ["PATH"], flush=True)
"""


def with_image(directory, image):
    path = os.path.join(directory, "job.toml")
    with open(path) as file:
        text = file.read()
    with open(path, "w") as file:
        file.write(text.replace('image = "host"', f'image = "{image}"'))
    return directory


def looking(node, name, image):
    """A job that says what it sees, then counts."""
    directory = work.job(node.path(name), LOOK + work.COUNT, name=name, steps=2, every=1, pause=0.0)
    return with_image(directory, image)


def reference(node, path):
    """The line for a job file, as `image digest` says it."""
    rows = node.ok("image", "digest", path)["items"]
    check(len(rows) == 1, f"not one image: {rows}")
    return rows[0]["image"]


def output(node, job):
    return node.job(job)["output_tail"]


def a_job_runs_in_a_directory_and_sees_nothing_of_the_host(node):
    root = rootfs.make(node.path("rootfs"))
    line = reference(node, root)
    check(line.startswith(f"dir:{root}@sha256:"), line)
    job = node.submit(looking(node, "in-directory", line))
    record = node.wait_job(job)
    said = output(node, job)
    for expected in [
        "SEES /etc/image-marker of the image", "SEES /opt/own/data own", "SEES /etc/debian_version FileNotFoundError",
        "HOST /usr/bin/dpkg False", "HOST /etc/shadow False", "HOST /home False", "HOST /var/log False",
        "REFUSED /etc/image-marker 30", "REFUSED /new 30",
    ]:
        check(expected in said, f"no `{expected}` in {said}")
    check("WROTE" not in said, said)
    digest = line.rsplit("@", 1)[1]
    check(record["image"] == digest, record)
    # The record of the model names the image, and what the image holds, not the host.
    bom = node.ok("bom", "show", "in-directory", "--tenant", "acme")
    text = json.dumps(bom)
    check(digest in text, f"the BoM does not name the image: {text[:2000]}")
    check('"strongroom:image-pinned", "value": "true"' in text, "the BoM does not say that the image is pinned")
    names = {c.get("name") for c in bom["components"] if c.get("type") == "library"}
    check(names == {"python3", "libc6", "base-files"}, f"packages are not those of the image: {sorted(names)[:20]}")
    declared = text.count('"package=declared"')
    check(declared == 3 and "package=observed" not in text, "what the image says of itself is said to be observed")
    image = node.ok("image", "show", digest, "--tenant", "acme")
    check(node.ok("image", "show", image["digest"][:12], "--tenant", "acme")["digest"] == image["digest"], "12 digits")
    check(image["form"] == "directory" and image["tree"] == digest.removeprefix("sha256:"), image)


def the_same_directory_has_the_same_digest_and_a_change_another(node):
    root = node.path("rootfs")
    copy = node.path("rootfs-copy")
    shutil.copytree(root, copy, symlinks=True)
    pin = reference(node, root).rsplit("@", 1)[1]
    check(reference(node, copy).endswith(pin), "a copy has another digest")
    for change, undo in [
        (lambda: rootfs.write(copy, "etc/new", "x"), lambda: os.remove(os.path.join(copy, "etc/new"))),
        (lambda: os.chmod(os.path.join(copy, "etc/image-marker"), 0o755), lambda: os.chmod(os.path.join(copy, "etc/image-marker"), 0o644)),
        (lambda: os.symlink("x", os.path.join(copy, "y")), lambda: os.remove(os.path.join(copy, "y"))),
        (lambda: os.mkdir(os.path.join(copy, "empty")), lambda: os.rmdir(os.path.join(copy, "empty"))),
    ]:
        change()
        check(not reference(node, copy).endswith(pin), "a change does not show")
        undo()
    check(reference(node, copy).endswith(pin), "the digest is not that of the content alone")
    # Pinned to what it was, the changed directory is refused; nothing is registered.
    rootfs.write(copy, "etc/planted", "x")
    changed = work.counting(node.path("changed"), steps=1, every=1)
    wrong = f"dir:{copy}@sha256:{'0' * 64}"
    error = node.refused("job", "run", os.path.join(with_image(changed, wrong), "job.toml"), "--tenant", "acme", code=3, says=["has the digest", "0000"])
    check(error["code"] == "SR-CTL-0030", error)
    found = node.ok("image", "list", "--tenant", "acme")["items"]
    check([i["digest"] for i in found] == [pin.removeprefix("sha256:")], f"more than the one image: {found}")
    refused = lambda events: any(e["unmapped"]["strongroom"]["outcome"] == "refused" for e in events)  # noqa: E731
    events = node.events("--kind", "image.import", until=refused)
    check(refused(events), f"the refusal is not in the log: {events}")


def an_oci_layout_of_umoci_runs_with_its_layers_and_variables(node):
    added = node.path("added")
    rootfs.write(added, "etc/added", "by the second layer\n")
    rootfs.write(added, "etc/gone", "not for long\n")
    layout = rootfs.layout(
        node.path("layout"), node.path("rootfs"), added, "!/etc/gone",
        env=["FROM_IMAGE=yes", "SM_MODEL_DIR=/elsewhere", "PATH=/usr/bin:/opt/own"],
    )
    line = reference(node, layout)
    check(line.startswith(f"oci:{layout}@sha256:"), line)
    job = node.submit(looking(node, "in-oci", line))
    record = node.wait_job(job)
    said = output(node, job)
    for expected in [
        "SEES /etc/image-marker of the image", "SEES /etc/added by the second layer", "SEES /etc/gone FileNotFoundError",
        # A variable of the image counts unless the platform sets it; its PATH always does.
        "ENV yes /opt/ml/model /usr/bin:/opt/own",
    ]:
        check(expected in said, f"no `{expected}` in {said}")
    check(record["image"] == line.rsplit("@", 1)[1], record)


def umoci_unpacks_the_same_tree(node):
    layout, out = node.path("layout"), node.path("unpacked")
    subprocess.run(["umoci", "raw", "unpack", "--image", f"{layout}:image", out], check=True, capture_output=True)
    image = node.ok("image", "show", reference(node, layout).rsplit("@", 1)[1], "--tenant", "acme")
    check(reference(node, out).endswith(image["tree"]), "another reader of the same layers sees another tree")


def an_image_without_lists_of_packages_makes_a_model_too(node):
    root = node.path("rootfs-bare")
    shutil.copytree(node.path("rootfs"), root, symlinks=True)
    shutil.rmtree(os.path.join(root, "var"))
    line = reference(node, root)
    job = node.submit(with_image(work.counting(node.path("bare"), steps=2, every=1, name="bare"), line))
    record = node.wait_job(job)
    check(record["model"] == "bare@1", record)
    text = json.dumps(node.ok("bom", "show", "bare", "--tenant", "acme"))
    check(line.rsplit("@", 1)[1] in text and "pkg:deb" not in text, "the BoM does not name the image, or names packages")


def the_memory_of_a_job_is_its_own_and_not_that_of_its_image(node):
    root = node.path("rootfs-large")
    shutil.copytree(node.path("rootfs"), root, symlinks=True)
    with open(os.path.join(root, "opt/own/large"), "wb") as file:
        file.write(os.urandom(200 << 20))
    line = reference(node, root)
    look = "print([l for l in open('/proc/meminfo') if 'MemTotal' in l][0], flush=True)\n"
    take = "data = bytearray(%d << 20); print('TOOK', len(data), flush=True)\n"
    small = work.job(node.path("small"), look + take % 60 + work.COUNT, name="small", memory="128MiB", steps=1, every=1, pause=0.0)
    job = node.submit(with_image(small, line))
    node.wait_job(job)
    said = output(node, job)
    check("MemTotal:" in said and "131072 kB" in said and "TOOK" in said, said)
    # The control: what its own limit does not hold ends it, however large the image is.
    large = work.job(node.path("large"), take % 160 + work.COUNT, name="large", memory="128MiB", steps=1, every=1, pause=0.0)
    job = node.submit(with_image(large, line))
    record = wait_for("it ends", lambda: next((s for s in node.job(job)["segments"] if s.get("cause")), None), 60)
    check("memory" in str(record), record)
    node.run("job", "stop", job, "--tenant", "acme")


def zstandard_layers_of_skopeo_run_too(node):
    source, target = node.path("layout"), node.path("layout-zstd")
    subprocess.run(
        ["skopeo", "copy", "--quiet", "--dest-compress-format", "zstd", "--dest-force-compress-format", f"oci:{source}:image", f"oci:{target}:image"]
        if "force-compress-format" in subprocess.run(["skopeo", "copy", "--help"], capture_output=True, text=True).stdout
        else ["skopeo", "copy", "--quiet", "--dest-compress-format", "zstd", f"dir:{decompressed(node, source)}", f"oci:{target}:image"],
        check=True, capture_output=True,
    )
    with open(os.path.join(target, "index.json")) as file:
        digest = json.load(file)["manifests"][0]["digest"].split(":")[1]
    with open(os.path.join(target, "blobs/sha256", digest)) as file:
        kinds = {layer["mediaType"] for layer in json.load(file)["layers"]}
    check(kinds == {"application/vnd.oci.image.layer.v1.tar+zstd"}, f"not Zstandard: {kinds}")
    image = node.ok("image", "import", target, "--name", "zstd", "--tenant", "acme")
    other = node.ok("image", "show", reference(node, source).rsplit("@", 1)[1], "--tenant", "acme")
    check(image["tree"] == other["tree"] and image["digest"] != other["digest"], (image["tree"], other["tree"]))


def decompressed(node, layout):
    plain = node.path("plain")
    subprocess.run(["skopeo", "copy", "--quiet", "--dest-decompress", f"oci:{layout}:image", f"dir:{plain}"], check=True, capture_output=True)
    return plain


def a_damaged_layout_is_refused(node):
    source = node.path("layout")
    pin = reference(node, source).rsplit("@", 1)[1].split(":")[1]
    with open(os.path.join(source, "blobs/sha256", pin)) as file:
        manifest = json.load(file)
    layer = manifest["layers"][-2]["digest"].split(":")[1]
    for what, target, change in [
        ("a layer with another byte", layer, lambda b: b[:-9] + bytes([b[-9] ^ 1]) + b[-8:]),
        ("a layer that is cut", layer, lambda b: b[: len(b) // 2]),
        ("another manifest under the name", pin, lambda b: b.replace(b"amd64", b"arm64") + b" "),
        ("another configuration", manifest["config"]["digest"].split(":")[1], lambda b: b.replace(b"FROM_IMAGE=yes", b"FROM_IMAGE=not")),
    ]:
        broken = node.path("broken")
        shutil.copytree(source, broken)
        path = os.path.join(broken, "blobs/sha256", target)
        with open(path, "rb") as file:
            good = file.read()
        with open(path, "wb") as file:
            file.write(change(good))
        # Another tenant, so that no image of this digest is there already.
        result = node.run("-o", "json", "image", "import", broken, "--digest", f"sha256:{pin}", "--tenant", "globex")
        check(result.code not in (0, None) and "panicked" not in result.err, f"{what}: {result.code} {result.out} {result.err}")
        check(result.error().get("code", "").startswith("SR-"), f"{what}: {result.err}")
        shutil.rmtree(broken)
    check(node.ok("image", "list", "--tenant", "globex")["items"] == [], "a damaged image was registered")


def an_index_says_which_images_there_are(node):
    source = node.path("layout")
    pin = reference(node, source).rsplit("@", 1)[1]
    layout = node.path("several")
    shutil.copytree(source, layout)
    with open(os.path.join(layout, "index.json")) as file:
        index = json.load(file)
    one = dict(index["manifests"][0], platform={"os": "linux", "architecture": "amd64"})
    other = dict(one, platform={"os": "linux", "architecture": "arm64"})
    inner = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [one, other]}).encode()
    digest = hashlib.sha256(inner).hexdigest()
    with open(os.path.join(layout, "blobs/sha256", digest), "wb") as file:
        file.write(inner)
    index["manifests"] = [{"mediaType": "application/vnd.oci.image.index.v1+json", "digest": f"sha256:{digest}", "size": len(inner)}]
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump(index, file)
    rows = node.ok("image", "digest", layout)["items"]
    check([r["platform"] for r in rows] == ["linux/amd64", "linux/arm64"], rows)
    error = node.refused("image", "import", layout, "--digest", f"sha256:{digest}", "--tenant", "acme", code=1, says=["linux/amd64", pin])
    check(error["code"] == "SR-IMG-0006", error)


def a_job_goes_on_in_its_image_after_a_kill(node):
    line = reference(node, node.path("rootfs"))
    directory = work.counting(node.path("killed"), steps=60, every=2, pause=0.1, name="killed", word="killed-word")
    job = node.submit(with_image(directory, line))
    wait_for("a checkpoint", lambda: node.checkpoints(job), 60)
    for pid in wait_for("its process", lambda: node.workload("killed-word"), 20):
        os.kill(pid, 9)
    record = node.wait_job(job)
    check(record["restarts"] == 1 and record["segments"][1]["resumed_from"], record)


def a_flipped_bit_of_the_sealed_image_is_not_run(node):
    root = node.path("rootfs-flip")
    shutil.copytree(node.path("rootfs"), root, symlinks=True)
    rootfs.write(root, "etc/other", "x")
    line = reference(node, root)
    before = objects(node)
    node.ok("image", "import", root, "--tenant", "acme")
    layer = max(objects(node) - before, key=os.path.getsize)
    flip(layer)
    job = node.submit(with_image(work.counting(node.path("flipped"), steps=1, every=1, name="flipped"), line))
    record = node.wait_job(job, until=("failed", "held"))
    check("layer" in record["reason"] and "from step" not in output(node, job), record)
    flip(layer)
    # The control: the same job with the bit as it was.
    job = node.submit(with_image(work.counting(node.path("mended"), steps=1, every=1, name="mended"), line))
    node.wait_job(job)


def objects(node):
    found = glob.glob(os.path.join(node.state, "**", "objects", "**"), recursive=True)
    return {path for path in found if os.path.isfile(path)}


def other_tenants_know_nothing_of_an_image(node):
    line = reference(node, node.path("layout"))
    digest = line.rsplit("@", 1)[1]
    node.refused("image", "show", digest, "--tenant", "globex", code=3, says="there is no image")
    directory = with_image(work.counting(node.path("theirs"), steps=1, every=1, tenant="globex"), f"oci:/nowhere@{digest}")
    node.refused("job", "run", os.path.join(directory, "job.toml"), "--tenant", "globex", code=1, says="/nowhere")


def what_no_image_may_hold_is_refused_at_the_command_line(node):
    root = node.path("strange")
    os.makedirs(os.path.join(root, "etc"))
    os.mkfifo(os.path.join(root, "etc/pipe"))
    node.refused("image", "digest", root, code=1, says="pipe")
    node.refused("image", "import", root, "--tenant", "acme", code=1, says="pipe")
    os.remove(os.path.join(root, "etc/pipe"))
    rootfs.write(root, "etc/.wh.passwd", "")
    node.refused("image", "import", root, "--tenant", "acme", code=1, says=".wh.")
    node.refused("image", "digest", node.path("nowhere"), code=1, says="nowhere")
    os.makedirs(node.path("empty"))
    node.refused("image", "digest", node.path("empty"), code=1, says="holds no file")


if __name__ == "__main__":
    needs_root()
    with Node() as node:
        node.ok("tenant", "create", "acme")
        node.ok("tenant", "create", "globex")
        counts = run_tests(
            [
                a_job_runs_in_a_directory_and_sees_nothing_of_the_host,
                the_same_directory_has_the_same_digest_and_a_change_another,
                an_oci_layout_of_umoci_runs_with_its_layers_and_variables,
                umoci_unpacks_the_same_tree,
                an_image_without_lists_of_packages_makes_a_model_too,
                the_memory_of_a_job_is_its_own_and_not_that_of_its_image,
                zstandard_layers_of_skopeo_run_too,
                a_damaged_layout_is_refused,
                an_index_says_which_images_there_are,
                a_job_goes_on_in_its_image_after_a_kill,
                a_flipped_bit_of_the_sealed_image_is_not_run,
                other_tenants_know_nothing_of_an_image,
                what_no_image_may_hold_is_refused_at_the_command_line,
            ],
            node,
        )
    close(*counts)
