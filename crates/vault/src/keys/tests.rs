use proptest::prelude::*;

use super::*;

fn scope(text: &str) -> KeyScope {
    text.parse().unwrap()
}

fn kek(byte: u8) -> Kek {
    Kek::take(&mut [byte; 32])
}

/// `trust.md` section 6.5, last two rows.
#[test]
fn test_vector_of_the_specification() {
    let plaintext: Vec<u8> = (0..=250u8).cycle().take(100_000).collect();
    let name = object_name(&AddressKey::take(&mut [0x11; 32]), &base::sha256(&plaintext));
    assert_eq!(name.to_string(), "13c14529462a13e06a140f1c4f0c67d9fa971cd016ae4e4820a6fd52d6c4bee3");
    let dek = Dek::take(&mut [0x42; 32]);
    let blob = wrap_dek(&kek(0x24), &scope("tenant-a"), 1, &name, &dek, [0; 12]).unwrap();
    assert_eq!(
        base::digest::hex(blob.as_bytes()),
        "000000000000000000000000c158d6a9a3ba0d8517cdaa8dcf8d94ee6fead516177787fb78f93d4320a11273d51a64a6\
         b7f189827871eb599b08e399"
    );
    let back = unwrap_dek(&kek(0x24), &scope("tenant-a"), 1, &name, &blob).unwrap();
    back.expose(|key| assert_eq!(key, &[0x42; 32]));
}

#[test]
fn a_wrapped_dek_opens_only_for_its_key_scope_version_and_object() {
    let name = ObjectName::from_bytes([1; 32]);
    let (a, b) = (scope("acme"), scope("bank"));
    let blob = wrap_dek(&kek(1), &a, 3, &name, &Dek::take(&mut [9; 32]), [5; 12]).unwrap();
    assert!(unwrap_dek(&kek(1), &a, 3, &name, &blob).is_ok());
    for refused in [
        unwrap_dek(&kek(2), &a, 3, &name, &blob),
        unwrap_dek(&kek(1), &b, 3, &name, &blob),
        unwrap_dek(&kek(1), &a, 4, &name, &blob),
        unwrap_dek(&kek(1), &a, 3, &ObjectName::from_bytes([2; 32]), &blob),
    ] {
        assert_eq!(refused.unwrap_err(), KeyError::Refused);
    }
}

/// The expected value is that of Python's `hmac.new(key, b"sr1 group member" + salt, "sha256")`.
#[test]
fn members_of_a_group_have_keys_of_their_own() {
    let group = || GroupKey::take(&mut [0x42; 32]);
    let hex = |dek: Dek| dek.expose(|key| base::digest::hex(key));
    let one = hex(group().member(&[0x24; 32]));
    assert_eq!(one, "e8dfc437afbb9df7c1e35b45d048f0a5d10cc4da89cf56ea60bba182899937ad");
    assert_eq!(hex(group().fresh_member(&[0x24; 32]).spend()), one);
    assert_ne!(hex(group().member(&[0x25; 32])), one);
    assert_ne!(hex(GroupKey::take(&mut [0x43; 32]).member(&[0x24; 32])), one);
    assert_eq!(format!("{:?}", group()), "GroupKey(..)");
}

#[test]
fn keys_of_different_purposes_do_not_stand_in_for_each_other() {
    let root = KeyFileProvider::new(&mut [7; 32], true).unwrap();
    let a = scope("acme");
    let blob = wrap_address_key(&root, &a, &AddressKey::take(&mut [3; 32]), [1; 12]).unwrap();
    assert_eq!(unwrap_kek(&root, &a, 0, &blob).unwrap_err(), KeyError::Refused);
    let blob = wrap_kek(&root, &a, 1, &kek(4), [2; 12]).unwrap();
    assert!(unwrap_address_key(&root, &a, &blob).is_err());
    assert!(unwrap_kek(&root, &a, 2, &blob).is_err());
    assert!(unwrap_kek(&root, &a, 1, &blob).is_ok());
}

#[test]
fn hierarchy_of_root_tenant_and_job() {
    let root = KeyFileProvider::new(&mut [7; 32], false).unwrap();
    let (tenant, job) = (scope("acme"), scope(&format!("acme/{}", base::id::JobId::from_bits(5))));
    let tenant_blob = wrap_kek(&root, &tenant, 1, &kek(1), [1; 12]).unwrap();
    let tenant_kek = unwrap_kek(&root, &tenant, 1, &tenant_blob).unwrap();
    let job_blob = wrap_kek(&tenant_kek, &job, 1, &kek(2), [2; 12]).unwrap();
    unwrap_kek(&tenant_kek, &job, 1, &job_blob).unwrap().expose(|key| assert_eq!(key, &[2; 32]));
    assert!(unwrap_kek(&root, &job, 1, &job_blob).is_err());
}

#[test]
fn a_key_file_of_another_length_is_refused_and_wiped() {
    for len in [0, 31, 33, 64] {
        let mut bytes = vec![5u8; len];
        assert_eq!(KeyFileProvider::new(&mut bytes, false).unwrap_err(), KeyError::RootKeyLength { len });
        assert!(bytes.iter().all(|b| *b == 0));
    }
    let info = KeyFileProvider::new(&mut [5; 32], true).unwrap().describe();
    assert_eq!((info.kind, info.assurance, info.dev), ("key-file", Assurance::Software, true));
}

#[test]
fn taking_a_key_wipes_its_source_and_debug_hides_it() {
    let mut bytes = [0xabu8; 32];
    let key = Kek::take(&mut bytes);
    assert_eq!(bytes, [0; 32]);
    assert_eq!(format!("{key:?}"), "Kek(..)");
    assert!(!format!("{:?}", KeyFileProvider::new(&mut [0xab; 32], false).unwrap()).contains("171"));
}

#[test]
fn names_and_blobs_parse_exactly() {
    let name = ObjectName::from_bytes([0xcd; 32]);
    assert_eq!(name.to_string().parse::<ObjectName>().unwrap(), name);
    for bad in ["", "cd", &"CD".repeat(32), &"cd".repeat(33), "../../etc/passwd"] {
        assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
    }
    assert!(WrappedKey::from_slice(&[0; 59]).is_err() && WrappedKey::from_slice(&[0; 61]).is_err());
}

proptest! {
    #[test]
    fn any_flipped_bit_of_a_blob_is_refused(bit in 0..WRAPPED_LEN * 8, version in any::<u64>(), key in any::<[u8; 32]>()) {
        let a = scope("acme");
        let blob = wrap_kek(&kek(1), &a, version, &Kek::take(&mut key.clone()), [6; 12]).unwrap();
        unwrap_kek(&kek(1), &a, version, &blob).unwrap().expose(|back| assert_eq!(back, &key));
        let mut bytes = *blob.as_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let blob = WrappedKey::from_slice(&bytes).unwrap();
        prop_assert_eq!(unwrap_kek(&kek(1), &a, version, &blob).unwrap_err(), KeyError::Refused);
    }
}
