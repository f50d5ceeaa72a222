//! Certificates in DER and PEM: any bytes. Nothing may panic, and what is read is what was there.
//! `cargo +nightly fuzz run certificate`
#![no_main]

use integrity::{Certificate, CertificateTrust};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(certificate) = Certificate::from_der(data) {
        assert_eq!(certificate.der(), data);
        certificate.subject();
        let _key = certificate.public_key();
        let _trust = CertificateTrust::new(vec![certificate]);
    }
    if let Ok(all) = Certificate::all_from_pem(data) {
        assert!(!all.is_empty());
    }
});
