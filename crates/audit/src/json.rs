//! Writes canonical JSON (RFC 8785) directly: the caller names members in order, which a test checks for every
//! kind of event. Building a tree and sorting it costs several times as much on the keeper's one committing
//! thread.

/// An object being written.
#[derive(Debug)]
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl<'a> Object<'a> {
    /// Writes `{`, what `members` writes, and `}`.
    pub(crate) fn write(out: &'a mut Vec<u8>, members: impl FnOnce(&mut Object<'_>)) {
        out.push(b'{');
        members(&mut Object { out, first: true });
        out.push(b'}');
    }

    fn key(&mut self, key: &str) {
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        string(key, self.out);
        self.out.push(b':');
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        string(value, self.out);
    }

    /// A text, left out if empty.
    pub(crate) fn text_if(&mut self, key: &str, value: &str) {
        if !value.is_empty() {
            self.text(key, value);
        }
    }

    /// An integer; beyond 2^53, where JSON readers begin to differ, it is 2^53.
    pub(crate) fn int(&mut self, key: &str, value: u64) {
        self.key(key);
        self.out.extend_from_slice(value.min(base::jcs::INTEGER_MAX).to_string().as_bytes());
    }

    /// `true`.
    pub(crate) fn yes(&mut self, key: &str) {
        self.key(key);
        self.out.extend_from_slice(b"true");
    }

    /// An object.
    pub(crate) fn object(&mut self, key: &str, members: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        Object::write(self.out, members);
    }

    /// A list of one object.
    pub(crate) fn one(&mut self, key: &str, members: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        self.out.push(b'[');
        Object::write(self.out, members);
        self.out.push(b']');
    }

    /// A list of texts.
    pub(crate) fn texts(&mut self, key: &str, values: &[&str]) {
        self.key(key);
        self.out.push(b'[');
        for (i, value) in values.iter().enumerate() {
            if i > 0 {
                self.out.push(b',');
            }
            string(value, self.out);
        }
        self.out.push(b']');
    }
}

/// A string with the escapes of RFC 8785 section 3.2.2.2.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut plain = 0;
    let bytes = text.as_bytes();
    for (i, byte) in bytes.iter().enumerate() {
        let escape: Option<&[u8]> = match byte {
            b'"' => Some(b"\\\""),
            b'\\' => Some(b"\\\\"),
            8 => Some(b"\\b"),
            9 => Some(b"\\t"),
            10 => Some(b"\\n"),
            12 => Some(b"\\f"),
            13 => Some(b"\\r"),
            0..32 => None,
            _ => continue,
        };
        out.extend_from_slice(bytes.get(plain..i).unwrap_or_default());
        match escape {
            Some(escape) => out.extend_from_slice(escape),
            None => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        plain = i.saturating_add(1);
    }
    out.extend_from_slice(bytes.get(plain..).unwrap_or_default());
    out.push(b'"');
}
