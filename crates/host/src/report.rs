//! What is enforced on a running sandbox, read back from the kernel from outside (isolation.md section 11).

use std::fs;

use base::Digest;
use ops::Text;
use ops::warden::{Feature, FeatureState};

use crate::cgroup::Group;
use crate::error::HostError;
use crate::sandbox::{Ids, Sandbox};

/// Namespaces of a sandbox, by their names in `/proc/PID/ns`.
const NAMESPACES: [&str; 7] = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];
/// Capability sets, by their names in `/proc/PID/status`.
const CAPABILITIES: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];
/// Mandatory limits and one more.
const LIMITS: [&str; 4] = ["memory", "pids", "cpu", "devices"];

/// What the reader knows and the kernel does not tell.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// The run's ids.
    pub ids: Ids,
    /// How many calls the filter lets through.
    pub calls: usize,
    /// Digest of the filter.
    pub filter: Digest,
}

/// A feature.
pub(crate) fn feature(name: &str, state: FeatureState, detail: &str) -> Feature {
    Feature { name: Text::clip(name), state, detail: Text::clip(detail) }
}

/// Enforced if `held`, else failed.
fn judged(name: &str, held: bool, detail: &str) -> Feature {
    feature(name, if held { FeatureState::Enforced } else { FeatureState::Failed }, detail)
}

/// Reads back every protection of a running sandbox.
///
/// # Errors
/// The workload has ended.
pub fn report(sandbox: &Sandbox, group: &Group, expected: &Expected) -> Result<Vec<Feature>, HostError> {
    let (pid, _held) = sandbox.main(group)?;
    let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let (status, mounts, limits) = (read("status"), read("mountinfo"), read("limits"));
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("").trim();
    let mut all: Vec<Feature> = NAMESPACES.iter().map(|name| namespace(pid, name)).collect();

    let left: Vec<&str> = CAPABILITIES.iter().copied().filter(|set| !zero(field(set))).collect();
    all.push(judged("capabilities.none", left.is_empty(), &format!("sets that are not empty: {left:?}")));
    all.push(judged("no_new_privs", field("NoNewPrivs:") == "1", "read from the process's status"));
    let filter = format!("{} calls, program sha256:{}", expected.calls, expected.filter.short());
    all.push(judged("seccomp", field("Seccomp:") == "2", &filter));
    all.push(landlock(sandbox.landlock()));
    all.push(user(expected.ids, field("Uid:")));
    let core = limits
        .lines()
        .any(|l| l.starts_with("Max core file size") && l.split_whitespace().nth(4) == Some("0"));
    all.push(judged("core_dump.none", core, "limit read from the process"));
    all.push(judged("mount.root_read_only", read_only_root(&mounts), "flags read from its mount table"));
    all.push(judged("mount.inputs_read_only", inputs_read_only(&mounts), "flags read from its mount table"));
    all.push(swap(&mounts));
    all.push(network(&read("net/dev"), &read("net/route")));
    all.extend(groups(group));
    Ok(all)
}

fn zero(hex: &str) -> bool {
    u64::from_str_radix(hex, 16) == Ok(0)
}

fn namespace(pid: i32, name: &str) -> Feature {
    let link = |who: &str| fs::read_link(format!("/proc/{who}/ns/{name}")).ok();
    let (own, theirs) = (link("self"), link(&pid.to_string()));
    let detail = theirs.as_ref().map(|p| p.to_string_lossy().into_owned()).unwrap_or_default();
    judged(&format!("namespace.{name}"), theirs.is_some() && own.is_some() && own != theirs, &detail)
}

fn landlock(status: u8) -> Feature {
    match status {
        2 => feature("landlock", FeatureState::Enforced, "files, TCP, signals and abstract sockets (ABI 6)"),
        1 => feature("landlock", FeatureState::Unsupported, "only a part: the kernel knows an older ABI"),
        _ => feature("landlock", FeatureState::Unsupported, "the kernel has it not or switched off"),
    }
}

fn user(ids: Ids, read: &str) -> Feature {
    let expected = ids.inner().to_string();
    let all = read.split_whitespace().count() == 4 && read.split_whitespace().all(|id| id == expected);
    match ids {
        Ids::Slot { .. } => judged("user.own_range", all, &format!("host id {expected}")),
        Ids::Single { .. } => {
            feature("user.own_range", FeatureState::Failed, "no root: shares the node's user")
        }
    }
}

