//! Timestamps (RFC 3161, RFC 5816) over a signature: a strict reader of the few forms that authorities send.

use base::{Timestamp, sha256};

use super::algorithms::{self, Hash};
use super::certificate::Certificate;
use super::crl::{self, Coverage, Crl};
use super::error::CertificateError;
use super::path::{self, Purpose};
use super::tlv::{self, Element, Reader};
use crate::limits::{CERTIFICATES_MAX, SKEW_MILLIS, TIMESTAMP_MAX};

/// Object identifiers, as content.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
const CONTENT_TYPE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 3];
const MESSAGE_DIGEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 4];
const TST_INFO: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 1, 4];
const SIGNING_CERTIFICATE_V2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 16, 2, 47];
/// `rsaEncryption` and the curves' `ecPublicKey`: a kind of key where a signature algorithm is expected.
const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];

/// What a caller trusts to tell the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Authorities<'a> {
    pub(crate) roots: &'a [Certificate],
    pub(crate) between: &'a [Certificate],
    pub(crate) crls: &'a [Crl],
    pub(crate) now: Timestamp,
}

/// The time at which `signature` existed, by an authority whose path ends at one of the roots. Its certificates are
/// within their validity both then and now, so that the key of an authority that ended dates nothing any more.
///
/// # Errors
/// [`CertificateError::Timestamp`] and what its certificates may be refused for.
pub(crate) fn verify(
    response: &[u8],
    signature: &[u8],
    authorities: &Authorities<'_>,
) -> Result<Timestamp, CertificateError> {
    if response.len() > TIMESTAMP_MAX {
        return Err(refuse("it is too long"));
    }
    let token = token(response).ok_or_else(|| refuse("it is not a granted response in strict DER"))?;
    let data = signed_data(token).ok_or_else(|| refuse("it is not CMS signed data in strict DER"))?;
    let certificates =
        data.certificates.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    let signer = check_signer(&data, &certificates, authorities.between)?;
    let info = info(data.content).ok_or_else(|| refuse("its content is not a TSTInfo of version 1"))?;
    if info.imprint != info.hash.of(signature) {
        return Err(refuse("it is over another signature"));
    }
    if info.at > authorities.now.plus_millis(SKEW_MILLIS) {
        return Err(refuse("it is from the future"));
    }
    let between: Vec<Certificate> = certificates.iter().chain(authorities.between).cloned().collect();
    let roots = authorities.roots;
    let above = path::build(signer, &between, roots, Purpose::TimeStamping, info.at)?;
    let whole: Vec<&Certificate> = [signer].into_iter().chain(&above).collect();
    for certificate in &whole {
        certificate.check_validity(authorities.now)?;
    }
    crl::check(&whole, authorities.crls, Coverage::Listed, authorities.now)?;
    Ok(info.at)
}

fn refuse(why: &str) -> CertificateError {
    CertificateError::Timestamp { why: why.to_owned() }
}

/// The token of `TimeStampResp { status PKIStatusInfo { status INTEGER, .. }, timeStampToken }`.
fn token(response: &[u8]) -> Option<Element<'_>> {
    let mut reader = Reader::new(tlv::single(response, tlv::SEQUENCE)?.content);
    let status = reader.expect(tlv::SEQUENCE)?;
    let granted = Reader::new(status.content).expect(tlv::INTEGER)?.content;
    let token = reader.expect(tlv::SEQUENCE)?;
    reader.end()?;
    // 0 granted, 1 granted with modifications.
    matches!(granted, [0 | 1]).then_some(token)
}

/// What is used of a SignedData.
struct SignedData<'d> {
    content: &'d [u8],
    certificates: Vec<&'d [u8]>,
    signer: SignerInfo<'d>,
}

struct SignerInfo<'d> {
    hash: Hash,
    /// Exact bytes of the signed attributes under their tag in the message.
    attributes: Element<'d>,
    algorithm: &'d [u8],
    signature: &'d [u8],
}

