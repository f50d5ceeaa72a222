use super::*;
use crate::monitor::Verdict;

/// A manifest of this version over its predecessor's bytes.
pub(crate) fn sample(version: u64, prev: Option<Digest>) -> Manifest {
    Manifest {
        format: Format::NOW,
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
                digest: TensorDigest::Blake3([5; 32]),
                norm_bits: Some(1.5f64.to_bits()),
            },
            TensorEntry {
                name: "a".into(),
                dtype: "i64".into(),
                shape: vec![],
                digest: TensorDigest::Blake3([6; 32]),
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
    let digest = |tensors: &[TensorEntry]| state_digest(tensors, manifest.format);
    assert_eq!(digest(&manifest.tensors), digest(&other));
}

/// The sample as version 1 of the format had it.
fn first_format() -> Manifest {
    let mut manifest = sorted(sample(3, Some(sha256(b"prev"))));
    manifest.format = Format::V1;
    for (tensor, of) in manifest.tensors.iter_mut().zip([b"u", b"t"]) {
        tensor.digest = TensorDigest::Sha256(sha256(of));
    }
    manifest
}

#[test]
fn manifests_of_the_first_format_are_read_and_keep_their_bytes() {
    let manifest = first_format();
    let bytes = manifest.to_bytes().unwrap();
    // Digest of what the code before the second format wrote for this sample.
    let written = "ab7d995a0df511457587f1acd29bc423733f306eee43e4dd1cedfe0a7334e49e";
    assert_eq!(Manifest::digest_of(&bytes).hex(), written);
    assert_eq!(Manifest::from_bytes(&bytes).unwrap(), manifest);
}

#[test]
fn no_digest_of_one_function_is_taken_for_that_of_another() {
    let text = |manifest: &Manifest| String::from_utf8(manifest.to_bytes().unwrap()).unwrap();
    // The first format has no place for BLAKE3.
    let mut manifest = first_format();
    manifest.tensors[0].digest = TensorDigest::Blake3([5; 32]);
    assert!(Manifest::from_bytes(text(&manifest).as_bytes()).is_err());
    // The second takes no digest without its function.
    let good = text(&sample(1, None));
    assert_eq!(good.matches("\"b3:").count(), 2);
    assert!(Manifest::from_bytes(good.as_bytes()).is_ok());
    assert!(Manifest::from_bytes(good.replace("\"b3:", "\"").as_bytes()).is_err());
    // Another function with the same bytes is another state.
    assert!(Manifest::from_bytes(good.replace("\"b3:", "\"sha256:").as_bytes()).is_err());
    let mut other = sample(1, None);
    for tensor in &mut other.tensors {
        if let TensorDigest::Blake3(bytes) = tensor.digest {
            tensor.digest = TensorDigest::Sha256(Digest::from_bytes(bytes));
        }
    }
    assert_eq!(Manifest::from_bytes(text(&other).as_bytes()).unwrap(), sorted(other.clone()));
    let digest = |manifest: &Manifest| state_digest(&manifest.tensors, manifest.format);
    assert_ne!(digest(&other), digest(&sample(1, None)));
}