/// Mount points with their flags, from mountinfo.
fn points(mounts: &str) -> impl Iterator<Item = (&str, &str)> {
    mounts.lines().filter_map(|l| {
        let mut fields = l.split(' ');
        Some((fields.nth(4)?, fields.next()?))
    })
}

fn has(flags: &str, flag: &str) -> bool {
    flags.split(',').any(|f| f == flag)
}

fn read_only_root(mounts: &str) -> bool {
    let mut roots = points(mounts).filter(|(at, _)| *at == "/" || *at == "/usr").peekable();
    roots.peek().is_some() && roots.all(|(_, flags)| has(flags, "ro") && has(flags, "nosuid"))
}

fn inputs_read_only(mounts: &str) -> bool {
    // The scratch itself is `/opt/ml`; everything mounted below it is an input. Read-only is the file system's.
    mounts.lines().filter(|l| l.split(' ').nth(4).is_some_and(|at| at.starts_with("/opt/ml/"))).all(|l| {
        l.rsplit(' ').next().is_some_and(|options| has(options, "ro"))
            && l.split(' ')
                .nth(5)
                .is_some_and(|flags| ["nosuid", "nodev", "noexec"].iter().all(|f| has(flags, f)))
    })
}

fn swap(mounts: &str) -> Feature {
    let mut tmpfs = mounts.lines().filter(|l| l.contains(" - tmpfs "));
    if tmpfs.all(|l| l.rsplit(' ').next().is_some_and(|options| has(options, "noswap"))) {
        feature("memory.noswap", FeatureState::Enforced, "every memory-backed mount keeps out of swap")
    } else {
        feature("memory.noswap", FeatureState::Unsupported, "the kernel refuses the option here")
    }
}

fn network(devices: &str, routes: &str) -> Feature {
    let others = devices.lines().skip(2).filter(|l| !l.trim_start().starts_with("lo:")).count();
    let routed = routes.lines().skip(1).count();
    let known = !devices.is_empty();
    judged("network.none", known && others == 0 && routed == 0, "no interface but lo, no route")
}

fn groups(group: &Group) -> Vec<Feature> {
    let held = group.read_back();
    let mut all: Vec<Feature> = LIMITS
        .iter()
        .map(|name| match held.iter().find(|(n, _)| n == name) {
            Some((_, value)) => feature(&format!("limit.{name}"), FeatureState::Enforced, value),
            None => feature(&format!("limit.{name}"), FeatureState::Unsupported, "no such controller for us"),
        })
        .collect();
    all.push(match group.has_kill() {
        true => feature("kill.whole_tree", FeatureState::Enforced, "cgroup.kill"),
        false => feature("kill.whole_tree", FeatureState::Enforced, "first process of the pid namespace"),
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "1 2 0:1 / / ro,nosuid - tmpfs none rw,noswap\n\
        2 1 8:1 /usr /usr ro,nosuid,nodev - ext4 /dev/x rw\n\
        3 1 0:2 / /opt/ml rw,nosuid - tmpfs none rw,noswap\n\
        4 3 0:3 / /opt/ml/code rw,nosuid,nodev,noexec - tmpfs none ro,noswap\n";

    #[test]
    fn mount_tables_are_read_field_by_field() {
        assert!(read_only_root(MOUNTS) && inputs_read_only(MOUNTS));
        assert!(!read_only_root(&MOUNTS.replace("/usr ro,", "/usr rw,")));
        assert!(!read_only_root(""));
        assert!(!inputs_read_only(&MOUNTS.replace("none ro,noswap", "none rw,noswap")));
        assert_eq!(swap(MOUNTS).state, FeatureState::Enforced);
        assert_eq!(swap(&MOUNTS.replace(",noswap", "")).state, FeatureState::Unsupported);
    }

    #[test]
    fn a_second_interface_or_a_route_is_a_network() {
        let lo = "Inter\n face\n    lo: 0\n";
        assert_eq!(network(lo, "Iface\n").state, FeatureState::Enforced);
        assert_eq!(network(&format!("{lo}  eth0: 0\n"), "Iface\n").state, FeatureState::Failed);
        assert_eq!(network(lo, "Iface\neth0\n").state, FeatureState::Failed);
        assert_eq!(network("", "").state, FeatureState::Failed);
    }
}
