//! C2SP signed-note: a text and Ed25519 signature lines under it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

use base::Hasher;

use crate::limits::{NAME_MAX, NOTE_MAX, SIGNATURES_MAX};

/// Signature type of Ed25519 (C2SP signed-note, section "Signature types").
const ED25519_TYPE: u8 = 0x01;
/// Starts each signature line: em dash (U+2014) and a space.
const DASH: &str = "\u{2014} ";

/// A note or key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// Not the form of a signed note.
    #[error("not a signed note")]
    Form,
    /// Not `<name>+<id>+<key>`, or the id is not that of name and key.
    #[error("not a verifier key: `name+id+key` is expected, and the id must fit")]
    Key,
    /// No signature by the key.
    #[error("the note is not signed by the expected key")]
    NotSigned,
    /// A signature line with the key's name and id that does not verify.
    #[error("the signature on the note is wrong")]
    Signature,
    /// Bytes that are not an Ed25519 private key.
    #[error("not an Ed25519 private key")]
    PrivateKey,
}

impl base::Explain for NoteError {
    fn code(&self) -> &'static str {
        match self {
            Self::Form => "SR-AUD-0010",
            Self::Key => "SR-AUD-0011",
            Self::NotSigned => "SR-AUD-0012",
            Self::Signature => "SR-AUD-0013",
            Self::PrivateKey => "SR-AUD-0014",
        }
    }
    fn fault(&self) -> base::Fault {
        match self {
            Self::PrivateKey => base::Fault::Operator,
            _ => base::Fault::Peer,
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some(
            "give the log's verifier key, kept from the node's first start, with `strongroom audit verify --key`",
        )
    }
}

/// Whether `name` may stand in a note: not empty, no white space, no plus sign.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= NAME_MAX
        && !name.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}

/// SHA-256(name ‖ 0x0A ‖ type ‖ key)\[:4\].
fn key_id(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let mut hasher = Hasher::new();
    hasher.update(name.as_bytes());
    hasher.update(&[0x0a, ED25519_TYPE]);
    hasher.update(public);
    let [a, b, c, d, ..] = *hasher.finish().as_bytes();
    [a, b, c, d]
}

/// A public key with its name, as `<name>+<id hex>+<base64(type ‖ key)>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

impl VerifierKey {
    /// The key of this name.
    ///
    /// # Errors
    /// The name has white space or a plus sign.
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, NoteError> {
        if !is_name(name) {
            return Err(NoteError::Key);
        }
        Ok(Self { name: name.to_owned(), id: key_id(name, &public), public })
    }

    /// The name; a log's key has its origin as name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The 32 bytes of the Ed25519 public key (RFC 8032).
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

impl std::str::FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.trim_end_matches('\n').splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ED25519_TYPE, public)) = key.split_first() else { return Err(NoteError::Key) };
        let this = Self::new(name, public.try_into().map_err(|_| NoteError::Key)?)?;
        if base::digest::unhex(id).as_deref() != Some(&this.id[..]) {
            return Err(NoteError::Key);
        }
        Ok(this)
    }
}

impl std::fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut key = vec![ED25519_TYPE];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, base::digest::hex(&self.id), STANDARD.encode(key))
    }
}

/// Signs notes with an Ed25519 key under a name.
pub struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { pair: _, key } = self;
        write!(f, "Signer({key})")
    }
}

