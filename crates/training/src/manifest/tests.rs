use super::*;
use crate::monitor::Verdict;

/// A manifest of this version over its predecessor's bytes.
pub(crate) fn sample(version: u64, prev: Option<Digest>) -> Manifest {
    Manifest {
        job: JobId::from_bits(7),
        run: RunId::from_bits(8),
        version,
        step: Some(version * 100),
        prev,
        committed_at: Timestamp::from_millis(1000 * version),
        sealed_at: Timestamp::from_millis(1000 * version + 5),
        commit_rule: CommitRule::Lease,
        files: vec![FileEntry {
            path: "last.pt".into(),
            size: 10,
            digest: sha256(&version.to_le_bytes()),
            object: sha256(b"object"),
            format: "torch-zip".into(),
            verdict: "load".into(),
            findings: vec![],
            all_finite: Some(true),
        }],
        tensors: vec![
            TensorEntry {
                name: "b".into(),
                dtype: "f32".into(),
                shape: vec![2, 3],
                digest: sha256(b"t"),
                norm_bits: Some(1.5f64.to_bits()),
            },
            TensorEntry {
                name: "a".into(),
                dtype: "i64".into(),
                shape: vec![],
                digest: sha256(b"u"),
                norm_bits: None,
            },
        ],
        contract: Contract {
            code: sha256(b"c"),
            config: sha256(b"d"),
            env: sha256(b"e"),
            command: sha256(b"f"),
            image: "host".into(),
            image_pinned: false,
            packages: Some(sha256(b"p")),
            data: vec![ChannelDigest {
                channel: "training".into(),
                manifest: sha256(b"m"),
                bytes: 5,
                files: 2,
            }],
        },
        hardware: vec![("cpu_model".into(), "x".into())],
        resume: ResumeNote { from_version: None, restarts: 0, cause: String::new() },
        monitor: Verdict::Good,
        monitor_findings: vec![],
        key_id: "k".into(),
    }
}

/// Sorted, as a reader returns it.
fn sorted(mut manifest: Manifest) -> Manifest {
    manifest.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    manifest
}

#[test]
fn reading_is_the_inverse_of_writing() {
    let manifest = sorted(sample(3, Some(sha256(b"prev"))));
    let bytes = manifest.to_bytes().unwrap();
    assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
    assert_eq!(Manifest::from_bytes(&bytes).unwrap().to_bytes().unwrap(), bytes);
}

#[test]
fn every_changed_or_removed_byte_gives_another_digest_or_is_refused() {
    let bytes = sample(1, None).to_bytes().unwrap();
    let digest = Manifest::digest_of(&bytes);
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1;
        assert_ne!(Manifest::digest_of(&changed), digest);
        if let Ok(read) = Manifest::from_bytes(&changed) {
            assert_ne!(read, sorted(sample(1, None)), "byte {i}");
        }
        assert!(Manifest::from_bytes(&bytes[..i]).is_err());
    }
}

#[test]
fn members_that_no_manifest_has_are_refused() {
    let mut value = sample(1, None).to_json();
    value["extra"] = json!(1);
    assert!(Manifest::from_bytes(&jcs::to_vec(&value).unwrap()).is_err());
    let mut value = sample(1, None).to_json();
    value["state_digest"] = json!(sha256(b"other").hex());
    assert!(Manifest::from_bytes(&jcs::to_vec(&value).unwrap()).is_err());
}

#[test]
fn the_order_of_tensors_does_not_change_the_state_digest() {
    let manifest = sample(1, None);
    let mut other = manifest.tensors.clone();
    other.reverse();
    assert_eq!(state_digest(&manifest.tensors), state_digest(&other));
}
