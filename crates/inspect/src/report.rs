//! What an inspection says: format, verdict, findings with stable codes, tensors.

use std::collections::BTreeSet;

use base::TensorDigest;

use crate::limits;

/// What may be done with the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Every byte is accounted for and nothing in it can run code.
    Load,
    /// Well-formed, with a named [`Risk`] that only a tenant's policy can accept. A consumer treats it as a
    /// refusal unless it holds a policy that accepts every risk of the report.
    LoadWithPolicy,
    /// Not to be loaded.
    Refuse,
}

impl Verdict {
    /// The word used in reports and audit entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::LoadWithPolicy => "load-with-policy",
            Self::Refuse => "refuse",
        }
    }
}

/// What the content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// `NumPy` array, `.npy`.
    Npy,
    /// ZIP of `NumPy` arrays, `.npz`.
    Npz,
    /// `torch.save` ZIP file.
    TorchZip,
    /// Bare pickle.
    Pickle,
    /// ONNX model.
    Onnx,
    /// GGUF, as `llama.cpp` reads it.
    Gguf,
    /// Jinja template of a tokenizer.
    Template,
    /// `TensorFlow` SavedModel.
    TfSavedModel,
    /// `TensorFlow` graph, frozen.
    TfGraph,
    /// A file beside a SavedModel: its fingerprint, Keras metadata, index of variables or variables.
    TfPart,
    /// SentencePiece model.
    SentencePiece,
    /// XGBoost model as JSON.
    XgboostJson,
    /// XGBoost model as UBJSON.
    XgboostUbj,
    /// LightGBM model as text.
    LightgbmText,
    /// `TensorFlow` Lite model.
    Tflite,
    /// HDF5.
    Hdf5,
    /// Keras 3 model, `.keras`.
    Keras,
    /// JSON text.
    Json,
    /// Plain UTF-8 text.
    Text,
    /// Anything else; the word says what, where it is known.
    Other(&'static str),
}

impl Format {
    /// The word used in reports and audit entries.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::TorchZip => "torch-zip",
            Self::Pickle => "pickle",
            Self::Onnx => "onnx",
            Self::Gguf => "gguf",
            Self::Template => "template",
            Self::TfSavedModel => "tf-saved-model",
            Self::TfGraph => "tf-graph",
            Self::TfPart => "tf-part",
            Self::SentencePiece => "sentencepiece",
            Self::XgboostJson => "xgboost-json",
            Self::XgboostUbj => "xgboost-ubj",
            Self::LightgbmText => "lightgbm-text",
            Self::Tflite => "tflite",
            Self::Hdf5 => "hdf5",
            Self::Keras => "keras",
            Self::Json => "json",
            Self::Text => "text",
            Self::Other(name) => name,
        }
    }
}

/// What a policy can accept by name. The words are part of policies and receipts: append-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Risk {
    /// A bare HDF5 file: clean, but its libraries follow links, filters and configurations that files can hold.
    Hdf5,
    /// A torch file of before 1.6, five pickles in a row.
    LegacyTorch,
    /// A pickle that names globals outside the start list.
    PickleGlobal,
    /// A `TensorFlow` graph of listed operators.
    SavedModel,
    /// An ONNX model with operators of a custom domain.
    OnnxCustomDomain,
    /// A `TensorFlow` Lite model with custom operators.
    TfliteCustomOperator,
    /// A file of joblib: a pickle with arrays between its opcodes.
    Joblib,
    /// A file of skops.
    Skops,
    /// An archive, which is no model: it is to be unpacked and what is in it inspected.
    Archive,
}

impl Risk {
    /// Every risk, in the order of the enum.
    pub const ALL: &[Self] = &[
        Self::Hdf5,
        Self::LegacyTorch,
        Self::PickleGlobal,
        Self::SavedModel,
        Self::OnnxCustomDomain,
        Self::TfliteCustomOperator,
        Self::Joblib,
        Self::Skops,
        Self::Archive,
    ];

