//! The directory of a service's identity: `key.pem` for its holder alone, `cert.pem`, and `ca.pem`, whom to trust.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::{Secret, Timestamp};
use net::identity::Validity;

use crate::client::{Client, route};
use crate::context::write_whole;
use crate::error::{CliError, Failure};

/// Longest file of an identity that is read: a key or certificate of P-256 is below 1 KiB.
const FILE_MAX: u64 = 64 * 1024;
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "cert.pem";
const AUTHORITY: &str = "ca.pem";

/// An identity, read.
#[derive(Debug)]
pub(crate) struct Identity {
    dir: PathBuf,
    /// The private key, PEM.
    pub(crate) key: Secret<String>,
    /// The certificate, PEM.
    pub(crate) certificate: String,
    /// The certificate authority of the management plane, PEM.
    pub(crate) authority: String,
    /// From when until when the certificate is valid.
    pub(crate) validity: Validity,
}

impl Identity {
    /// Reads the directory.
    ///
    /// # Errors
    /// A file that is missing or not what it must be, or a key that others may read.
    pub(crate) fn read(dir: &Path) -> Result<Self, Failure> {
        let key_path = dir.join(KEY);
        let refuse = |reason: String| CliError::Identity { path: dir.to_owned(), reason };
        let mode = fs::metadata(&key_path).map_err(|e| refuse(format!("`{KEY}`: {e}")))?.mode();
        if mode & 0o077 != 0 {
            let what = format!("others may read `{KEY}` (mode {:o}); run chmod 600 on it", mode & 0o777);
            return Err(refuse(what).into());
        }
        let certificate =
            text(&dir.join(CERTIFICATE)).map_err(|e| refuse(format!("`{CERTIFICATE}`: {e}")))?;
        let validity = Validity::of(&certificate)
            .map_err(|e| refuse(format!("`{CERTIFICATE}`: {}", base::error::chain(&e))))?;
        Ok(Self {
            dir: dir.to_owned(),
            key: Secret::new(text(&key_path).map_err(|e| refuse(format!("`{KEY}`: {e}")))?),
            certificate,
            authority: text(&dir.join(AUTHORITY)).map_err(|e| refuse(format!("`{AUTHORITY}`: {e}")))?,
            validity,
        })
    }

    /// Refuses a certificate that has ended: nobody would take it, and it cannot be renewed any more.
    ///
    /// # Errors
    /// [`CliError::Identity`].
    pub(crate) fn must_be_valid(&self, now: Timestamp) -> Result<(), Failure> {
        if now < self.validity.until {
            return Ok(());
        }
        let reason = format!(
            "its certificate ended at {}, and only one that is valid renews itself",
            self.validity.until
        );
        Err(CliError::Identity { path: self.dir.clone(), reason }.into())
    }

    /// Asks for a fresh certificate of the same key and puts it in the place of the present one.
    ///
    /// # Errors
    /// The node refuses or does not answer, or the directory cannot be written.
    pub(crate) fn renew(&mut self, client: &Client) -> Result<api::Certificate, Failure> {
        let request = self
            .key
            .expose(|key| net::identity::request(key))
            .map_err(|e| Failure::explain(&e, crate::exit::Exit::Failed))?;
        let fresh: api::Certificate =
            client.post(&route(&["identity", "renew"]), &api::IdentityRenew { request })?;
        self.validity = Validity::of(&fresh.certificate)
            .map_err(|e| CliError::Answer { what: "/identity/renew".into(), reason: e.to_string() })?;
        write_whole(&self.dir.join(CERTIFICATE), fresh.certificate.as_bytes(), 0o644)?;
        self.certificate.clone_from(&fresh.certificate);
        Ok(fresh)
    }
}

/// A directory that is being filled with a new identity; removed again unless it is completed.
#[derive(Debug)]
pub(crate) struct Fresh {
    dir: PathBuf,
    /// What the node is asked with.
    pub(crate) request: String,
    complete: bool,
}

impl Fresh {
    /// Makes the directory and the key in it, which never leaves it.
    ///
    /// # Errors
    /// The directory exists, or cannot be written.
    pub(crate) fn make(dir: &Path) -> Result<Self, Failure> {
        let (key, request) =
            net::identity::new_key().map_err(|e| Failure::explain(&e, crate::exit::Exit::Failed))?;
        fs::DirBuilder::new().mode(0o700).create(dir).map_err(|e| match e.kind() {
            std::io::ErrorKind::AlreadyExists => CliError::Exists(dir.to_owned()),
            _ => CliError::file("create", dir)(e),
        })?;
        let fresh = Self { dir: dir.to_owned(), request, complete: false };
        let path = dir.join(KEY);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(CliError::file("create", &path))?;
        key.expose(|key| file.write_all(key.as_bytes()))
            .and_then(|()| file.sync_all())
            .map_err(CliError::file("write", &path))?;
        Ok(fresh)
    }

    /// Puts the certificate and the authority beside the key.
    ///
    /// # Errors
    /// They cannot be written.
    pub(crate) fn complete(mut self, certificate: &api::Certificate) -> Result<(), Failure> {
        write_whole(&self.dir.join(AUTHORITY), certificate.authority.as_bytes(), 0o644)?;
        write_whole(&self.dir.join(CERTIFICATE), certificate.certificate.as_bytes(), 0o644)?;
        self.complete = true;
        Ok(())
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if !self.complete {
            // The directory is ours and of no use; if it stays, it holds a key that nobody knows.
            drop(fs::remove_dir_all(&self.dir));
        }
    }
}

fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    fs::File::open(path)?.take(FILE_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in [KEY, CERTIFICATE, AUTHORITY] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(dir.path().join(KEY), mode(0o644)).unwrap();
        assert!(Identity::read(dir.path()).unwrap_err().what.contains("others may read"));
        fs::set_permissions(dir.path().join(KEY), mode(0o600)).unwrap();
        assert!(Identity::read(dir.path()).unwrap_err().what.contains("not a certificate"));
    }

    #[test]
    fn an_identity_that_is_not_completed_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ci");
        let fresh = Fresh::make(&path).unwrap();
        assert_eq!(fs::metadata(path.join(KEY)).unwrap().mode() & 0o777, 0o600);
        assert!(Fresh::make(&path).is_err(), "it is there already");
        assert!(path.exists(), "and stays");
        drop(fresh);
        assert!(!path.exists());
    }
}
