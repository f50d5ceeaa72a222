//! The system-call filter: a generated BPF program that allows a list, checks some arguments, and refuses the
//! rest. Numbers are those of x86-64 (asm/unistd_64.h); another architecture ends the process.

use base::{Digest, Hasher};

use crate::error::HostError;
use crate::sys::{self, Instruction};

mod lists;
mod sealed;

pub(crate) use sealed::{Sealed, program as sealed};

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xC000_003E;
/// First number of the x32 ABI.
const X32: u32 = 0x4000_0000;
const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;
const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | 1;
/// clone3 takes its flags behind a pointer, which a filter cannot read: libc falls back to clone.
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | 38;

// linux/bpf_common.h and linux/filter.h.
const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const IF_EQ: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const IF_GE: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const IF_ANY: u16 = 0x45; // BPF_JMP | BPF_JSET | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
// struct seccomp_data: nr, arch, instruction pointer, six 64-bit arguments.
const AT_NR: u32 = 0;
const AT_ARCH: u32 = 4;
const AT_ARGS: u32 = 16;

/// All `CLONE_NEW*` flags that clone(2) takes.
const CLONE_NEW: u32 = 0x7E02_0000;
/// `MFD_NOEXEC_SEAL`.
const MFD_NOEXEC_SEAL: u32 = 8;
/// `TIOCSTI` and `TIOCLINUX` type into a terminal.
const TERMINAL_INPUT: [u32; 2] = [0x5412, 0x541C];
/// AF_UNIX, AF_INET, AF_INET6.
const FAMILIES: [u32; 3] = [1, 2, 10];
/// `personality`: Linux, or a query.
const PERSONALITIES: [u32; 2] = [0, u32::MAX];
/// SET/GET_PDEATHSIG, GET/SET_DUMPABLE, SET/GET_NAME, CAPBSET_READ, SET/GET_TIMERSLACK, SET/GET_NO_NEW_PRIVS,
/// SET/GET_THP_DISABLE, SET_VMA.
const PRCTL: [u32; 14] = [1, 2, 3, 4, 15, 16, 23, 29, 30, 38, 39, 41, 42, 0x5356_4D41];

/// Who a filter is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// An interpreter and its libraries, as in a training job.
    Training,
    /// `strongroom-runtime`: no new processes, no changes to files.
    Inference,
    /// `strongroom-porter`.
    Porter,
}

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Allow,
    Refuse,
    NoSuchCall,
    /// Allowed if the low half of this argument is one of these.
    OneOf(u32, &'static [u32]),
    /// Allowed unless the low half of this argument is one of these.
    NoneOf(u32, &'static [u32]),
    /// Allowed if none of these bits is set in this argument.
    Without(u32, u32),
    /// Allowed if one of these bits is set in this argument.
    With(u32, u32),
}

/// A filter, ready to load.
#[derive(Debug, Clone)]
pub struct Filter {
    program: Vec<Instruction>,
    allowed: usize,
    digest: Digest,
}

impl Filter {
    /// The filter of a profile.
    pub fn new(profile: Profile) -> Self {
        let rules = rules(profile);
        let allowed = rules.iter().filter(|(_, rule)| *rule != Rule::NoSuchCall).count();
        let program = compile(&rules, Rule::Refuse);
        let mut hasher = Hasher::new();
        for (code, jt, jf, k) in &program {
            hasher.update(&code.to_le_bytes());
            hasher.update(&[*jt, *jf]);
            hasher.update(&k.to_le_bytes());
        }
        Self { program, allowed, digest: hasher.finish() }
    }

    /// How many calls it lets through, some of them by argument only.
    pub fn allowed(&self) -> usize {
        self.allowed
    }

    /// Digest of the program, for reports.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Puts this process under the filter, for ever. `no_new_privs` must be set.
    pub(crate) fn load(&self) -> Result<(), HostError> {
        sys::seccomp(&self.program).map_err(HostError::at("load the system-call filter"))
    }
}

/// Number and rule of each listed call, sorted.
fn rules(profile: Profile) -> Vec<(u32, Rule)> {
    let mut rules: Vec<(u32, Rule)> = lists::of(profile)
        .into_iter()
        .filter_map(|nr| Some((u32::try_from(nr).ok()?, by_argument(nr))))
        .collect();
    rules.sort_unstable_by_key(|(nr, _)| *nr);
    rules.dedup_by_key(|(nr, _)| *nr);
    rules
}

/// The rule of a listed call.
fn by_argument(nr: i64) -> Rule {
    match nr {
        libc::SYS_clone => Rule::Without(0, CLONE_NEW),
        libc::SYS_clone3 => Rule::NoSuchCall,
        libc::SYS_socket | libc::SYS_socketpair => Rule::OneOf(0, &FAMILIES),
        libc::SYS_ioctl => Rule::NoneOf(1, &TERMINAL_INPUT),
        libc::SYS_prctl => Rule::OneOf(0, &PRCTL),
        libc::SYS_personality => Rule::OneOf(0, &PERSONALITIES),
        libc::SYS_memfd_create => Rule::With(1, MFD_NOEXEC_SEAL),
        _ => Rule::Allow,
    }
}

/// Architecture first, x32 second, then a balanced tree over the ranges of equal rules.
fn compile(rules: &[(u32, Rule)], rest: Rule) -> Vec<Instruction> {
    let mut ranges = vec![(0, rest)];
    for (nr, rule) in rules {
        if ranges.last().is_some_and(|(start, _)| start == nr) {
            ranges.pop();
        }
        if ranges.last().is_none_or(|(_, last)| last != rule) {
            ranges.push((*nr, *rule));
        }
        ranges.push((nr.saturating_add(1), rest));
    }
    let mut program = vec![
        (LOAD, 0, 0, AT_ARCH),
        (IF_EQ, 1, 0, ARCH),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, AT_NR),
        (IF_GE, 0, 1, X32),
        (RETURN, 0, 0, KILL),
    ];
    program.extend(tree(&ranges));
    program
}