/// ContentInfo around SignedData version 3 (RFC 5652), with one signer and signed attributes.
fn signed_data(token: Element<'_>) -> Option<SignedData<'_>> {
    let mut outer = Reader::new(token.content);
    let kind = outer.expect(tlv::OID)?;
    let wrapped = outer.expect(tlv::context(0))?;
    outer.end()?;
    if kind.content != SIGNED_DATA {
        return None;
    }
    let mut reader = Reader::new(tlv::single(wrapped.content, tlv::SEQUENCE)?.content);
    if reader.expect(tlv::INTEGER)?.content != [3] {
        return None;
    }
    reader.expect(tlv::SET)?;
    let mut encapsulated = Reader::new(reader.expect(tlv::SEQUENCE)?.content);
    if encapsulated.expect(tlv::OID)?.content != TST_INFO {
        return None;
    }
    let content = tlv::single(encapsulated.expect(tlv::context(0))?.content, tlv::OCTET_STRING)?.content;
    encapsulated.end()?;
    let mut certificates = Vec::new();
    if let Some(set) = reader.optional(tlv::context(0))? {
        let mut set = Reader::new(set.content);
        while !set.is_empty() {
            certificates.push(set.expect(tlv::SEQUENCE)?.whole);
            if certificates.len() > CERTIFICATES_MAX {
                return None;
            }
        }
    }
    let mut signers = Reader::new(reader.expect(tlv::SET)?.content);
    reader.end()?;
    let signer = signer_info(signers.expect(tlv::SEQUENCE)?)?;
    signers.end()?;
    Some(SignedData { content, certificates, signer })
}

fn signer_info(element: Element<'_>) -> Option<SignerInfo<'_>> {
    let mut reader = Reader::new(element.content);
    let version = reader.expect(tlv::INTEGER)?.content;
    // Who signed is found by the signed attribute; the identifier beside it is not under the signature.
    match (version, reader.any()?.tag) {
        ([1], tlv::SEQUENCE) | ([3], 0x80) => {}
        _ => return None,
    }
    let hash = Hash::from_oid(algorithm_oid(reader.expect(tlv::SEQUENCE)?.content)?)?;
    let attributes = reader.expect(tlv::context(0))?;
    let algorithm = reader.expect(tlv::SEQUENCE)?.content;
    let signature = reader.expect(tlv::OCTET_STRING)?.content;
    reader.optional(tlv::context(1))?;
    reader.end()?;
    Some(SignerInfo { hash, attributes, algorithm, signature })
}

/// The object identifier of a hash, whose parameters are absent or NULL.
fn algorithm_oid(content: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(content);
    let oid = reader.expect(tlv::OID)?.content;
    match reader.any() {
        None if reader.is_empty() => Some(oid),
        Some(Element { whole: [5, 0], .. }) => reader.end().map(|()| oid),
        _ => None,
    }
}

/// The certificate whose key signed, once signature and attributes hold.
fn check_signer<'c>(
    data: &SignedData<'_>,
    certificates: &'c [Certificate],
    beside: &'c [Certificate],
) -> Result<&'c Certificate, CertificateError> {
    let signer = &data.signer;
    let attributes = attributes(signer.attributes.content)
        .ok_or_else(|| refuse("its attributes are not as RFC 3161 says"))?;
    if attributes.digest != signer.hash.of(data.content) {
        return Err(refuse("its content is not what was signed"));
    }
    let certificate = certificates
        .iter()
        .chain(beside)
        .find(|c| attributes.hash.of(c.der()) == attributes.certificate)
        .ok_or_else(|| refuse("the certificate of its authority is not in it"))?;
    // The signature covers the attributes as a SET, whose tag stands in the place of the message's.
    let mut message = signer.attributes.whole.to_vec();
    if let Some(tag) = message.first_mut() {
        *tag = tlv::SET;
    }
    let Some((key_alg, key)) = certificate.key_parts() else {
        return Err(refuse("the key of its authority cannot be read"));
    };
    let kind = Reader::new(signer.algorithm).expect(tlv::OID).map(|oid| oid.content);
    let holds = if matches!(kind, Some(RSA_ENCRYPTION | EC_PUBLIC_KEY)) {
        algorithms::verifies_with_hash(&key_alg, &key, signer.hash, &message, signer.signature)
    } else {
        algorithms::verifies(&key_alg, &key, signer.algorithm, &message, signer.signature)
    };
    if holds { Ok(certificate) } else { Err(refuse("its signature does not match")) }
}

/// The three attributes that count, each exactly once.
struct Attributes<'d> {
    digest: &'d [u8],
    hash: Hash,
    certificate: &'d [u8],
}

