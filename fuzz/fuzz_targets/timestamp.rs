//! Timestamps over the signature of a bundle: any bytes. Nothing may panic, and nothing but the seed's time is believed.
//! `cargo +nightly fuzz run timestamp`
#![no_main]

use std::sync::LazyLock;

use base::Timestamp;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use integrity::oms::{Accept, Signer, Trust, open_with};
use integrity::{Certificate, CertificateTrust};
use libfuzzer_sys::fuzz_target;

/// Within the validity of the seed's certificates.
const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let roots = Certificate::all_from_pem(include_bytes!("../data/root.pem")).unwrap();
    let tsa = Certificate::all_from_pem(include_bytes!("../data/tsroot.pem")).unwrap();
    Trust::Certificates(CertificateTrust::new(roots).unwrap().with_tsa(tsa).unwrap())
});

fn dated(response: &[u8]) -> Option<Timestamp> {
    let stamp = format!(
        "\"verificationMaterial\":{{\"timestampVerificationData\":{{\"rfc3161Timestamps\":[{{\"signedTimestamp\":\"{}\"}}]}},",
        STANDARD.encode(response)
    );
    let bundle = include_str!("../data/bundle.json").replacen("\"verificationMaterial\":{", &stamp, 1);
    let signed = open_with(bundle.as_bytes(), &TRUST, Accept::default(), NOW).ok()?;
    let Signer::Certificate(signer) = signed.signer() else { return None };
    signer.timestamped.then_some(signer.at)
}

static SEED: LazyLock<Timestamp> =
    LazyLock::new(|| dated(include_bytes!("../corpus/timestamp/seed-reply")).unwrap());

fuzz_target!(|data: &[u8]| {
    if let Some(at) = dated(data) {
        assert_eq!(at, *SEED);
    }
});
