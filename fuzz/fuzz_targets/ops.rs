//! The messages that the keeper and the warden take and give: the first byte picks the kind, the rest is the message.
//! Nothing may panic, and what is read is written again to the same bytes: a receipt is for the bytes of an operation.
//! `cargo +nightly fuzz run ops`
#![no_main]

use libfuzzer_sys::fuzz_target;
use ops::{Codec, from_bytes, keeper, lease, porter, relay, to_bytes, warden};

fn again<T: Codec>(bytes: &[u8]) {
    if let Ok(message) = from_bytes::<T>(bytes) {
        assert_eq!(to_bytes(&message), bytes);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 11 {
        0 => again::<warden::Call>(bytes),
        1 => again::<warden::Response>(bytes),
        2 => again::<keeper::Request>(bytes),
        3 => again::<keeper::Response>(bytes),
        4 => again::<porter::Request>(bytes),
        5 => again::<porter::Told>(bytes),
        6 => again::<lease::Push>(bytes),
        7 => again::<lease::Uses>(bytes),
        8 => again::<relay::Order>(bytes),
        9 => again::<relay::Answer>(bytes),
        _ => again::<warden::Exit>(bytes),
    }
});