    /// The word used in policies, reports and receipts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hdf5 => "hdf5",
            Self::LegacyTorch => "legacy-torch",
            Self::PickleGlobal => "pickle-global",
            Self::SavedModel => "saved-model",
            Self::OnnxCustomDomain => "onnx-custom-domain",
            Self::TfliteCustomOperator => "tflite-custom-operator",
            Self::Joblib => "joblib",
            Self::Skops => "skops",
            Self::Archive => "archive",
        }
    }

    /// The risk of a word, spelt exactly so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|risk| risk.as_str() == name)
    }
}

/// How bad a finding is. A risk needs a policy; what is worse refuses the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; does not change the verdict.
    Notice,
    /// A named [`Risk`], which only a policy can accept.
    Risk,
    /// Not a format that this inspector can vouch for.
    Unsupported,
    /// Not a well-formed file of its format, or above a limit.
    Malformed,
    /// Would run code, read outside the file, or is made to read differently by different readers.
    Hostile,
}

impl Severity {
    /// The word used in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Risk => "risk",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
            Self::Hostile => "hostile",
        }
    }
}

/// One observation about the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Stable code, `SR-INS-<NNNN>`; append-only, see [`RULES`].
    pub code: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The risk to accept; of findings with [`Severity::Risk`] alone.
    pub risk: Option<Risk>,
    /// Byte offset in the file where it was seen.
    pub offset: u64,
    /// What was seen, in a sentence; input stands in back-ticks.
    pub explanation: String,
    /// What the owner of the file can do.
    pub remedy: &'static str,
}

impl Finding {
    pub(crate) fn new(rule: &'static Rule, offset: u64, explanation: impl Into<String>) -> Self {
        Self {
            code: rule.code,
            severity: rule.severity,
            risk: rule.risk,
            offset,
            explanation: explanation.into(),
            remedy: rule.remedy,
        }
    }
}

/// One tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name; in a checkpoint the path of keys that leads to it, joined by dots.
    pub name: String,
    /// Type in the words of safetensors: `F32`, `BF16`, `I64`, `BOOL`, ...
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<u64>,
    /// IEEE 754 bits of the L2 norm as a 64-bit float, for F64, F32 and BF16; absent where measuring is off.
    pub norm_bits: Option<u64>,
    /// BLAKE3 over type, shape and little-endian row-major bytes (see [`crate::tensor`]); absent where
    /// measuring is off or the format does not hold plain numbers.
    pub digest: Option<TensorDigest>,
}

/// The result of an inspection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What the content is.
    pub format: Format,
    /// What may be done with it.
    pub verdict: Verdict,
    /// What was seen, in the order of discovery, [`limits::FINDINGS`] at most.
    pub findings: Vec<Finding>,
    /// The tensors; empty when the file is refused before they are read.
    pub tensors: Vec<TensorInfo>,
    /// Whether every floating-point number is finite; absent where it was not measured.
    pub all_finite: Option<bool>,
    /// The training step that a torch checkpoint tells under one of [`limits::STEP_KEYS`]. A claim of who
    /// wrote the file.
    pub step: Option<u64>,
    /// Every risk that was found, those of findings that were not kept included.
    risks: BTreeSet<Risk>,
    /// Every global that a policy would have to list.
    globals: BTreeSet<(String, String)>,
}

