//! Revocation lists in DER and PEM: any bytes. Nothing may panic, and with any list that is not the authority's own
//! nothing verifies.
//! `cargo +nightly fuzz run crl`
#![no_main]

use std::sync::LazyLock;

use base::Timestamp;
use integrity::oms::{Accept, Trust, open_with};
use integrity::{Certificate, CertificateTrust, Crl};
use libfuzzer_sys::fuzz_target;

/// Within the validity of the seed's certificates.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

static TRUST: LazyLock<CertificateTrust> = LazyLock::new(|| {
    let roots = Certificate::all_from_pem(include_bytes!("../data/root.pem")).unwrap();
    CertificateTrust::new(roots).unwrap()
});

fuzz_target!(|data: &[u8]| {
    let Ok(list) = Crl::parse(data) else { return };
    let trust = Trust::Certificates(TRUST.clone().with_crls(vec![list]).unwrap());
    // The one list of this authority names the signer.
    assert!(open_with(include_bytes!("../data/bundle.json"), &trust, Accept::default(), NOW).is_err());
});
