"""Writes model files as the real frameworks make them, into a directory; what is not installed is left out.

    python3 -m venv V && V/bin/pip install tensorflow-cpu h5py onnx xgboost-cpu lightgbm gguf sentencepiece
    V/bin/python crates/inspect/tests/make_frameworks.py OUT
    cargo run --release -p strongroom-inspect --example verdicts $(find OUT -type f)

Files under OUT/load must load without a finding, those under OUT/policy need a policy, those under OUT/refuse
are refused, because the framework would run code of theirs.
"""
import importlib
import json
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

out = Path(sys.argv[1])
for kind in ("load", "policy", "refuse"):
    (out / kind).mkdir(parents=True, exist_ok=True)
load, policy, refuse = (str(out / kind) for kind in ("load", "policy", "refuse"))
missing = []


def need(name):
    try:
        return importlib.import_module(name)
    except ImportError:
        missing.append(name)
        return None


def make_gguf():
    gguf, np = need("gguf"), need("numpy")
    if not gguf:
        return
    for index, endian in enumerate([32, 64]):
        writer = gguf.GGUFWriter(f"{load}/model-{index}.gguf", "llama")
        writer.add_block_count(2)
        writer.add_context_length(128)
        writer.add_embedding_length(64)
        writer.add_bool("x.flag", True)
        writer.add_float32("x.eps", 1e-5)
        writer.add_array("tokenizer.ggml.tokens", ["<s>", "</s>", "a"])
        writer.add_array("tokenizer.ggml.scores", [0.0, 1.0, 2.0])
        writer.add_chat_template("{% for m in messages %}{{ m['content'] }}{% endfor %}")
        writer.add_custom_alignment(endian)
        for at in range(3):
            writer.add_tensor(f"blk.{at}.w", np.random.rand(4, 32).astype(np.float32))
            writer.add_tensor(f"blk.{at}.h", np.random.rand(3, 5).astype(np.float16))
        writer.add_tensor("ids", np.arange(7, dtype=np.int32))
        types = gguf.GGMLQuantizationType
        for kind in (types.Q8_0, types.Q4_0, types.Q4_1, types.Q5_0, types.Q5_1, types.BF16):
            data = gguf.quants.quantize(np.random.rand(2, 64).astype(np.float32), kind)
            writer.add_tensor(f"q.{kind.name}", data, raw_dtype=kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    vocab = gguf.GGUFWriter(f"{load}/vocab.gguf", "llama")
    vocab.add_array("tokenizer.ggml.tokens", ["a", "b"])
    vocab.write_header_to_file()
    vocab.write_kv_data_to_file()
    vocab.close()


def keras_models(keras):
    layers = keras.layers
    yield "dense", keras.Sequential([keras.Input((4,)), layers.Dense(8, "relu"), layers.Dropout(0.5), layers.Dense(2)])
    yield "conv", keras.Sequential([
        keras.Input((16, 16, 3)), layers.Rescaling(1 / 255), layers.RandomFlip(), layers.Conv2D(4, 3),
        layers.BatchNormalization(), layers.MaxPooling2D(), layers.Flatten(),
        layers.Dense(3, kernel_regularizer="l2", kernel_constraint="max_norm"),
    ])
    a = keras.Input((8,))
    b = layers.Dense(8)(a)
    yield "functional", keras.Model(a, layers.Add()([a, b]) * 2.0 + keras.ops.relu(b))
    t = keras.Input((10,), dtype="int32")
    e = layers.Embedding(100, 16)(t)
    e = layers.MultiHeadAttention(2, 8)(e, e)
    e = layers.LayerNormalization()(e)
    e = layers.Bidirectional(layers.LSTM(4))(e)
    yield "sequence", keras.Model(t, layers.Dense(1, activation="sigmoid")(e))
    yield "wrapped", keras.Sequential([
        keras.Input((5, 4)), layers.TimeDistributed(layers.Dense(3)), layers.GRU(4), layers.UnitNormalization()])
    n = layers.Normalization()
    n.adapt(need("numpy").array([[1.0, 2.0], [3.0, 4.0]]))
    yield "adapted", keras.Sequential([keras.Input((2,)), n, layers.Dense(1)])
    yield "mixed", keras.Sequential([keras.Input((4,)), layers.Dense(2, dtype="mixed_float16")])


def make_keras():
    keras = need("keras")
    if not keras:
        return
    np = need("numpy")
    for name, model in keras_models(keras):
        for fit in (False, True):
            if fit:
                model.compile(optimizer=keras.optimizers.Adam(
                    keras.optimizers.schedules.ExponentialDecay(1e-3, 10, 0.9)), loss="mse", metrics=["mae"])
                x = np.zeros((2, *model.input_shape[1:]), dtype="int32" if name == "sequence" else "float32")
                model.fit(x, np.zeros((2, *model.output_shape[1:])), verbose=0)
            model.save(f"{load}/{name}-{fit}.keras")
            model.save_weights(f"{policy}/{name}-{fit}.weights.h5")
            if name not in ("functional",):
                model.save(f"{policy}/{name}-{fit}.h5")
            Path(f"{load}/{name}-{fit}.json").write_text(model.to_json())
    model = keras.Sequential([keras.Input((4,)), keras.layers.Lambda(lambda x: x * 2)])
    model.save(f"{refuse}/lambda.keras")
    model.save(f"{refuse}/lambda.h5")

    @keras.saving.register_keras_serializable(package="own")
    class Own(keras.layers.Layer):
        def call(self, x):
            return x

    model = keras.Sequential([keras.Input((4,)), Own()])
    model.save(f"{refuse}/custom.keras")
    model.save(f"{refuse}/custom.h5")


def make_hdf5():
    h5py, np = need("h5py"), need("numpy")
    if not h5py:
        return
    for libver in ("v108", "v110", "latest"):
        with h5py.File(f"{policy}/few-{libver}.h5", "w", libver=libver) as file:
            file["plain"] = np.arange(100.0)
            file["group/deep/s"] = "text"
            file.create_dataset("single", data=np.zeros((20, 20)), chunks=(20, 20), compression="gzip")
            file.create_dataset("fixed", data=np.zeros((20, 20)), chunks=(4, 4))
            file.create_dataset("grow", shape=(30,), maxshape=(None,), chunks=(2,), dtype="f4")
            file.create_dataset("tree", shape=(9, 9), maxshape=(None, None), chunks=(2, 2), dtype="f4", fletcher32=True)
            file["soft"] = h5py.SoftLink("/group/deep")
            file.attrs["a"] = "x" * 300
    for libver in ("earliest",):
        with h5py.File(f"{policy}/plain-{libver}.h5", "w", libver=libver) as file:
            file["a"] = np.arange(100.0)
            file["s"] = "text"
            file["v"] = np.array([b"ab", b"cde"])
            file["u"] = ["a", "variable", "length"]
            file["scalar"] = 3
            file.attrs["few"] = 1
            file.create_dataset("chunked", data=np.random.rand(200, 50), chunks=(20, 10))
            file.create_dataset("gzip", data=np.zeros((300, 30)), compression="gzip", shuffle=True, fletcher32=True)
            file.create_dataset("grow", shape=(3,), maxshape=(None,), dtype="f4")
            file.create_dataset("grow2", shape=(3, 3), maxshape=(None, None), chunks=(2, 2), dtype="f4")
            file.create_dataset("empty", data=h5py.Empty("f"))
            file.create_dataset("unset", shape=(4, 4), dtype="i8")
            file.create_dataset("compound", data=np.zeros(3, dtype=[("x", "<f4"), ("y", "<i8", (2,))]))
            file.create_dataset("complex", data=np.zeros(3, dtype="c8"))
            file.create_dataset("bools", data=np.array([True, False]))
            group = file.create_group("group/deep/er")
            group["w"] = np.ones((2, 2), dtype="f2")
            file["hard"] = file["a"]
            file["soft"] = h5py.SoftLink("/group/deep")
            file.attrs["text"] = "x" * 300
            file.attrs["list"] = np.arange(50)
            file.attrs["strings"] = ["a", "b"]
    # Dense storage, which is not read.
    with h5py.File(f"{refuse}/dense.h5", "w", libver="latest") as file:
        for index in range(120):
            file[f"item{index}"] = index
    with h5py.File(f"{refuse}/dense-attributes.h5", "w", libver="latest") as file:
        for index in range(30):
            file.attrs[f"attr{index}"] = "value" * index
    with h5py.File(f"{refuse}/external-link.h5", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "/data")
    with h5py.File(f"{refuse}/external-data.h5", "w") as file:
        file.create_dataset("x", (10,), dtype="f4", external=[("/etc/passwd", 0, 40)])
    with h5py.File(f"{refuse}/virtual.h5", "w", libver="latest") as file:
        layout = h5py.VirtualLayout(shape=(4,), dtype="f4")
        layout[:] = h5py.VirtualSource("other.h5", "x", shape=(4,))
        file.create_virtual_dataset("x", layout)
    with h5py.File(f"{refuse}/lzf.h5", "w") as file:
        file.create_dataset("x", data=np.zeros(1000), compression="lzf")
    with h5py.File(f"{refuse}/userblock.h5", "w", userblock_size=512) as file:
        file["x"] = 1


def make_tensorflow():
    tf = need("tensorflow")
    if not tf:
        return
    keras = need("keras")
    for name, model in keras_models(keras):
        model.export(f"{policy}/{name}-keras", verbose=False)

    class Module(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.random.normal((4, 2)))
            init = tf.lookup.KeyValueTensorInitializer(["a", "b"], [1, 2])
            self.table = tf.lookup.StaticHashTable(init, -1)

        @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
        def __call__(self, x):
            for _ in tf.range(3):
                x = tf.cond(tf.reduce_sum(x) > 0, lambda: x, lambda: -x)
            return {"y": x @ self.w, "k": self.table.lookup(tf.constant(["a"]))}

    module = Module()
    tf.saved_model.save(module, f"{policy}/module", signatures={"serving_default": module.__call__})
    concrete = module.__call__.get_concrete_function()
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2
    graph = convert_variables_to_constants_v2(concrete).graph.as_graph_def()
    Path(f"{policy}/frozen.pb").write_bytes(graph.SerializeToString())

    def hostile(name, body):
        class Evil(tf.Module):
            @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
            def __call__(self, x):
                return body(x)
        evil = Evil()
        tf.saved_model.save(evil, f"{refuse}/{name}", signatures={"serving_default": evil.__call__})

    hostile("read", lambda x: tf.io.read_file(x))
    hostile("write", lambda x: (tf.io.write_file("/tmp/x", x), x)[1])
    hostile("matching", lambda x: tf.io.matching_files(x))
    hostile("python", lambda x: tf.py_function(lambda y: y, [x], tf.string))
    hostile("numpy", lambda x: tf.numpy_function(lambda y: y, [x], tf.string))
    hostile("nested", lambda x: tf.cond(tf.strings.length(x) > 3, lambda: tf.io.read_file(x), lambda: x))
    hostile("print", lambda x: (tf.print(x, output_stream="file:///tmp/x"), x)[1])
    hostile("save", lambda x: (tf.raw_ops.SaveV2(prefix="/tmp/x", tensor_names=["a"], shape_and_slices=[""], tensors=[x]), x)[1])
    hostile("restore", lambda x: tf.raw_ops.RestoreV2(prefix=x, tensor_names=["a"], shape_and_slices=[""], dtypes=[tf.string])[0])


def make_tflite():
    tf = need("tensorflow")
    if not tf:
        return
    keras = need("keras")
    for name, model in keras_models(keras):
        if name in ("sequence", "wrapped", "mixed"):
            continue
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
        Path(f"{load}/{name}.tflite").write_bytes(converter.convert())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        Path(f"{load}/{name}-quantised.tflite").write_bytes(converter.convert())

    @tf.function(input_signature=[tf.TensorSpec([3, 3], tf.float32)])
    def flex(x):
        return tf.linalg.det(x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([flex.get_concrete_function()])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.SELECT_TF_OPS]
    Path(f"{refuse}/flex.tflite").write_bytes(converter.convert())

    @tf.function(input_signature=[tf.TensorSpec([3], tf.float32)])
    def custom(x):
        return tf.nn.relu(tf.cumsum(tf.sin(x))) + tf.raw_ops.Betainc(a=x, b=x, x=x)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([custom.get_concrete_function()])
    converter.allow_custom_ops = True
    Path(f"{policy}/custom.tflite").write_bytes(converter.convert())


def make_trees():
    np = need("numpy")
    rng = np.random.default_rng(7)
    x, y = rng.random((300, 6)), rng.random(300)
    xgboost = need("xgboost")
    if xgboost:
        tasks = {
            "regression": ({"objective": "reg:squarederror"}, y),
            "binary": ({"objective": "binary:logistic"}, (y > 0.5).astype(int)),
            "multi": ({"objective": "multi:softprob", "num_class": 3}, (y * 3).astype(int)),
            "linear": ({"booster": "gblinear"}, y),
            "dart": ({"booster": "dart", "rate_drop": 0.1}, y),
            "rank": ({"objective": "rank:ndcg"}, (y * 3).astype(int)),
        }
        for name, (params, target) in tasks.items():
            data = xgboost.DMatrix(x, target)
            if name == "rank":
                data.set_group([100, 200])
            booster = xgboost.train(params | {"max_depth": 4}, data, 5)
            booster.save_model(f"{load}/xgb-{name}.json")
            booster.save_model(f"{load}/xgb-{name}.ubj")
        data = xgboost.DMatrix(x, y, feature_names=list("abcdef"))
        xgboost.train({"tree_method": "hist", "max_depth": 2}, data, 2).save_model(f"{load}/xgb-names.json")
        xgboost.train({"tree_method": "hist", "max_depth": 2}, data, 2).save_model(f"{load}/xgb-names.ubj")
        cats = np.floor(x * 5)
        data = xgboost.DMatrix(cats, y, feature_types=["c"] * 6, enable_categorical=True)
        xgboost.train({"tree_method": "hist", "max_cat_to_onehot": 1}, data, 3).save_model(f"{load}/xgb-categories.ubj")
        xgboost.train({"tree_method": "hist", "max_cat_to_onehot": 1}, data, 3).save_model(f"{load}/xgb-categories.json")
        multi = xgboost.train({"multi_strategy": "multi_output_tree", "tree_method": "hist"},
                              xgboost.DMatrix(x, np.stack([y, 1 - y], 1)), 3)
        multi.save_model(f"{load}/xgb-vector.json")
        multi.save_model(f"{load}/xgb-vector.ubj")
    lightgbm = need("lightgbm")
    if lightgbm:
        quiet = {"verbose": -1, "num_leaves": 7}
        for name, params, target in [
            ("regression", {}, y), ("binary", {"objective": "binary"}, y > 0.5),
            ("multi", {"objective": "multiclass", "num_class": 3}, (y * 3).astype(int)),
            ("dart", {"boosting": "dart"}, y), ("linear", {"linear_tree": True}, y),
        ]:
            booster = lightgbm.train(quiet | params, lightgbm.Dataset(x, target, params=quiet | params), 5)
            booster.save_model(f"{load}/lgb-{name}.txt")
        data = lightgbm.Dataset(np.floor(x * 9), y, categorical_feature=[0, 1], params=quiet)
        lightgbm.train(quiet, data, 5).save_model(f"{load}/lgb-categories.txt")


def make_sentencepiece():
    sentencepiece = need("sentencepiece")
    if not sentencepiece:
        return
    corpus = out / "corpus.txt"
    corpus.write_text("\n".join(f"the quick brown fox number {i} jumps over {i * 7} lazy dogs" for i in range(500)))
    for kind in ("unigram", "bpe", "char", "word"):
        sentencepiece.SentencePieceTrainer.train(
            input=str(corpus), model_prefix=f"{load}/sp-{kind}", vocab_size=60 if kind != "word" else 40,
            model_type=kind, minloglevel=2, hard_vocab_limit=False)
    corpus.unlink()


def make_onnx():
    onnx, np = need("onnx"), need("numpy")
    if not onnx:
        return
    from onnx import TensorProto, helper, numpy_helper
    weight = numpy_helper.from_array(np.random.rand(4, 2).astype(np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])], [weight])
    model = helper.make_model(graph)
    onnx.checker.check_model(model)
    onnx.save(model, f"{load}/matmul.onnx")


made = []
for make in (make_gguf, make_onnx, make_sentencepiece, make_trees, make_hdf5, make_keras, make_tensorflow, make_tflite):
    if len(sys.argv) > 2 and make.__name__ not in sys.argv[2:]:
        continue
    make()
    made.append(make.__name__)
counts = {kind: sum(path.is_file() for path in (out / kind).rglob("*")) for kind in ("load", "policy", "refuse")}
print(json.dumps({"made": made, "missing": sorted(set(missing)), "files": counts}))
