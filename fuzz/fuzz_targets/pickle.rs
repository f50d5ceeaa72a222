//! The pickle machine on its own, so that the fuzzer spends its time there.
//! `cargo +nightly fuzz run pickle`
#![no_main]

use inspect::{Limits, inspect_pickle};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits { pickle_opcodes: 1 << 20, ..Limits::default() };
    inspect_pickle(bytes, &limits);
});
