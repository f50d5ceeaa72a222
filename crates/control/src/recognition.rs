//! What the files of a data set are: told by a porter, in its confined process and never here. It opens each sealed
//! file where it lies and puts nothing of it anywhere, so a file may be larger than the machine's memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use base::id::RunId;
use base::names::Name;
use ops::event::{Event, EventKind, Outcome, Phase, Severity};
use ops::porter::Told;
use ops::warden::{Limits, RunKind};
use store::records::{Content, Contents, File};
use vault::KeyScope;

use crate::auth::{By, Principal};
use crate::clock::{now, random};
use crate::keygroups::KeyRing;
use crate::node::Node;
use crate::run::{FileRef, Purpose, Run, RunEvent, porter_refused};
use crate::{Fail, datasets, trust};

/// Memory of the recogniser (`inspect::limits`): what it holds of a file, its decoders, and a reader of pickles.
const MEMORY_BYTES: u64 = 768 << 20;
/// Its processes and threads.
const PIDS: u32 = 16;
/// How often the wait looks at the clock.
const TICK: std::time::Duration = std::time::Duration::from_millis(100);
/// Longest wait for one file, in milliseconds, and so much more for each GiB of it: a text is read at 0.2 GB/s and better,
/// and may be packed to a tenth.
const FILE_MS: u64 = 60_000;
const FILE_GIB_MS: u64 = 60_000;
/// Files that are named where several are refused.
const NAMED_MAX: usize = 8;

/// Recognitions at once on the node, each of which may take [`MEMORY_BYTES`], and those of one tenant among them.
const AT_ONCE_MAX: usize = 4;
const OF_TENANT_MAX: usize = 2;
/// Longest wait for the turn, in milliseconds.
const TURN_MS: u64 = 30 * 60 * 1000;

/// What a porter said of one file.
#[derive(Debug)]
pub(crate) struct Found {
    rules: String,
    pub(crate) content: Content,
    pub(crate) refused: Option<String>,
}

/// Recognitions under way, by tenant.
#[derive(Debug, Default)]
pub(crate) struct Turns(Mutex<BTreeMap<Name, usize>>);

/// One of them.
struct Turn<'a>(&'a Turns, Name);

impl Turns {
    /// Waits for a turn; who waits too long is told.
    fn take(&self, tenant: &Name) -> Result<Turn<'_>, Fail> {
        let since = now();
        while !self.begins(tenant) {
            if now().millis_since(since) > TURN_MS {
                let why = format!("no turn within {} s", TURN_MS / 1000);
                return Err(Fail::unavailable("other data sets are being looked at", why)
                    .help("import it again in a few minutes"));
            }
            std::thread::sleep(TICK);
        }
        Ok(Turn(self, tenant.clone()))
    }

    fn begins(&self, tenant: &Name) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(tenant).copied().unwrap_or(0);
        let begins = own < OF_TENANT_MAX && all.values().sum::<usize>() < AT_ONCE_MAX;
        if begins {
            all.insert(tenant.clone(), own.saturating_add(1));
        }
        begins
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut all = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(&self.1) {
            *own = own.saturating_sub(1);
        }
        all.retain(|_, own| *own > 0);
    }
}

/// Recognises every file, and refuses what no policy of the tenant accepts.
pub(crate) fn recognise(
    node: &Arc<Node>,
    principal: &Principal,
    (tenant, name): (&Name, &Name),
    files: &[File],
    correlation: u128,
) -> Result<Contents, Fail> {
    let found = look(node, &principal.actor(), (tenant, name), files, correlation)?;
    let judged = judge(node, (tenant, name), files, &found);
    match judged {
        Ok((accepted, policy)) => Ok(Contents {
            rules: found.first().map(|found| found.rules.clone()).unwrap_or_default(),
            files: found.into_iter().map(|found| found.content).collect(),
            accepted,
            policy,
        }),
        Err(fail) => {
            let event = Event::new(
                EventKind::DatasetImport,
                Phase::Outcome,
                Outcome::Refused,
                now().as_millis(),
                correlation,
            )
            .tenant(tenant.as_str())
            .by(principal)
            .severity(Severity::Medium)
            .asset("dataset", name.as_str(), Some(datasets::manifest(files)))
            .detail("code", &fail.code)
            .because(&fail.line());
            node.keeper.append(event)?;
            Err(fail)
        }
    }
}

/// Opens each file to a porter without a mount.
pub(crate) fn look(
    node: &Arc<Node>,
    actor: &str,
    (tenant, name): (&Name, &Name),
    files: &[File],
    correlation: u128,
) -> Result<Vec<Found>, Fail> {
    let limits = Limits {
        memory_bytes: MEMORY_BYTES,
        image_bytes: 0,
        cpu_milli: node.facts.cpus.saturating_mul(1000),
        pids: PIDS,
        scratch_bytes: 0,
    };
    let purpose = Purpose {
        tenant: tenant.to_string(),
        actor: actor.to_owned(),
        what: format!("recognise {name}"),
        correlation,
    };
    let _turn = node.recognitions.take(tenant)?;
    let id = RunId::new(now(), random::<10>()?);
    let mut run = Run::start_porter(node, id, RunKind::Serving, limits, &[], purpose)?;
    let mut ring = KeyRing::default();
    let scope = KeyScope::Tenant(tenant.clone());
    let mut found = Vec::with_capacity(files.len());
    for file in files {
        let sealed =
            FileRef { path: file.path.clone(), size: file.size, digest: file.digest, scope: scope.clone() };
        run.recognise(&sealed, &mut ring)?;
        found.push(answer(&mut run, file)?);
    }
    run.destroy()?;
    Ok(found)
}

