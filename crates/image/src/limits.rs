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
/// Packages of one image: four times what the largest images for training have. They stand in the model's record,
/// which is stored whole.
pub const PACKAGES: usize = 8_000;
/// Bytes of a package manager's list: 8,000 packages of Debian are about 10 MiB.
pub const PACKAGE_LIST_BYTES: u64 = 32 << 20;
/// Names at the top of an image, and in its `/opt`: each is a mount or a link of the sandbox.
pub const TOP: usize = 128;
/// Zeros after the mark of an archive's end; tools pad to records of 10 KiB, rarely to 1 MiB.
pub const END_BYTES: u64 = 1 << 20;
/// Bytes of a layer that are no content of files: headers and padding of [`ENTRIES`] entries, at most two extensions each.
pub const HEADER_BYTES: u64 = 1 << 30;
