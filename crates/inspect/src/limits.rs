//! Bounds of the inspector. Every count and length read from a file is held against one of these, and
//! against the bytes that remain, before anything is allocated.

/// Executed pickle opcodes per file, nested pickles included. One opcode costs about 50 ns: 2.5 s at most.
pub const PICKLE_OPCODES: u64 = 50_000_000;
/// Keys under which the outermost dictionary of a checkpoint tells its training step, the first one first.
pub const STEP_KEYS: [&str; 3] = ["global_step", "step", "iteration"];
/// Values on the pickle stack: 1 Mi entries x 16 bytes = 16 MiB.
pub const PICKLE_STACK: usize = 1 << 20;
/// Highest memo index and number of memo entries: 4 Mi x about 40 bytes = 160 MiB.
pub const PICKLE_MEMO: u64 = 4 << 20;
/// Abstract objects (tuples, lists, tensors, ...) per stream: 4 Mi x 64 bytes = 256 MiB.
pub const PICKLE_NODES: usize = 4 << 20;
/// Remembered parent-child links, kept to name tensors: 4 Mi x 24 bytes = 96 MiB.
pub const PICKLE_LINKS: usize = 4 << 20;
/// Pickle streams in one file.
pub const PICKLE_STREAMS: usize = 64;
/// Pickles inside byte strings inside pickles.
pub const PICKLE_NESTING: u32 = 4;
/// Decimal digits of a textual integer.
pub const PICKLE_DIGITS: usize = 4_096;
/// Bytes of one textual line (names, quoted strings).
pub const PICKLE_LINE: usize = 1 << 20;
/// Bytes of a text that a check looks into: names, keys, codes. Longer texts are data.
pub const PICKLE_NAME: u32 = 64 << 10;
/// Bytes that cost as much as one opcode where a call decodes a text again and again.
pub const PICKLE_BYTES_PER_OPCODE: u64 = 64;
/// Arguments of a call: the parts of a path; of what is listed otherwise the longest has eight.
pub const PICKLE_ARGUMENTS: usize = 64;
/// Globals of one pickle that a policy would have to list.
pub const PICKLE_GLOBALS: usize = 1_024;
/// Nesting of JSON arrays and objects.
pub const JSON_DEPTH: usize = 64;
/// Values in one JSON text: 8 Mi x 56 bytes = 448 MiB at worst, reached only by a 16 MiB header of numbers.
pub const JSON_VALUES: usize = 8 << 20;
/// Values in one UBJSON file: 6 Mi x 64 bytes = 384 MiB.
pub const UBJSON_VALUES: usize = 6 << 20;
/// Bytes of a key or value in YAML that are looked at.
pub const YAML_WORD: usize = 1_024;
/// Bytes of a JSON file or of a plain text: 256 MiB.
pub const TEXT_BYTES: usize = 256 << 20;
/// Bytes of a safetensors header, as in the format's own definition.
pub const SAFETENSORS_HEADER: u64 = 100_000_000;
/// Bytes of a `NumPy` header: 64 KiB.
pub const NPY_HEADER: usize = 64 << 10;
/// Nesting of a structured `NumPy` type.
pub const NPY_DEPTH: usize = 8;
/// Nesting of ONNX messages, subgraphs included.
pub const ONNX_DEPTH: u32 = 64;
/// Fields in one ONNX file, all messages together: 32 Mi.
pub const ONNX_FIELDS: u64 = 32 << 20;
/// Bytes of one template: 1 MiB; those in use are below 100 KiB.
pub const TEMPLATE_BYTES: usize = 1 << 20;
/// Tokens of one template.
pub const TEMPLATE_TOKENS: usize = 256 << 10;
/// Nesting of blocks, of expressions, and of bindings that are followed.
pub const TEMPLATE_DEPTH: usize = 32;
/// Links of a chain such as `a.b[0].c` or `a | b | c`.
pub const TEMPLATE_CHAIN: usize = 24;
/// Digits of a whole number in a template, which may say how often a text is repeated.
pub const TEMPLATE_DIGITS: usize = 7;
/// Work of the rules that follow bindings: 1 Mi steps, far below a second.
pub const TEMPLATE_STEPS: u32 = 1 << 20;
/// Metadata entries of a GGUF file.
pub const GGUF_KEYS: u64 = 64 << 10;
/// Bytes of a key, as in the format's specification.
pub const GGUF_KEY: u64 = 65_535;
/// Bytes of a text in GGUF metadata: 64 MiB.
pub const GGUF_STRING: u64 = 64 << 20;
/// Nesting of arrays in GGUF metadata.
pub const GGUF_DEPTH: u32 = 4;
/// Bytes of a GGUF tensor's name, and its dimensions.
pub const GGUF_TENSOR_NAME: u64 = 64;
/// Dimensions of a GGUF tensor.
pub const GGUF_DIMENSIONS: u32 = 4;
/// Fields in one protobuf file but ONNX, all messages together: 32 Mi.
pub const PROTO_FIELDS: u64 = 32 << 20;
/// Nesting of protobuf messages but ONNX.
pub const PROTO_DEPTH: u32 = 64;
/// Bytes of a small message such as a fingerprint, and of a name in a table: 64 KiB.
pub const SMALL_PROTO: usize = 64 << 10;
/// Nodes of a `TensorFlow` graph outside functions: 1 Mi x about 80 bytes.
pub const GRAPH_NODES: usize = 1 << 20;
/// Nodes of such a graph that read and write checkpoints.
pub const SAVER_NODES: usize = 1_024;
/// Bytes of a text or table in a SentencePiece specification: 16 MiB.
pub const SENTENCEPIECE_TABLE: usize = 16 << 20;
/// Parts of an HDF5 file that are looked at: messages, entries, nodes; 4 Mi x up to 100 bytes.
pub const HDF5_STEPS: u64 = 4 << 20;
/// Nesting of trees in an HDF5 file.
pub const HDF5_DEPTH: u32 = 32;
/// Bytes of the paths of all objects in an HDF5 file: 64 MiB.
pub const HDF5_PATHS: usize = 64 << 20;
/// Bytes of the path of an object in an HDF5 file.
pub const HDF5_PATH: usize = 4_096;
/// Bytes of collections of a `TensorFlow` graph, times the nodes that are looked for in them: 256 Mi.
pub const COLLECTION_WORK: usize = 256 << 20;
/// Tables, vectors and texts of a `TensorFlow` Lite model: 4 Mi x 16 bytes = 64 MiB.
pub const TFLITE_PARTS: usize = 4 << 20;
/// Highest code of an operator of `TensorFlow` Lite that is built in.
pub const TFLITE_OPERATORS: i32 = 209;
/// Bytes between the parts of such a model: padding, and vectors of options that are not followed.
pub const TFLITE_GAP: usize = 1_024;
/// Bytes of a line after the trees of a LightGBM model: 16 MiB.
pub const LIGHTGBM_LINE: usize = 16 << 20;
/// Coders of one folder of a 7z archive: a compression and filters before it.
pub const SEVENZ_CODERS: usize = 4;
/// Members of one ZIP file.
pub const ZIP_MEMBERS: usize = 100_000;
/// Archives within archives.
pub const ARCHIVE_DEPTH: usize = 2;
/// Expansion of one deflated member, and of a compressed file.
pub const ZIP_RATIO: u64 = 100;
/// Bytes of all inflated members together: 256 MiB, half of what a parser process may use.
pub const ZIP_INFLATED: u64 = 256 << 20;
/// Tensors per file.
pub const TENSORS: usize = 1_000_000;
/// Dimensions of one tensor.
pub const DIMENSIONS: usize = 64;
/// Findings kept in one report; the verdict counts all.
pub const FINDINGS: usize = 64;
/// Nesting of the path that names a tensor in a checkpoint.
pub const NAME_DEPTH: usize = 32;
/// Bytes of such a path.
pub const NAME_BYTES: usize = 512;
/// Bytes of one key in such a path; a longer key is shown as `?`.
pub const NAME_PART: u32 = 256;
/// Bytes read to measure tensors (digest, finiteness): this many times the file ...
pub const MEASURE_FACTOR: u64 = 8;
/// ... plus this much, so that small files with expanded views pass: 64 MiB.
pub const MEASURE_FLOOR: u64 = 64 << 20;

