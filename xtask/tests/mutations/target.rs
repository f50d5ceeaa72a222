//! The targets of the fuzzer, each from its own file. A new one is listed here, or the test fails.

#[path = "../../../fuzz/fuzz_targets/certificate.rs"]
mod certificate;
#[path = "../../../fuzz/fuzz_targets/config.rs"]
mod config;
#[path = "../../../fuzz/fuzz_targets/crl.rs"]
mod crl;
#[path = "../../../fuzz/fuzz_targets/data_files.rs"]
mod data_files;
#[path = "../../../fuzz/fuzz_targets/gguf.rs"]
mod gguf;
#[path = "../../../fuzz/fuzz_targets/hdf5.rs"]
mod hdf5;
#[path = "../../../fuzz/fuzz_targets/image_layer.rs"]
mod image_layer;
#[path = "../../../fuzz/fuzz_targets/inspect_archive.rs"]
mod inspect_archive;
#[path = "../../../fuzz/fuzz_targets/inspect_bytes.rs"]
mod inspect_bytes;
#[path = "../../../fuzz/fuzz_targets/keras.rs"]
mod keras;
#[path = "../../../fuzz/fuzz_targets/lightgbm.rs"]
mod lightgbm;
#[path = "../../../fuzz/fuzz_targets/npy.rs"]
mod npy;
#[path = "../../../fuzz/fuzz_targets/npz.rs"]
mod npz;
#[path = "../../../fuzz/fuzz_targets/oms_bundle.rs"]
mod oms_bundle;
#[path = "../../../fuzz/fuzz_targets/oms_statement.rs"]
mod oms_statement;
#[path = "../../../fuzz/fuzz_targets/onnx.rs"]
mod onnx;
#[path = "../../../fuzz/fuzz_targets/ops.rs"]
mod ops;
#[path = "../../../fuzz/fuzz_targets/own_rules.rs"]
mod own_rules;
#[path = "../../../fuzz/fuzz_targets/parquet.rs"]
mod parquet;
#[path = "../../../fuzz/fuzz_targets/pickle.rs"]
mod pickle;
#[path = "../../../fuzz/fuzz_targets/protobuf.rs"]
mod protobuf;
#[path = "../../../fuzz/fuzz_targets/safetensors.rs"]
mod safetensors;
#[path = "../../../fuzz/fuzz_targets/sentencepiece.rs"]
mod sentencepiece;
#[path = "../../../fuzz/fuzz_targets/sevenz.rs"]
mod sevenz;
#[path = "../../../fuzz/fuzz_targets/sshd_config.rs"]
mod sshd_config;
#[path = "../../../fuzz/fuzz_targets/template.rs"]
mod template;
#[path = "../../../fuzz/fuzz_targets/tflite.rs"]
mod tflite;
#[path = "../../../fuzz/fuzz_targets/timestamp.rs"]
mod timestamp;
#[path = "../../../fuzz/fuzz_targets/torch_zip.rs"]
mod torch_zip;
#[path = "../../../fuzz/fuzz_targets/trust_policy.rs"]
mod trust_policy;
#[path = "../../../fuzz/fuzz_targets/ubjson.rs"]
mod ubjson;
#[path = "../../../fuzz/fuzz_targets/xgboost_json.rs"]
mod xgboost_json;
#[path = "../../../fuzz/fuzz_targets/yaml.rs"]
mod yaml;

/// Name and body of a target.
type Target = (&'static str, fn(&[u8]));

pub(crate) const TARGETS: &[Target] = &[
    ("certificate", certificate::run),
    ("config", config::run),
    ("crl", crl::run),
    ("data_files", data_files::run),
    ("gguf", gguf::run),
    ("hdf5", hdf5::run),
    ("image_layer", image_layer::run),
    ("inspect_archive", inspect_archive::run),
    ("inspect_bytes", inspect_bytes::run),
    ("keras", keras::run),
    ("lightgbm", lightgbm::run),
    ("npy", npy::run),
    ("npz", npz::run),
    ("oms_bundle", oms_bundle::run),
    ("oms_statement", oms_statement::run),
    ("onnx", onnx::run),
    ("ops", ops::run),
    ("own_rules", own_rules::run),
    ("parquet", parquet::run),
    ("pickle", pickle::run),
    ("protobuf", protobuf::run),
    ("safetensors", safetensors::run),
    ("sentencepiece", sentencepiece::run),
    ("sevenz", sevenz::run),
    ("sshd_config", sshd_config::run),
    ("template", template::run),
    ("tflite", tflite::run),
    ("timestamp", timestamp::run),
    ("torch_zip", torch_zip::run),
    ("trust_policy", trust_policy::run),
    ("ubjson", ubjson::run),
    ("xgboost_json", xgboost_json::run),
    ("yaml", yaml::run),
];
