//! Recovery codes: 128 random bits as 26 characters of Crockford base-32 and two that find slips of the pen. What the
//! node knows of a code is an Ed25519 key; its seed is made of the code here and nowhere else.

use audit::Signer;
use audit::note::NoteError;
use base::id::{crockford, uncrockford};
use base::{Secret, hmac_sha256, sha256};

/// Characters of the code itself.
const CODE_LEN: usize = 26;
/// Characters that check it.
const CHECK_LEN: usize = 2;
/// Characters written together.
const GROUP: usize = 4;

/// A recovery code.
#[derive(Debug)]
pub(crate) struct Code(Secret<String>);

/// A text is no recovery code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a recovery code: it has 28 letters and digits, and one of them may be mistyped")]
pub(crate) struct NoCode;

impl Code {
    /// Of these random bits.
    pub(crate) fn new(bits: u128) -> Self {
        let code = crockford(bits);
        let check = check(&code);
        Self(Secret::new(format!("{code}{check}")))
    }

    /// As somebody typed it: case, hyphens and spaces do not matter.
    ///
    /// # Errors
    /// [`NoCode`].
    pub(crate) fn parse(text: &str) -> Result<Self, NoCode> {
        let plain: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
        let plain = plain.to_ascii_lowercase();
        let (code, said) = plain.split_at_checked(CODE_LEN).ok_or(NoCode)?;
        let bits = uncrockford(code).ok_or(NoCode)?;
        if said.len() != CHECK_LEN || said != check(code) || crockford(bits) != code {
            return Err(NoCode);
        }
        Ok(Self::new(bits))
    }

    /// As it is written down: `abcd-efgh-...`.
    pub(crate) fn written(&self) -> String {
        self.0.expose(|code| {
            let groups: Vec<_> = code.as_bytes().chunks(GROUP).map(String::from_utf8_lossy).collect();
            groups.join("-")
        })
    }

    /// The key that it is the seed of.
    ///
    /// # Errors
    /// Never for what this module makes; the signer's type says so.
    pub(crate) fn signer(&self) -> Result<Signer, NoteError> {
        let purpose = sha256(b"strongroom recovery code 1");
        let seed = self.0.expose(|code| hmac_sha256(purpose.as_bytes(), &[code.as_bytes()]));
        Signer::new("recovery", seed.as_bytes())
    }
}

/// Ten bits of the digest of a code.
fn check(code: &str) -> String {
    let digest = sha256(code.as_bytes());
    let bits = digest.as_bytes().iter().take(2).fold(0u128, |n, b| (n << 8) | u128::from(*b));
    crockford(bits & 0x3ff).split_off(CODE_LEN.saturating_sub(CHECK_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BITS: u128 = 0x0123_4567_89ab_cdef_0011_2233_4455_6677;

    #[test]
    fn a_code_is_read_as_it_is_written_and_as_people_type_it() {
        let code = Code::new(BITS);
        let key = *code.signer().unwrap().verifier().public();
        let written = code.written();
        assert_eq!(written.len(), 28 + 6);
        let spaced = written.to_ascii_uppercase().replace('-', " ");
        for text in [written.as_str(), spaced.as_str(), &written.replace('-', "")] {
            assert_eq!(*Code::parse(text).unwrap().signer().unwrap().verifier().public(), key);
        }
        assert_ne!(*Code::new(BITS ^ 1).signer().unwrap().verifier().public(), key);
    }

    #[test]
    fn slips_of_the_pen_are_found() {
        let plain = Code::new(BITS).written().replace('-', "");
        let mut found = 0;
        for at in 0..plain.len() {
            for other in "0123456789abcdefghjkmnpqrstvwxyz".chars() {
                let mut typed: Vec<char> = plain.chars().collect();
                if typed[at] != other {
                    typed[at] = other;
                    found += u32::from(Code::parse(&typed.iter().collect::<String>()).is_err());
                }
            }
        }
        // Ten bits of check: one slip in a thousand is not found, and then the node refuses the code.
        assert!(found >= 28 * 31 - 8, "{found}");
        let short: String = plain.chars().skip(1).collect();
        for text in ["", "abcd", &short, &format!("{plain}0"), &format!("ü{short}")] {
            assert_eq!(Code::parse(text).err(), Some(NoCode), "{text}");
        }
    }
}
