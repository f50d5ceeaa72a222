"""The inspector beside other scanners of models: the same files in the same run, detection, false alarms and CPU time.

    peers.py STRONGROOM [SAMPLES]

SAMPLES keeps the samples. The scanners stand in .venv/peers, the frameworks that make benign files in .venv/frameworks
(`scripts/install-deps.sh --bench`).
"""
import json
import pathlib
import resource
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PEERS = ("picklescan", "modelscan", "fickling", "modelaudit")
# Seconds that one scanner may take for one set; files that it has not come to are told as unfinished.
LIMIT = 120
# One file may hold it up as long again.
KILL = 2 * LIMIT


def cpu_of(command, **more):
    """What a command printed, its CPU time with that of its children, and its wall time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=KILL, check=False, **more)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout, used, time.monotonic() - start


def ours(program, directory):
    out, cpu, _ = cpu_of([program, "model", "inspect", str(directory), "-o", "json", "--progress", "off"])
    # What needs a policy is no alarm and no free pass: it is not loaded, and named.
    words = {"load": "quiet", "load-with-policy": "policy", "refuse": "alarm"}
    return {file["path"]: words[file["verdict"]] for file in json.loads(out)["files"]}, cpu


def theirs(tool, directory):
    out, cpu, _ = cpu_of([ROOT / ".venv/peers/bin/python", HERE / "peer.py", tool, str(directory), str(LIMIT)])
    found = json.loads(out)
    return found["said"], found["cpu"]


def make(work):
    def run(python, what, into=None):
        command = [str(python), str(HERE / "samples.py"), what, str(work / (into or what))]
        made = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        return int(made.stdout.split()[-1])
    hostile = run("/usr/bin/python3", "hostile")
    frameworks = ROOT / ".venv/frameworks/bin/python"
    benign = run(frameworks, "benign")
    try:
        # Debian's torch, beside the newer NumPy of the frameworks.
        benign = run("/usr/bin/python3", "torch", into="benign")
    except subprocess.CalledProcessError:
        print("no samples of torch: /usr/bin/python3 has none")
    print("%d hostile samples of %d classes, %d benign of %d formats" % (
        hostile, len(classes(work / "hostile")), benign, len(classes(work / "benign"))))


def classes(directory):
    return {path.name.split("~")[0] for path in directory.iterdir()}


def detection(program, work):
    rows, misses = [], []
    for tool in ("strongroom",) + PEERS:
        try:
            scan = (lambda d: ours(program, d)) if tool == "strongroom" else (lambda d, t=tool: theirs(t, d))
            (hostile, first), (benign, second) = scan(work / "hostile"), scan(work / "benign")
        except (subprocess.TimeoutExpired, ValueError, OSError) as error:
            print("%-12s gave no answer: %s" % (tool, type(error).__name__))
            continue
        late = sum(value == "unfinished" for value in list(hostile.values()) + list(benign.values()))
        if late:
            print("%-12s had not come to %d files after %d s for each set; they count as no answer" % (tool, late, LIMIT))
            for said in (hostile, benign):
                said.update((name, "error") for name, value in said.items() if value == "unfinished")
        count = lambda said, word: sum(value == word for value in said.values())
        rows.append((tool, count(hostile, "alarm") + count(hostile, "policy"), count(hostile, "error"), len(hostile),
                     count(benign, "alarm"), count(benign, "error"), len(benign), first + second))
        if tool == "strongroom":
            # Not loaded without a policy that accepts the named risk.
            print("%d hostile samples need a policy: %s" % (count(hostile, "policy"), ", ".join(
                sorted(name for name, said in hostile.items() if said == "policy"))))
            misses = [name for name, said in hostile.items() if said == "quiet"]
            misses += [name for name, said in benign.items() if said == "alarm"]
    print("%-12s %18s %12s %14s %12s %8s" % ("", "hostile detected", "no answer", "false alarms", "no answer", "CPU s"))
    for tool, found, failed, hostile, alarms, errors, benign, cpu in rows:
        print("%-12s %11d = %3d %% %12d %8d = %2d %% %12d %8.2f" % (
            tool, found, found * 100 // hostile, failed, alarms, alarms * 100 // benign, errors, cpu))
    for name in misses:
        print("strongroom is wrong on %s" % name)
    return misses


def times(program, work):
    small = work / "small"
    small.mkdir()
    loads = {name for name, said in ours(program, work / "benign")[0].items() if said == "quiet"}
    sources = [(work / "benign" / name).read_bytes() for name in sorted(loads) if (work / "benign" / name).stat().st_size < 65536]
    names = [name.split("~")[-1] for name in sorted(loads) if (work / "benign" / name).stat().st_size < 65536]
    for at in range(1000):
        (small / ("%04d-%s" % (at, names[at % len(names)]))).write_bytes(sources[at % len(sources)])
    _, cpu, wall = cpu_of([program, "model", "inspect", str(small), "-o", "json"])
    print("1,000 small files: %.2f s, %.2f s CPU (goal 0.5 s)" % (wall, cpu))
    _, cpu, wall = cpu_of([program, "model", "inspect", str(next(small.iterdir()))])
    print("one small file, start-up included: %.0f ms" % (wall * 1000))
    big = work / "big.safetensors"
    size = 2 << 30
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with open(big, "wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        block = bytes(range(256)) * 4096
        for _ in range(size // len(block)):
            file.write(block)
    best = lambda command: min(cpu_of(command)[1] for _ in range(3))
    for tool in PEERS:
        beside(tool, small, "1,000 small files")
    inspected, hashed = best([program, "model", "inspect", str(big)]), best(["openssl", "dgst", "-sha256", str(big)])
    print("safetensors of 2 GiB, hashed and inspected: %.2f s CPU; openssl dgst -sha256: %.2f s; ratio %.2f (goal 1.1)" % (
        inspected, hashed, inspected / hashed))
    big.unlink()
    torch_file(program, work, best)


def beside(tool, directory, what):
    """CPU time of a peer over a directory, of what it takes without its start."""
    try:
        said, cpu = theirs(tool, directory)
    except (subprocess.TimeoutExpired, ValueError, OSError) as error:
        print("  %-12s %s: gave no answer (%s)" % (tool, what, type(error).__name__))
        return
    late = sum(value == "unfinished" for value in said.values())
    print("  %-12s %s: %.2f s CPU%s" % (tool, what, cpu, ", %d files not come to after %d s" % (late, LIMIT) if late else ""))


def torch_file(program, work, best):
    """A checkpoint of 500 MB by torch itself."""
    directory = work / "torch"
    directory.mkdir()
    path = directory / "model.pt"
    made = "import torch; torch.save({'layer.%d.weight' % i: torch.rand(1250, 1000) for i in range(100)}, '" + str(path) + "')"
    if subprocess.run(["/usr/bin/python3", "-c", made], check=False, stderr=subprocess.DEVNULL).returncode:
        print("no checkpoint of 500 MB: /usr/bin/python3 has no torch")
        return
    inspected, hashed = best([program, "model", "inspect", str(path)]), best(["openssl", "dgst", "-sha256", str(path)])
    print("torch checkpoint of %d MB, hashed, checksums of its members and pickle read: %.2f s CPU; openssl dgst -sha256: %.2f s" % (
        path.stat().st_size // 1_000_000, inspected, hashed))
    for tool in PEERS:
        beside(tool, directory, "checkpoint of 500 MB")


def main():
    program = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else directory)
        make(work)
        misses = detection(program, work)
        times(program, work)
    sys.exit(bool(misses))


if __name__ == "__main__":
    main()
