//! Signature files of models: any bytes. Nothing may panic, and nothing but the seed's own statement verifies below
//! the seed's root.
//! `cargo +nightly fuzz run oms_bundle`
#![no_main]

use std::sync::LazyLock;

use base::Timestamp;
use integrity::oms::{Accept, Signed, Trust, open_sigstore, open_with};
use integrity::{Certificate, CertificateError, CertificateTrust};
use libfuzzer_sys::fuzz_target;

/// Within the validity of the seed's certificates.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let roots = Certificate::all_from_pem(include_bytes!("../data/root.pem")).unwrap();
    Trust::Certificates(CertificateTrust::new(roots).unwrap())
});
static SEED: LazyLock<Signed> = LazyLock::new(|| {
    open_with(include_bytes!("../data/bundle.json"), &TRUST, Accept::default(), NOW).unwrap()
});

fuzz_target!(|data: &[u8]| {
    let lenient = Accept { legacy_shards: true, symlinks: true };
    if let Ok(signed) = open_with(data, &TRUST, lenient, NOW) {
        assert_eq!(signed.statement(), SEED.statement());
    }
    let nobody = |_: &Certificate| Err(CertificateError::Sigstore { why: String::new() });
    assert!(open_sigstore(data, lenient, nobody).is_err());
});
