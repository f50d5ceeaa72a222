//! A policy that was read and makes sense.

use std::collections::{BTreeMap, BTreeSet};

use base::{Digest, Timestamp};

use super::datasets::Datasets;
use super::document::{
    self, CertificateDocument, POLICY_SCHEMA, PolicyDocument, RuleDocument, SignerDocument,
};
use super::error::TrustError;
use super::pattern::Pattern;
use crate::error::{VerifyError, quote};
use crate::key::PublicKey;
use crate::limits::{PRINCIPALS_MAX, RULES_MAX};
use crate::oms::{Accept, Signed, Signer, Trust, open_with};
use crate::x509::{Certificate, CertificateTrust, Crl};

/// Longest time that models go on being loaded after the revocation list was to be replaced.
const GRACE_HOURS_MAX: u64 = 7 * 24;
/// That time, where a policy does not say.
const GRACE_HOURS: u64 = 24;

/// The policy of a tenant.
#[derive(Debug, Clone)]
pub struct Policy {
    digest: Digest,
    tenant: String,
    version: u64,
    revocation_key: Option<PublicKey>,
    grace_millis: u64,
    sigstore_root: Option<String>,
    principals: Vec<Principal>,
    rules: Vec<Rule>,
    datasets: Datasets,
}

/// Somebody who may sign.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The name by which signatures are counted.
    pub name: String,
    /// Models for which their signature counts.
    pub models: Vec<Pattern>,
    /// From when it counts, if that is limited.
    pub not_before: Option<Timestamp>,
    /// Until when it counts (inclusive), if that is limited.
    pub not_after: Option<Timestamp>,
    /// How they sign; at least one way.
    pub credentials: Vec<Credential>,
}

/// A way of signing.
#[derive(Debug, Clone)]
pub enum Credential {
    /// With this key.
    Key(PublicKey),
    /// With a certificate below these roots that names this identity
    /// (see [`CertificateTrust::with_identity`]).
    Certificate {
        /// The roots, with revocation lists and authorities of timestamps where the policy has them.
        trust: Box<CertificateTrust>,
        /// The identity.
        identity: String,
    },
    /// As this identity of Sigstore.
    Sigstore {
        /// E-mail address or URI.
        identity: String,
        /// The OpenID provider that vouches for it.
        issuer: String,
    },
}

/// What must hold of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Of which models.
    pub models: Vec<Pattern>,
    /// Signatures that are needed, each of another principal and of another key.
    pub signatures: usize,
    /// Oldest release that is admitted.
    pub floor: u64,
    /// Whether a signed Model BoM must be there.
    pub bom: bool,
    /// Whether a model that was made elsewhere must come with a signature of somebody who may sign for it.
    pub upstream_signed: bool,
    /// Risks named by the inspection that are accepted; what the inspection refuses never is.
    pub accept_risks: BTreeSet<String>,
}

