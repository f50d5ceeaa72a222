#!/usr/bin/python3
"""What the files of a data set are and how much is in them; what runs when it is opened is refused, until a policy accepts it."""

import gzip
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import zipfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import work  # noqa: E402
from node import Node, check, close, run_tests  # noqa: E402

# Written by pyarrow, DuckDB, pandas, Pillow and NumPy; see make_recognised.py beside it. A name says what is in the file.
MADE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "crates", "inspect", "tests", "recognised")


class Opened:
    """A pickle that shows whether anybody opened it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def importing(name, path):
    return ("dataset", "import", name, path, "--tenant", "acme")


def tape(members, mode="w"):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def what_programs_in_use_write_is_counted(node):
    shutil.copytree(MADE, node.path("made"))
    made = node.ok(*importing("made", node.path("made")))
    check(len(made["files"]) == len(os.listdir(MADE)), made)
    for file in made["files"]:
        form, records, columns, _ = os.path.basename(file["path"]).split("-", 3)
        form = form.replace("_", "(") + ")" if "_" in form else form
        check((file["format"], file["records"]) == (form, int(records)), file)
        check(columns == "x" or file["columns"] == int(columns), file)
    shown = node.ok("dataset", "show", "made@1", "--tenant", "acme")
    check(shown == made, "what is shown is not what the import said")
    check(shown["formats"]["parquet"] == 4 and shown["records"]["images"] == 9, shown)
    check(shown["rules"].startswith("strongroom.data/"), shown)
    text = node.run("dataset", "show", "made@1", "--tenant", "acme").out
    check("parquet-3000-2-duckdb.parquet" in text and "3000 rows" in text, text)
    (listed,) = [d for d in node.ok("dataset", "list", "--tenant", "acme")["items"] if d["name"] == "made"]
    check(listed["files"] == [] and listed["formats"] == shown["formats"], listed)
    # The log tells of it, too.
    told = node.events("--kind", "dataset.import", "--asset", "made", until=lambda f: len(f) >= 2)
    check(any("4 parquet" in str(entry) for entry in told), told)


def archives_are_looked_into(node):
    shard = [(f"{n:04}.{ending}", b"{}") for n in range(30) for ending in ("json", "cls")]
    work.write(node.path("archives", "shard.tar"), tape(shard))
    work.write(node.path("archives", "shard.tar.gz"), tape(shard, "w:gz"))
    rows = b"id,text\n" + b"".join(b'%d,"a\nb"\n' % n for n in range(40_000))
    work.write(node.path("archives", "rows.csv.gz"), gzip.compress(rows))
    work.write(node.path("archives", "rows.zip"), zipped([("rows.csv", rows), ("b.txt", b"b")]))
    made = {f["path"]: f for f in node.ok(*importing("archives", node.path("archives")))["files"]}
    for path, form, records in [
        ("shard.tar", "tar", 30), ("shard.tar.gz", "gzip(tar)", 30), ("rows.csv.gz", "gzip(csv)", 40_001), ("rows.zip", "zip", 2),
    ]:
        check((made[path]["format"], made[path]["records"]) == (form, records), made[path])


def a_file_larger_than_a_mount_of_it_would_be_is_counted(node):
    """Read where it lies sealed, in pieces: of chunks that are not whole as well."""
    line = b"%d,some words that fill a row of a table\n"
    work.write(node.path("large", "rows.csv"), b"".join(line % n for n in range(150_000)))
    (file,) = node.ok(*importing("large", node.path("large")))["files"]
    check(file["size"] > 5 << 20 and (file["records"], file["columns"]) == (150_000, 2), file)


def what_is_nothing_known_is_data(node):
    work.write(node.path("unknown", "a.bin"), bytes(range(256)) * 100)
    work.write(node.path("unknown", "latin.csv"), "é,1\nü,2\n".encode("latin-1"))
    files = node.ok(*importing("unknown", node.path("unknown")))["files"]
    check([f["format"] for f in files] == ["unknown", "unknown"] and "records" not in files[0], files)


def hostile(node):
    """Each with the name of the file that is to be refused."""
    for protocol in range(6):
        yield f"p{protocol}.csv", pickle.dumps(Opened(node.path("opened")), protocol=protocol)
    plain = pickle.dumps({"label": list(range(100))})
    yield "plain.pkl", plain
    yield "old.txt", pickle.dumps(["a", 1], protocol=0)
    yield "members.tar", tape([("a.jpg", b"x"), ("a.json", plain)])
    yield "members.tar.gz", tape([("a.jpg", b"x"), ("a.json", plain)], "w:gz")
    yield "members.zip", zipped([("readme.txt", b"x"), ("inner.zip", zipped([("data.pkl", plain)]))])
    yield "packed.gz", gzip.compress(plain)
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    objects = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + plain
    yield "objects.npy", objects
    yield "objects.npz", zipped([("x.npy", objects)])


def pickles_are_refused_wherever_they_stand(node):
    for name, data in hostile(node):
        directory = node.path("hostile-" + name)
        work.write(os.path.join(directory, "good.csv"), b"a,b\n1,2\n")
        work.write(os.path.join(directory, name), data)
        error = node.refused(*importing("hostile", directory), code=3, says=[name, "accept_pickle"])
        check(error["code"] == "SR-CTL-0061", error)
    check(not os.path.exists(node.path("opened")), "somebody opened a pickle")
    check("hostile" not in str(node.ok("dataset", "list", "--tenant", "acme")), "a refused data set is listed")
    told = node.events("--kind", "dataset.import", "--asset", "hostile", until=lambda f: len(f) >= 14)
    check(len(told) >= 14 and all(e["unmapped"]["strongroom"]["outcome"] == "refused" for e in told), told)


def programs_are_refused(node):
    for name, data in [("load.py", b"import os\n"), ("data.csv", b"#!/bin/sh\nid\n"), ("x", b"\x7fELF\x02\x01\x01"), ("a.tar", tape([("set.py", b"import os\n")]))]:
        directory = node.path("program-" + name)
        work.write(os.path.join(directory, name), data)
        error = node.refused(*importing("programs", directory), code=3, says=[name, "accept_code"])
        check(error["code"] == "SR-CTL-0062", error)


def what_cannot_be_looked_into_is_refused(node):
    whole = zipped([("a.txt", b"hello" * 100)])
    for name, data in [
        ("cut.zip", whole[:-3]),
        ("cut.gz", gzip.compress(os.urandom(1000))[:-20]),
        ("bomb.gz", gzip.compress(bytes(64 << 20))),
        ("image.bmp", b"BM" + bytes(100) + whole),
        ("out.tar", tape([("../out", b"x")])),
    ]:
        directory = node.path("unread-" + name)
        work.write(os.path.join(directory, name), data)
        error = node.refused(*importing("unread", directory), code=3, says=name)
        check(error["code"] == "SR-CTL-0060", error)


def a_policy_lets_named_data_sets_carry_pickles(node):
    private, public = node.path("k.key"), node.path("k.pub")
    for words in (["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", private], ["ec", "-in", private, "-pubout", "-out", public]):
        check(subprocess.run(["openssl", *words], capture_output=True, check=False).returncode == 0, "no key was made")
    with open(public) as file:
        pem = file.read()
    text = f'schema = "strongroom.trust-policy/1"\ntenant = "acme"\nversion = 1\n[[signer]]\nprincipal = "p"\nmodels = ["*"]\nkeys = ["""\n{pem}"""]\n'
    text += '[[rule]]\nmodels = ["*"]\nsignatures = 1\nbom = false\n[datasets]\naccept_pickle = ["legacy-*"]\n'
    path = work.write(node.path("trust.toml"), text.encode())
    node.ok("trust", "policy", "apply", path, "--reason", "old tables", "--tenant", "acme")
    directory = node.path("tables")
    work.write(os.path.join(directory, "t.pkl"), pickle.dumps([1, 2, 3]))
    made = node.ok(*importing("legacy-tables", directory))
    check(made["accepted"] == ["pickle"] and made["files"][0]["carries"] == ["pickle"], made)
    told = node.events("--kind", "dataset.import", "--asset", "legacy-tables", until=lambda f: len(f) >= 2)
    check(any("accepted" in str(entry) and "trust_policy" in str(entry) for entry in told), told)
    # Another name, and another kind, are not meant; and what nobody can look into is accepted by none.
    node.refused(*importing("tables", directory), code=3, says="accept_pickle")
    work.write(os.path.join(directory, "t.py"), b"import os\n")
    node.refused(*importing("legacy-tables", directory), code=3, says="accept_code")
    os.remove(os.path.join(directory, "t.py"))
    work.write(os.path.join(directory, "t.zip"), b"PK\x03\x04")
    node.refused(*importing("legacy-tables", directory), code=3, says="t.zip")


def versions_are_compared(node):
    def put(name, data):
        work.write(node.path("versions", name), data)

    put("same.txt", b"same\n")
    put("rows.csv", b"a,b\n1,2\n")
    put("old-name.txt", b"moved\n")
    put("gone.txt", b"gone\n")
    node.ok(*importing("versions", node.path("versions")))
    put("rows.csv", b"a,b\n1,2\n3,4\n")
    os.rename(node.path("versions", "old-name.txt"), node.path("versions", "new-name.txt"))
    os.remove(node.path("versions", "gone.txt"))
    put("new.txt", b"new\nlines\n")
    node.ok(*importing("versions", node.path("versions")))
    diff = node.ok("dataset", "diff", "versions@1", "versions@2", "--tenant", "acme")
    check([f["path"] for f in diff["added"]] == ["new.txt"], diff)
    check([f["path"] for f in diff["removed"]] == ["gone.txt"], diff)
    check([(c["path"], c["from"]["records"], c["to"]["records"]) for c in diff["changed"]] == [("rows.csv", 2, 3)], diff)
    check([(r["from"], r["to"]) for r in diff["renamed"]] == [("old-name.txt", "new-name.txt")], diff)
    check(diff["unchanged"] == 1 and not diff["same"], diff)
    check(diff["records"] == {"rows": [2, 3], "lines": [3, 4]}, diff)
    text = node.run("dataset", "diff", "versions@1", "versions", "--tenant", "acme").out
    check("rows: 2 to 3" in text and "+ new.txt" in text and "- gone.txt" in text, text)
    same = node.ok("dataset", "diff", "versions@2", "versions@2", "--tenant", "acme")
    check(same["same"] and same["unchanged"] == 4 and not same["records"], same)
    node.refused("dataset", "diff", "versions@1", "versions@9", "--tenant", "acme", code=3, says="versions@9")


if __name__ == "__main__":
    with Node() as node:
        node.ok("tenant", "create", "acme")
        counts = run_tests(
            [
                what_programs_in_use_write_is_counted,
                archives_are_looked_into,
                a_file_larger_than_a_mount_of_it_would_be_is_counted,
                what_is_nothing_known_is_data,
                pickles_are_refused_wherever_they_stand,
                programs_are_refused,
                what_cannot_be_looked_into_is_refused,
                a_policy_lets_named_data_sets_carry_pickles,
                versions_are_compared,
            ],
            node,
        )
    close(*counts)