impl Report {
    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            verdict: Verdict::Load,
            findings: Vec::new(),
            tensors: Vec::new(),
            all_finite: None,
            step: None,
            risks: BTreeSet::new(),
            globals: BTreeSet::new(),
        }
    }

    pub(crate) fn refused(format: Format, finding: Finding) -> Self {
        let mut report = Self::new(format);
        report.push(finding);
        report
    }

    /// What a policy has to accept before the file may be loaded, in the order of [`Risk::ALL`].
    pub fn risks(&self) -> impl Iterator<Item = Risk> + '_ {
        self.risks.iter().copied()
    }

    /// The exact pairs of module and name that a policy has to list where it accepts [`Risk::PickleGlobal`], at
    /// most [`limits::PICKLE_GLOBALS`] for each pickle.
    pub fn globals(&self) -> impl Iterator<Item = (&str, &str)> + '_ {
        self.globals.iter().map(|(module, name)| (module.as_str(), name.as_str()))
    }

    /// Both as a trust policy accepts them: a word of [`Risk`], and for each pair `pickle-global:module:name`. Where
    /// no pair is known the word itself stands, which no policy can accept.
    pub fn accepted_as(&self) -> BTreeSet<String> {
        let pair =
            |(module, name): &(String, String)| format!("{}:{module}:{name}", Risk::PickleGlobal.as_str());
        let words = self.risks.iter().filter(|risk| **risk != Risk::PickleGlobal || self.globals.is_empty());
        words.map(|risk| risk.as_str().to_owned()).chain(self.globals.iter().map(pair)).collect()
    }

    pub(crate) fn add_globals(&mut self, globals: BTreeSet<(String, String)>) {
        self.globals.extend(globals);
    }

    /// Takes over the risks and pairs of what stands within.
    pub(crate) fn take_pairs(&mut self, inner: Self) {
        self.verdict = self.verdict.max(inner.verdict);
        self.risks.extend(inner.risks);
        self.globals.extend(inner.globals);
    }

    pub(crate) fn push(&mut self, finding: Finding) {
        let verdict = match (finding.severity, finding.risk) {
            (Severity::Notice, _) => Verdict::Load,
            (Severity::Risk, Some(risk)) => {
                self.risks.insert(risk);
                Verdict::LoadWithPolicy
            }
            // A risk without a name is one that no policy can accept.
            _ => Verdict::Refuse,
        };
        self.verdict = self.verdict.max(verdict);
        if self.findings.len() < limits::FINDINGS {
            self.findings.push(finding);
        } else if let Some(lesser) =
            self.findings.iter_mut().rev().find(|kept| kept.severity < finding.severity)
        {
            // What says more about the verdict is not lost to what says less.
            *lesser = finding;
        }
    }
}

/// A rule of the inspector.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Stable code.
    pub code: &'static str,
    /// Severity of its findings.
    pub severity: Severity,
    /// The risk that a policy has to accept; of rules with [`Severity::Risk`] alone.
    pub risk: Option<Risk>,
    /// What the rule is about.
    pub title: &'static str,
    /// What the owner of a refused file can do.
    pub remedy: &'static str,
}

/// Converts the file where there is a safe form.
const CONVERT: &str = "convert the weights to safetensors on a machine you trust, and submit that file";
/// For files whose structure is wrong.
const REWRITE: &str = "write the file again with the format's own library, and check the transfer";
/// For files that would run code.
const DISTRUST: &str = "do not open this file elsewhere; ask its publisher, and report it";

/// For globals that a policy can list.
const LIST: &str = "convert the weights to safetensors, or have a policy list exactly this module and name";

/// For archives.
const UNPACK: &str = "unpack it, then inspect and import the directory";