impl Signer {
    /// From the 32-byte private seed (RFC 8032 section 5.1.5).
    ///
    /// # Errors
    /// The name or seed cannot be used.
    pub fn new(name: &str, seed: &[u8; 32]) -> Result<Self, NoteError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| NoteError::PrivateKey)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::PrivateKey)?;
        Ok(Self { pair, key: VerifierKey::new(name, public)? })
    }

    /// From a private key in PEM (PKCS #8, RFC 8410), as `openssl genpkey -algorithm ed25519` writes it.
    ///
    /// # Errors
    /// [`NoteError::PrivateKey`], which repeats nothing of it.
    pub fn from_pem(name: &str, pem: &[u8]) -> Result<Self, NoteError> {
        let text = std::str::from_utf8(pem).map_err(|_| NoteError::PrivateKey)?.trim();
        let body = text.strip_prefix("-----BEGIN PRIVATE KEY-----");
        let body =
            body.and_then(|b| b.strip_suffix("-----END PRIVATE KEY-----")).ok_or(NoteError::PrivateKey)?;
        let joined: String = body.split_ascii_whitespace().collect();
        let der = STANDARD.decode(joined).map_err(|_| NoteError::PrivateKey)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der).map_err(|_| NoteError::PrivateKey)?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| NoteError::PrivateKey)?;
        Ok(Self { pair, key: VerifierKey::new(name, public)? })
    }

    /// The public half.
    pub fn verifier(&self) -> &VerifierKey {
        &self.key
    }

    /// The signed note of `text`, which must end with a newline.
    ///
    /// # Errors
    /// The text has no newline at its end or contains an empty line, which would end it early.
    pub fn sign(&self, text: &str) -> Result<String, NoteError> {
        if !text.ends_with('\n') || text.starts_with('\n') || text.contains("\n\n") {
            return Err(NoteError::Form);
        }
        let mut bytes = self.key.id.to_vec();
        bytes.extend_from_slice(self.sign_raw(text.as_bytes()).as_slice());
        Ok(format!("{text}\n{DASH}{} {}\n", self.key.name, STANDARD.encode(bytes)))
    }

    /// A plain Ed25519 signature, for messages with a context prefix of their own.
    pub fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        for (to, from) in out.iter_mut().zip(self.pair.sign(message).as_ref()) {
            *to = *from;
        }
        out
    }
}

/// Checks a plain Ed25519 signature.
pub fn verify_raw(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// Checks that `note` is signed by `key` and returns its text. Signatures by other keys are passed over, as the
/// specification asks.
///
/// # Errors
/// [`NoteError`].
pub fn open<'a>(note: &'a [u8], key: &VerifierKey) -> Result<&'a str, NoteError> {
    let (text, lines) = parts(note)?;
    let mut seen = false;
    for line in lines.lines().take(SIGNATURES_MAX) {
        let (name, signature) = signature_line(line)?;
        let Some((id, signature)) = signature.split_at_checked(4) else { return Err(NoteError::Form) };
        if name != key.name || id != key.id {
            continue;
        }
        if !verify_raw(&key.public, text.as_bytes(), signature) {
            return Err(NoteError::Signature);
        }
        seen = true;
    }
    if seen { Ok(text) } else { Err(NoteError::NotSigned) }
}

/// The text of a note without checking any signature: only to say what an untrusted note claims.
///
/// # Errors
/// [`NoteError::Form`].
pub fn text_unchecked(note: &[u8]) -> Result<&str, NoteError> {
    Ok(parts(note)?.0)
}

/// Splits at the last empty line: text with its final newline, and the signature lines.
fn parts(note: &[u8]) -> Result<(&str, &str), NoteError> {
    if note.len() > NOTE_MAX {
        return Err(NoteError::Form);
    }
    let note = std::str::from_utf8(note).map_err(|_| NoteError::Form)?;
    if note.chars().any(|c| c < ' ' && c != '\n') || !note.ends_with('\n') {
        return Err(NoteError::Form);
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Form)?;
    let (text, rest) = note.split_at_checked(at.saturating_add(1)).ok_or(NoteError::Form)?;
    let lines = rest.strip_prefix('\n').ok_or(NoteError::Form)?;
    if lines.is_empty() { Err(NoteError::Form) } else { Ok((text, lines)) }
}

/// `— <name> <base64>`.
fn signature_line(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let (name, signature) = line.strip_prefix(DASH).and_then(|l| l.split_once(' ')).ok_or(NoteError::Form)?;
    if !is_name(name) {
        return Err(NoteError::Form);
    }
    Ok((name, STANDARD.decode(signature).map_err(|_| NoteError::Form)?))
}

#[cfg(test)]
mod tests;
