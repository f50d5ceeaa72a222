//! A bundle of the public Sigstore instance, and everything that may be wrong with it. It is over an attestation that
//! is none of a model, so where its evidence holds it is refused for what it says, and where it does not, for that.

#[cfg(test)]
mod tests {
    use integrity::oms::{Accept, Signed};
    use integrity::{CertificateError, VerifyError};
    use serde_json::{Value, json};
    use sigstore::Instance;
    use sigstore_verify::trust_root::{
        SIGSTORE_PRODUCTION_TRUSTED_ROOT as PUBLIC, SIGSTORE_STAGING_TRUSTED_ROOT as STAGING,
    };
    use strongroom_sigstore as sigstore;

    const BUNDLE: &[u8] = include_bytes!("../data/attestation.sigstore.json");
    const IDENTITY: &str =
        "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
    const PROVIDER: &str = "https://token.actions.githubusercontent.com";

    fn open(root: &str, bundle: &[u8], who: (&str, &str)) -> Result<Signed, VerifyError> {
        Instance::parse(root.as_bytes()).unwrap().open(bundle, who, Accept::default())
    }

    /// The evidence held: what is wrong is that this is no statement about a model.
    fn holds(opened: &Result<Signed, VerifyError>) -> bool {
        matches!(opened, Err(VerifyError::WrongType { what: "predicateType" | "_type", .. }))
    }

    fn edited(edit: impl FnOnce(&mut Value)) -> Vec<u8> {
        let mut value: Value = serde_json::from_slice(BUNDLE).unwrap();
        edit(&mut value);
        value.to_string().into_bytes()
    }

    #[test]
    fn evidence_of_the_public_instance_holds_offline_and_vouches_for_no_other_statement() {
        let opened = open(PUBLIC, BUNDLE, (IDENTITY, PROVIDER));
        assert!(holds(&opened), "{opened:?}");
        assert!(holds(&open(PUBLIC, &edited(|_| {}), (IDENTITY, PROVIDER))));
        // Within a client trust configuration, as the reference takes it.
        let config = json!({"trustedRoot": serde_json::from_str::<Value>(PUBLIC).unwrap()}).to_string();
        assert!(holds(&open(&config, BUNDLE, (IDENTITY, PROVIDER))));
    }

    #[test]
    fn another_identity_provider_or_instance_is_refused() {
        for who in [
            ("somebody@example.org", PROVIDER),
            (IDENTITY, "https://accounts.google.com"),
            ("", ""),
            (IDENTITY.trim_start_matches('h'), PROVIDER),
            (IDENTITY, PROVIDER.trim_end_matches('m')),
        ] {
            let refused = open(PUBLIC, BUNDLE, who);
            let expected =
                matches!(refused, Err(VerifyError::Certificate(CertificateError::Identity { .. })));
            assert!(expected, "{who:?}: {refused:?}");
        }
        let refused = open(STAGING, BUNDLE, (IDENTITY, PROVIDER));
        assert!(
            matches!(refused, Err(VerifyError::Certificate(CertificateError::Sigstore { .. }))),
            "{refused:?}"
        );
    }

    #[test]
    fn evidence_that_is_edited_missing_or_of_another_entry_is_refused() {
        type Edit = fn(&mut Value);
        let edits: [(&str, Edit); 10] = [
            ("no log entry", |b| b["verificationMaterial"]["tlogEntries"] = json!([])),
            ("no proof", |b| {
                let entry = b["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap();
                entry.remove("inclusionProof").unwrap();
            }),
            ("proof of another root", |b| {
                b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["rootHash"] =
                    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
            }),
            ("proof cut", |b| {
                let proof = &mut b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"];
                proof["hashes"].as_array_mut().unwrap().pop().unwrap();
            }),
            ("checkpoint", |b| {
                let proof = &mut b["verificationMaterial"]["tlogEntries"][0]["inclusionProof"];
                let note = proof["checkpoint"]["envelope"].as_str().unwrap().replacen('\n', "\n1", 1);
                proof["checkpoint"]["envelope"] = note.into();
            }),
            ("time of the log", |b| {
                b["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1700000000".into();
            }),
            ("entry", |b| {
                let body = &mut b["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"];
                let edited = body.as_str().unwrap().replacen('e', "f", 1);
                *body = edited.into();
            }),
            ("log", |b| {
                b["verificationMaterial"]["tlogEntries"][0]["logId"]["keyId"] =
                    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into();
            }),
            ("signature", |b| {
                let sig = &mut b["dsseEnvelope"]["signatures"][0]["sig"];
                let edited: String = sig.as_str().unwrap().chars().rev().collect();
                *sig = edited.into();
            }),
            ("certificate twice", |b| {
                b["verificationMaterial"]["x509CertificateChain"] =
                    json!({"certificates": [b["verificationMaterial"]["certificate"].clone()]});
            }),
        ];
        for (what, edit) in edits {
            let refused = open(PUBLIC, &edited(edit), (IDENTITY, PROVIDER));
            assert!(refused.is_err() && !holds(&refused), "{what}: {refused:?}");
        }
    }

    #[test]
    fn no_flipped_bit_of_certificate_or_payload_is_vouched_for() {
        let whole = String::from_utf8(BUNDLE.to_vec()).unwrap();
        let value: Value = serde_json::from_str(&whole).unwrap();
        let instance = Instance::parse(PUBLIC.as_bytes()).unwrap();
        for pointer in ["/verificationMaterial/certificate/rawBytes", "/dsseEnvelope/payload"] {
            let text = value.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
            for at in (0..text.len()).step_by(7) {
                let mut bytes = text.clone().into_bytes();
                bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
                let mut bad = value.clone();
                *bad.pointer_mut(pointer).unwrap() = String::from_utf8(bytes).unwrap().into();
                let refused =
                    instance.open(bad.to_string().as_bytes(), (IDENTITY, PROVIDER), Accept::default());
                assert!(refused.is_err() && !holds(&refused), "{pointer} at {at}: {refused:?}");
            }
        }
    }

    #[test]
    fn what_is_no_trusted_root_is_refused() {
        let mut empty: Value = serde_json::from_str(PUBLIC).unwrap();
        empty["ctlogs"] = json!([]);
        for bad in [
            "",
            "{}",
            "[]",
            "null",
            "{\"trustedRoot\":{}}",
            &empty.to_string(),
            PUBLIC.trim_end_matches(['}', '\n']),
        ] {
            assert!(Instance::parse(bad.as_bytes()).is_err(), "{} bytes", bad.len());
        }
        let twice = PUBLIC.replacen("\"tlogs\"", "\"tlogs\":[],\"tlogs\"", 1);
        assert!(Instance::parse(twice.as_bytes()).is_err());
    }
}
