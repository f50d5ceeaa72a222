//! An archive of a layer, fed as the porter feeds it, and the documents of a layout. Nothing may panic, and no step may
//! ask for more than its limit.
//! `cargo +nightly fuzz run image_layer`
#![no_main]

use image::oci::{Config, Index, Manifest};
use image::tar::{BLOCK, Kind, Reader, Step, padding};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    drop((Manifest::parse(data), Index::parse(data), Config::parse(data)));
    let mut reader = Reader::default();
    let mut left = data;
    let take = |left: &mut &[u8], size: u64| -> Option<Vec<u8>> {
        let len = usize::try_from(size).ok()?;
        let (bytes, rest) = left.split_at_checked(len)?;
        *left = rest.get(padding(size)..).unwrap_or_default();
        Some(bytes.to_vec())
    };
    while let Some((block, rest)) = left.split_first_chunk::<BLOCK>() {
        left = rest;
        match reader.block(block) {
            Ok(Step::Next) => {}
            Ok(Step::Extension(size)) => {
                assert!(size <= image::limits::EXTENSION_BYTES);
                let Some(bytes) = take(&mut left, size) else { return };
                if reader.extension(&bytes).is_err() {
                    return;
                }
            }
            Ok(Step::Entry(entry)) => {
                assert!(!entry.path.split('/').any(|part| part == ".."));
                if let Kind::File { size, .. } = entry.kind
                    && take(&mut left, size).is_none()
                {
                    return;
                }
            }
            Ok(Step::End) | Err(_) => return,
        }
    }
});
