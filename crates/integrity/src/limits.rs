//! Every bound of this crate, with its arithmetic.

/// Largest bundle or envelope, in bytes. 100,000 files at about 330 bytes each (name 200, digest 64, JSON
/// around them) in base64 are 44 MB; the next power of two.
pub(crate) const BUNDLE_MAX: usize = 64 << 20;

/// Deepest nesting of JSON. An OMS bundle needs 5, a CycloneDX document about 12.
pub(crate) const JSON_DEPTH_MAX: usize = 64;

/// Most resources of one statement: a shard is 1 GB by default, so this is a model of 1 PB or a million files;
/// [`BUNDLE_MAX`] is met first in practice.
pub(crate) const RESOURCES_MAX: usize = 1_000_000;

/// Longest name of a file, in bytes, and most components of it: those of the import limits.
pub(crate) const NAME_MAX: usize = 1024;
pub(crate) const NAME_DEPTH_MAX: usize = 32;

/// Most paths in `ignore_paths`.
pub(crate) const IGNORE_MAX: usize = 10_000;

/// Largest PEM text of a key, in bytes. A P-521 key with its parameters is under 1 KiB.
pub(crate) const PEM_MAX: usize = 16 << 10;

/// How much of a text from outside an error message repeats, in characters.
pub(crate) const QUOTE_MAX: usize = 120;

/// Largest certificate, in bytes. Those of authorities are 1 to 4 KiB.
pub(crate) const CERTIFICATE_MAX: usize = 64 << 10;

/// Most certificates of one bundle or file. A path has at most 8 (the path builder's own limit on depth).
pub(crate) const CERTIFICATES_MAX: usize = 64;

/// Largest PEM text of certificates: 64 of 4 KiB in base64, and comments around them.
pub(crate) const PEM_CHAIN_MAX: usize = 1 << 20;

/// Largest revocation list, in bytes: about 40 bytes an entry, so 400,000 revoked certificates.
pub(crate) const CRL_MAX: usize = 16 << 20;

/// Most revocation lists of one verification: one for each authority of a path, and of other paths.
pub(crate) const CRLS_MAX: usize = 64;

/// Largest timestamp: one signature and the certificates of its authority.
pub(crate) const TIMESTAMP_MAX: usize = 256 << 10;

/// Most timestamps of one bundle.
pub(crate) const TIMESTAMPS_MAX: usize = 8;

/// How far clocks of others may be ahead of ours, in milliseconds.
pub(crate) const SKEW_MILLIS: u64 = 5 * 60 * 1000;

/// Largest document of a trust policy or revocation list, in bytes.
pub(crate) const TRUST_MAX: usize = 16 << 20;

/// Most signers, and most rules, of a trust policy: a matching over them is quadratic, and nobody reads more.
pub(crate) const PRINCIPALS_MAX: usize = 256;
pub(crate) const RULES_MAX: usize = 1024;

/// Most entries of a revocation list: about 150 bytes each, so 15 MB.
pub(crate) const REVOCATIONS_MAX: usize = 100_000;
