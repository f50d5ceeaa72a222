//! Signatures as a policy opens them: by keys and certificates, and by Sigstore where it pins an instance.

use base::Timestamp;
use integrity::VerifyError;
use integrity::oms::{Accept, Signed};
use integrity::trust::{Credential, Policy};
use sigstore::Instance;

use crate::Fail;

/// Opens signatures under one policy. The instance of Sigstore is read once, when a signature needs it.
pub(super) struct Opener<'p> {
    policy: &'p Policy,
    instance: Option<Instance>,
}

impl<'p> Opener<'p> {
    pub(super) const fn new(policy: &'p Policy) -> Self {
        Self { policy, instance: None }
    }

    /// Opens a signature file by whoever may sign for this model.
    pub(super) fn open(&mut self, model: &str, bundle: &[u8], at: Timestamp) -> Result<Signed, VerifyError> {
        let mut refused = match self.policy.open(model, bundle, at) {
            Ok(signed) => return Ok(signed),
            Err(error) => error,
        };
        let Some(root) = self.policy.sigstore_root() else { return Err(refused) };
        for who in self.policy.sigstore_identities(model) {
            let instance = match self.instance.take() {
                Some(instance) => instance,
                None => Instance::parse(root.as_bytes())?,
            };
            let opened = self.instance.insert(instance).open(bundle, who, Accept::default());
            match opened {
                Ok(signed) => return Ok(signed),
                // Of another method: what was said of its own method says more.
                Err(VerifyError::OtherMethod { .. }) => return Err(refused),
                Err(error) => refused = error,
            }
        }
        Err(refused)
    }
}

/// Whether everybody whom the policy names could be believed here.
pub(super) fn is_usable(policy: &Policy) -> Result<(), Fail> {
    let by_sigstore = policy.principals().iter().flat_map(|p| &p.credentials);
    let by_sigstore = by_sigstore.filter(|c| matches!(c, Credential::Sigstore { .. })).count();
    match policy.sigstore_root() {
        None if by_sigstore == 0 => Ok(()),
        None => Err(Fail::invalid("the policy names identities of Sigstore and pins no instance of it")
            .help("put the instance's trusted root (JSON) under `trusted_root` of `[sigstore]`")),
        Some(root) => match Instance::parse(root.as_bytes()) {
            Ok(_) => Ok(()),
            Err(error) => Err(Fail::invalid("`trusted_root` of `[sigstore]` is no trusted root of Sigstore")
                .because(base::error::chain(&error))
                .help("see what is wrong with `strongroom trust policy check FILE`")),
        },
    }
}

#[cfg(test)]
mod tests {
    use integrity::CertificateError;
    use serde_json::json;
    use sigstore_verify::trust_root::{
        SIGSTORE_PRODUCTION_TRUSTED_ROOT as PUBLIC, SIGSTORE_STAGING_TRUSTED_ROOT as STAGING,
    };

    use super::*;

    /// Of the public instance, over an attestation that is none of a model.
    const BUNDLE: &[u8] = include_bytes!("../../../sigstore/tests/data/attestation.sigstore.json");
    const WHO: &str =
        "https://github.com/prefix-dev/sigstore-example/.github/workflows/action.yaml@refs/heads/main";
    const ISSUER: &str = "https://token.actions.githubusercontent.com";

    fn policy(root: Option<&str>, who: &str, models: &str) -> Policy {
        let signer =
            json!({"principal": "ci", "models": [models], "sigstore": [{"identity": who, "issuer": ISSUER}]});
        let mut document = json!({
            "schema": "strongroom.trust-policy/1", "tenant": "acme", "version": 1,
            "signer": [signer], "rule": [{"models": [models], "signatures": 1}],
        });
        if let Some(root) = root {
            document["sigstore"] = json!({"trusted_root": root});
        }
        Policy::parse(document.to_string().as_bytes()).unwrap()
    }

    fn opened(policy: &Policy, model: &str) -> VerifyError {
        Opener::new(policy).open(model, BUNDLE, crate::clock::now()).unwrap_err()
    }

    /// That the evidence held is seen by what is refused then: a statement about something else than a model.
    #[test]
    fn identities_are_believed_by_the_instance_that_is_pinned_and_by_no_other() {
        let held = |error: &VerifyError| matches!(error, VerifyError::WrongType { .. });
        let pinned = policy(Some(PUBLIC), WHO, "m");
        assert!(is_usable(&pinned).is_ok() && held(&opened(&pinned, "m")));
        for (what, other, model) in [
            ("no instance", policy(None, WHO, "m"), "m"),
            ("another instance", policy(Some(STAGING), WHO, "m"), "m"),
            ("somebody else", policy(Some(PUBLIC), "eve@example.org", "m"), "m"),
            ("another model", policy(Some(PUBLIC), WHO, "m"), "n"),
            ("no trusted root", policy(Some("{}"), WHO, "m"), "m"),
        ] {
            let error = opened(&other, model);
            assert!(!held(&error), "{what}: {error:?}");
        }
        let error = opened(&policy(Some(PUBLIC), "eve@example.org", "m"), "m");
        assert!(matches!(error, VerifyError::Certificate(CertificateError::Identity { .. })), "{error:?}");
        for unusable in [policy(None, WHO, "m"), policy(Some("{}"), WHO, "m")] {
            assert!(is_usable(&unusable).is_err());
        }
    }
}
