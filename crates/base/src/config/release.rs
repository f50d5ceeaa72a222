//! `[release]`: whose releases of the platform the node takes.

use serde::Deserialize;

use crate::release::SIGNERS_MAX;

/// Whose releases the node takes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// Ed25519 public keys of those who sign releases, 64 hex digits each, as `strongroom release key` prints them.
    pub keys: Vec<String>,
    /// How many of them must have signed one.
    pub threshold: u8,
}

impl Release {
    /// The keys.
    ///
    /// # Errors
    /// What cannot be.
    pub fn trusted(&self) -> Result<Vec<[u8; 32]>, String> {
        let parsed: Option<Vec<[u8; 32]>> =
            self.keys.iter().map(|key| crate::digest::unhex(key)?.try_into().ok()).collect();
        let keys =
            parsed.ok_or("`release.keys`: a key is 64 hex digits, as `strongroom release key` prints it")?;
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        if keys.is_empty() || keys.len() > SIGNERS_MAX || distinct.len() != keys.len() {
            return Err(format!("`release.keys`: 1 to {SIGNERS_MAX} different keys"));
        }
        if !(1..=keys.len()).contains(&usize::from(self.threshold)) {
            return Err("`release.threshold`: from 1 to the number of keys".to_owned());
        }
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_different_and_as_many_as_must_sign() {
        let key = |n: u8| crate::digest::hex(&[n; 32]);
        let of = |keys: &[String], threshold| Release { keys: keys.to_vec(), threshold }.trusted();
        assert_eq!(of(&[key(1), key(2)], 2), Ok(vec![[1; 32], [2; 32]]));
        for (keys, threshold) in [
            (vec![], 0),
            (vec![key(1)], 0),
            (vec![key(1)], 2),
            (vec![key(1), key(1)], 1),
            (vec!["x".to_owned()], 1),
            (vec![key(1).replacen('0', "", 1)], 1),
            ((0..17).map(key).collect(), 1),
        ] {
            assert!(of(&keys, threshold).is_err(), "{keys:?} {threshold}");
        }
    }
}
