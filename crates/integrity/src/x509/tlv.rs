//! A strict reader of DER (X.690): definite lengths in their shortest form, tags of one byte, nothing left over.
//!
//! For the few structures that must be taken apart by their exact bytes (what a signature covers). Types of
//! X.509 are decoded by `x509-cert`.

/// SEQUENCE, constructed.
pub(crate) const SEQUENCE: u8 = 0x30;
/// SET, constructed.
pub(crate) const SET: u8 = 0x31;
/// BOOLEAN.
pub(crate) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(crate) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(crate) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(crate) const OID: u8 = 0x06;
/// GeneralizedTime.
pub(crate) const GENERALIZED_TIME: u8 = 0x18;

/// The context-specific constructed tag of this number.
pub(crate) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'d> {
    /// Its tag.
    pub(crate) tag: u8,
    /// Its content.
    pub(crate) content: &'d [u8],
    /// Tag, length and content.
    pub(crate) whole: &'d [u8],
}

/// What is left of a content.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'d>(&'d [u8]);

impl<'d> Reader<'d> {
    /// Reads from its start.
    pub(crate) const fn new(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element.
    pub(crate) fn any(&mut self) -> Option<Element<'d>> {
        let (tag, rest) = self.0.split_first()?;
        // 31 announces a tag of several bytes, which nothing here has.
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (len, rest) = match usize::from(*first) {
            short @ 0..=0x7f => (short, rest),
            long @ 0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(long & 0x7f)?;
                let len = bytes.iter().fold(0usize, |len, byte| len << 8 | usize::from(*byte));
                if bytes.first() == Some(&0) || len < 0x80 {
                    return None;
                }
                (len, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(len)?;
        let whole = self.0.get(..self.0.len().saturating_sub(rest.len()))?;
        self.0 = rest;
        Some(Element { tag: *tag, content, whole })
    }

    /// The next element, which must have this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'d>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// The next element, if it has this tag.
    pub(crate) fn optional(&mut self, tag: u8) -> Option<Option<Element<'d>>> {
        if self.peek() == Some(tag) { self.any().map(Some) } else { Some(None) }
    }

    /// Nothing may be left.
    pub(crate) fn end(&self) -> Option<()> {
        self.is_empty().then_some(())
    }
}

/// The one element that these bytes are.
pub(crate) fn single(bytes: &[u8], tag: u8) -> Option<Element<'_>> {
    let mut reader = Reader::new(bytes);
    let element = reader.expect(tag)?;
    reader.end()?;
    Some(element)
}

/// The three parts of `SIGNED { toBeSigned, algorithm, signature }`: exact bytes of the first, content of the
/// second, whole bytes of the third.
pub(crate) fn signed(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut reader = Reader::new(single(bytes, SEQUENCE)?.content);
    let to_be_signed = reader.expect(SEQUENCE)?.whole;
    let algorithm = reader.expect(SEQUENCE)?.content;
    let signature = reader.expect(BIT_STRING)?.content.strip_prefix(&[0])?;
    reader.end()?;
    Some((to_be_signed, algorithm, signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_one_form_and_stay_inside() {
        let mut reader = Reader::new(&[0x30, 0x03, 0x02, 0x01, 0x05, 0x04, 0x00]);
        let sequence = reader.expect(SEQUENCE).unwrap();
        assert_eq!((sequence.content, sequence.whole.len()), (&[2, 1, 5][..], 5));
        assert_eq!(reader.any().unwrap().tag, OCTET_STRING);
        assert!(reader.is_empty() && reader.any().is_none());
        let long: Vec<u8> = [&[0x04, 0x81, 0x80][..], &[7; 0x80]].concat();
        assert_eq!(single(&long, OCTET_STRING).unwrap().content.len(), 0x80);
        for bad in [
            &[0x30][..],
            &[0x30, 0x01],
            &[0x30, 0x80, 0x00, 0x00],
            &[0x30, 0x81, 0x01, 0x00],
            &[0x30, 0x82, 0x00, 0x80],
            &[0x30, 0x85, 1, 1, 1, 1, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0x81, 0x01, 0x00],
        ] {
            assert!(Reader::new(bad).any().is_none(), "{bad:?}");
        }
        assert!(single(&[0x05, 0x00, 0x00], 0x05).is_none());
    }
}
