use crate::event::{Event, EventKind, Outcome, Phase};
use crate::keeper::{Request, Response, Scope};
use crate::{Blob, Key32, List, Text, from_bytes, porter, to_bytes, warden};

mod closed;

fn event() -> Event {
    Event::new(EventKind::ModelLoad, Phase::Intent, Outcome::Unknown, 7, 9)
        .tenant("acme")
        .asset("model", "m/1", Some(base::sha256(b"x")))
        .detail("k", "v")
}

#[test]
fn messages_round_trip() {
    let append = Request::Append { events: List::new(vec![event(); 3]).unwrap() };
    assert_eq!(from_bytes::<Request>(&to_bytes(&append)).unwrap(), append);
    let call = warden::Call { correlation: 1, receipt: None, operation: warden::Operation::Kill { run: 5 } };
    assert_eq!(from_bytes::<warden::Call>(&to_bytes(&call)).unwrap(), call);
}

#[test]
fn every_truncation_extension_and_wrong_version_is_refused() {
    let bytes = to_bytes(&Request::CreateScope {
        scope: Scope { tenant: Text::clip("acme"), job: Some(4) },
        correlation: 1,
    });
    for end in 0..bytes.len() {
        assert!(from_bytes::<Request>(&bytes[..end]).is_err());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert!(from_bytes::<Request>(&longer).is_err());
    let mut other = bytes;
    other[0] = 2;
    assert!(from_bytes::<Request>(&other).is_err());
}

#[test]
fn limits_hold_on_both_sides() {
    assert!(Text::<3>::new("abcd").is_err());
    assert_eq!(Text::<3>::clip("aéé").as_str(), "aé");
    assert!(Blob::<1>::new(vec![0; 2]).is_err());
    let long = to_bytes(&Text::<10>::clip("0123456789"));
    assert!(from_bytes::<Text<9>>(&long).is_err());
}

/// 0xd7 is 215: neither the hex nor the list of a key's bytes stands in what is printed of a message.
#[test]
fn no_key_is_printed() {
    let key = || Key32::new(&[0xd7; 32]);
    let (digest, scope) = (base::sha256(b"x"), Scope { tenant: Text::clip("acme"), job: None });
    let file = || porter::SealedFile {
        path: Text::clip("a"),
        size: 1,
        digest,
        scope: Text::clip("acme"),
        dek: key(),
    };
    let sealed = porter::Told::Sealed {
        ticket: 1,
        path: Text::clip("a"),
        size: 1,
        digest,
        dek: key(),
        format: Text::clip("npy"),
        verdict: Text::clip("load"),
        findings: List::default(),
        all_finite: None,
    };
    let shown = [
        format!("{:?}", key()),
        format!("{:?}", file()),
        format!("{:?}", porter::Request::Fill { input: 0, file: file() }),
        format!("{:?}", porter::Request::Restore { file: file() }),
        format!("{sealed:?}"),
        format!("{:?}", Request::Wrap { scope, dek: key(), digest }),
        format!("{:?}", Response::Unwrapped { dek: key(), index: 1 }),
        format!("{:?}", crate::snapshot::MacKey([0xd7; 32])),
    ];
    for text in shown {
        assert!(!text.contains("215") && !text.to_lowercase().contains("d7d7"), "{text}");
    }
    // And on the wire it is there.
    assert_eq!(from_bytes::<porter::Told>(&to_bytes(&sealed)).unwrap(), sealed);
    assert_ne!(key(), Key32::new(&[0xd8; 32]));
}

#[test]
fn names_are_unique_and_found() {
    let mut names: Vec<_> = EventKind::ALL.iter().map(|k| k.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), EventKind::ALL.len());
    for kind in EventKind::ALL {
        assert_eq!(EventKind::from_name(kind.name()), Some(*kind));
    }
}

proptest::proptest! {
    #[test]
    fn decoding_any_bytes_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        drop(from_bytes::<Request>(&bytes));
        drop(from_bytes::<warden::Call>(&bytes));
        drop(from_bytes::<crate::porter::Told>(&bytes));
        drop(from_bytes::<crate::porter::Request>(&bytes));
    }

    #[test]
    fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let mut framed = vec![1];
        framed.extend_from_slice(&bytes);
        if let Ok(call) = from_bytes::<warden::Call>(&framed) {
            proptest::prop_assert_eq!(to_bytes(&call), framed);
        }
    }
}

#[test]
fn the_digest_of_a_tensor_travels_with_its_function() {
    let digest = base::sha256(b"x");
    let both = [base::TensorDigest::Sha256(digest), base::TensorDigest::Blake3(*digest.as_bytes())];
    let bytes = both.map(|one| to_bytes(&one));
    assert_ne!(bytes[0], bytes[1]);
    for (one, bytes) in both.iter().zip(&bytes) {
        assert_eq!(from_bytes::<base::TensorDigest>(bytes).unwrap(), *one);
    }
    let mut other = bytes[0].clone();
    other[1] = 3;
    assert!(from_bytes::<base::TensorDigest>(&other).is_err());
}
