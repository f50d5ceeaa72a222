//! A position in the input that never passes its end.

/// Reads little-endian fields; `None` means that the input ends within the field.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, pos: 0 }
    }

    pub(crate) fn at(bytes: &'a [u8], pos: usize) -> Self {
        Self { bytes, pos: pos.min(bytes.len()) }
    }

    pub(crate) fn pos(&self) -> usize {
        self.pos
    }

    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len().saturating_sub(self.pos)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.remaining() == 0
    }

    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let end = self.pos.checked_add(len)?;
        let slice = self.bytes.get(self.pos..end)?;
        self.pos = end;
        Some(slice)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The bytes up to a newline, which is consumed and not returned.
    pub(crate) fn line(&mut self, limit: usize) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.pos..)?;
        let window = rest.get(..limit.min(rest.len()))?;
        let len = window.iter().position(|byte| *byte == b'\n')?;
        let line = rest.get(..len)?;
        self.pos = self.pos.checked_add(len)?.checked_add(1)?;
        Some(line)
    }
}

/// An offset for a finding.
pub(crate) fn offset(pos: usize) -> u64 {
    u64::try_from(pos).unwrap_or(u64::MAX)
}

/// Bytes of the file as text for a message: printable ASCII, the rest escaped, cut at 80 bytes.
pub(crate) fn show(bytes: &[u8]) -> String {
    let cut = bytes.get(..bytes.len().min(80)).unwrap_or_default();
    let mut text = cut.escape_ascii().to_string();
    if bytes.len() > cut.len() {
        text.push_str("...");
    }
    text
}
