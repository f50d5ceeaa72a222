"""Root file systems for tests, made of what this host has: a Python and the libraries that it loads, nothing else.
And OCI layouts of them, made by umoci. Standard library only."""

import glob
import os
import shutil
import subprocess

STDLIB = sorted(glob.glob("/usr/lib/python3.[0-9]*"))[-1]
VERSION = os.path.basename(STDLIB)
LEFT_OUT = ("test", "tests", "idlelib", "tkinter", "lib2to3", "ensurepip", "pydoc_data", "__pycache__", "config-*")


def libraries(program):
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for word in said.split() if word.startswith("/")]


def copy(path, root):
    target = root + path
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.exists(target):
        shutil.copy2(path, target)


def packages(names):
    """The paragraphs of this host's package list about these packages."""
    with open("/var/lib/dpkg/status") as file:
        paragraphs = file.read().split("\n\n")
    return "\n\n".join(p for p in paragraphs if p.split("\n", 1)[0].removeprefix("Package: ") in names) + "\n\n"


def make(root):
    """A root file system with Python in it; the directory is `root`."""
    for directory in ("usr/bin", "usr/lib", "usr/lib64", "etc", "tmp", "dev", "proc", "opt/own"):
        os.makedirs(os.path.join(root, directory))
    for name in ("bin", "lib", "lib64"):
        os.symlink(f"usr/{name}", os.path.join(root, name))
    python = os.path.realpath("/usr/bin/python3")
    shutil.copytree(STDLIB, root + STDLIB, symlinks=False, ignore=shutil.ignore_patterns(*LEFT_OUT))
    modules = glob.glob(root + STDLIB + "/lib-dynload/*.so")
    for path in sorted({lib for program in [python, *modules] for lib in libraries(program)} | {python}):
        # Through the links of the root itself, as on a merged system.
        copy(path, root)
    os.symlink(os.path.basename(python), os.path.join(root, "usr/bin/python3"))
    write(root, "etc/image-marker", "of the image\n")
    write(root, "opt/own/data", "own\n")
    write(root, "var/lib/dpkg/status", packages(["python3", "libc6", "base-files"]))
    return root


def write(root, path, text):
    full = os.path.join(root, path)
    os.makedirs(os.path.dirname(full), exist_ok=True)
    with open(full, "w") as file:
        file.write(text)


def umoci(*args):
    subprocess.run(["umoci", *args], check=True, capture_output=True)


def layout(path, rootfs, *more, env=()):
    """An OCI layout with one image `path:image`: the root file system, then a layer for each of `more`, which is a
    directory or the path that a whiteout removes."""
    umoci("init", "--layout", path)
    umoci("new", "--image", f"{path}:image")
    umoci("insert", "--image", f"{path}:image", rootfs, "/")
    for layer in more:
        if layer.startswith("!"):
            umoci("insert", "--image", f"{path}:image", "--whiteout", layer[1:])
        else:
            umoci("insert", "--image", f"{path}:image", layer, "/")
    if env:
        umoci("config", "--image", f"{path}:image", *[word for e in env for word in ("--config.env", e)])
    return path
