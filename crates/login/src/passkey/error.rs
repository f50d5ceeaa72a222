//! Why a passkey is not taken.

use base::{Explain, Fault, Help};
use webauthn_rs::prelude::WebauthnError;

/// Why a passkey is not registered, or proves nobody. Each refusal has a code of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasskeyError {
    /// Browsers make passkeys for host names only.
    #[error("`{0}` is not a host name that browsers make passkeys for")]
    Host(String),
    /// Longer than any honest answer.
    #[error("the browser's answer is longer than {0} bytes")]
    Long(usize),
    /// Not JSON or CBOR of the expected form.
    #[error("the browser's answer cannot be read")]
    Unreadable,
    /// Came after the end of its attempt.
    #[error("the attempt ended before the browser answered")]
    Late,
    /// An answer to another ceremony: of registration to a login, or the other way round.
    #[error("the browser answered something else than was asked")]
    Ceremony,
    /// A challenge of another attempt, or none of ours.
    #[error("the answer is to a challenge of another attempt")]
    Challenge,
    /// Made on a page of another origin.
    #[error("the answer was made on a page of another origin")]
    Origin,
    /// Made on a page within a page of another origin.
    #[error("the answer was made in a frame of another page")]
    Framed,
    /// Made for another relying party.
    #[error("the passkey is of another site")]
    Site,
    /// Nobody touched the authenticator.
    #[error("the authenticator did not ask that anybody be present")]
    Absent,
    /// The authenticator asked for no PIN and no biometric: one factor, not two.
    #[error("the authenticator did not verify who uses it")]
    Unverified,
    /// A signature that the registered key did not make.
    #[error("the signature is not of this passkey")]
    Signature,
    /// The counter did not go up: there may be two copies of the key.
    #[error("the passkey's counter did not go up: it may have been copied")]
    Counter,
    /// Not one of the algorithms that were offered.
    #[error("the passkey is of an algorithm that is not taken")]
    Algorithm,
    /// With a statement of its maker, which was not asked for and is not judged.
    #[error("the passkey came with an attestation, which was not asked for")]
    Attested,
    /// Says of itself whether it can be copied, and said something else before.
    #[error("the passkey says that it is backed up, and said before that it cannot be")]
    Backup,
    /// The same authenticator, once more.
    #[error("this authenticator has a passkey of this person already")]
    Registered,
    /// The answer names another person than the holder of the passkey, or nobody.
    #[error("the passkey is not of the person that the answer names")]
    Person,
    /// A refusal of the library for which there is no code of its own.
    #[error("the passkey was refused: {0}")]
    Other(String),
}

impl PasskeyError {
    /// What the library's refusal of an answer means here.
    pub(super) fn of(error: &WebauthnError) -> Self {
        match error {
            WebauthnError::InvalidClientDataType => Self::Ceremony,
            WebauthnError::MismatchedChallenge => Self::Challenge,
            WebauthnError::InvalidRPOrigin => Self::Origin,
            WebauthnError::CredentialCrossOrigin => Self::Framed,
            WebauthnError::InvalidRPIDHash => Self::Site,
            WebauthnError::UserNotPresent => Self::Absent,
            WebauthnError::UserNotVerified => Self::Unverified,
            WebauthnError::AuthenticationFailure | WebauthnError::SignatureInvalid => Self::Signature,
            WebauthnError::CredentialPossibleCompromise => Self::Counter,
            WebauthnError::CredentialAlteredAlgFromRequest
            | WebauthnError::COSEKeyInvalidType
            | WebauthnError::COSEKeyInvalidAlgorithm
            | WebauthnError::COSEKeyECDSAInvalidCurve
            | WebauthnError::COSEKeyEDDSAInvalidCurve
            | WebauthnError::COSEKeyEDUnsupported
            | WebauthnError::SshPublicKeyEDUnsupported
            | WebauthnError::CredentialInsecureCryptography => Self::Algorithm,
            WebauthnError::AttestationNotSupported => Self::Attested,
            WebauthnError::CredentialMayNotBeHardwareBound
            | WebauthnError::CredentialBackupEligibilityInconsistent => Self::Backup,
            WebauthnError::CredentialNotFound | WebauthnError::InvalidUserUniqueId => Self::Person,
            WebauthnError::ParseBase64Failure(_)
            | WebauthnError::ParseCBORFailure(_)
            | WebauthnError::ParseJSONFailure(_)
            | WebauthnError::ParseNOMFailure
            | WebauthnError::ParseInsufficientBytesAvailable
            | WebauthnError::MissingAttestationCredentialData
            | WebauthnError::COSEKeyInvalidCBORValue
            | WebauthnError::COSEKeyECDSAXYInvalid
            | WebauthnError::COSEKeyRSANEInvalid
            | WebauthnError::COSEKeyEDDSAXInvalid
            | WebauthnError::EcdsaPointInvalid
            | WebauthnError::RsaParametersInvalid => Self::Unreadable,
            other => Self::Other(other.to_string()),
        }
    }
}

impl Explain for PasskeyError {
    fn code(&self) -> &'static str {
        match self {
            Self::Host(_) => "SR-PKY-0001",
            Self::Long(_) => "SR-PKY-0002",
            Self::Unreadable => "SR-PKY-0003",
            Self::Late => "SR-PKY-0004",
            Self::Ceremony => "SR-PKY-0005",
            Self::Challenge => "SR-PKY-0006",
            Self::Origin => "SR-PKY-0007",
            Self::Framed => "SR-PKY-0008",
            Self::Site => "SR-PKY-0009",
            Self::Absent => "SR-PKY-0010",
            Self::Unverified => "SR-PKY-0011",
            Self::Signature => "SR-PKY-0012",
            Self::Counter => "SR-PKY-0013",
            Self::Algorithm => "SR-PKY-0014",
            Self::Attested => "SR-PKY-0015",
            Self::Backup => "SR-PKY-0016",
            Self::Registered => "SR-PKY-0017",
            Self::Person => "SR-PKY-0018",
            Self::Other(_) => "SR-PKY-0019",
        }
    }

    fn fault(&self) -> Fault {
        match self {
            Self::Host(_) => Fault::Operator,
            _ => Fault::Caller,
        }
    }

    fn help(&self) -> Option<Help> {
        Some(match self {
            Self::Host(_) => "set `host` in `[login.passkeys]` to the name in the address of the pages",
            Self::Late | Self::Challenge | Self::Ceremony => "begin again",
            Self::Origin | Self::Framed | Self::Site => {
                "open the page under the address that the command line printed"
            }
            Self::Absent | Self::Unverified => {
                "set a PIN or a fingerprint for the authenticator, or take another"
            }
            Self::Counter => "tell whoever administers the node: the passkey has to be replaced",
            Self::Registered => "log in with the passkey that is there, or take another authenticator",
            Self::Algorithm | Self::Attested | Self::Backup => "take another authenticator",
            Self::Signature | Self::Person => "take the passkey that was made for this account on this node",
            Self::Long(_) | Self::Unreadable | Self::Other(_) => {
                "try a current version of the browser, or another authenticator"
            }
        })
    }
}
