//! HDF5 files. `cargo +nightly fuzz run hdf5`
#![no_main]

use inspect::{Limits, Verdict, inspect_bytes};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let report = inspect_bytes("x.h5", input, &Limits::default());
    assert_ne!(report.verdict, Verdict::Load);
});
