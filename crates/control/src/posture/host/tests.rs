use super::*;

const STATUS: &str = "Name:\tx\nUmask:\t0022\nUid:\t1000\t0\t1000\t1000\nGid:\t1\t1\t1\t1\n\
    CapInh:\t0000000000000000\nCapPrm:\t0000000000200000\nCapEff:\t0000000000000001\nCapBnd:\t000001ffffffffff\n\
    CapAmb:\t0000000000000002\n";

#[test]
fn a_process_is_read_whatever_its_name() {
    let stat = "7 (a) S 1 (b) R 42 7 7 0 -1 2097216 0 0";
    let found = parse(7, stat, STATUS, true).unwrap();
    let expected = Process {
        pid: 7,
        parent: 42,
        uids: [1000, 0, 1000, 1000],
        capabilities: 0x20_0003,
        name: "a) S 1 (b".to_owned(),
        kernel: true,
        own_users: true,
    };
    assert_eq!(found, expected);
    for (stat, status) in [
        ("", STATUS),
        ("7 a S 42", STATUS),
        (stat, ""),
        (stat, &STATUS.replace("\t1000\t0", "\t1000")),
        (stat, &STATUS.replace("CapEff", "CapXff")),
        ("7 (x) R 42 7 7 0 -1 x", STATUS),
    ] {
        assert_eq!(parse(7, stat, status, false), None, "{stat}");
    }
}

#[test]
fn a_zombie_has_ended_unless_a_thread_of_it_runs() {
    for (stat, threads, ended) in [
        ("7 (sshd) Z 1 7 7 0 -1 0 0", "Threads:\t1\n", true),
        ("7 (sshd) Z 1 7 7 0 -1 0 0", "", true),
        ("7 (sshd) Z 1 7 7 0 -1 0 0", "Threads:\t2\n", false),
        ("7 (sshd) S 1 7 7 0 -1 0 0", "Threads:\t1\n", false),
        ("7 (a) Z 1) R 1 7 7 0 -1 0 0", "Threads:\t1\n", false),
    ] {
        assert_eq!(has_ended(stat, &format!("{STATUS}{threads}")), ended, "{stat} {threads}");
    }
}

#[test]
fn this_process_and_its_parent_are_seen() {
    let all = match processes() {
        Ok(all) => all,
        // In a container there is nothing to see, and that is said.
        Err(why) => return assert!(why.contains("namespace") || why.contains("hidepid"), "{why}"),
    };
    let own = all.iter().find(|p| p.pid == std::process::id()).unwrap();
    assert_eq!(own.uids[1], rustix::process::geteuid().as_raw());
    assert!(all.iter().any(|p| p.pid == own.parent) && all.iter().any(|p| p.kernel));
}

#[test]
fn an_own_listener_is_in_the_tables() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let inode = |fd: i32| fs::metadata(format!("/proc/self/fd/{fd}")).unwrap().ino();
    use std::os::fd::AsRawFd;
    let mut sockets = Sockets::default();
    sockets.add(&read(Path::new("/proc/self/net/tcp"), TABLE_BYTES).unwrap()).unwrap();
    assert!(
        sockets.is_connected(inode(client.as_raw_fd())) && !sockets.is_connected(inode(listener.as_raw_fd()))
    );
}

#[test]
fn patterns_name_files_in_order_and_pipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["b.conf", "a.conf", ".c.conf", "d.conf.bak"] {
        fs::write(at(name), name).unwrap();
    }
    fs::create_dir(at("e.conf")).unwrap();
    let named = |pattern: &str| Disk.named(at(pattern).to_str().unwrap());
    let names = |pattern: &str| named(pattern).unwrap().into_iter().map(|s| s.text).collect::<Vec<_>>();
    assert_eq!(names("*.conf"), ["a.conf", "b.conf"]);
    assert_eq!(names("a.conf"), ["a.conf"]);
    assert!(names("none").is_empty() && names("none/*.conf").is_empty() && names("a.conf/*").is_empty());
    assert!(
        named("[ab].conf").is_err() && Disk.named("relative/*.conf").is_err() && Disk.named("~/x").is_err()
    );
    fs::write(at("a.conf"), vec![b'#'; usize::try_from(CONFIG_BYTES).unwrap() + 1]).unwrap();
    assert!(named("a.conf").is_err());
    std::process::Command::new("mkfifo").arg(at("f.conf")).status().unwrap();
    assert!(named("f.conf").unwrap_err().0.contains("no file"));
}