/// First bytes of a data file by which its format is told: 1 MiB.
pub const DATA_HEAD: usize = 1 << 20;
/// Bytes of a data file that are read at a time: 256 KiB.
pub const DATA_PIECE: usize = 256 << 10;
/// Bytes of a data file that are held at once where a format is read from its end, out of a stream, and of what could
/// be a pickle: 32 MiB. Nested as deep as may be, that is 128 MiB.
pub const DATA_SPOOL: usize = 32 << 20;
/// Archives and compressed files within each other, in data.
pub const DATA_DEPTH: usize = 3;
/// Members of archives in one data file, nested ones included.
pub const DATA_MEMBERS: u64 = 10_000_000;
/// Expansion of compressed data ...
pub const DATA_RATIO: u64 = 250;
/// ... beyond its first bytes: 16 MiB.
pub const DATA_SLACK: u64 = 16 << 20;
/// What is told of one data file, for people: so many texts ...
pub const DATA_NOTES: usize = 4;
/// ... of so many bytes.
pub const DATA_NOTE: usize = 200;
/// Bytes of the directory of a ZIP archive of data: 64 MiB, about a million members.
pub const DATA_DIRECTORY: u64 = 64 << 20;
/// Bytes of the footer of a Parquet or Arrow file: 64 MiB.
pub const DATA_FOOTER: u64 = 64 << 20;
/// Nesting of structures in the footer of a Parquet file.
pub const PARQUET_DEPTH: u32 = 16;
/// Bytes of the header of one message of Arrow: 16 MiB.
pub const ARROW_MESSAGE: u64 = 16 << 20;
/// Bytes of data by which the delimiter of a table is told: 64 KiB.
pub const DATA_SAMPLE: usize = 64 << 10;

/// The bounds a caller may turn down (a tenant) or up (the operator), and what to compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Executed pickle opcodes, see [`PICKLE_OPCODES`].
    pub pickle_opcodes: u64,
    /// Values on the pickle stack, see [`PICKLE_STACK`].
    pub pickle_stack: usize,
    /// Memo entries and highest memo index, see [`PICKLE_MEMO`].
    pub pickle_memo: u64,
    /// Members of a ZIP file, see [`ZIP_MEMBERS`].
    pub zip_members: usize,
    /// Bytes of all inflated ZIP members, see [`ZIP_INFLATED`].
    pub zip_inflated: u64,
    /// Tensors per file, see [`TENSORS`].
    pub tensors: usize,
    /// Bytes of a JSON or text file, see [`TEXT_BYTES`].
    pub text_bytes: usize,
    /// Whether tensors get a digest and the report says if all numbers are finite. It costs one SHA-256
    /// pass over the tensor data.
    pub measure: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pickle_opcodes: PICKLE_OPCODES,
            pickle_stack: PICKLE_STACK,
            pickle_memo: PICKLE_MEMO,
            zip_members: ZIP_MEMBERS,
            zip_inflated: ZIP_INFLATED,
            tensors: TENSORS,
            text_bytes: TEXT_BYTES,
            measure: true,
        }
    }
}
