//! A next version of a model: the files that changed come, all others are taken over from a version that is here.
//!
//! A digest is taken over only with the sealed object that holds the bytes, of the same tenant, and only from a version
//! whose bytes this node hashed itself when it admitted it (`integrity::oms::reuse`). Neither names nor times nor what
//! a client says of bytes that did not come have a part in it.

use std::collections::{BTreeMap, BTreeSet};

use api::IntakeBegin;
use base::names::Name;
use integrity::oms;
use integrity::oms::reuse::{Baseline, KeyScope, Plan, StoredObject};
use store::records::{Based, File, Intake, Model};

use super::FILES_MAX;
use crate::boms::digests;
use crate::node::Node;
use crate::{Fail, models};

/// The files of the version that is to be: those that came, and those that are taken over.
pub(super) fn take_over(
    node: &Node,
    tenant: &Name,
    came: Vec<File>,
    said: &IntakeBegin,
) -> Result<(Vec<File>, Option<Based>), Fail> {
    let Some(reference) = &said.based_on else {
        return match said.without.as_slice() {
            [] => Ok((came, None)),
            _ => Err(Fail::invalid("`without` leaves out files of a model that `based_on` names")),
        };
    };
    let (name, version) = models::reference(reference)?;
    let model = models::find(node, tenant, &name, version)?;
    // What may not be used lends nothing.
    models::admit(node, &model)?;
    let mut files: BTreeMap<String, File> =
        model.files.iter().map(|file| (file.path.clone(), file.clone())).collect();
    for path in &said.without {
        if files.remove(path).is_none() {
            let shown = crate::fail::printable(path);
            return Err(Fail::invalid(format!(
                "`{name}@{}` has no file `{shown}` to leave out",
                model.version
            ))
            .help(format!(
                "see its files with `strongroom model show {name}@{} --tenant {tenant} -o json`",
                model.version
            )));
        }
    }
    let new: BTreeSet<String> = came.iter().map(|file| file.path.clone()).collect();
    files.extend(came.into_iter().map(|file| (file.path.clone(), file)));
    if files.len() > FILES_MAX {
        return Err(Fail::too_large(format!("a model has at most {FILES_MAX} files")));
    }
    let plan = plan(node, &model, &files, &new)?;
    let reused = plan.reused().map(str::to_owned).collect();
    let based = Based { name, version: model.version, root_digest: model.root_digest, reused };
    Ok((files.into_values().collect(), Some(based)))
}

/// Which files need not be read.
fn plan(
    node: &Node,
    model: &Model,
    files: &BTreeMap<String, File>,
    new: &BTreeSet<String>,
) -> Result<Plan, Fail> {
    let scope = KeyScope::new(model.tenant.as_str());
    let signed = oms::open(model.bundle.as_bytes(), node.keys.model_pem.as_bytes())
        .map_err(|e| Fail::explained(422, &e))?;
    let verified = signed.check_files(&digests(&model.files)).map_err(|e| Fail::explained(422, &e))?;
    let stored = |file: &File| {
        let object = node.object(&vault::KeyScope::Tenant(model.tenant.clone()), &file.digest)?;
        Ok(StoredObject { name: object.name.to_string(), len: file.size })
    };
    let mut objects = BTreeMap::new();
    for file in &model.files {
        objects.insert(file.path.clone(), stored(file)?);
    }
    let baseline =
        Baseline::new(scope.clone(), &signed, &verified, &objects).map_err(|e| Fail::explained(500, &e))?;
    // The result of a job was hashed by its porter alone; this node reads it once before it lends a digest.
    let lends = model.job.is_none();
    let now = files.iter().map(|(path, file)| {
        let object = if lends && !new.contains(path) { Some(stored(file)?) } else { None };
        Ok((path.clone(), object))
    });
    Ok(baseline.plan(&scope, signed.statement().serialization, &now.collect::<Result<_, Fail>>()?))
}

/// Bytes that are hashed for it, and bytes whose digests are taken over.
pub(super) fn counted(record: &Intake) -> (u64, u64) {
    record.files.iter().fold((0, 0), |(hashed, reused), file| match is_reused(record, &file.path) {
        true => (hashed, file.size.saturating_add(reused)),
        false => (file.size.saturating_add(hashed), reused),
    })
}

pub(super) fn is_reused(record: &Intake, path: &str) -> bool {
    record.based.as_ref().is_some_and(|based| based.reused.contains(path))
}

/// For a step, where there is something to say.
pub(super) fn said(record: &Intake) -> Option<String> {
    let based = record.based.as_ref()?;
    let (hashed, reused) = counted(record);
    Some(format!(
        "{reused} bytes in {} files taken over from {}@{}, {hashed} bytes hashed",
        based.reused.len(),
        based.name,
        based.version
    ))
}
