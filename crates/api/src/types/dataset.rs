//! Wire types of data sets and their files.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Document, shape};

wire! {
    /// One file of a dataset or model.
    "strongroom.file/1" pub struct File {
        /// Relative path.
        path: String,
        /// Bytes.
        size: u64,
        /// SHA-256.
        #[schemars(with = "shape::Sha256")]
        digest: String,
        /// Format, as inspected or recognised.
        #[serde(default)]
        format: Option<String>,
        /// Of a data set: how many records it holds, if that can be told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        records: Option<u64>,
        /// What a record is: `rows`, `lines`, `values`, `images`, `samples`, `items`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unit: Option<String>,
        /// Columns of a table.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        columns: Option<u64>,
        /// What is in it that runs in the program which opens it: `pickle`, `code`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        carries: Vec<String>,
        /// What else is to be said.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
    }

    /// A data set.
    "strongroom.dataset/1" pub struct Dataset {
        /// Tenant.
        #[schemars(with = "shape::Name")]
        tenant: String,
        /// Name.
        #[schemars(with = "shape::Name")]
        name: String,
        /// Version, from 1.
        version: u64,
        /// Manifest digest: SHA-256 over `lp(path) ‖ u64 size ‖ sha256` of each file, sorted by path.
        #[schemars(with = "shape::Sha256")]
        digest: String,
        /// Bytes in all.
        bytes: u64,
        /// How many files it has.
        #[serde(default)]
        file_count: u64,
        /// Records in all, by what they are.
        #[serde(default)]
        records: BTreeMap<String, u64>,
        /// Files by format.
        #[serde(default)]
        formats: BTreeMap<String, u64>,
        /// What is in it that runs in the program which opens it, and that the trust policy accepted.
        #[serde(default)]
        accepted: Vec<String>,
        /// Version of the rules by which formats and records were told; absent where they were not.
        #[serde(default)]
        rules: Option<String>,
        /// These files; in a list of data sets none.
        files: Vec<File>,
        /// When it was imported.
        #[schemars(with = "shape::Time")]
        created: String,
    }

    /// A file whose content is another in the other version.
    "strongroom.file-change/1" pub struct FileChange {
        /// Relative path.
        path: String,
        /// As it was.
        from: File,
        /// As it is.
        to: File,
    }

    /// A file that has another path in the other version.
    "strongroom.file-rename/1" pub struct FileRename {
        /// As it was called.
        from: String,
        /// As it is called.
        to: String,
        /// SHA-256.
        #[schemars(with = "shape::Sha256")]
        digest: String,
    }

    /// How one version of a data set differs from another.
    "strongroom.dataset-diff/1" pub struct DatasetDiff {
        /// `NAME@VERSION` of the one.
        from: String,
        /// And of the other.
        to: String,
        /// Whether their manifests are the same.
        same: bool,
        /// Files that only the other has.
        added: Vec<File>,
        /// Files that only the one has.
        removed: Vec<File>,
        /// Files of the same path and another content.
        changed: Vec<FileChange>,
        /// Files of another path and the same content.
        renamed: Vec<FileRename>,
        /// How many files are the same.
        unchanged: u64,
        /// Bytes of both.
        bytes: [u64; 2],
        /// Records of both, by what they are; only where they differ.
        records: BTreeMap<String, [u64; 2]>,
    }
}
