"""More samples for scanners of models: what frameworks write rarely, and attacks by other ways than the common ones.

`samples.py` calls these. What is benign is made by the frameworks, what is hostile by the standard library.
"""
import bz2
import codecs
import ctypes
import functools
import gzip
import importlib
import io
import json
import logging.config
import lzma
import operator
import os
import pathlib
import pickle
import runpy
import sqlite3
import struct
import subprocess
import sys
import tarfile
import urllib.request
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


# ---- hostile ----


class Calls:
    """An object whose pickle calls a function."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def hostile(out, s):
    """`s` is the module of samples, for its pieces."""
    calls(out, s)
    streams(out, s)
    texts(out, s)
    packed(out, s)
    for index in ("../../x", "/etc/passwd", "a/../../b"):
        out.add("config", "model.safetensors.index.json", json.dumps({"metadata": {}, "weight_map": {"w": index}}))
    t = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    for header, size in (({"a": dict(t, dtype="BOOL")}, 8), ({"a": {"dtype": "F4", "shape": [3], "data_offsets": [0, 2]}}, 2),
                         ({"a": dict(t, shape=[2 ** 63, 2 ** 63])}, 8), ({"a": dict(t, more=1)}, 8), ({"a": dict(t, shape=[2.0])}, 8),
                         ({"a": None}, 8), ({"__metadata__": {"a": {"b": "c"}}, "a": t}, 8), ({"a": t, "b": t}, 16)):
        out.add("safetensors", "m.safetensors", s.safetensors(header, b"\0" * size))
    external = lambda *pairs: s.field(14, 1) + b"".join(s.field(13, s.field(1, k) + s.field(2, v)) for k, v in pairs)
    tensor = lambda pairs: s.field(5, s.field(1, 2) + s.field(2, 1) + s.field(8, "w") + external(*pairs))
    for pairs in ((("location", "w.bin"), ("offset", "-8")), (("location", "w.bin"), ("location", "../x")), (("offset", "0"),),
                  (("location", "~/x"),), (("location", "a//b"),), (("location", "/dev/zero"),)):
        out.add("onnx", "m.onnx", s.onnx(initializers=tensor(pairs)))


def calls(out, s):
    for name, value in {
        "popen": Calls(subprocess.Popen, ["true"]), "eval": Calls(eval, "1"), "exec": Calls(exec, "1"), "breakpoint": Calls(breakpoint),
        "import": Calls(importlib.import_module, "os"), "run": Calls(runpy.run_path, "x"), "compile": Calls(compile, "1", "x", "eval"),
        "getattr": Calls(getattr, "a", "upper"), "partial": Calls(functools.partial, os.system, "true"), "map": Calls(map, os.system, ["true"]),
        "attrgetter": Calls(operator.attrgetter, "a.b"), "methodcaller": Calls(operator.methodcaller, "system", "true"),
        "open": Calls(codecs.open, s.MARK, "w"), "type": Calls(type, "X", (object,), {}), "globals": Calls(globals), "setattr": Calls(setattr, 1, "a", 2),
        "putenv": Calls(os.putenv, "A", "b"), "unlink": Calls(os.unlink, s.MARK), "dlopen": Calls(ctypes.CDLL, "x"),
        "url": Calls(urllib.request.urlopen, "http://127.0.0.1"), "log": Calls(logging.config.fileConfig, "x"), "sqlite": Calls(sqlite3.connect, s.MARK),
        "read": Calls(pathlib.Path.read_text, pathlib.PurePosixPath("/etc/passwd")), "array": Calls(bytearray, 1 << 31),
    }.items():
        for protocol in (0, 2, 4):
            data = pickle.dumps(value, protocol)
            out.add("gadget", name + ".pkl", data)
            if protocol == 2:
                out.add("gadget", name + ".bin", s.torch_zip(pickle.dumps({"state_dict": {}, "x": value}, 2)))


def streams(out, s):
    head, call = b"\x80\x02", s.line("os", "system", s.SH)
    numbers = b"cnumpy\ndtype\n" + s.text("f8") + b"K\0K\1\x87R(K\3" + s.text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    for name, body in {
        "key": b"}" + call + b"\x85N0s", "items": b"}(" + s.text("a") + call + b"u", "duplicate": b"cos\nsystem\n2" + s.text(s.SH) + b"\x85R0",
        "argument": b"ccollections\nOrderedDict\n(" + call + b"tR", "factory": b"ccollections\ndefaultdict\ncos\nsystem\n\x85R",
        "class": b"ccollections\nOrderedDict\n)R}" + s.text("__class__") + b"cos\nsystem\nsb",
        "array": b"cnumpy.core.multiarray\n_reconstruct\ncos\nsystem\nK\0\x85" + s.text("b") + b"\x87R",
        "mask": b"cnumpy.ma.core\n_mareconstruct\n(cos\nsystem\ncnumpy\nndarray\nK\0\x85" + s.text("b") + b"tR",
        "fill": b"cnumpy.ma.core\n_mareconstruct\n(cnumpy.ma.core\nMaskedArray\ncnumpy\nndarray\nK\0\x85" + s.text("b") + b"tR(K\1K\0\x85" + numbers
                + b"\x89C\0C\0" + call + b"tb",
        "table": b"ccopyreg\n_reconstructor\ncmine\nD\ncbuiltins\ndict\n" + call + b"\x87R", "codec": b"c_codecs\nencode\n" + s.text("x") + s.text("zlib") + b"\x86R",
        "bytes": b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R", "own": b"cmine.pkg\nrun\n" + s.text("x") + b"\x85R", "upper": b"cOS\nsystem\n" + s.text(s.SH) + b"\x85R",
        "wide": b"c\xef\xbd\x8fs\nsystem\n" + s.text(s.SH) + b"\x85R", "return": b"cos\r\nsystem\r\n" + s.text(s.SH) + b"\x85R",
        "hub": b"ctorch.hub\ndownload_url_to_file\n" + s.text("http://127.0.0.1") + s.text(s.MARK) + b"\x86R",
        "frame": b"cpandas\nread_pickle\n" + s.text("x") + b"\x85R", "load": b"cnumpy.lib.npyio\nload\n" + s.text("x") + b"\x85R",
    }.items():
        out.add("pickle", name + ".pkl", head + body + b".")
        out.add("pickle", name + ".pt", s.torch_zip(head + body + b"."))


def texts(out, s):
    for template in (
        "{{ '{0.__class__}'.format(messages) }}", "{{ messages|groupby('__class__') }}", "{{ messages[['__cl','ass__']|join] }}",
        "{% set k='__class__' %}{{ messages[k] }}", "{{ messages['__ssalc__'[::-1]] }}", "{{ messages['__CLASS__'|lower] }}",
        "{{ raise_exception.__globals__ }}", "{{ strftime_now.__globals__['os'] }}", "{% set ns = namespace() %}{% set ns.__class__ = 1 %}",
        "{{ messages[('%c'*9)|format(95,95,99,108,97,115,115,95,95)] }}", "{% filter attr('__class__') %}x{% endfilter %}",
        "{% macro __init__() %}{% endmacro %}{{ __init__.__globals__ }}", "{% with a=messages.__class__ %}{{ a }}{% endwith %}",
        "{{ 'a' * 10 ** 10 }}", "{{ loop.__class__ }}", "{{ varargs }}{{ caller.__class__ }}",
    ):
        out.add("template", "chat_template.jinja", template)
        out.add("template", "processor_config.json", json.dumps({"chat_template": [{"name": "default", "template": template}]}))
        out.add("template", "m.gguf", s.gguf([("tokenizer.chat_template.tool_use", 8, s.gstring(template))]))
    for text in ("a: !!python/object/apply:os.system [x]", "!!python/object/new:os.system [x]", "a: !!python/name:os.system", "a: &x !!python/module:os",
                 "a: !<tag:yaml.org,2002:python/object/apply:os.system> [x]", "a:\n  !!python/object/apply:os.system\n  - x"):
        out.add("config", "config.yaml", text + "\n")
        out.add("config", "MLmodel", text + "\n")
        out.add("config", "README.md", "---\n" + text + "\n---\n# Model\n")
    for config in ({"text_config": {"auto_map": {"AutoConfig": "x.Y"}}}, {"model": {"_partial_": True, "_target_": "builtins.eval"}},
                   {"py/reduce": [{"py/function": "os.system"}]}, {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None]}}):
        out.add("config", "config.json", json.dumps(config))
    out.add("program", "demo.ipynb", json.dumps({"cells": [{"cell_type": "code", "source": ["!" + s.SH]}], "nbformat": 4}))


def packed(out, s):
    call = b"\x80\x02" + s.line("os", "system", s.SH) + b"."
    packers = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "z": zlib.compress, "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE)}
    for name, pack in packers.items():
        for inner in ("pt", "bin", "npy"):
            out.add("packed", "m.%s.%s" % (inner, name), pack(call))
        out.add("packed", "config.json." + name, pack(json.dumps({"auto_map": {"AutoModel": "m.M"}}).encode()))
        out.add("packed", "deep." + name, pack(pack(pack(call))))
    for name in ("evil.pkl", "setup.py", "sub/" * 60 + "evil.pkl"):
        target = io.BytesIO()
        with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
            info = tarfile.TarInfo(name)
            info.size = len(call)
            archive.addfile(info, io.BytesIO(call))
        out.add("archive", "m.tar", target.getvalue())
    for name in ("evil.pkl", "../evil", "setup.py"):
        out.add("archive", "m.7z", sevenz(name, call))


def sevenz(name, data):
    """A 7z archive of one stored file."""
    number = lambda value: bytes([value]) if value < 0x80 else bytes([0x80 | value >> 8, value & 0xFF])
    crc = lambda raw: struct.pack("<I", zlib.crc32(raw))
    names = (name + "\0").encode("utf-16le")
    header = (b"\1\4\6\0\1\x09" + number(len(data)) + b"\0\7\x0b\1\0\1\1\0\x0c" + number(len(data)) + b"\x0a\1" + crc(data) + b"\0\0\5\1\x11"
              + number(len(names) + 1) + b"\0" + names + b"\0\0")
    start = struct.pack("<QQ", len(data), len(header)) + crc(header)
    return b"7z\xbc\xaf\x27\x1c\0\4" + crc(start) + start + data + header


# ---- benign ----


def benign(out):
    templates(out)
    for make in (arrays, tensors, estimators, graphs, quantised, trees):
        try:
            make(out)
        except ImportError as error:
            print("%s: %s is not there" % (make.__name__, error.name), file=sys.stderr)


def templates(out):
    for path in sorted((ROOT / "crates/inspect/tests/templates").iterdir()):
        out.add("template", "chat_template.jinja", path.read_bytes())
        out.add("template", "tokenizer_config.json", json.dumps({"tokenizer_class": "X", "chat_template": path.read_text()}))
    out.add("json", "trainer_state.json", json.dumps({"log_history": [{"loss": float("nan")}], "best_metric": float("inf")}))
    out.add("text", "README.md", "---\nlicense: mit\n---\n# Model\n\n    AutoModel.from_pretrained('x', trust_remote_code=True)\n")


def arrays(out):
    import numpy as np
    kinds = [np.zeros((0, 3)), np.zeros(3, dtype=[("a", "f4"), ("b", "i8", (2,))]), np.array(["2020-01-01"], dtype="M8[D]"), np.matrix([[1, 2]]),
             np.zeros(2, dtype=[(("title", "name"), "f4")]), np.ma.array([1.0, 2.0], mask=[0, 1]), np.rec.array(np.zeros(2, dtype=[("a", "f4")]))]
    for value in kinds:
        for protocol in (0, 2, 4, 5):
            out.add("pickle", "array.pkl", pickle.dumps({"v": value, "empty": b""}, protocol))
        if not isinstance(value, np.ma.MaskedArray):
            buffer = io.BytesIO()
            np.save(buffer, value)
            out.add("numpy", "a.npy", buffer.getvalue())


def tensors(out):
    for dtype, bits in (("F4", 4), ("F6_E2M3", 6), ("F8_E8M0", 8), ("F8_E5M2", 8), ("BF16", 16), ("U64", 64), ("C64", 64)):
        header = json.dumps({"w": {"dtype": dtype, "shape": [4, 2], "data_offsets": [0, bits]}}).encode()
        out.add("safetensors", "w.safetensors", struct.pack("<Q", len(header)) + header + b"\0" * bits)


def estimators(out):
    import joblib
    import numpy as np
    from sklearn import ensemble, linear_model, model_selection, pipeline, preprocessing, svm
    x = np.random.RandomState(0).rand(40, 4)
    y = (x[:, 0] > 0.5).astype(int)
    for made in (
        model_selection.GridSearchCV(svm.SVC(), {"C": [1, 2], "kernel": ["rbf", "linear"]}, cv=2),
        model_selection.RandomizedSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1]}, n_iter=2, cv=2),
        pipeline.make_pipeline(preprocessing.StandardScaler(), svm.SVC(probability=False)),
        ensemble.VotingClassifier([("a", linear_model.LogisticRegression()), ("b", svm.SVC())]),
        ensemble.HistGradientBoostingClassifier(max_iter=2),
    ):
        made.fit(x, y)
        buffer = io.BytesIO()
        joblib.dump({"model": made, "columns": list("abcd")}, buffer)
        out.add("joblib", "m.joblib", buffer.getvalue())
        for protocol in (2, 5):
            out.add("sklearn", "m.pkl", pickle.dumps(made, protocol))


def graphs(out):
    from onnx import TensorProto, helper
    info = helper.make_tensor_value_info
    for code in (TensorProto.INT4, TensorProto.UINT4, TensorProto.FLOAT4E2M1, TensorProto.FLOAT8E4M3FN, TensorProto.BFLOAT16, TensorProto.STRING):
        tensor = helper.make_tensor("w", code, [2], [b"a", b"b"] if code == TensorProto.STRING else [1, 1])
        graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [info("y", code, [2])], [tensor])
        out.add("onnx", "m.onnx", helper.make_model(graph).SerializeToString())
    then = helper.make_graph([helper.make_node("Constant", [], ["t"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [1.0]))], "t", [],
                             [info("t", TensorProto.FLOAT, [1])])
    graph = helper.make_graph([helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=then)], "g", [info("c", TensorProto.BOOL, [])],
                              [info("y", TensorProto.FLOAT, [1])])
    out.add("onnx", "if.onnx", helper.make_model(graph).SerializeToString())


def quantised(out):
    import gguf
    import numpy as np
    import tempfile
    with tempfile.TemporaryDirectory() as directory:
        # Of Q8_1, which no file holds, readers give two sizes.
        for kind in gguf.GGMLQuantizationType:
            if kind.name in ("F32", "F16", "F64", "I8", "I16", "I32", "I64", "Q8_1"):
                continue
            path = pathlib.Path(directory) / "m.gguf"
            writer = gguf.GGUFWriter(path, "llama")
            writer.add_uint64("a.long", 1 << 60)
            writer.add_float64("a.double", 1.0)
            writer.add_array("a.words", ["a", "b"])
            writer.add_tensor("w", np.zeros((4, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8), raw_dtype=kind)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
            writer.close()
            out.add("gguf", "m.gguf", path.read_bytes())


def trees(out):
    import lightgbm
    import numpy as np
    import xgboost
    x, y = np.random.RandomState(0).rand(40, 4), np.arange(40.0) % 3
    for made in (xgboost.XGBRegressor(n_estimators=3, booster="dart"), xgboost.XGBRegressor(n_estimators=3, booster="gblinear"),
                 xgboost.XGBRegressor(n_estimators=2, objective="count:poisson"), xgboost.XGBRFRegressor(n_estimators=3)):
        booster = made.fit(x, y).get_booster()
        booster.set_attr(note="h\u00e9llo")
        for form in ("json", "ubj"):
            out.add("xgboost", "m." + form, bytes(booster.save_raw(form)))
    for more in ({"boosting_type": "dart"}, {"linear_tree": True}, {"objective": "quantile"}):
        out.add("lightgbm", "m.txt", lightgbm.LGBMRegressor(n_estimators=3, verbose=-1, **more).fit(x, y).booster_.model_to_string())
