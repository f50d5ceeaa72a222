use super::*;

/// The example of the Go package `golang.org/x/mod/sumdb/note`, which the specification describes.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
then you don't know what your problem is.\n\
\n\
\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

#[test]
fn the_reference_note_verifies_and_no_changed_one() {
    let key: VerifierKey = PETER.parse().unwrap();
    assert_eq!(key.to_string(), PETER);
    assert!(open(NOTE.as_bytes(), &key).unwrap().ends_with("problem is.\n"));
    for i in 0..NOTE.len() {
        let mut bytes = NOTE.as_bytes().to_vec();
        bytes[i] ^= 1;
        assert!(open(&bytes, &key).is_err(), "byte {i}");
    }
}

#[test]
fn what_we_sign_verifies_with_several_signatures_around_it() {
    let signer = Signer::new("example.com/log", &[7; 32]).unwrap();
    let other = Signer::new("witness.example", &[8; 32]).unwrap();
    let note = signer.sign("one\ntwo\n").unwrap();
    let line = other.sign("one\ntwo\n").unwrap();
    let line = line.rsplit_once("\n\n").unwrap().1;
    let both = format!("{note}{line}");
    for key in [signer.verifier(), other.verifier()] {
        assert_eq!(open(both.as_bytes(), key).unwrap(), "one\ntwo\n");
    }
    let third = Signer::new("example.com/log", &[9; 32]).unwrap();
    assert_eq!(open(both.as_bytes(), third.verifier()), Err(NoteError::NotSigned));
}

#[test]
fn texts_that_would_end_early_are_not_signed() {
    let signer = Signer::new("n", &[1; 32]).unwrap();
    for bad in ["", "x", "\n", "a\n\nb\n", "\na\n"] {
        assert!(signer.sign(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn keys_whose_id_does_not_fit_are_refused() {
    for bad in [
        "",
        "a",
        "a+b+c",
        &PETER.replace("c74f20a3", "c74f20a4"),
        &PETER.replace("Peter", "Poter"),
        "a b+00000000+AA==",
    ] {
        assert!(bad.parse::<VerifierKey>().is_err(), "{bad}");
    }
    assert!(Signer::new("with space", &[1; 32]).is_err());
    assert!(Signer::new("with+plus", &[1; 32]).is_err());
}

/// The example of RFC 8410, sections 10.1 and 10.3.
#[test]
fn a_private_key_is_read_as_openssl_writes_it() {
    let pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let signer = Signer::from_pem("x", pem.as_bytes()).unwrap();
    assert_eq!(
        base::digest::hex(signer.verifier().public()),
        "19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1"
    );
    assert!(verify_raw(signer.verifier().public(), b"m", &signer.sign_raw(b"m")));
    for bad in [
        "",
        &pem.replace("PRIVATE", "PUBLIC"),
        &pem.replace("MC4C", "MC4D"),
        &pem.replace("K2Vw", "K2Vx"),
        &pem.replace("dVhC\n", "\n"),
        &format!("{pem}{pem}"),
    ] {
        assert_eq!(Signer::from_pem("x", bad.as_bytes()).err(), Some(NoteError::PrivateKey), "{bad}");
    }
}