/// What the porter says of the file that it was given.
fn answer(run: &mut Run, file: &File) -> Result<Found, Fail> {
    let limit_ms = FILE_MS.saturating_add(FILE_GIB_MS.saturating_mul(file.size >> 30));
    let since = now();
    let shown = crate::fail::printable(&file.path);
    let mut said = None;
    loop {
        match run.next(TICK) {
            Some(RunEvent::Told(told @ Told::Recognised { .. })) if said.is_none() => {
                said = Some(found(told)?);
            }
            Some(RunEvent::Told(Told::Done { .. })) => {
                return said.ok_or_else(|| Fail::internal("a file was not recognised", "protocol"));
            }
            Some(RunEvent::Told(Told::Refused { code, detail })) => {
                return Err(porter_refused(&code, &format!("`{shown}` could not be read: {detail}")));
            }
            // A parser that ends without an answer was ended by the file: that is a refusal.
            Some(RunEvent::PorterGone) => {
                return Err(refused(&format!("`{shown}`: its recognition ended without an answer")));
            }
            Some(RunEvent::Told(_)) => {
                return Err(Fail::internal("a porter told what it was not asked", "protocol"));
            }
            Some(RunEvent::Exited(_)) | None => {}
        }
        if now().millis_since(since) > limit_ms {
            return Err(refused(&format!("`{shown}`: its recognition took more than {limit_ms} ms")));
        }
    }
}

fn found(told: Told) -> Result<Found, Fail> {
    let Told::Recognised { rules, format, records, unit, columns, pickle, code, refused, notes } = told
    else {
        return Err(Fail::internal("a porter gave an answer of another kind", "protocol"));
    };
    let carries = [(pickle, "pickle"), (code, "code")];
    let content = Content {
        format: format.to_string(),
        records,
        unit: unit.to_string(),
        columns,
        carries: carries.iter().filter(|(is, _)| *is).map(|(_, word)| (*word).to_owned()).collect(),
        notes: notes.iter().map(ToString::to_string).collect(),
    };
    Ok(Found { rules: rules.to_string(), content, refused: refused.map(|why| why.to_string()) })
}

/// What is accepted of what they carry, and by which policy.
fn judge(
    node: &Node,
    (tenant, name): (&Name, &Name),
    files: &[File],
    found: &[Found],
) -> Result<(Vec<String>, Option<u64>), Fail> {
    let told = |which: &dyn Fn(&Found) -> Option<String>| {
        let all = files.iter().zip(found);
        let mut named = all.filter_map(|(file, found)| {
            Some(format!("`{}`: {}", crate::fail::printable(&file.path), which(found)?))
        });
        let first: Vec<String> = named.by_ref().take(NAMED_MAX).collect();
        let more = named.count();
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        (!first.is_empty()).then(|| format!("{}{more}", first.join("; ")))
    };
    if let Some(why) = told(&|found| found.refused.clone()) {
        return Err(refused(&why));
    }
    let (mut accepted, mut by) = (Vec::new(), None);
    for (word, code, what) in [
        ("pickle", "SR-CTL-0061", "serialised objects, which run code when they are opened"),
        ("code", "SR-CTL-0062", "programs"),
    ] {
        let carrying = |found: &Found| {
            let carries = found.content.carries.iter().any(|carried| carried == word);
            carries.then(|| found.content.notes.first().unwrap_or(&found.content.format).clone())
        };
        let Some(why) = told(&carrying) else { continue };
        let Some(policy) = trust::accepts(node, tenant, name, word)? else {
            return Err(Fail::refused(code, format!("data set `{name}` holds {what}")).because(why).help(format!(
                "leave them out or convert them; or let the trust policy accept it: `accept_{word} = [\"{name}\"]` below `[datasets]`, then `strongroom trust policy apply FILE --reason TEXT --tenant {tenant}`",
            )));
        };
        accepted.push(word.to_owned());
        by = Some(policy);
    }
    Ok((accepted, by))
}

fn refused(why: &str) -> Fail {
    Fail::refused("SR-CTL-0060", "the data set holds a file that cannot be looked into, or is two things at once")
        .because(why)
        .help("unpack or convert the file, then import it again; see the formats with `strongroom dataset import --help`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_leaves_turns_to_others_and_each_turn_comes_back() {
        let turns = Turns::default();
        let [acme, globex, third]: [Name; 3] = ["acme", "globex", "third"].map(|name| name.parse().unwrap());
        let first = [turns.take(&acme).unwrap(), turns.take(&acme).unwrap()];
        assert!(!turns.begins(&acme));
        let second = [turns.take(&globex).unwrap(), turns.take(&globex).unwrap()];
        assert!(!turns.begins(&third));
        drop(second);
        drop(turns.take(&third).unwrap());
        drop(first);
        assert!(turns.0.lock().unwrap().is_empty());
    }
}
