//! **What.** Root file systems of jobs that are given by digest: a directory, or an image of the Open Container
//! Initiative. Reads manifests and layers, and says what the digest of a tree is.
//!
//! **Why.** A job that may name its own programs brings an archive from a stranger. Archives are read differently
//! by different tools, name places outside their root, and grow without bound when unpacked; a root file system
//! that is not pinned makes a training run that cannot be repeated or explained (controls of the catalogue on
//! verified starts and on the model's record).
//!
//! **Where.** The porter unpacks with it, in a process without keys and network; control reads manifests with it;
//! the command line packs a directory with it. A core crate: bytes in, values out, no files.
//!
//! **Invariants.** A header that two readers could take in two ways is refused. No path leaves the root or holds
//! `..`. Every length is held against a named limit before anything is allocated. Equal trees have equal digests,
//! whatever archive they came in; trees that differ in a name, a byte, a link or an executable bit do not.

pub mod error;
pub mod limits;
pub mod oci;
pub mod packages;
pub mod path;
pub mod tar;
pub mod tree;

pub use error::ImageError;
