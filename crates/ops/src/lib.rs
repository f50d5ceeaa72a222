//! **What.** The closed sets of messages between the platform's processes, and their one bounded encoding.
//!
//! **Why.** A process that has privilege or keys takes typed operations and nothing else: no path, no command
//! to run as root, no free-form field (controls AC-1, AC-2, AC-8). What is not listed here cannot be asked.
//!
//! **Where.** Spoken over unix sockets by control, gateway, relay, keeper, warden and porters. Pure: it encodes and
//! decodes; sockets are in `link`.
//!
//! **Invariants.** Every text and list has a limit in its type. Decoding never panics, allocates no more than
//! the message holds, and refuses unknown tags and trailing bytes. Encoding then decoding gives the same value.

#[macro_use]
mod codec;
pub mod diagnostics;
pub mod event;
pub mod inference;
pub mod keeper;
pub mod lease;
pub mod porter;
pub mod receipt;
pub mod recovery;
pub mod relay;
pub mod release;
pub mod snapshot;
pub mod warden;

pub use codec::{Blob, Codec, Key32, List, Text, TextError, from_bytes, to_bytes};

/// Longest message, in bytes; longer ones are refused before they are read.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// Most descriptors that one message carries.
pub const FDS_MAX: usize = 16;

#[cfg(test)]
mod tests;
