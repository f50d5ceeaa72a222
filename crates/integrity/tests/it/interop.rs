//! Our signatures in the reference implementation (PyPI `model-signing` 1.1.1) and its signatures in ours, with
//! keys that OpenSSL made, on the three curves.
//!
//! The Python environment is `STRONGROOM_TEST_PYTHON`, else `.venv/bin/python` at the root of the repository,
//! which `scripts/install-deps.sh` makes. A test that cannot run fails: it is never skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use base::{Digest, sha256};
use strongroom_integrity as integrity;

use integrity::oms::{self, Resource};
use integrity::{Difference, PrivateKey, PublicKey, VerifyError};

const CURVES: [&str; 3] = ["prime256v1", "secp384r1", "secp521r1"];

#[cfg(test)]
pub(crate) mod support {
    use super::*;

    /// The interpreter of the Python environment that has the reference.
    pub(crate) fn python() -> PathBuf {
        std::env::var_os("STRONGROOM_TEST_PYTHON").map_or_else(
            || {
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap();
                root.join(".venv/bin/python")
            },
            PathBuf::from,
        )
    }

    /// The reference's command line.
    pub(super) fn reference(args: &[&str]) -> Output {
        let python = python();
        Command::new(&python)
            .args(["-c", "from model_signing._cli import main; main()"])
            .args(args)
            .output()
            .unwrap_or_else(|e| panic!("{}: {e}; run scripts/install-deps.sh", python.display()))
    }

