//! Bounds of what a provider may send and of how long things are good.

/// Clocks of provider and node may differ by this many seconds.
pub const SKEW_S: u64 = 60;
/// What discovery says is used for an hour.
pub const METADATA_LIFE_MS: u64 = 3_600_000;
/// Keys are used for ten minutes, so a key that the provider withdrew is refused after that.
pub const KEYS_LIFE_MS: u64 = 600_000;
/// Keys are not fetched again for an unknown key id before this.
pub const KEYS_AGAIN_MS: u64 = 30_000;
/// Longest discovery document: real ones have 2 to 8 KiB.
pub const METADATA_MAX: usize = 64 * 1024;
/// Longest key set: 64 keys with a certificate chain each of 2 KiB.
pub const KEYS_BYTES_MAX: usize = 128 * 1024;
/// Most keys in a set.
pub const KEYS_MAX: usize = 64;
/// Shortest RSA key, in bits (SP 800-57 part 1: 112 bits of strength).
pub const RSA_BITS_MIN: usize = 2048;
/// Longest answer of the token endpoint: an ID token of 16 KiB, an access token and a refresh token as long.
pub const TOKEN_MAX: usize = 64 * 1024;
/// Longest answer of the device authorisation endpoint.
pub const DEVICE_MAX: usize = 8 * 1024;
/// Longest URL of an endpoint, or that people are sent to.
pub const URL_MAX: usize = 2048;
/// Longest code, by either flow.
pub const CODE_MAX: usize = 4096;
/// Longest code that a person types.
pub const USER_CODE_MAX: usize = 32;
/// Longest subject (OpenID Connect Core 1.0 section 2).
pub const SUBJECT_MAX: usize = 255;
/// Most groups of one person.
pub const GROUPS_MAX: usize = 512;
/// Longest group, authentication method or context class.
pub const WORD_MAX: usize = 256;
/// Most authentication methods.
pub const METHODS_MAX: usize = 16;
/// Longest name for people, in characters.
pub const NAME_MAX: usize = 64;
/// Longest piece of what a provider says that is shown, in characters.
pub const SAID_MAX: usize = 120;
/// A login by a device ends after this, however long the provider would wait.
pub const DEVICE_LIFE_S: u64 = 600;
/// Seconds between two questions whether a device login is done, where the provider does not say (RFC 8628 section 3.2).
pub const POLL_S: u64 = 5;
/// The longest such pause that a provider gets.
pub const POLL_MAX_S: u64 = 60;
/// What each `slow_down` adds (RFC 8628 section 3.5).
pub const SLOW_DOWN_S: u64 = 5;
