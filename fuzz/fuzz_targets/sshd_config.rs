//! sshd's configuration as the probe of remote root reads it, with the fuzzed text in the file and in what it includes.
//! `cargo +nightly fuzz run sshd_config`
#![no_main]

use libfuzzer_sys::fuzz_target;
use posture::root::Sockets;
use posture::root::sshd::{DEFAULT, Files, Source, Start, Unread, check};

struct Both<'a>(&'a str);

impl Files for Both<'_> {
    fn named(&mut self, pattern: &str) -> Result<Vec<Source>, Unread> {
        let (first, second) = self.0.split_once('\u{1}').unwrap_or((self.0, ""));
        let text = if pattern == DEFAULT { first } else { second };
        Ok(vec![Source { path: pattern.to_owned(), text: text.to_owned() }])
    }
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let start = Start::from_words(text.split_whitespace());
    check(&[start], &mut Both(&text));
    drop(Sockets::default().add(&text));
});