    pub(super) fn openssl(args: &[&str]) {
        let done = Command::new("openssl").args(args).output().expect("openssl is installed");
        assert!(done.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    pub(super) fn text(output: &Output) -> String {
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// A model directory and a key pair on one curve.
    pub(super) struct Bench {
        dir: tempfile::TempDir,
    }

    impl Bench {
        pub(super) fn new(curve: &str) -> Self {
            let bench = Self { dir: tempfile::tempdir().unwrap() };
            let model = bench.path("model");
            std::fs::create_dir_all(model.join("weights/deep")).unwrap();
            for (name, bytes) in [
                ("config.json", &b"{}"[..]),
                ("empty", b""),
                ("weights/a:0:1.bin", b"colons"),
                ("weights/deep/é ü.bin", &[0, 159, 146, 150]),
                ("weights.bin", b"sorts before the directory"),
            ] {
                std::fs::write(model.join(name), bytes).unwrap();
            }
            openssl(&["ecparam", "-name", curve, "-genkey", "-out", &bench.text("sec1.pem")]);
            openssl(&[
                "pkcs8",
                "-topk8",
                "-nocrypt",
                "-in",
                &bench.text("sec1.pem"),
                "-out",
                &bench.text("pkcs8.pem"),
            ]);
            openssl(&["ec", "-in", &bench.text("sec1.pem"), "-pubout", "-out", &bench.text("public.pem")]);
            bench
        }
        pub(super) fn path(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }
        pub(super) fn text(&self, name: &str) -> String {
            self.path(name).to_str().unwrap().to_owned()
        }
        pub(super) fn read(&self, name: &str) -> Vec<u8> {
            std::fs::read(self.path(name)).unwrap()
        }
        /// The digests of the model's files, as a caller would pass them.
        pub(super) fn files(&self) -> BTreeMap<String, Digest> {
            fn walk(root: &Path, at: &Path, out: &mut BTreeMap<String, Digest>) {
                for entry in std::fs::read_dir(at).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        walk(root, &path, out);
                    } else {
                        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                        out.insert(name, sha256(&std::fs::read(&path).unwrap()));
                    }
                }
            }
            let mut out = BTreeMap::new();
            walk(&self.path("model"), &self.path("model"), &mut out);
            out
        }
        pub(super) fn resources(&self) -> Vec<Resource> {
            self.files().into_iter().map(|(name, digest)| Resource { name, digest: digest.into() }).collect()
        }
        /// Asks the reference whether `signature` covers the model.
        pub(super) fn reference_verifies(&self, signature: &str) -> Output {
            reference(&[
                "verify",
                "key",
                "--public_key",
                &self.text("public.pem"),
                "--signature",
                &self.text(signature),
                &self.text("model"),
            ])
        }
    }
}

use support::{Bench, openssl, reference, text};

#[test]
fn the_reference_verifies_what_we_sign() {
    for curve in CURVES {
        let bench = Bench::new(curve);
        for key in ["sec1.pem", "pkcs8.pem"] {
            let signature = oms::sign_with_pem(&bench.read(key), "model", &bench.resources(), &[]).unwrap();
            std::fs::write(bench.path("ours.sig"), &signature).unwrap();
            let answer = bench.reference_verifies("ours.sig");
            assert!(answer.status.success(), "{curve} {key}: {}", text(&answer));
            oms::verify(&signature, &bench.read("public.pem"), &bench.files()).unwrap();
        }
        // The same question with another answer, so that success above means something.
        std::fs::write(bench.path("model/config.json"), b"[]").unwrap();
        assert!(!bench.reference_verifies("ours.sig").status.success(), "{curve}");
    }
}

#[test]
fn the_reference_verifies_a_signature_file_within_the_model() {
    let bench = Bench::new("prime256v1");
    let ignored = ["model.sig".to_owned()];
    let signature =
        oms::sign_with_pem(&bench.read("sec1.pem"), "model", &bench.resources(), &ignored).unwrap();
    std::fs::write(bench.path("model/model.sig"), &signature).unwrap();
    let answer = bench.reference_verifies("model/model.sig");
    assert!(answer.status.success(), "{}", text(&answer));
    let verified = oms::verify(&signature, &bench.read("public.pem"), &bench.files()).unwrap();
    assert_eq!(verified.ignored.into_iter().collect::<Vec<_>>(), ignored);
}

#[test]
fn the_reference_verifies_what_was_signed_in_two_steps() {
    let bench = Bench::new("prime256v1");
    let payload = oms::statement("model", &bench.resources(), &[]).unwrap();
    let digest = integrity::dsse::to_sign(integrity::dsse::IN_TOTO, &payload);
    std::fs::write(bench.path("digest"), digest.as_bytes()).unwrap();
    // Another program holds the key and sees 32 bytes.
    openssl(&[
        "pkeyutl",
        "-sign",
        "-inkey",
        &bench.text("pkcs8.pem"),
        "-in",
        &bench.text("digest"),
        "-out",
        &bench.text("der"),
        "-pkeyopt",
        "digest:sha256",
    ]);
    let signature = oms::bundle(payload, bench.read("der"), &bench.read("public.pem")).unwrap();
    std::fs::write(bench.path("ours.sig"), &signature).unwrap();
    let answer = bench.reference_verifies("ours.sig");
    assert!(answer.status.success(), "{}", text(&answer));
}

#[test]
fn we_verify_what_the_reference_signs() {
    for curve in CURVES {
        let bench = Bench::new(curve);
        let signing = reference(&[
            "sign",
            "key",
            "--private_key",
            &bench.text("pkcs8.pem"),
            "--signature",
            &bench.text("model/model.sig"),
            &bench.text("model"),
        ]);
        assert!(signing.status.success(), "{curve}: {}", text(&signing));
        let (signature, public) = (bench.read("model/model.sig"), bench.read("public.pem"));
        let verified = oms::verify(&signature, &public, &bench.files()).unwrap();
        assert_eq!(verified.resources.len(), 5, "{curve}");
        std::fs::write(bench.path("model/planted.bin"), b"x").unwrap();
        assert_eq!(
            oms::verify(&signature, &public, &bench.files()),
            Err(VerifyError::Files(vec![Difference::Extra { name: "planted.bin".into() }]))
        );
    }
}

#[test]
fn key_files_of_openssl_are_read_and_fingerprinted_as_the_reference_does() {
    for curve in CURVES {
        let bench = Bench::new(curve);
        let public = PublicKey::from_pem(&bench.read("public.pem")).unwrap();
        assert_eq!(public.to_pem().unwrap().as_bytes(), bench.read("public.pem"), "{curve}");
        for file in ["sec1.pem", "pkcs8.pem"] {
            assert_eq!(
                PrivateKey::from_pem(&bench.read(file)).unwrap().public_key(),
                public,
                "{curve} {file}"
            );
        }
        openssl(&[
            "pkcs8",
            "-topk8",
            "-passout",
            "pass:x",
            "-in",
            &bench.text("sec1.pem"),
            "-out",
            &bench.text("enc.pem"),
        ]);
        let refused = PrivateKey::from_pem(&bench.read("enc.pem"));
        assert!(matches!(refused, Err(integrity::KeyError::Encrypted)), "{refused:?}");
        openssl(&[
            "ec",
            "-aes128",
            "-passout",
            "pass:x",
            "-in",
            &bench.text("sec1.pem"),
            "-out",
            &bench.text("enc1.pem"),
        ]);
        let refused = PrivateKey::from_pem(&bench.read("enc1.pem"));
        assert!(matches!(refused, Err(integrity::KeyError::Encrypted)), "{refused:?}");
    }
    let bench = Bench::new("secp256k1");
    assert!(matches!(PublicKey::from_pem(&bench.read("public.pem")), Err(integrity::KeyError::NotEc)));
    assert!(matches!(PrivateKey::from_pem(&bench.read("sec1.pem")), Err(integrity::KeyError::NotEc)));
}
