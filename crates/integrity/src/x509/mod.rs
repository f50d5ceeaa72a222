//! Certificates of private authorities: reading, paths, revocation lists, timestamps. All values, no clock.

mod algorithms;
mod certificate;
mod crl;
mod error;
mod path;
mod timestamp;
mod tlv;
mod trust;

pub use certificate::Certificate;
pub use crl::Crl;
pub use error::CertificateError;
pub use trust::CertificateTrust;
