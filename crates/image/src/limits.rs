//! Every bound of this crate.

/// Longest path in an image, in bytes.
pub const PATH_BYTES: usize = 1024;
/// Longest component of a path, in bytes: what Linux file systems take.
pub const NAME_BYTES: usize = 255;
/// Deepest path.
pub const DEPTH: usize = 64;
/// Longest target of a symbolic link, in bytes (`PATH_MAX` without its end).
pub const LINK_BYTES: usize = 4095;
/// Files, directories and links of one image. The largest images that are published for training have about
/// 200,000; the porter holds a path of each.
pub const ENTRIES: u32 = 300_000;
/// Unpacked bytes of one image: 64 GiB, far above any in use; the memory of the node is the bound that counts.
pub const BYTES: u64 = 64 << 30;
/// Layers of one image: overlay file systems take 128.
pub const LAYERS: usize = 128;
/// Bytes of an extension header of an archive.
pub const EXTENSION_BYTES: u64 = 1 << 20;
/// Bytes of a manifest, an index or a configuration (the distribution specification asks for 4 MiB).
pub const DOCUMENT_BYTES: usize = 4 << 20;
/// Variables that an image sets.
pub const VARIABLES: usize = 64;
/// Their bytes together; they go into one message with the job's own.
pub const VARIABLE_BYTES: usize = 8 << 10;
/// Packages that are listed of one image.
pub const PACKAGES: usize = 20_000;
/// Bytes of a package manager's list: 20,000 packages of Debian are about 25 MiB.
pub const PACKAGE_LIST_BYTES: u64 = 64 << 20;
