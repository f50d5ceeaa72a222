//! Footers of Parquet. `cargo +nightly fuzz run parquet`
#![no_main]

use inspect::data::describe;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|footer: &[u8]| {
    // Room for columns, then the footer as the fuzzer has it, with its length.
    let mut file = b"PAR1".to_vec();
    file.resize(4096, 0);
    file.extend_from_slice(footer);
    file.extend_from_slice(&u32::try_from(footer.len()).unwrap_or(u32::MAX).to_le_bytes());
    file.extend_from_slice(b"PAR1");
    let found = describe("x.parquet", &mut file.as_slice()).expect("a slice does not fail");
    // A footer may be made to look like something else, too; else it is Parquet, damaged or not.
    if found.refused.is_none() && found.carries.is_empty() {
        assert_eq!(found.format, "parquet");
    }
});
