//! Bounds of the runtime.

use std::time::Duration;

/// Longest model file: 2 GiB, the limit of one protocol buffer message, which an ONNX file is.
pub(crate) const MODEL_MAX: u64 = 2 << 30;
/// Files in a model's directory that are looked at.
pub(crate) const FILES_MAX: usize = 256;
/// Connections served at once, each by a thread; the gateway's pool is smaller.
pub(crate) const CONNECTIONS_MAX: usize = 32;
/// Plans kept, one per combination of input shapes: a plan holds its own packed weights.
pub(crate) const PLANS_MAX: usize = 8;
/// Largest batch or other free dimension that is planned for.
pub(crate) const DIM_MAX: u64 = 65_536;
/// A connection that sends half a message, or does not take its answer, ends after this time.
pub(crate) const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection without a request ends after this time.
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Stack of a thread: shape analysis of deep graphs recurses.
pub(crate) const STACK: usize = 8 << 20;
