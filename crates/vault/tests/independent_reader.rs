//! A reader in another language and on another cipher library, written from the specification alone, opens what
//! this crate seals and refuses what this crate refuses.

#[cfg(test)]
mod support {
    use std::path::{Path, PathBuf};
    use std::process::{Command, Output};

    use strongroom_vault::sef::{ChunkSize, Content, Sealer, SefError};
    use strongroom_vault::{FreshDek, KeyScope};

    pub(super) const DEK: [u8; 32] = [0x5a; 32];

    pub(super) fn sealed_file(dir: &Path, plaintext: &[u8], log2: u8) -> (PathBuf, String) {
        let scope: KeyScope = "acme".parse().unwrap();
        let chunk = ChunkSize::from_log2(log2).unwrap();
        let mut sealer =
            Sealer::new(FreshDek::take(&mut DEK.clone()), [7; 32], chunk, Content::Unknown).unwrap();
        let mut body = Vec::new();
        let mut emit = |_, bytes: &[u8]| -> Result<(), SefError> {
            body.extend_from_slice(bytes);
            Ok(())
        };
        sealer.push(plaintext, &mut emit).unwrap();
        let sealed = sealer.finish(&scope, &mut emit).unwrap();
        let path = dir.join(format!("{}-{log2}.sef", plaintext.len()));
        std::fs::write(&path, [sealed.header.as_slice(), &body, &sealed.tags].concat()).unwrap();
        (path, sealed.digest.hex())
    }

    pub(super) fn python(file: &Path, dek: &[u8; 32], scope: &str, digest: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sef_open.py");
        Command::new("python3")
            .arg(script)
            .arg(file)
            .args([&base::digest::hex(dek), scope, digest])
            .output()
            .expect("python3 with the package `cryptography` is needed: tests/requirements.txt")
    }
}

use support::{DEK, python, sealed_file};

#[test]
fn a_python_reader_opens_our_files_and_refuses_the_same_forgeries() {
    let dir = tempfile::tempdir().unwrap();
    for (len, log2) in [(0, 16), (1, 20), (65_536, 16), (65_537, 16), (3_000_000, 20)] {
        let plaintext: Vec<u8> =
            (0..len).map(|i: u32| i.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect();
        let (path, digest) = sealed_file(dir.path(), &plaintext, log2);
        let opened = python(&path, &DEK, "acme", &digest);
        assert!(opened.status.success(), "{len}: {}", String::from_utf8_lossy(&opened.stderr));
        assert!(opened.stdout == plaintext, "{len}");
        for (dek, scope, digest, reason) in [
            ([0u8; 32], "acme", digest.clone(), "key commitment"),
            (DEK, "bank", digest.clone(), "context"),
            (DEK, "acme", "00".repeat(32), "context"),
        ] {
            let refused = python(&path, &dek, scope, &digest);
            assert!(!refused.status.success() && refused.stdout.is_empty());
            assert!(String::from_utf8_lossy(&refused.stderr).contains(reason), "{len} {reason}");
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let refused = python(&path, &DEK, "acme", &digest);
        assert!(String::from_utf8_lossy(&refused.stderr).contains("header mac"));
    }
}