impl Policy {
    /// Reads a policy in TOML or JSON.
    ///
    /// # Errors
    /// [`TrustError`]; among them what could never admit anything, and what could be read two ways.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let (document, digest): (PolicyDocument, Digest) = document::read(bytes)?;
        if document.schema != POLICY_SCHEMA {
            let found = quote(&document.schema);
            return Err(TrustError::value("schema", format!("it is `{found}`, not `{POLICY_SCHEMA}`")));
        }
        let (revocation_key, grace_hours) = match &document.revocations {
            None => (None, GRACE_HOURS),
            Some(how) => (Some(key("revocations.key", &how.key)?), how.grace_hours.unwrap_or(GRACE_HOURS)),
        };
        if grace_hours > GRACE_HOURS_MAX {
            let why = format!("at most {GRACE_HOURS_MAX} hours");
            return Err(TrustError::value("revocations.grace_hours", why));
        }
        let few = |what: &str, len: usize, most: usize| {
            let why = format!("{len} of them, at least 1 and at most {most}");
            if len == 0 || len > most { Err(TrustError::value(what, why)) } else { Ok(()) }
        };
        few("signer", document.signers.len(), PRINCIPALS_MAX)?;
        few("rule", document.rules.len(), RULES_MAX)?;
        let principals = document.signers.iter().map(principal).collect::<Result<Vec<_>, _>>()?;
        let rules = document.rules.iter().map(rule).collect::<Result<Vec<_>, _>>()?;
        let policy = Self {
            digest,
            tenant: document::word("tenant", &document.tenant)?,
            version: document.version,
            revocation_key,
            grace_millis: grace_hours.saturating_mul(60 * 60 * 1000),
            sigstore_root: document.sigstore.map(|instance| instance.trusted_root),
            principals,
            rules,
            datasets: Datasets::read(document.datasets.as_ref())?,
        };
        policy.check()?;
        Ok(policy)
    }

    /// What no single part shows to be wrong.
    fn check(&self) -> Result<(), TrustError> {
        if self.version == 0 {
            return Err(TrustError::value("version", "versions count from 1"));
        }
        let mut names = BTreeSet::new();
        let mut keys: BTreeMap<Digest, &str> = BTreeMap::new();
        for principal in &self.principals {
            let place = format!("signer `{}`", quote(&principal.name));
            if !names.insert(&principal.name) {
                return Err(TrustError::value(place, "stands twice"));
            }
            for credential in &principal.credentials {
                let Credential::Key(key) = credential else { continue };
                let fingerprint = fingerprint(&place, key)?;
                if let Some(other) = keys.insert(fingerprint, &principal.name) {
                    let why = format!("has a key that stands under `{}` already", quote(other));
                    return Err(TrustError::value(place, why));
                }
                if self.revocation_key.as_ref() == Some(key) {
                    return Err(TrustError::value(place, "has the key that signs revocation lists"));
                }
            }
        }
        let mut patterns = BTreeSet::new();
        for rule in &self.rules {
            for pattern in &rule.models {
                let place = format!("rule for `{}`", quote(pattern.as_str()));
                if !patterns.insert(pattern) {
                    return Err(TrustError::value(place, "there is another for the same models"));
                }
                if rule.signatures == 0 {
                    return Err(TrustError::value(place, "asks for no signature"));
                }
                let able = |p: &&Principal| p.models.iter().any(|m| m.overlaps(pattern));
                let able = self.principals.iter().filter(able).count();
                if rule.signatures > able {
                    let why = format!("asks for {} signatures, and {able} may sign", rule.signatures);
                    return Err(TrustError::value(place, why));
                }
            }
        }
        Ok(())
    }

    /// SHA-256 of its canonical form, by which receipts name it.
    pub const fn digest(&self) -> Digest {
        self.digest
    }
    /// Whose it is.
    pub fn tenant(&self) -> &str {
        &self.tenant
    }
    /// Its number; a higher one replaces a lower.
    pub const fn version(&self) -> u64 {
        self.version
    }
    /// The key that signs revocation lists. If there is one, there must be a list.
    pub const fn revocation_key(&self) -> Option<&PublicKey> {
        self.revocation_key.as_ref()
    }
    /// How long models go on being loaded after the revocation list was to be replaced, in milliseconds.
    pub const fn grace_millis(&self) -> u64 {
        self.grace_millis
    }
    /// Everybody who may sign.
    pub fn principals(&self) -> &[Principal] {
        &self.principals
    }
    /// All rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
    /// What data sets may carry.
    pub const fn datasets(&self) -> &Datasets {
        &self.datasets
    }

    /// The rule for a model: the one with the pattern that says most closely what is meant.
    pub fn rule(&self, model: &str) -> Option<&Rule> {
        let matching = self.rules.iter().flat_map(|rule| rule.models.iter().map(move |p| (p, rule)));
        let matching = matching.filter(|(pattern, _)| pattern.matches(model));
        matching.max_by_key(|(pattern, _)| pattern.closeness()).map(|(_, rule)| rule)
    }

    /// The trusted root of the Sigstore instance that is believed, as it was written. It is not read here.
    pub fn sigstore_root(&self) -> Option<&str> {
        self.sigstore_root.as_deref()
    }

    /// Identity and issuer of everybody who signs for this model by Sigstore.
    pub fn sigstore_identities(&self, model: &str) -> impl Iterator<Item = (&str, &str)> {
        let named = self.principals.iter().filter(move |p| p.models.iter().any(|m| m.matches(model)));
        named.flat_map(|p| &p.credentials).filter_map(|credential| match credential {
            Credential::Sigstore { identity, issuer } => Some((identity.as_str(), issuer.as_str())),
            _ => None,
        })
    }

    /// Opens a signature file with the first credential for this model that fits, whatever its method. Bundles of
    /// method `sigstore` need [`crate::oms::open_sigstore`].
    ///
    /// # Errors
    /// [`VerifyError`] of the credential that came closest: a wrong key says less than an expired certificate.
    pub fn open(&self, model: &str, bundle: &[u8], now: Timestamp) -> Result<Signed, VerifyError> {
        let mut refused = None;
        let named = self.principals.iter().filter(|p| p.models.iter().any(|m| m.matches(model)));
        for credential in named.flat_map(|p| &p.credentials) {
            let trust = match credential {
                Credential::Key(key) => Trust::Key(key.clone()),
                Credential::Certificate { trust, .. } => Trust::Certificates((**trust).clone()),
                Credential::Sigstore { .. } => continue,
            };
            match open_with(bundle, &trust, Accept::default(), now) {
                Ok(signed) => return Ok(signed),
                Err(error) => {
                    let vague = |e: &VerifyError| {
                        matches!(
                            e,
                            VerifyError::OtherKey { .. }
                                | VerifyError::OtherMethod { .. }
                                | VerifyError::Signature
                        )
                    };
                    if refused.as_ref().is_none_or(vague) {
                        refused = Some(error);
                    }
                }
            }
        }
        let nobody = "a signature of somebody whom the policy does not name".to_owned();
        Err(refused.unwrap_or(VerifyError::NotSupported(nobody)))
    }

    /// Whose signature it is for this model at this time: nobody's, one principal's, or, where several may sign
    /// under the same root or identity, any one of theirs.
    pub fn attribute(&self, model: &str, signer: &Signer, now: Timestamp) -> Vec<&Principal> {
        let current = |p: &&Principal| {
            p.not_before.is_none_or(|from| from <= now) && p.not_after.is_none_or(|until| now <= until)
        };
        self.principals
            .iter()
            .filter(|p| p.models.iter().any(|m| m.matches(model)))
            .filter(current)
            .filter(|p| p.credentials.iter().any(|c| c.is_of(signer)))
            .collect()
    }
}