fn attributes(content: &[u8]) -> Option<Attributes<'_>> {
    let (mut kind, mut digest, mut certificate) = (None, None, None);
    let mut reader = Reader::new(content);
    let mut seen = std::collections::BTreeSet::new();
    while !reader.is_empty() {
        let mut attribute = Reader::new(reader.expect(tlv::SEQUENCE)?.content);
        let oid = attribute.expect(tlv::OID)?.content;
        let mut values = Reader::new(attribute.expect(tlv::SET)?.content);
        attribute.end()?;
        if !seen.insert(oid) {
            return None;
        }
        let slot = match oid {
            CONTENT_TYPE => &mut kind,
            MESSAGE_DIGEST => &mut digest,
            SIGNING_CERTIFICATE_V2 => &mut certificate,
            _ => continue,
        };
        *slot = Some(values.any()?);
        values.end()?;
    }
    let kind = kind.filter(|e| e.tag == tlv::OID)?;
    let digest = digest.filter(|e| e.tag == tlv::OCTET_STRING)?.content;
    if kind.content != TST_INFO {
        return None;
    }
    let (hash, certificate) = signing_certificate(certificate?)?;
    Some(Attributes { digest, hash, certificate })
}

/// The first of `SigningCertificateV2 { certs SEQUENCE OF ESSCertIDv2 { hash DEFAULT sha256, certHash, .. }, .. }`.
fn signing_certificate(element: Element<'_>) -> Option<(Hash, &[u8])> {
    if element.tag != tlv::SEQUENCE {
        return None;
    }
    let mut list = Reader::new(Reader::new(element.content).expect(tlv::SEQUENCE)?.content);
    let mut first = Reader::new(list.expect(tlv::SEQUENCE)?.content);
    let hash = match first.optional(tlv::SEQUENCE)? {
        None => Hash::Sha256,
        Some(named) => Hash::from_oid(algorithm_oid(named.content)?)?,
    };
    Some((hash, first.expect(tlv::OCTET_STRING)?.content))
}

/// What is used of a TSTInfo.
struct Info<'d> {
    hash: Hash,
    imprint: &'d [u8],
    at: Timestamp,
}

fn info(content: &[u8]) -> Option<Info<'_>> {
    let mut reader = Reader::new(tlv::single(content, tlv::SEQUENCE)?.content);
    if reader.expect(tlv::INTEGER)?.content != [1] {
        return None;
    }
    reader.expect(tlv::OID)?;
    let mut imprint = Reader::new(reader.expect(tlv::SEQUENCE)?.content);
    let hash = Hash::from_oid(algorithm_oid(imprint.expect(tlv::SEQUENCE)?.content)?)?;
    let hashed = imprint.expect(tlv::OCTET_STRING)?.content;
    imprint.end()?;
    reader.expect(tlv::INTEGER)?;
    let at = generalized_time(reader.expect(tlv::GENERALIZED_TIME)?.content)?;
    // Accuracy, ordering, nonce and name of the authority change nothing here.
    reader.optional(tlv::SEQUENCE)?;
    reader.optional(tlv::BOOLEAN)?;
    reader.optional(tlv::INTEGER)?;
    reader.optional(tlv::context(0))?;
    if let Some(extensions) = reader.optional(tlv::context(1))? {
        let mut extensions = Reader::new(extensions.content);
        while !extensions.is_empty() {
            let mut extension = Reader::new(extensions.expect(tlv::SEQUENCE)?.content);
            extension.expect(tlv::OID)?;
            // None is understood, so none may be critical.
            if extension.optional(tlv::BOOLEAN)?.is_some() {
                return None;
            }
            extension.expect(tlv::OCTET_STRING)?;
            extension.end()?;
        }
    }
    reader.end()?;
    Some(Info { hash, imprint: hashed, at })
}

/// `YYYYMMDDhhmmss[.f]Z`: the fraction, which RFC 3161 allows, is cut to milliseconds.
fn generalized_time(content: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.len() != 14 || !digits(whole) || fraction.is_empty() || fraction.len() > 9 || !digits(fraction) {
        return None;
    }
    let number = |from: usize, to: usize| whole.get(from..to)?.parse::<u8>().ok();
    let year = whole.get(..4)?.parse::<u16>().ok()?;
    let time = x509_cert::der::DateTime::new(
        year,
        number(4, 6)?,
        number(6, 8)?,
        number(8, 10)?,
        number(10, 12)?,
        number(12, 14)?,
    );
    let seconds = time.ok()?.unix_duration().as_secs();
    let millis: u64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    Some(Timestamp::from_millis(seconds.checked_mul(1000)?.checked_add(millis)?))
}

/// The digest by which a timestamp is named in messages.
pub(crate) fn name(response: &[u8]) -> String {
    sha256(response).short()
}
