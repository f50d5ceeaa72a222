use super::*;

/// What the kernel's interpreter would answer for this call.
fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend_from_slice(&nr.to_le_bytes());
    data.extend_from_slice(&arch.to_le_bytes());
    data.extend_from_slice(&[0; 8]);
    for arg in args {
        data.extend_from_slice(&arg.to_le_bytes());
    }
    let (mut a, mut pc) = (0u32, 0usize);
    loop {
        let (code, jt, jf, k) = program[pc];
        pc += 1;
        let branch = |hit: bool| usize::from(if hit { jt } else { jf });
        match code {
            LOAD => a = u32::from_le_bytes(data[k as usize..k as usize + 4].try_into().unwrap()),
            IF_EQ => pc += branch(a == k),
            IF_GE => pc += branch(a >= k),
            IF_ANY => pc += branch(a & k != 0),
            JUMP => pc += k as usize,
            RETURN => return k,
            other => panic!("undefined instruction {other:#x}"),
        }
    }
}

fn ask(profile: Profile, nr: i64, args: [u64; 6]) -> u32 {
    run(&Filter::new(profile).program, ARCH, u32::try_from(nr).unwrap(), args)
}

#[test]
fn every_number_gets_the_answer_of_its_list() {
    for profile in [Profile::Training, Profile::Inference, Profile::Porter] {
        let listed = lists::of(profile);
        let program = Filter::new(profile).program;
        for nr in 0..1024u32 {
            let plain = by_argument(i64::from(nr)) == Rule::Allow;
            let expected = listed.contains(&i64::from(nr));
            let answer = run(&program, ARCH, nr, [0; 6]);
            if expected && plain {
                assert_eq!(answer, ALLOW, "call {nr}");
            } else if !expected {
                assert_eq!(answer, EPERM, "call {nr}");
            }
        }
    }
}

#[test]
fn other_architectures_and_x32_end_the_process() {
    let program = Filter::new(Profile::Training).program;
    assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), KILL);
    assert_eq!(run(&program, ARCH, X32, [0; 6]), KILL);
    assert_eq!(run(&program, ARCH, u32::MAX, [0; 6]), KILL);
}

#[test]
fn arguments_decide_where_they_must() {
    let t = Profile::Training;
    let arg = |i: usize, v: u64| {
        let mut args = [0; 6];
        args[i] = v;
        args
    };
    assert_eq!(ask(t, libc::SYS_clone, arg(0, 0x0010_0911)), ALLOW);
    for shift in [17, 25, 26, 27, 28, 29, 30] {
        assert_eq!(ask(t, libc::SYS_clone, arg(0, 1 << shift)), EPERM, "bit {shift}");
    }
    assert_eq!(ask(t, libc::SYS_clone3, [0; 6]), ENOSYS);
    for family in 0..64 {
        let expected = if [1, 2, 10].contains(&family) { ALLOW } else { EPERM };
        assert_eq!(ask(t, libc::SYS_socket, arg(0, family)), expected, "family {family}");
    }
    // The kernel compares 32 bits, so high bits must not help.
    assert_eq!(ask(t, libc::SYS_ioctl, arg(1, 0xFFFF_FFFF_0000_5412)), EPERM);
    assert_eq!(ask(t, libc::SYS_ioctl, arg(1, 0x541C)), EPERM);
    assert_eq!(ask(t, libc::SYS_ioctl, arg(1, 0x5401)), ALLOW);
    assert_eq!(ask(t, libc::SYS_prctl, arg(0, 15)), ALLOW);
    assert_eq!(ask(t, libc::SYS_prctl, arg(0, 22)), EPERM, "PR_SET_SECCOMP");
    assert_eq!(ask(t, libc::SYS_memfd_create, arg(1, 0)), EPERM);
    assert_eq!(ask(t, libc::SYS_memfd_create, arg(1, 9)), ALLOW);
    assert_eq!(ask(t, libc::SYS_personality, arg(0, 0x0008_0000)), EPERM);
}

#[test]
fn what_must_never_be_allowed_is_not() {
    let never = [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_fsopen,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_fanotify_init,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_swapon,
        libc::SYS_quotactl,
        libc::SYS_clock_settime,
        libc::SYS_settimeofday,
        libc::SYS_syslog,
        libc::SYS_iopl,
        libc::SYS_ioperm,
        libc::SYS_reboot,
        libc::SYS_acct,
        libc::SYS_mbind,
        libc::SYS_move_pages,
        libc::SYS_migrate_pages,
        libc::SYS_seccomp,
        libc::SYS_mincore,
        libc::SYS_mknod,
        libc::SYS_setuid,
        libc::SYS_setresuid,
        libc::SYS_capset,
        libc::SYS_vmsplice,
        libc::SYS_preadv2,
    ];
    for profile in [Profile::Training, Profile::Inference, Profile::Porter] {
        for nr in never {
            assert_eq!(ask(profile, nr, [0; 6]), EPERM, "{profile:?} call {nr}");
        }
    }
    assert_eq!(ask(Profile::Training, libc::SYS_execveat, [0; 6]), EPERM);
    assert_eq!(ask(Profile::Inference, libc::SYS_socket, arg_inet()), EPERM);
}

fn arg_inet() -> [u64; 6] {
    [2, 1, 0, 0, 0, 0]
}

#[test]
fn the_lists_stay_within_their_caps() {
    for (profile, cap) in [(Profile::Training, 190), (Profile::Inference, 150), (Profile::Porter, 190)] {
        let allowed = Filter::new(profile).allowed();
        assert!(allowed <= cap, "{profile:?} allows {allowed} calls");
    }
}

#[test]
fn who_has_listeners_makes_local_sockets_and_no_others() {
    let nr = |call: i64| u32::try_from(call).unwrap();
    let arg = |i: usize, v: u64| {
        let mut args = [0; 6];
        args[i] = v;
        args
    };
    for (of, families) in [(Sealed::Local, &[1u64][..]), (Sealed::Relay, &[1, 2, 10, 16])] {
        let program = sealed(of);
        for family in 0..64 {
            let expected = if families.contains(&family) { ALLOW } else { EPERM };
            assert_eq!(
                run(&program, ARCH, nr(libc::SYS_socket), arg(0, family)),
                expected,
                "{of:?} {family}"
            );
        }
        // Sending that connects.
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            assert_eq!(run(&program, ARCH, nr(call), arg(flags, 0x2000_0000)), EPERM);
            assert_eq!(run(&program, ARCH, nr(call), arg(flags, 0x2000_4000)), EPERM);
            assert_eq!(run(&program, ARCH, nr(call), arg(flags, 0x4000)), ALLOW);
        }
        assert_eq!(run(&program, ARCH, nr(libc::SYS_io_uring_setup), [0; 6]), ENOSYS);
        for call in [libc::SYS_execve, libc::SYS_execveat, libc::SYS_ptrace, libc::SYS_pidfd_getfd] {
            assert_eq!(run(&program, ARCH, nr(call), [0; 6]), EPERM);
        }
        for call in [libc::SYS_read, libc::SYS_connect, libc::SYS_accept4, libc::SYS_clone3] {
            assert_eq!(run(&program, ARCH, nr(call), [0; 6]), ALLOW);
        }
        let listen = if of == Sealed::Relay { EPERM } else { ALLOW };
        assert_eq!(run(&program, ARCH, nr(libc::SYS_listen), [0; 6]), listen);
        assert_eq!(run(&program, 0x4000_0003, 102, [0; 6]), KILL, "socketcall of the old ABI");
        assert_eq!(run(&program, ARCH, X32 + nr(libc::SYS_socket), arg(0, 2)), KILL);
    }
}