impl Credential {
    /// Whether a signature that verified was made with it.
    fn is_of(&self, signer: &Signer) -> bool {
        match (self, signer) {
            (Self::Key(key), Signer::Key { key: found }) => key.fingerprint().is_ok_and(|k| k == *found),
            (Self::Certificate { trust, identity }, Signer::Certificate(by)) => {
                let below = by.issuers.last().is_some_and(|root| trust.roots().any(|r| r == *root));
                let named = match identity.strip_prefix("subject:") {
                    Some(name) => by.subject == name,
                    None => by.names.contains(identity),
                };
                below && named
            }
            (Self::Sigstore { identity, issuer }, Signer::Sigstore(by)) => {
                by.identity == *identity && by.issuer == *issuer
            }
            _ => false,
        }
    }
}

fn principal(document: &SignerDocument) -> Result<Principal, TrustError> {
    let place = format!("signer `{}`", quote(&document.principal));
    let mut credentials = Vec::new();
    for pem in &document.keys {
        credentials.push(Credential::Key(key(&place, pem)?));
    }
    for by in &document.certificates {
        credentials.push(certificate(&place, by)?);
    }
    for by in &document.sigstore {
        let (identity, issuer) = (document::word(&place, &by.identity)?, document::word(&place, &by.issuer)?);
        credentials.push(Credential::Sigstore { identity, issuer });
    }
    if credentials.is_empty() {
        return Err(TrustError::value(place, "has no key, certificate or identity"));
    }
    let moment = |text: &Option<String>| text.as_deref().map(|t| document::time(&place, t)).transpose();
    let (not_before, not_after) = (moment(&document.not_before)?, moment(&document.not_after)?);
    if not_before.zip(not_after).is_some_and(|(from, until)| from > until) {
        return Err(TrustError::value(place, "ends before it begins"));
    }
    let models = patterns(&place, &document.models)?;
    Ok(Principal {
        name: document::word(&place, &document.principal)?,
        models,
        not_before,
        not_after,
        credentials,
    })
}

