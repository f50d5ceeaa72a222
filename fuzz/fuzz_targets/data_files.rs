//! Files of data, by any name. `cargo +nightly fuzz run data_files`
#![no_main]

use inspect::data::describe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for name in ["x", "x.csv", "x.jsonl"] {
        let mut source = input;
        let found = describe(name, &mut source).expect("a slice does not fail");
        assert!(found.notes.len() <= 4 && found.format.len() <= 200);
    }
});