/// The decision over `ranges`, each of which reaches to the start of the next.
fn tree(ranges: &[(u32, Rule)]) -> Vec<Instruction> {
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let (Some((pivot, _)), false) = (high.first(), low.is_empty()) else {
        return high.first().map_or_else(|| vec![(RETURN, 0, 0, EPERM)], |(_, rule)| leaf(*rule));
    };
    let left = tree(low);
    let skip = u32::try_from(left.len()).unwrap_or(u32::MAX);
    let mut code = match u8::try_from(skip) {
        Ok(near) => vec![(IF_GE, near, 0, *pivot)],
        Err(_) => vec![(IF_GE, 0, 1, *pivot), (JUMP, 0, 0, skip)],
    };
    code.extend(left);
    code.extend(tree(high));
    code
}

/// The code of one rule; it returns on every path.
fn leaf(rule: Rule) -> Vec<Instruction> {
    let test = |argument: u32, values: &[u32], hit: u32, miss: u32| {
        let mut code = vec![(LOAD, 0, 0, AT_ARGS.saturating_add(argument.saturating_mul(8)))];
        for (i, value) in values.iter().enumerate() {
            let left = u8::try_from(values.len().saturating_sub(i)).unwrap_or(u8::MAX);
            code.push((IF_EQ, left, 0, *value));
        }
        code.extend([(RETURN, 0, 0, miss), (RETURN, 0, 0, hit)]);
        code
    };
    let bits = |argument: u32, mask: u32, hit: u32, miss: u32| {
        vec![
            (LOAD, 0, 0, AT_ARGS.saturating_add(argument.saturating_mul(8))),
            (IF_ANY, 1, 0, mask),
            (RETURN, 0, 0, miss),
            (RETURN, 0, 0, hit),
        ]
    };
    match rule {
        Rule::Allow => vec![(RETURN, 0, 0, ALLOW)],
        Rule::Refuse => vec![(RETURN, 0, 0, EPERM)],
        Rule::NoSuchCall => vec![(RETURN, 0, 0, ENOSYS)],
        Rule::OneOf(argument, values) => test(argument, values, ALLOW, EPERM),
        Rule::NoneOf(argument, values) => test(argument, values, EPERM, ALLOW),
        Rule::Without(argument, mask) => bits(argument, mask, EPERM, ALLOW),
        Rule::With(argument, mask) => bits(argument, mask, ALLOW, EPERM),
    }
}

#[cfg(test)]
mod tests;
