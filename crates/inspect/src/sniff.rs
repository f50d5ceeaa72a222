//! Formats that are refused, told apart so that the explanation helps; and what a file's extension claims.

use crate::proto::{self, Value};
use crate::report::Format;

/// A signature of a format that is never loadable.
struct Signature {
    at: usize,
    magic: &'static [u8],
    format: &'static str,
    why: &'static str,
}

const SIGNATURES: &[Signature] = &[
    sig(0, b"\x7fELF", "elf", "an ELF program or library"),
    sig(0, b"\xcf\xfa\xed\xfe", "mach-o", "a Mach-O program"),
    sig(0, b"\xce\xfa\xed\xfe", "mach-o", "a Mach-O program"),
    sig(0, b"\xca\xfe\xba\xbe", "mach-o", "a Mach-O or Java program"),
    sig(0, b"MZqFpD", "llamafile", "a llamafile, which is a program; take the GGUF out of it"),
    sig(0, b"MZ", "pe", "a Windows program"),
    sig(0, b"#!", "script", "a script"),
    sig(0, b"\xef\xbb\xbf#!", "script", "a script"),
    sig(0, b"\0asm", "wasm", "a WebAssembly program"),
    sig(0, b"lmgg", "ggml", "a GGML file of before GGUF; convert it to GGUF"),
    sig(0, b"fmgg", "ggml", "a GGMF file of before GGUF; convert it to GGUF"),
    sig(0, b"tjgg", "ggml", "a GGJT file of before GGUF; convert it to GGUF"),
    sig(0, b"algg", "ggml", "a GGLA adapter of before GGUF; convert it to GGUF"),
    sig(0, b"Rar!\x1a\x07", "rar", "a RAR archive; unpack it first"),
    sig(4, b"ftyp", "iso-media", "a media file"),
    sig(0, b"binf", "xgboost-binary", "an XGBoost model of the old binary form; save it as .json or .ubj"),
    sig(0, b"CBM1", "catboost", "a CatBoost model; save it as JSON or ONNX"),
    sig(0, b"ftrt", "tensorrt", "a TensorRT engine, which is compiled code; build it from ONNX on the node"),
    sig(0, b"ptrt", "tensorrt", "a TensorRT engine, which is compiled code; build it from ONNX on the node"),
    sig(0, b"RKNN", "rknn", "an RKNN program"),
    sig(4, b"ET", "executorch", "an ExecuTorch program"),
];

const fn sig(at: usize, magic: &'static [u8], format: &'static str, why: &'static str) -> Signature {
    Signature { at, magic, format, why }
}

/// A known refused format: its word and what to call it, and whether it is a program.
pub(crate) fn refused(bytes: &[u8]) -> Option<(&'static str, &'static str, bool)> {
    let found = SIGNATURES
        .iter()
        .find(|signature| bytes.get(signature.at..).is_some_and(|rest| rest.starts_with(signature.magic)))?;
    // Two letters are not enough to call an inert file a program: `ET` needs the version digits after it.
    if found.format == "executorch" && !bytes.get(6..8).is_some_and(|v| v.iter().all(u8::is_ascii_digit)) {
        return None;
    }
    if found.format == "pe" && std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0')) {
        return None;
    }
    let program =
        matches!(found.format, "elf" | "mach-o" | "pe" | "script" | "wasm" | "executorch" | "llamafile");
    Some((found.format, found.why, program))
}

/// Models that run code of theirs or that nobody reads here, told by more than a signature: CoreML and OpenVINO.
pub(crate) fn refused_model(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let head = bytes.get(..bytes.len().min(4_096)).unwrap_or_default();
    let has = |wanted: &[u8]| head.windows(wanted.len()).any(|window| window == wanted);
    if head.trim_ascii_start().starts_with(b"<?xml") && has(b"<net ") && has(b"<layers") {
        return Some((
            "openvino",
            "an OpenVINO model, whose extensions are code; convert the ONNX model it was made of",
        ));
    }
    // `Model` of CoreML: a version, a description, and one kind of model, whose fields have high numbers.
    let (mut version, mut kind) = (false, false);
    let whole = proto::all_fields(bytes, |number, value| match (number, value) {
        (1, Value::Varint(1..=64)) => {
            version = true;
            true
        }
        (2, Value::Len(..)) | (10, Value::Varint(0 | 1)) => true,
        (200..=3_000, Value::Len(..)) => {
            kind = true;
            true
        }
        _ => false,
    });
    (whole && version && kind).then_some((
        "coreml",
        "a CoreML model, which can hold layers of code; convert the ONNX model it was made of",
    ))
}

