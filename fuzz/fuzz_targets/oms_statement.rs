//! Statements of models by a signer who may write anything: the payload is signed as it comes. Nothing may panic, and
//! what is taken hashes to its root digest, is sorted and names no file outside the model.
//! `cargo +nightly fuzz run oms_statement`
#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;

use base::Timestamp;
use integrity::PrivateKey;
use integrity::dsse::{IN_TOTO, pae};
use integrity::oms::{Accept, Measured, Present, Trust, Unsigned, bundle, open_with, root_digest};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<PrivateKey> = LazyLock::new(|| PrivateKey::from_p256_scalar(&[7; 32]).unwrap());

fuzz_target!(|data: &[u8]| {
    let public = KEY.public_key();
    let signature = KEY.sign(&pae(IN_TOTO, data)).unwrap();
    let pem = public.to_pem().unwrap();
    let file = bundle(data.to_vec(), signature, pem.as_bytes()).unwrap();
    for accept in [Accept::default(), Accept { legacy_shards: true, symlinks: true }] {
        let Ok(signed) = open_with(&file, &Trust::Key(public.clone()), accept, Timestamp::from_millis(0))
        else {
            continue;
        };
        let statement = signed.statement();
        assert_eq!(root_digest(&statement.resources), statement.root_digest);
        for resource in &statement.resources {
            assert!(!resource.name.starts_with('/') && !resource.name.split('/').any(|part| part == ".."));
        }
        // Files that are there as they were listed, as far as names of files go.
        let whole = |r: &integrity::oms::Resource| (r.name.clone(), Measured::whole(0, r.digest));
        let files: BTreeMap<_, _> = statement.resources.iter().map(whole).collect();
        let present = Present { files, ..Present::default() };
        if let Ok(verified) = signed.check(&present, Unsigned::Refuse) {
            assert!(verified.files.iter().all(|name| present.files.contains_key(name)));
        }
    }
});
