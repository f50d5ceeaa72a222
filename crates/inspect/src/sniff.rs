//! Formats that are refused, told apart so that the explanation helps; and what a file's extension claims.

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
    sig(0, b"MZ", "pe", "a Windows program"),
    sig(0, b"#!", "script", "a script"),
    sig(0, b"\xef\xbb\xbf#!", "script", "a script"),
    sig(0, b"\0asm", "wasm", "a WebAssembly program"),
    sig(0, b"lmgg", "ggml", "a GGML file of before GGUF; convert it to GGUF"),
    sig(0, b"fmgg", "ggml", "a GGMF file of before GGUF; convert it to GGUF"),
    sig(0, b"tjgg", "ggml", "a GGJT file of before GGUF; convert it to GGUF"),
    sig(0, b"algg", "ggml", "a GGLA adapter of before GGUF; convert it to GGUF"),
    sig(0, b"\x89HDF\r\n\x1a\n", "hdf5", "an HDF5 file, which can carry code and external links"),
    sig(0, b"\x1f\x8b", "gzip", "a gzip file; unpack it first"),
    sig(0, b"BZh", "bzip2", "a bzip2 file; unpack it first"),
    sig(0, b"\xfd7zXZ\0", "xz", "an xz file; unpack it first"),
    sig(0, b"\x28\xb5\x2f\xfd", "zstd", "a zstd file; unpack it first"),
    sig(0, b"7z\xbc\xaf\x27\x1c", "7z", "a 7z archive; unpack it first"),
    sig(0, b"Rar!\x1a\x07", "rar", "a RAR archive; unpack it first"),
    sig(257, b"ustar", "tar", "a tar archive; unpack it first"),
    sig(4, b"ftyp", "iso-media", "a media file"),
    sig(4, b"TFL3", "tflite", "a TensorFlow Lite model, which this version does not inspect"),
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
    let program = matches!(found.format, "elf" | "mach-o" | "pe" | "script" | "wasm" | "executorch");
    Some((found.format, found.why, program))
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
        "pkl" | "pickle" | "p" => Claim::OneOf(&[Format::Pickle]),
        "json" => Claim::OneOf(&[Format::Json]),
        "txt" | "md" | "rst" | "csv" | "tsv" | "jsonl" | "yaml" | "yml" | "toml" | "cfg" | "ini" | "log"
        | "vocab" | "merges" | "licence" | "license" => Claim::OneOf(&[Format::Text, Format::Json]),
        "jinja" | "jinja2" | "j2" => Claim::OneOf(&[Format::Template]),
        "gguf" => Claim::OneOf(&[Format::Gguf]),
        "py" | "pyc" | "pyd" | "so" | "dll" | "dylib" | "exe" | "sh" | "bash" | "ps1" | "bat" | "cmd"
        | "js" | "rb" | "pl" | "php" | "jar" | "class" | "wasm" | "llamafile" => Claim::Program,
        "ggml" | "h5" | "hdf5" | "keras" | "pb" | "tflite" | "tar" | "gz" | "tgz" | "bz2" | "xz" | "zst"
        | "7z" | "rar" | "zip" | "joblib" | "dill" | "pte" | "mlmodel" | "engine" | "plan" | "mar"
        | "nemo" | "torchscript" => Claim::Never,
        _ => Claim::Nothing,
    }
}