/// What a file name claims about the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing: no extension, or one without a meaning here.
    Nothing,
    /// One of these formats.
    OneOf(&'static [Format]),
    /// A format that is never loadable, so that any content contradicts it or is refused with it.
    Never,
    /// A program, whatever the content.
    Program,
}

/// Reads the extension of the last path component, in lower case.
pub(crate) fn claim(name: &str) -> Claim {
    let file = name.rsplit(['/', '\\']).next().unwrap_or(name).to_ascii_lowercase();
    let Some((stem, extension)) = file.rsplit_once('.') else { return Claim::Nothing };
    if stem.is_empty() {
        return Claim::Nothing;
    }
    match extension {
        "safetensors" => Claim::OneOf(&[Format::Safetensors]),
        "npy" => Claim::OneOf(&[Format::Npy]),
        "npz" => Claim::OneOf(&[Format::Npz]),
        "onnx" => Claim::OneOf(&[Format::Onnx]),
        "pt" | "pth" | "ckpt" | "bin" => Claim::OneOf(&[Format::TorchZip, Format::Pickle]),
        "pkl" | "pickle" | "p" | "joblib" => Claim::OneOf(&[Format::Pickle]),
        "json" => Claim::OneOf(&[Format::Json, Format::XgboostJson]),
        "txt" | "md" | "rst" | "csv" | "tsv" | "jsonl" | "yaml" | "yml" | "toml" | "cfg" | "ini" | "log"
        | "vocab" | "merges" | "licence" | "license" => {
            Claim::OneOf(&[Format::Text, Format::Json, Format::LightgbmText])
        }
        "jinja" | "jinja2" | "j2" => Claim::OneOf(&[Format::Template]),
        "gguf" => Claim::OneOf(&[Format::Gguf]),
        "tflite" => Claim::OneOf(&[Format::Tflite]),
        "ubj" => Claim::OneOf(&[Format::XgboostUbj]),
        "h5" | "hdf5" => Claim::OneOf(&[Format::Hdf5]),
        "keras" => Claim::OneOf(&[Format::Keras]),
        "pb" => Claim::OneOf(&[Format::TfSavedModel, Format::TfGraph, Format::TfPart]),
        "spm" => Claim::OneOf(&[Format::SentencePiece]),
        "py" | "pyc" | "pyd" | "so" | "dll" | "dylib" | "exe" | "sh" | "bash" | "ps1" | "bat" | "cmd"
        | "js" | "mjs" | "ts" | "rb" | "pl" | "php" | "lua" | "r" | "jl" | "vbs" | "jar" | "class"
        | "wasm" | "llamafile" | "ipynb" | "pyw" | "pyx" | "pyz" | "whl" | "egg" => Claim::Program,
        "ggml" | "tar" | "gz" | "tgz" | "bz2" | "xz" | "zst" | "7z" | "rar" | "zip" | "dill" | "pte"
        | "mlmodel" | "engine" | "plan" | "mar" | "nemo" | "torchscript" => Claim::Never,
        _ => Claim::Nothing,
    }
}

/// A file beside a SavedModel that only its name tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Fingerprint,
    KerasMetadata,
    Index,
    Data,
}

/// Reads the last path component as a SavedModel's writer names its files.
pub(crate) fn saved_model_part(name: &str) -> Option<Part> {
    let file = name.rsplit('/').next().unwrap_or(name);
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let shard = file.strip_prefix("variables.data-").and_then(|rest| rest.split_once("-of-"));
    match file {
        "fingerprint.pb" => Some(Part::Fingerprint),
        "keras_metadata.pb" => Some(Part::KerasMetadata),
        "variables.index" => Some(Part::Index),
        _ if shard.is_some_and(|(part, of)| digits(part) && digits(of)) => Some(Part::Data),
        _ => None,
    }
}
