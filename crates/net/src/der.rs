//! As much of DER (X.690) as is read here: definite lengths below 64 KiB in their shortest form, nothing recursive.

/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BITS: u8 = 0x03;
/// UTCTime.
pub(crate) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(crate) const TIME: u8 = 0x18;
/// SEQUENCE.
pub(crate) const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub(crate) const CONTEXT_0: u8 = 0xa0;

/// What is left to read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Der<'a>(pub(crate) &'a [u8]);

impl<'a> Der<'a> {
    /// The next element, if it has this tag: its content, and the element whole.
    pub(crate) fn element(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let whole = self.0;
        let (head, rest) = whole.split_at_checked(2)?;
        let &[found, first] = head else { return None };
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81 => {
                rest.split_first().map(|(n, rest)| (usize::from(*n), rest)).filter(|(n, _)| *n >= 0x80)?
            }
            0x82 => {
                let (bytes, rest) = rest.split_first_chunk::<2>()?;
                let length = usize::from(u16::from_be_bytes(*bytes));
                (length >= 0x100).then_some((length, rest))?
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length).filter(|_| found == tag)?;
        self.0 = rest;
        Some((content, whole.get(..whole.len().checked_sub(rest.len())?)?))
    }

    /// The content of the next element, if it has this tag.
    pub(crate) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|(content, _)| content)
    }

    /// Whole bytes of a BIT STRING.
    pub(crate) fn bits(&mut self) -> Option<&'a [u8]> {
        self.content(BITS).and_then(|content| content.strip_prefix(&[0]))
    }

    /// Nothing is left.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shortest_form_is_read() {
        for (bytes, content) in [
            (&[0x02, 1, 7][..], Some(&[7][..])),
            (&[0x02, 0], Some(&[])),
            (&[0x02, 2, 7], None),
            (&[0x03, 1, 7], None),
            (&[0x02, 0x81, 1, 7], None),
            (&[0x02, 0x82, 0, 1, 7], None),
            (&[0x02, 0x80, 7, 0, 0], None),
            (&[0x02, 0x84, 0, 0, 0, 1, 7], None),
            (&[0x02], None),
            (&[], None),
        ] {
            assert_eq!(Der(bytes).content(INTEGER), content, "{bytes:02x?}");
        }
        let mut long = vec![0x30, 0x81, 0x80];
        long.extend([9; 0x81]);
        let mut der = Der(&long);
        let (content, whole) = der.element(SEQUENCE).unwrap();
        assert_eq!((content.len(), whole.len(), der.0), (0x80, 0x83, &[9][..]));
        assert!(der.end().is_none());
    }
}
