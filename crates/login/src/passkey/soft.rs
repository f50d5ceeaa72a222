//! An authenticator and a browser in software: honest by default, and with a lie for each thing that is verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, SignatureAlgorithm, SigningKey};
use serde_json::{Value, json};

pub(super) fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn unb64(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

/// CBOR (RFC 8949) as authenticators write it.
pub(super) mod cbor {
    fn head(major: u8, n: usize) -> Vec<u8> {
        let major = major << 5;
        match n {
            0..24 => vec![major | u8::try_from(n).unwrap()],
            24..256 => vec![major | 24, u8::try_from(n).unwrap()],
            _ => [&[major | 25][..], &u16::try_from(n).unwrap().to_be_bytes()].concat(),
        }
    }
    pub(crate) fn int(n: i64) -> Vec<u8> {
        if n < 0 { head(1, usize::try_from(-1 - n).unwrap()) } else { head(0, usize::try_from(n).unwrap()) }
    }
    pub(crate) fn bytes(b: &[u8]) -> Vec<u8> {
        [head(2, b.len()), b.to_vec()].concat()
    }
    pub(crate) fn text(t: &str) -> Vec<u8> {
        [head(3, t.len()), t.as_bytes().to_vec()].concat()
    }
    pub(crate) fn map(members: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let body = members.iter().flat_map(|(k, v)| [k.clone(), v.clone()]).flatten().collect();
        [head(5, members.len()), body].concat()
    }
}

/// What is said and done; [`Lies::default`] of a test's site is the truth.
#[derive(Clone)]
pub(super) struct Lies {
    pub(super) origin: String,
    pub(super) site: String,
    pub(super) flags: u8,
    pub(super) kind: Option<&'static str>,
    pub(super) challenge: Option<Vec<u8>>,
    pub(super) cross_origin: bool,
    pub(super) attestation: &'static str,
    pub(super) cose: Option<Vec<u8>>,
    pub(super) handle: Option<Vec<u8>>,
    pub(super) raw_id: Option<Vec<u8>>,
    /// What is put after the authenticator data.
    pub(super) more: Vec<u8>,
}

pub(super) const PRESENT: u8 = 1;
pub(super) const VERIFIED: u8 = 4;
pub(super) const ELIGIBLE: u8 = 8;
pub(super) const BACKED_UP: u8 = 16;
const ATTESTED_DATA: u8 = 64;

impl Lies {
    pub(super) fn none() -> Self {
        Self {
            origin: "https://node.example:9443".into(),
            site: "node.example".into(),
            flags: PRESENT | VERIFIED,
            kind: None,
            challenge: None,
            cross_origin: false,
            attestation: "none",
            cose: None,
            handle: None,
            raw_id: None,
            more: Vec::new(),
        }
    }
}

/// One passkey in an authenticator.
pub(super) struct Soft {
    pub(super) key: KeyPair,
    pub(super) id: Vec<u8>,
    pub(super) handle: Vec<u8>,
    pub(super) counter: u32,
}

impl Soft {
    pub(super) fn new(algorithm: &'static SignatureAlgorithm, id: u8) -> Self {
        let key = KeyPair::generate_for(algorithm).unwrap();
        Self { key, id: vec![id; 32], handle: Vec::new(), counter: 0 }
    }

    /// Public key as COSE (RFC 9053) of its algorithm.
    pub(super) fn cose(&self) -> Vec<u8> {
        use cbor::{bytes, int, map};
        let raw = self.key.public_key_raw();
        let ec = |alg: i64, curve: i64| {
            let (x, y) = raw[1..].split_at(raw.len() / 2);
            map(&[
                (int(1), int(2)),
                (int(3), int(alg)),
                (int(-1), int(curve)),
                (int(-2), bytes(x)),
                (int(-3), bytes(y)),
            ])
        };
        let algorithm = self.key.algorithm();
        if algorithm == &rcgen::PKCS_ECDSA_P256_SHA256 {
            ec(-7, 1)
        } else if algorithm == &rcgen::PKCS_ECDSA_P384_SHA384 {
            ec(-35, 2)
        } else if algorithm == &rcgen::PKCS_ED25519 {
            map(&[(int(1), int(1)), (int(3), int(-8)), (int(-1), int(6)), (int(-2), bytes(raw))])
        } else {
            // RSAPublicKey (RFC 8017 A.1.1) of 2,048 bits with exponent 65537: all lengths are fixed.
            let (n, e) = (&raw[9..265], &raw[267..270]);
            map(&[(int(1), int(3)), (int(3), int(-257)), (int(-1), bytes(n)), (int(-2), bytes(e))])
        }
    }

    fn data(&self, lies: &Lies, flags: u8) -> Vec<u8> {
        let site = base::sha256(lies.site.as_bytes());
        [&site.as_bytes()[..], &[flags], &self.counter.to_be_bytes()].concat()
    }

    fn client(kind: &str, options: &Value, lies: &Lies) -> Vec<u8> {
        let asked = unb64(&options["publicKey"]["challenge"]);
        json!({
            "type": lies.kind.unwrap_or(kind),
            "challenge": b64(lies.challenge.as_ref().unwrap_or(&asked)),
            "origin": lies.origin,
            "crossOrigin": lies.cross_origin,
        })
        .to_string()
        .into_bytes()
    }

    /// Authenticator data of a registration.
    pub(super) fn attested(&self, lies: &Lies) -> Vec<u8> {
        let length = u16::try_from(self.id.len()).unwrap().to_be_bytes();
        let cose = lies.cose.clone().unwrap_or_else(|| self.cose());
        let head = self.data(lies, lies.flags | ATTESTED_DATA);
        [&head[..], &[0; 16], &length, &self.id, &cose, &lies.more].concat()
    }

    /// `navigator.credentials.create()`.
    pub(super) fn create(&mut self, options: &Value, lies: &Lies) -> Value {
        self.handle = unb64(&options["publicKey"]["user"]["id"]);
        let client = Self::client("webauthn.create", options, lies);
        let data = self.attested(lies);
        // Self attestation (section 8.2): what an authenticator can add that nobody asked for.
        let signed = [&data[..], base::sha256(&client).as_bytes()].concat();
        let statement = match lies.attestation {
            "packed" => cbor::map(&[
                (cbor::text("alg"), cbor::int(-7)),
                (cbor::text("sig"), cbor::bytes(&self.key.sign(&signed).unwrap())),
            ]),
            _ => cbor::map(&[]),
        };
        let object = cbor::map(&[
            (cbor::text("fmt"), cbor::text(lies.attestation)),
            (cbor::text("attStmt"), statement),
            (cbor::text("authData"), cbor::bytes(&data)),
        ]);
        self.answered(&client, &object, lies)
    }

    /// As a browser sends it: with members that nobody here reads.
    pub(super) fn answered(&self, client: &[u8], object: &[u8], lies: &Lies) -> Value {
        json!({
            "id": b64(&self.id), "rawId": b64(lies.raw_id.as_ref().unwrap_or(&self.id)), "type": "public-key",
            "authenticatorAttachment": "platform",
            "clientExtensionResults": {"credProps": {"rk": true}},
            "response": {
                "clientDataJSON": b64(client), "attestationObject": b64(object),
                "transports": ["internal", "smart-card"], "publicKeyAlgorithm": -7,
            },
        })
    }

    /// `navigator.credentials.get()`.
    pub(super) fn get(&mut self, options: &Value, lies: &Lies) -> Value {
        let client = Self::client("webauthn.get", options, lies);
        let data = [self.data(lies, lies.flags), lies.more.clone()].concat();
        let signed = [&data[..], base::sha256(&client).as_bytes()].concat();
        json!({
            "id": b64(&self.id), "rawId": b64(lies.raw_id.as_ref().unwrap_or(&self.id)), "type": "public-key",
            "clientExtensionResults": {},
            "response": {
                "clientDataJSON": b64(&client), "authenticatorData": b64(&data),
                "signature": b64(&self.key.sign(&signed).unwrap()),
                "userHandle": b64(lies.handle.as_ref().unwrap_or(&self.handle)),
            },
        })
    }
}
