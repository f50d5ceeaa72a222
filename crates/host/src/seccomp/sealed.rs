//! The filters of the node's own processes that have listeners: everything is allowed but what leads to the network, or to
//! more than they have.

use super::{Instruction, Rule, compile};

/// Which process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sealed {
    /// Its listeners are bound: it makes local sockets, and no others.
    Local,
    /// The relay: connects by TCP and asks for names by UDP; listens nowhere, and has no raw access.
    Relay,
}

/// AF_UNIX.
const LOCAL: [u32; 1] = [1];
/// AF_UNIX, AF_INET, AF_INET6; AF_NETLINK, by which libc learns which addresses a machine has.
const RELAY: [u32; 4] = [1, 2, 10, 16];
/// `MSG_FASTOPEN`: sending that connects.
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// io_uring makes sockets, connects and executes without the calls that a filter sees.
const RINGS: [i64; 3] = [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];
/// Other programs, other processes, and the kernel.
const NEVER: [i64; 13] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_unshare,
];

/// Its filter.
pub(crate) fn program(of: Sealed) -> Vec<Instruction> {
    let families: &'static [u32] = match of {
        Sealed::Local => &LOCAL,
        Sealed::Relay => &RELAY,
    };
    let mut rules = vec![
        (libc::SYS_socket, Rule::OneOf(0, families)),
        (libc::SYS_sendto, Rule::Without(3, MSG_FASTOPEN)),
        (libc::SYS_sendmsg, Rule::Without(2, MSG_FASTOPEN)),
        (libc::SYS_sendmmsg, Rule::Without(3, MSG_FASTOPEN)),
    ];
    rules.extend(RINGS.map(|nr| (nr, Rule::NoSuchCall)));
    rules.extend(NEVER.map(|nr| (nr, Rule::Refuse)));
    if of == Sealed::Relay {
        rules.push((libc::SYS_listen, Rule::Refuse));
    }
    let mut rules: Vec<(u32, Rule)> =
        rules.into_iter().filter_map(|(nr, rule)| Some((u32::try_from(nr).ok()?, rule))).collect();
    rules.sort_unstable_by_key(|(nr, _)| *nr);
    compile(&rules, Rule::Allow)
}
