//! A private authority, run by OpenSSL.

use std::path::PathBuf;
use std::process::Command;

use base::Timestamp;
use strongroom_integrity as integrity;

use integrity::{Certificate, CertificateTrust, Crl};

/// A day in milliseconds.
pub(crate) const DAY: u64 = 24 * 60 * 60 * 1000;

/// The clock of this machine, which OpenSSL dates certificates by.
#[expect(clippy::disallowed_methods, reason = "the tool that issues the certificates uses the clock")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

/// What an authority's certificate says.
pub(crate) const CA: &str =
    "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash";
/// What a signer's certificate says.
pub(crate) const SIGNER: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\nsubjectAltName=email:alice@example.org";
/// What the certificate of a timestamp authority says.
pub(crate) const TSA: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping";

/// A directory with keys and certificates: `NAME.key`, `NAME.pem`.
pub(crate) struct Pki {
    dir: tempfile::TempDir,
    serial: std::cell::Cell<u32>,
}

impl Pki {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), serial: std::cell::Cell::new(0x10) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Runs OpenSSL in the directory.
    pub(crate) fn openssl(&self, line: &str) {
        let done = Command::new("openssl")
            .args(line.split_whitespace())
            .current_dir(self.dir.path())
            .output()
            .expect("openssl is installed");
        assert!(done.status.success(), "openssl {line}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A key pair: a curve's name, `rsa` or `ed25519`.
    pub(crate) fn key(&self, name: &str, kind: &str) {
        let line = match kind {
            "rsa" => format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out {name}.key"),
            "ed25519" => format!("genpkey -algorithm ED25519 -out {name}.key"),
            curve => format!("ecparam -name {curve} -genkey -noout -out {name}.key"),
        };
        self.openssl(&line);
    }

    /// A root: key of this kind, certificate of 3,650 days.
    pub(crate) fn root(&self, name: &str, kind: &str, extensions: &str) {
        self.key(name, kind);
        self.request(name, extensions);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -key {name}.key -set_serial {} -days 3650 -extfile {name}.ext -out {name}.pem",
            self.next()
        ));
    }

    /// A certificate of 30 days by another one.
    pub(crate) fn issue(&self, name: &str, kind: &str, issuer: &str, extensions: &str) {
        self.issue_for(name, kind, issuer, extensions, "-days 30");
    }

    /// The same with further arguments.
    pub(crate) fn issue_for(&self, name: &str, kind: &str, issuer: &str, extensions: &str, more: &str) {
        self.key(name, kind);
        self.request(name, extensions);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {issuer}.pem -CAkey {issuer}.key -set_serial {} {more} -extfile {name}.ext -out {name}.pem",
            self.next()
        ));
    }

    /// A certificate for an existing key with these times (`YYYYMMDDhhmmssZ`); by itself if it is its own issuer.
    pub(crate) fn dated(&self, name: &str, issuer: &str, extensions: &str, from: &str, until: &str) {
        self.request(name, extensions);
        self.write("index.txt", "");
        self.write("index.txt.attr", "unique_subject=no\n");
        self.write("serial", format!("{:04X}\n", self.next()));
        self.write(
            "dated.cnf",
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\nnew_certs_dir=.\ndefault_md=sha256\npolicy=p\n[p]\nO=optional\nCN=optional\n",
        );
        let by = if name == issuer { "-selfsign".to_owned() } else { format!("-cert {issuer}.pem") };
        self.openssl(&format!(
            "ca -batch -notext -config dated.cnf {by} -keyfile {issuer}.key -in {name}.csr -startdate {from} -enddate {until} -extfile {name}.ext -out {name}.pem"
        ));
    }

    fn request(&self, name: &str, extensions: &str) {
        self.write(&format!("{name}.ext"), extensions);
        self.openssl(&format!("req -new -key {name}.key -subj /O=Acme/CN={name} -out {name}.csr"));
    }

    fn next(&self) -> u32 {
        self.serial.set(self.serial.get() + 1);
        self.serial.get()
    }

    /// `NAME.crl` by an authority, current for some days, with these certificates revoked.
    pub(crate) fn crl(&self, name: &str, issuer: &str, revoked: &[&str], days: &str) {
        let serial = |cert: &str| {
            let out = Command::new("openssl")
                .args(["x509", "-noout", "-serial", "-in", &self.text(&format!("{cert}.pem"))])
                .output()
                .unwrap();
            String::from_utf8(out.stdout).unwrap().trim().strip_prefix("serial=").unwrap().to_owned()
        };
        let index: String = revoked
            .iter()
            .map(|cert| {
                format!(
                    "R\t301231000000Z\t261101000000Z,keyCompromise\t{}\tunknown\t/CN={cert}\n",
                    serial(cert)
                )
            })
            .collect();
        self.write("index.txt", index);
        self.write("index.txt.attr", "");
        self.write("crlnumber", "01\n");
        self.write(
            "ca.cnf",
            "[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\ncrlnumber=crlnumber\ndefault_md=sha256\ncrl_extensions=x\n[x]\nauthorityKeyIdentifier=keyid\n",
        );
        self.openssl(&format!(
            "ca -config ca.cnf -gencrl -cert {issuer}.pem -keyfile {issuer}.key {days} -out {name}.crl"
        ));
    }

    /// A timestamp by `tsa` over these bytes: a TimeStampResp.
    pub(crate) fn timestamp(&self, tsa: &str, over: &[u8]) -> Vec<u8> {
        self.write("stamped", over);
        self.write(
            "ts.cnf",
            "[tsa]\ndefault_tsa=t\n[t]\nserial=tsserial\ncrypto_device=builtin\ndefault_policy=1.2.3.4.1\ndigests=sha256,sha384,sha512\naccuracy=secs:1\nordering=no\ntsa_name=yes\ness_cert_id_alg=sha256\n",
        );
        self.openssl("ts -query -data stamped -sha256 -cert -out ts.query");
        self.openssl(&format!(
            "ts -reply -config ts.cnf -queryfile ts.query -signer {tsa}.pem -inkey {tsa}.key -sha256 -out ts.reply"
        ));
        self.read("ts.reply")
    }

    pub(crate) fn certificates(&self, names: &[&str]) -> Vec<Certificate> {
        names
            .iter()
            .flat_map(|name| Certificate::all_from_pem(&self.read(&format!("{name}.pem"))).unwrap())
            .collect()
    }

    pub(crate) fn trust(&self, roots: &[&str]) -> CertificateTrust {
        CertificateTrust::new(self.certificates(roots)).unwrap()
    }

    pub(crate) fn crls(&self, names: &[&str]) -> Vec<Crl> {
        names.iter().map(|name| Crl::parse(&self.read(&format!("{name}.crl"))).unwrap()).collect()
    }
}