fn certificate(place: &str, by: &CertificateDocument) -> Result<Credential, TrustError> {
    let bad = |e: &dyn std::fmt::Display| TrustError::value(place, e.to_string());
    // What is in a policy is a root, or is not there: nothing that merely helps.
    let roots = |part: &str, pem: &str| {
        let all = Certificate::all_from_pem(pem.as_bytes()).map_err(|e| bad(&e))?;
        match all.iter().all(Certificate::is_self_signed) {
            true => Ok(all),
            false => {
                let why = format!("a certificate under `{part}` does not sign itself");
                Err(TrustError::value(place, why))
            }
        }
    };
    let identity = document::word(place, &by.identity)?;
    let mut trust = CertificateTrust::new(roots("roots", &by.roots)?).map_err(|e| bad(&e))?;
    let crls: Result<Vec<Crl>, _> = by.crls.iter().map(|pem| Crl::parse(pem.as_bytes())).collect();
    trust = trust.with_crls(crls.map_err(|e| bad(&e))?).map_err(|e| bad(&e))?;
    if let Some(pem) = &by.timestamp_roots {
        trust = trust.with_tsa(roots("timestamp_roots", pem)?).map_err(|e| bad(&e))?;
    }
    Ok(Credential::Certificate { trust: Box::new(trust.with_identity(&identity)), identity })
}

fn rule(document: &RuleDocument) -> Result<Rule, TrustError> {
    let place = format!("rule for `{}`", quote(&document.models.join(", ")));
    let mut accept_risks = BTreeSet::new();
    for risk in &document.accept_risks {
        if !is_risk(risk) {
            let why = format!("`{}` does not name one risk exactly", quote(risk));
            return Err(TrustError::value(place, why));
        }
        accept_risks.insert(risk.clone());
    }
    Ok(Rule {
        models: patterns(&place, &document.models)?,
        signatures: usize::try_from(document.signatures).unwrap_or(usize::MAX),
        floor: document.floor,
        bom: document.bom,
        upstream_signed: document.upstream_signed,
        accept_risks,
    })
}

/// `hdf5`, or `pickle-global:module:name` with exactly that module and name.
fn is_risk(text: &str) -> bool {
    let part = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    let parts: Vec<&str> = text.split(':').collect();
    text.len() <= 512
        && match parts.as_slice() {
            [name] => part(name) && *name != "pickle-global",
            ["pickle-global", module, name] => part(module) && part(name),
            _ => false,
        }
}

fn patterns(place: &str, texts: &[String]) -> Result<Vec<Pattern>, TrustError> {
    let all: Option<Vec<Pattern>> = texts.iter().map(|text| Pattern::parse(text)).collect();
    all.filter(|all| !all.is_empty() && all.len() <= RULES_MAX).ok_or_else(|| {
        TrustError::value(place, "`models` must hold names, or beginnings of names with `*` at their end")
    })
}

fn key(place: &str, pem: &str) -> Result<PublicKey, TrustError> {
    PublicKey::from_pem(pem.as_bytes()).map_err(|e| TrustError::value(place, e.to_string()))
}

fn fingerprint(place: &str, key: &PublicKey) -> Result<Digest, TrustError> {
    key.fingerprint().map_err(|e| TrustError::value(place, e.to_string()))
}
