//! The one place where control reads the clock and draws randomness.

use base::Timestamp;

/// Now, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "the shell's one reading of the wall clock")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Random bytes from the kernel.
///
/// # Errors
/// The kernel has none to give; nothing that needs randomness may go on.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], crate::Fail> {
    let mut bytes = [0u8; N];
    getrandom::fill(&mut bytes).map_err(|e| crate::Fail::internal("the kernel gave no random bytes", e))?;
    Ok(bytes)
}