macro_rules! rules {
    ($($name:ident = $code:literal, $severity:ident $(($risk:ident))?, $title:literal, $remedy:expr;)*) => {
        $(pub(crate) static $name: Rule = Rule {
            code: $code,
            severity: Severity::$severity,
            risk: rules!(@risk $($risk)?),
            title: $title,
            remedy: $remedy,
        };)*
        /// Every rule, in the order of codes.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
    (@risk) => { None };
    (@risk $risk:ident) => { Some(Risk::$risk) };
}

// A rule of severity `Risk` names its risk: `Risk(Hdf5)`.
rules! {
    UNKNOWN = "SR-INS-0001", Unsupported, "content is of no format that can be vouched for", CONVERT;
    EXTENSION = "SR-INS-0002", Hostile, "extension contradicts the content", "name the file after what it holds";
    POLYGLOT = "SR-INS-0003", Hostile, "content is valid in two formats", DISTRUST;
    KNOWN_OTHER = "SR-INS-0004", Unsupported, "known format that can carry code or other files", CONVERT;
    LIMIT = "SR-INS-0005", Malformed, "a limit of the inspector is exceeded", "split the file, or ask the operator to raise the limit";
    EMPTY = "SR-INS-0006", Malformed, "file is empty", REWRITE;
    GLOBAL = "SR-INS-0010", Hostile, "pickle names a global that is not on the allow list", CONVERT;
    DOTTED = "SR-INS-0011", Hostile, "pickle walks attributes by a dotted name", DISTRUST;
    CALL = "SR-INS-0012", Hostile, "pickle calls what may not be called", DISTRUST;
    ARGUMENTS = "SR-INS-0013", Hostile, "pickle calls a listed global with other arguments than its entry allows", DISTRUST;
    BUILD = "SR-INS-0014", Hostile, "pickle sets the state of an object that has no state rule", DISTRUST;
    MUTATE = "SR-INS-0015", Hostile, "pickle changes an object that is no plain container", DISTRUST;
    EXTENSION_CODE = "SR-INS-0016", Hostile, "pickle uses the extension registry", DISTRUST;
    PERSISTENT = "SR-INS-0017", Hostile, "pickle uses a persistent id that is not a torch storage", DISTRUST;
    BUFFER = "SR-INS-0018", Unsupported, "pickle refers to buffers outside the file", CONVERT;
    MEMO = "SR-INS-0019", Hostile, "pickle misuses its memo", DISTRUST;
    STACK = "SR-INS-0020", Malformed, "pickle breaks its stack", REWRITE;
    STREAM = "SR-INS-0021", Malformed, "pickle stream is broken", REWRITE;
    TRAILING = "SR-INS-0022", Malformed, "bytes after the end of the pickle", REWRITE;
    NESTED = "SR-INS-0023", Hostile, "byte string holds a hostile pickle", DISTRUST;
    COMPUTED = "SR-INS-0024", Hostile, "pickle names a global by values that are not constants", DISTRUST;
    SECOND_STREAM = "SR-INS-0025", Hostile, "checkpoint holds a second pickle stream", DISTRUST;
    NESTED_PLAIN = "SR-INS-0026", Notice, "byte string holds a pickle of plain data", "nothing to do";
    UNHASHABLE = "SR-INS-0027", Hostile, "pickle uses an object as key or set member", CONVERT;
    ZIP = "SR-INS-0030", Malformed, "ZIP structure is not accounted for to the last byte", REWRITE;
    ZIP_DIFFER = "SR-INS-0031", Hostile, "local and central ZIP headers differ", DISTRUST;
    ZIP_ENCRYPTED = "SR-INS-0032", Hostile, "ZIP member is marked as encrypted", DISTRUST;
    ZIP_NAME = "SR-INS-0033", Hostile, "ZIP member has an unsafe or repeated name", DISTRUST;
    ZIP_CRC = "SR-INS-0034", Hostile, "ZIP member does not match its checksum", REWRITE;
    ZIP_METHOD = "SR-INS-0035", Unsupported, "ZIP member uses a method, flag or field that is not allowed", REWRITE;
    TORCH_MEMBER = "SR-INS-0036", Hostile, "checkpoint holds a member that torch does not write", DISTRUST;
    TORCHSCRIPT = "SR-INS-0037", Unsupported, "file is TorchScript, which is code", "export the model to ONNX, or save its state dict";
    STORAGE = "SR-INS-0038", Malformed, "storages of the checkpoint and their members do not match", REWRITE;
    ST_HEADER = "SR-INS-0040", Malformed, "safetensors header is not valid", REWRITE;
    ST_LAYOUT = "SR-INS-0041", Hostile, "safetensors data ranges do not cover the file exactly", DISTRUST;
    NPY_HEADER = "SR-INS-0045", Malformed, "NumPy header is not valid", REWRITE;
    NPY_OBJECT = "SR-INS-0046", Hostile, "NumPy array holds Python objects, that is, a pickle", CONVERT;
    NPY_LENGTH = "SR-INS-0047", Malformed, "NumPy data has another length than its header says", REWRITE;
    ONNX = "SR-INS-0050", Malformed, "ONNX message is not valid", REWRITE;
    ONNX_EXTERNAL = "SR-INS-0051", Hostile, "ONNX tensor keeps its data outside the file", "save the model with all tensor data inside";
    ONNX_DOMAIN = "SR-INS-0052", Risk(OnnxCustomDomain), "ONNX operator of a custom domain, whose code the runtime brings", "export with standard operators only, or let a policy accept the risk `onnx-custom-domain`";
    ONNX_DEPTH = "SR-INS-0053", Malformed, "ONNX messages are nested too deeply", REWRITE;
    ONNX_TENSOR = "SR-INS-0054", Malformed, "ONNX tensor has another length than its shape says", REWRITE;
    JSON = "SR-INS-0060", Malformed, "JSON is not valid", REWRITE;
    JSON_AMBIGUOUS = "SR-INS-0061", Hostile, "JSON repeats a key", REWRITE;
    JSON_CODE = "SR-INS-0062", Hostile, "configuration asks the loader to import or run code", "use a model that its library supports without remote code";
    TEMPLATE = "SR-INS-0063", Unsupported, "template cannot be read for certain", "use a template of plain Jinja as chat templates need it, or remove it from the model's files";
    TEXT = "SR-INS-0065", Malformed, "text is not plain UTF-8", REWRITE;
    SCRIPT = "SR-INS-0066", Hostile, "file is a program or a script", "model directories hold data only; pass code with the job";
    TEMPLATE_CODE = "SR-INS-0100", Hostile, "template reaches for what leads to code", DISTRUST;
    JSON_PATH = "SR-INS-0101", Hostile, "configuration points outside the model's directory", DISTRUST;
    GGUF = "SR-INS-0102", Malformed, "GGUF header is not valid", REWRITE;
    GGUF_LAYOUT = "SR-INS-0103", Hostile, "GGUF data does not cover the file exactly, or a name occurs twice", DISTRUST;
    KERAS_CODE = "SR-INS-0104", Hostile, "Keras configuration builds what is not on the allow list", "build the model from layers of Keras alone, without Lambda, functions and custom classes";
    KERAS_PATH = "SR-INS-0105", Hostile, "Keras configuration reads a file or an address", "save the vocabulary within the model";
    TENSORFLOW = "SR-INS-0106", Malformed, "TensorFlow message is not valid", REWRITE;
    TENSORFLOW_OP = "SR-INS-0107", Hostile, "TensorFlow graph has an operator that does more than compute", "export the model without operators on files, Python or devices";
    SAVED_MODEL = "SR-INS-0108", Risk(SavedModel), "TensorFlow graph, which its runtime executes", "export to ONNX or safetensors, or let a policy accept the risk `saved-model`";
    SENTENCEPIECE = "SR-INS-0109", Malformed, "SentencePiece model is not valid", REWRITE;
    HDF5 = "SR-INS-0110", Malformed, "HDF5 structure is not valid", REWRITE;
    HDF5_OUTSIDE = "SR-INS-0111", Hostile, "HDF5 file leads into other files", "save the data within one file, without external links, storage and virtual data sets";
    HDF5_FILTER = "SR-INS-0112", Unsupported, "HDF5 data set needs a filter that is a plug-in", "save with gzip compression, or without any";
    HDF5_UNREAD = "SR-INS-0113", Unsupported, "HDF5 file has a part that is not read here", "save for the earliest library version, as Keras does";
    HDF5_OVERLAP = "SR-INS-0114", Hostile, "HDF5 parts share bytes", DISTRUST;
    HDF5_PICKLE = "SR-INS-0115", Hostile, "HDF5 attribute is a pickle", CONVERT;
    HDF5_RISK = "SR-INS-0116", Risk(Hdf5), "HDF5 file on its own", "save as `.keras` or safetensors, or let a policy accept the risk `hdf5`";
    HDF5_INDEX = "SR-INS-0117", Risk(Hdf5), "HDF5 chunks are found by an index that is not followed", "save for the earliest library version, or let a policy accept the risk `hdf5`";
    KERAS_MEMBER = "SR-INS-0118", Hostile, "Keras file holds what Keras does not write, or lacks what it does", "save the model again with `model.save`";
    TREES = "SR-INS-0119", Malformed, "model of trees is not well-formed", REWRITE;
    TFLITE = "SR-INS-0120", Malformed, "TensorFlow Lite model is not valid", REWRITE;
    TFLITE_OPERATOR = "SR-INS-0121", Hostile, "TensorFlow Lite model runs operators of TensorFlow or of a delegate", "convert the model with built-in operators only";
    TFLITE_CUSTOM = "SR-INS-0122", Risk(TfliteCustomOperator), "TensorFlow Lite model has custom operators", "convert the model with built-in operators only, or let a policy accept the risk `tflite-custom-operator`";
    TFLITE_OUTSIDE = "SR-INS-0123", Hostile, "TensorFlow Lite model keeps data in other files", "convert the model into one file";
    TFLITE_GAP = "SR-INS-0124", Hostile, "TensorFlow Lite model holds bytes that nothing refers to", DISTRUST;
    PICKLE_GLOBAL = "SR-INS-0200", Risk(PickleGlobal), "pickle names a global that only a policy can accept", LIST;
    PICKLED_CODE = "SR-INS-0201", Hostile, "pickle carries the byte code of functions", DISTRUST;
    LEGACY_TORCH = "SR-INS-0202", Risk(LegacyTorch), "torch file of before 1.6", "save it again with torch.save of a later version, or have a policy accept `legacy-torch`";
    LEGACY_LAYOUT = "SR-INS-0203", Malformed, "legacy torch file is not accounted for to its last byte", REWRITE;
    JOBLIB = "SR-INS-0204", Risk(Joblib), "file of joblib: a pickle with arrays between its opcodes", "save the model as ONNX or skops, or have a policy accept `joblib`";
    JOBLIB_ARRAY = "SR-INS-0205", Malformed, "array within a file of joblib is not what its wrapper says", REWRITE;
    ARCHIVE = "SR-INS-0210", Risk(Archive), "archive or compressed file, which is no model by itself", UNPACK;
    ARCHIVE_NAME = "SR-INS-0211", Hostile, "archive member has an unsafe or repeated name, or is no regular file", DISTRUST;
    ARCHIVE_LAYOUT = "SR-INS-0212", Malformed, "archive is not accounted for to its last byte", REWRITE;
    CODE_ARCHIVE = "SR-INS-0213", Unsupported, "archive of a format that carries code", "export the model to ONNX, or save its state dict";
    LEGACY_TAR = "SR-INS-0214", Unsupported, "torch file in the form of a tar archive", "save it again with torch.save of a later version";
    SKOPS = "SR-INS-0220", Risk(Skops), "file of skops, which builds objects by name", "have a policy accept `skops` and list the names";
    SKOPS_NODE = "SR-INS-0221", Hostile, "file of skops names what may not be built", DISTRUST;
    SKOPS_SHAPE = "SR-INS-0222", Malformed, "file of skops is not of its form", REWRITE;
}

#[cfg(test)]
mod tests;
