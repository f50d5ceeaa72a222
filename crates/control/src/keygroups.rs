//! Keys for many small files: those that are sealed one after another share a group, whose key is wrapped and released
//! once. So a data set of 100,000 small files is a hundred releases and not 100,000, and the keeper's budget bounds what
//! can be opened in an hour by bytes as well as by keys.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, PoisonError};

use base::{Digest, Timestamp};
use ops::Key32;
use store::records::KeyGroup;
use vault::{Dek, FreshDek, GroupKey, KeyScope, ObjectName};

use crate::Fail;
use crate::clock::{now, random};
use crate::keeper::{Keeper, Wrapped, keeper_scope};

/// Most files of a group.
const FILES_MAX: u32 = 1024;
/// A group that holds so many bytes takes no further file: a file of this size or more ends its group.
const BYTES_MAX: u64 = 256 << 20;
/// A group older than this takes no further file, so that its key does not stay in this process.
const AGE_MS: u64 = 10 * 60 * 1000;

/// The groups that take files, one for each scope.
#[derive(Debug, Default)]
pub(crate) struct Groups(Mutex<BTreeMap<KeyScope, Open>>);

#[derive(Debug)]
struct Open {
    key: GroupKey,
    wrapped: Wrapped,
    since: Timestamp,
    files: u32,
    bytes: u64,
}

impl Open {
    fn takes(&self, time: Timestamp) -> bool {
        self.files < FILES_MAX && self.bytes < BYTES_MAX && time.millis_since(self.since) < AGE_MS
    }
}

/// A place in a group, for one sealing.
#[derive(Debug)]
pub(crate) struct Member {
    /// The group's key, wrapped.
    pub(crate) wrapped: Wrapped,
    /// What the object's record says of it.
    pub(crate) group: KeyGroup,
    /// The key for the sealing.
    pub(crate) dek: FreshDek,
}

impl Groups {
    /// A place in the scope's open group, or in a new one whose key is wrapped first.
    pub(crate) fn member(&self, keeper: &Keeper, scope: &KeyScope) -> Result<Member, Fail> {
        let time = now();
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, group| group.takes(time));
        if !open.contains_key(scope) {
            let key = GroupKey::take(&mut random::<32>()?);
            // A name that no content has: it is the digest of random bytes.
            let digest = base::sha256(&random::<32>()?);
            let wrapped = key.expose(|key| keeper.wrap(keeper_scope(scope), key, digest))?;
            open.insert(scope.clone(), Open { key, wrapped, since: time, files: 0, bytes: 0 });
        }
        let group = open.get_mut(scope).ok_or_else(|| Fail::internal("a key group is gone", scope))?;
        group.files = group.files.saturating_add(1);
        let salt = random::<32>()?;
        Ok(Member {
            wrapped: group.wrapped.clone(),
            group: KeyGroup { name: ObjectName::from(group.wrapped.name), salt: Digest::from_bytes(salt) },
            dek: group.key.fresh_member(&salt),
        })
    }

    /// Counts what was sealed in a group.
    pub(crate) fn sealed(&self, scope: &KeyScope, member: &KeyGroup, len: u64) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = open.get_mut(scope).filter(|g| ObjectName::from(g.wrapped.name) == member.name) {
            group.bytes = group.bytes.saturating_add(len);
        }
    }
}

/// What opens an object: its own wrapped key, or its group's.
#[derive(Debug)]
pub(crate) struct ObjectKey {
    pub(crate) wrapped: Wrapped,
    pub(crate) salt: Option<Digest>,
}

/// For whom and why keys are released, as in events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use<'a> {
    pub(crate) actor: &'a str,
    pub(crate) purpose: &'a str,
    pub(crate) correlation: u128,
}

/// Group keys that were released for one piece of work, each asked for once. They are wiped with it.
#[derive(Debug, Default)]
pub(crate) struct KeyRing(BTreeMap<Digest, GroupKey>);

impl KeyRing {
    /// The key of one object; logged by the keeper before it is here.
    pub(crate) fn release(
        &mut self,
        keeper: &Keeper,
        scope: &KeyScope,
        key: &ObjectKey,
        why: Use<'_>,
    ) -> Result<Dek, Fail> {
        let ask = |purpose: &str| -> Result<Key32, Fail> {
            keeper.unwrap(keeper_scope(scope), &key.wrapped, why.actor, purpose, why.correlation)
        };
        let Some(salt) = &key.salt else {
            return Ok(ask(why.purpose)?.expose(|key| Dek::take(&mut { *key })));
        };
        let group = match self.0.entry(key.wrapped.name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let group = ask(&format!("{}, and its key group", why.purpose))?;
                new.insert(group.expose(|key| GroupKey::take(&mut { *key })))
            }
        };
        Ok(group.member(salt.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(files: u32, bytes: u64) -> Open {
        let wrapped = Wrapped { name: base::sha256(b"n"), kek_version: 1, blob: [0; 60] };
        let since = Timestamp::from_millis(1_000_000);
        Open { key: GroupKey::take(&mut [7; 32]), wrapped, since, files, bytes }
    }

    #[test]
    fn a_group_ends_by_files_bytes_and_age() {
        let at = |ms: u64| Timestamp::from_millis(1_000_000 + ms);
        assert!(open(FILES_MAX - 1, BYTES_MAX - 1).takes(at(AGE_MS - 1)));
        assert!(!open(FILES_MAX, 0).takes(at(0)));
        assert!(!open(0, BYTES_MAX).takes(at(0)));
        assert!(!open(0, 0).takes(at(AGE_MS)));
    }

    #[test]
    fn bytes_count_for_the_group_that_sealed_them_only() {
        let groups = Groups::default();
        let scope: KeyScope = "acme".parse().unwrap();
        groups.0.lock().unwrap().insert(scope.clone(), open(1, 0));
        let of =
            |name: &[u8]| KeyGroup { name: ObjectName::from(base::sha256(name)), salt: base::sha256(b"s") };
        groups.sealed(&scope, &of(b"an earlier one"), 9);
        groups.sealed(&scope, &of(b"n"), 5);
        assert_eq!(groups.0.lock().unwrap().get(&scope).unwrap().bytes, 5);
    }
}
