use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::sshd::{DEFAULT, Files, Source, Start, Unread, check};
use super::*;
use crate::Status;

/// Debian 12's file, its comments shortened.
const DEBIAN: &str = "\
# This is the sshd server system-wide configuration file.  See
# sshd_config(5) for more information.

Include /etc/ssh/sshd_config.d/*.conf

#Port 22
#LoginGraceTime 2m
#PermitRootLogin prohibit-password
#StrictModes yes
#PermitEmptyPasswords no
KbdInteractiveAuthentication no
UsePAM yes
X11Forwarding yes
PrintMotd no
AcceptEnv LANG LC_*
Subsystem\tsftp\t/usr/lib/openssh/sftp-server
# Example of overriding settings on a per-user basis
#Match User anoncvs
#\tX11Forwarding no
";

/// RHEL 9's file as far as it is not comments; installers add `01-permitrootlogin.conf`.
const RHEL: &str = "\
Include /etc/ssh/sshd_config.d/*.conf
#PermitRootLogin prohibit-password
AuthorizedKeysFile\t.ssh/authorized_keys
Subsystem\tsftp\t/usr/libexec/openssh/sftp-server
";

#[derive(Default)]
struct Disk(BTreeMap<&'static str, String>);

impl Disk {
    fn with(mut self, path: &'static str, text: &str) -> Self {
        self.0.insert(path, text.to_owned());
        self
    }
}

impl Files for Disk {
    fn named(&mut self, pattern: &str) -> Result<Vec<Source>, Unread> {
        let (head, tail) = pattern.split_once('*').unwrap_or((pattern, ""));
        let hit = |path: &str| {
            path == pattern || (pattern.contains('*') && path.starts_with(head) && path.ends_with(tail))
        };
        let found = self.0.iter().filter(|(path, _)| hit(path));
        found
            .map(|(path, text)| match text.as_str() {
                "unreadable" => Err(Unread(format!("{path} cannot be read"))),
                text => Ok(Source { path: (*path).to_owned(), text: text.to_owned() }),
            })
            .collect()
    }
}

fn of(text: &str) -> Checked {
    check(&[], &mut Disk::default().with(DEFAULT, text))
}

#[track_caller]
fn clean(checked: Checked) -> String {
    match checked {
        Checked::Clean(seen) => seen,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn found(checked: Checked) -> String {
    match checked {
        Checked::Found(all) => all.iter().map(|f| format!("{}; {}\n", f.seen, f.change)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_distributions_ship_lets_root_in_with_a_key() {
    for text in [DEBIAN, RHEL, "", "\n\n# nothing\n"] {
        let found = found(of(text));
        assert!(
            found.contains("does not set PermitRootLogin") && found.contains("before all others"),
            "{found}"
        );
    }
    assert!(clean(check(&[], &mut Disk::default())).contains("no sshd runs"));
}

#[test]
fn the_first_value_wins_over_drop_ins_and_the_rest() {
    let disk = |drop_in: &str, rest: &str| {
        Disk::default()
            .with(DEFAULT, &format!("{DEBIAN}{rest}"))
            .with("/etc/ssh/sshd_config.d/50-cloud-init.conf", drop_in)
    };
    let seen = clean(check(&[], &mut disk("PermitRootLogin no\n", "PermitRootLogin yes\n")));
    assert!(seen.contains("line 1 of /etc/ssh/sshd_config.d/50-cloud-init.conf"), "{seen}");
    let seen = found(check(
        &[],
        &mut disk("PasswordAuthentication yes\nPermitRootLogin yes\n", "PermitRootLogin no\n"),
    ));
    assert!(
        seen.contains("make line 2 of /etc/ssh/sshd_config.d/50-cloud-init.conf `PermitRootLogin no`"),
        "{seen}"
    );
    // The drop-ins are read in the order of their names, and an installer's comes before.
    let mut both = disk("PermitRootLogin no\n", "")
        .with("/etc/ssh/sshd_config.d/01-permitrootlogin.conf", "PermitRootLogin yes\n");
    assert!(found(check(&[], &mut both)).contains("01-permitrootlogin.conf"));
    // After the value an include changes nothing.
    let mut late = Disk::default()
        .with(DEFAULT, "PermitRootLogin no\nInclude other\n")
        .with("/etc/ssh/other", "PermitRootLogin yes");
    clean(check(&[], &mut late));
}

#[test]
fn keywords_are_written_in_many_ways() {
    for text in [
        "PermitRootLogin no",
        "permitrootlogin no",
        "PERMITROOTLOGIN NO",
        "  PermitRootLogin\tno  ",
        "PermitRootLogin=no",
        "PermitRootLogin = no",
        "PermitRootLogin =no",
        "PermitRootLogin \"no\"",
        "PermitRootLogin 'no'",
        "\"PermitRootLogin\" no",
        "PermitRoot\"Login\" no",
        "PermitRootLogin no # for good",
        "PermitRootLogin no\r",
        "X11Forwarding yes\r\nPermitRootLogin no\r\n",
        "PermitRootLogin no\nPermitRootLogin yes",
        "PermitRootLogin n\"o\"",
        " = PermitRootLogin no",
    ] {
        clean(of(text));
    }
    for text in [
        "PermitRootLogin yes",
        "PermitRootLogin=yes",
        "PermitRootLogin \"yes\"",
        "permitROOTlogin\tYES",
        "PermitRootLogin prohibit-password",
        "PermitRootLogin without-password",
        "PermitRootLogin forced-commands-only",
        "PermitRootLogin yes\nPermitRootLogin no",
        "#PermitRootLogin no",
        "PermitRootLogin nonsense",
        "PermitRootLogin \"no \"",
        "PermitRootLogin == no",
        "PermitRootLogin \\no",
        "PermitRootLogin n\\ o",
        "PermitRootLogin\u{a0}no",
        "PermitRootLogin\u{b}no",
        "PermitRootLogins no",
    ] {
        found(of(text));
    }
    for text in [
        "PermitRootLogin \"no",
        "PermitRootLogin",
        "PermitRootLogin # no",
        "\"PermitRootLogin no",
        "PermitRootLogin no'",
    ] {
        assert!(matches!(of(text), Checked::Unknown(_)), "{text}");
    }
}

#[test]
fn a_match_block_that_lets_root_in_again_counts() {
    let seen = found(of("PermitRootLogin no\nMatch Address 10.0.0.0/8\n  PermitRootLogin yes\n"));
    assert!(seen.contains("line 3") && seen.contains("`Match Address 10.0.0.0/8`"), "{seen}");
    // Within one block the first value wins too; the next block is another.
    clean(of("PermitRootLogin no\nMatch User a\nPermitRootLogin no\nPermitRootLogin yes\n"));
    assert!(found(of("PermitRootLogin no\nMatch User a\nPermitRootLogin no\nMatch all\nPermitRootLogin=without-password\n")).contains("line 5"));
    assert!(
        found(of("PermitRootLogin no\nMatch all\nPermitEmptyPasswords yes\n"))
            .contains("PermitEmptyPasswords")
    );
    // What stands in a block is no value for the rest.
    let seen = found(of("Match Group x\nPermitRootLogin no\n"));
    assert!(seen.contains("does not set PermitRootLogin"), "{seen}");
}

#[test]
fn a_match_ends_with_its_file_and_reaches_into_what_it_includes() {
    let inner = |outer: &str, inner: &str| {
        check(&[], &mut Disk::default().with(DEFAULT, outer).with("/etc/ssh/sshd_config.d/a.conf", inner))
    };
    clean(inner("Include sshd_config.d/*.conf\nPermitRootLogin no\n", "Match User git\nX11Forwarding no\n"));
    let seen = found(inner(
        "PermitRootLogin no\nMatch User git\nInclude sshd_config.d/*.conf\n",
        "PermitRootLogin yes\n",
    ));
    assert!(seen.contains("a.conf") && seen.contains("Match User git"), "{seen}");
    // The block's first value, before the include.
    clean(inner(
        "PermitRootLogin no\nMatch User git\nPermitRootLogin no\nInclude sshd_config.d/*.conf\n",
        "PermitRootLogin yes\n",
    ));
    let quoted = "Include \"/etc/ssh/sshd_config.d/*.conf\" /etc/ssh/none # and so on\nPermitRootLogin no\n";
    assert!(found(inner(quoted, "PermitRootLogin yes")).contains("a.conf"));
}

#[test]
fn what_cannot_be_read_is_not_known() {
    assert!(matches!(of("unreadable"), Checked::Unknown(_)));
    let mut disk = Disk::default()
        .with(DEFAULT, "Include /etc/ssh/d/*\nPermitRootLogin no")
        .with("/etc/ssh/d/x", "unreadable");
    assert!(matches!(check(&[], &mut disk), Checked::Unknown(_)));
    // A file that includes itself ends.
    assert!(matches!(of("Include /etc/ssh/sshd_config\n"), Checked::Unknown(_)));
    let wide = "Include /etc/ssh/d/*\n".repeat(300);
    let mut disk = Disk::default().with(DEFAULT, &wide).with("/etc/ssh/d/x", "UsePAM yes");
    assert!(matches!(check(&[], &mut disk), Checked::Unknown(_)));
}

#[test]
fn patterns_are_matched_as_glob_does() {
    for (pattern, name, expected) in [
        ("*.conf", "50-cloud-init.conf", Some(true)),
        ("*.conf", "50-cloud-init.conf.bak", Some(false)),
        ("*.conf", ".conf", Some(false)),
        (".*", ".conf", Some(true)),
        ("*", "", Some(true)),
        ("?", "ä", Some(true)),
        ("a*b*c", "a-b-b-c", Some(true)),
        ("a*b*c", "a-c-b", Some(false)),
        ("sshd_config", "sshd_config", Some(true)),
        ("", "a", Some(false)),
        ("[ab].conf", "a.conf", None),
        ("a\\*", "a*", None),
    ] {
        assert_eq!(super::sshd::matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn options_of_a_running_server_come_first() {
    let start = |line: &str| Start::from_words(line.split_whitespace());
    let disk =
        || Disk::default().with(DEFAULT, "PermitRootLogin no\n").with("/srv/sshd", "PermitRootLogin yes\n");
    clean(check(&[start("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups")], &mut disk()));
    for line in ["/usr/sbin/sshd -o PermitRootLogin=yes", "/usr/sbin/sshd -oPermitRootLogin=yes -D"] {
        assert!(found(check(&[start(line)], &mut disk())).contains("command line"), "{line}");
    }
    for line in ["/usr/sbin/sshd -D -f /srv/sshd", "/usr/sbin/sshd -f/srv/sshd"] {
        assert!(found(check(&[start(line)], &mut disk())).contains("/srv/sshd"), "{line}");
    }
    // Which configuration it went by cannot be seen any more.
    assert!(matches!(check(&[start("sshd")], &mut Disk::default()), Checked::Unknown(_)));
}

const TABLE: &str =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";

fn row(local: &str, state: &str, uid: u32, inode: u64) -> String {
    format!(
        "   0: {local} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000 {uid:5}        0 {inode} 1 00000000cd220056 100 0 0 10 0\n"
    )
}

fn sockets(rows: &[String]) -> Sockets {
    let mut sockets = Sockets::default();
    sockets.add(&format!("{TABLE}{}", rows.concat())).unwrap();
    sockets
}

/// An IPv4 address as this machine's kernel would print it.
fn at(address: [u8; 4], port: u16) -> String {
    format!("{:08X}:{port:04X}", u32::from_ne_bytes(address))
}

#[test]
fn listeners_of_root_are_told_apart() {
    let any = [0, 0, 0, 0];
    for (port, uid, bad) in [
        (23, 0, true),
        (514, 0, true),
        (5901, 0, true),
        (6379, 0, true),
        (9090, 0, true),
        (10000, 0, true),
        (4506, 0, true),
        (2375, 1000, true),
        (2376, 0, true),
        (10250, 0, true),
        (6379, 999, false),
        (9090, 1000, false),
        (22, 0, false),
        (8443, 890_003, false),
        (2024, 0, false),
    ] {
        let checked = listeners(&sockets(&[row(&at(any, port), "0A", uid, 9)]));
        assert_eq!(matches!(checked, Checked::Found(_)), bad, "{port} of {uid}: {checked:?}");
        let local = listeners(&sockets(&[row(&at([127, 0, 0, 1], port), "0A", uid, 9)]));
        assert!(matches!(local, Checked::Clean(_)), "{port} on loopback");
    }
    let seen = clean(listeners(&sockets(&[row(&at(any, 22), "0A", 0, 1), row(&at(any, 2024), "0A", 0, 2)])));
    assert!(seen.ends_with("other ports of root: 22, 2024"), "{seen}");
}

#[test]
fn addresses_of_both_families_are_read() {
    let long =
        |words: [[u8; 4]; 4]| words.map(|w| format!("{:08X}", u32::from_ne_bytes(w))).concat() + ":0017";
    let zero = [0; 4];
    for (words, bad) in [
        ([zero, zero, zero, zero], true),
        ([zero, zero, zero, [0, 0, 0, 1]], false),
        ([zero, zero, [0, 0, 255, 255], [127, 0, 0, 1]], false),
        ([zero, zero, [0, 0, 255, 255], [10, 0, 0, 1]], true),
        ([[0xfe, 0x80, 0, 0], zero, zero, [0, 0, 0, 1]], true),
    ] {
        let local = long(words);
        let line = row(&local, "0A", 0, 9).replace("00000000:0000 0A", &format!("{} 0A", long([zero; 4])));
        assert_eq!(matches!(listeners(&sockets(&[line])), Checked::Found(_)), bad, "{local}");
    }
    for line in
        ["   0: 0000000:0017 00000000:0000 0A", "x", "   0: 00000000:17 00000000:0000 0A 0:0 0:0 0 x 0 9"]
    {
        assert_eq!(Sockets::default().add(&format!("{TABLE}{line}")), Err(BadTable(2)), "{line}");
    }
}

fn process(pid: u32, parent: u32, name: &str, uid: u32) -> Process {
    Process { pid, parent, uids: [uid; 4], name: name.to_owned(), ..Process::default() }
}

/// A host with one login over ssh: 30 listens, 31 serves, 32 is the user's half, 33 the shell.
fn host() -> Vec<Process> {
    vec![
        process(1, 0, "systemd", 0),
        Process { kernel: true, ..process(2, 0, "kthreadd", 0) },
        process(30, 1, "sshd", 0),
        process(31, 30, "sshd", 0),
        process(32, 31, "sshd", 1000),
        process(33, 32, "bash", 1000),
        process(40, 1, "cron", 0),
        process(50, 1, "nginx", 0),
        process(51, 50, "nginx", 33),
    ]
}

/// Process 51 holds a connection; 1 and 50 hold listeners.
fn network() -> (Holders, Sockets) {
    let held = [(1, 3, 70), (50, 4, 71), (51, 5, 72)].map(|(pid, fd, inode)| Held { pid, fd, inode });
    let any = at([0, 0, 0, 0], 22);
    let holders = Holders { held: held.to_vec(), hidden: BTreeSet::new() };
    (holders, sockets(&[row(&any, "0A", 0, 70), row(&any, "0A", 0, 71), row(&any, "01", 33, 72)]))
}

#[track_caller]
fn judged(all: &[Process], more: &[Held]) -> Checked {
    let (mut held, mut sockets) = network();
    held.held.extend(more);
    let rows: String = more.iter().map(|h| row(&at([10, 0, 0, 1], 9), "01", 0, h.inode)).collect();
    sockets.add(&format!("{TABLE}{rows}")).unwrap();
    sessions(all, &held, &sockets)
}

#[test]
fn a_login_without_root_is_in_order() {
    let seen = clean(judged(&host(), &[]));
    assert!(seen.contains("9 processes, 5 with root's rights"), "{seen}");
    assert_eq!(asked(&host()).into_iter().collect::<Vec<_>>(), [1, 30, 31, 40, 50]);
}

#[test]
fn root_below_a_session_is_found_however_it_came_about() {
    let set_id = Process { uids: [1000, 0, 0, 0], ..process(60, 33, "passwd", 0) };
    let saved = Process { uids: [1000, 1000, 0, 1000], ..process(60, 33, "tool", 0) };
    let capable = Process { capabilities: 1 << 21, ..process(60, 33, "mount", 1000) };
    let renamed = process(60, 33, "sshd", 0);
    for bad in
        [process(60, 33, "sudo", 0), set_id, saved, capable.clone(), renamed, process(60, 31, "bash", 0)]
    {
        let mut all = host();
        all.push(bad.clone());
        // And below it.
        all.push(process(61, 60, "sh", 0));
        let seen = found(judged(&all, &[]));
        assert!(seen.contains("process 60") && seen.contains("process 61"), "{bad:?}: {seen}");
    }
    for good in [
        Process { own_users: true, ..capable },
        Process { capabilities: 1 << 10, ..process(60, 33, "ping", 1000) },
        process(60, 40, "sh", 0),
        process(60, 77, "orphan", 0),
    ] {
        let mut all = host();
        all.push(good.clone());
        clean(judged(&all, &[]));
    }
}

#[test]
fn other_doors_than_ssh_are_found() {
    for name in super::processes::SHELLS {
        assert!(name.len() <= 15, "the kernel cuts `{name}`");
        let mut all = host();
        all.extend([process(70, 1, name, 0), process(71, 70, "login", 0)]);
        assert!(found(judged(&all, &[])).contains("process 71"), "{name}");
    }
    // An agent with a connection that runs commands, and a shell whose input is the network.
    let mut all = host();
    all.extend([process(80, 1, "agent", 0), process(81, 80, "sh", 0)]);
    let seen = found(judged(&all, &[Held { pid: 80, fd: 6, inode: 900 }]));
    assert!(seen.contains("process 81") && !seen.contains("process 80 (agent) has"), "{seen}");
    assert!(found(judged(&all, &[Held { pid: 81, fd: 0, inode: 901 }])).contains("standard input"));
    clean(judged(&all, &[Held { pid: 40, fd: 6, inode: 902 }]));
    // A server of ssh that was itself started in a session.
    let mut all = host();
    all.extend([process(90, 33, "sudo", 0), process(91, 90, "sshd", 0), process(92, 91, "sshd", 0)]);
    assert!(found(judged(&all, &[])).contains("process 92"));
}

#[test]
fn a_server_whose_settings_are_not_read_leaves_it_open() {
    assert!(clean(other_doors(&host())).contains("dropbear"));
    let mut all = host();
    all.push(process(70, 1, "dropbear", 0));
    assert!(matches!(other_doors(&all), Checked::Unknown(why) if why.starts_with("process 70 (dropbear)")));
}

#[test]
fn newer_servers_of_ssh_have_other_names() {
    let mut all = host();
    all.extend([
        process(34, 30, "sshd-session", 0),
        process(35, 34, "sshd-session", 1001),
        process(36, 34, "sshd-auth", 74),
        process(37, 35, "bash", 1001),
    ]);
    clean(judged(&all, &[]));
    all.push(process(38, 37, "su", 0));
    assert!(found(judged(&all, &[])).contains("below process 35 (sshd-session)"));
}

#[test]
fn a_name_cannot_write_into_the_report() {
    let mut all = host();
    all.push(process(60, 33, "a\n\u{1b}[2Jb", 0));
    let seen = found(judged(&all, &[]));
    assert!(seen.contains("process 60 (a\\n\\u{1b}[2Jb)"), "{seen}");
}

#[test]
fn sockets_of_engines_are_for_root_alone() {
    let socket = |mode, uid, gid| EngineSocket { path: "/run/docker.sock".to_owned(), mode, uid, gid };
    for (mode, uid, gid, bad) in [
        (0o660, 0, 0, false),
        (0o600, 0, 998, false),
        (0o660, 0, 998, true),
        (0o666, 0, 0, true),
        (0o640, 0, 998, false),
        (0o600, 1000, 1000, true),
    ] {
        assert_eq!(
            matches!(engines(&[socket(mode, uid, gid)], 7), Checked::Found(_)),
            bad,
            "{mode:o} {uid} {gid}"
        );
    }
    clean(engines(&[], 7));
}

#[test]
fn a_network_socket_of_the_node_is_found() {
    let own = [("warden", 5), ("keeper", 6)];
    let holders = |pid| Holders { held: vec![Held { pid, fd: 3, inode: 1 }], hidden: BTreeSet::from([8]) };
    assert!(clean(network_sockets(&own, &holders(7))).contains("keeper (process 6)"));
    assert!(found(network_sockets(&own, &holders(6))).contains("the keeper"));
    let hidden = Holders { hidden: BTreeSet::from([5]), ..Holders::default() };
    assert!(matches!(network_sockets(&own, &hidden), Checked::Unknown(_)));
}

#[test]
fn a_hidden_process_leaves_it_open_and_hides_no_finding() {
    let (mut holders, sockets) = network();
    holders.hidden.insert(1);
    let Checked::Unknown(why) = sessions(&host(), &holders, &sockets) else { panic!("judged by a part") };
    assert!(why.contains("1 of the 5") && why.contains("process 1 (systemd)"), "{why}");
    let mut all = host();
    all.push(process(60, 33, "sudo", 0));
    assert!(found(sessions(&all, &holders, &sockets)).contains("process 60"));
}

#[test]
fn only_what_was_all_seen_and_clean_passes() {
    let clean = || Checked::Clean("seen".to_owned());
    let wrong = |n| Checked::Found(vec![Finding::new("bad", "mend it"); n]);
    let unknown = || Checked::Unknown("not readable".to_owned());
    assert_eq!(judge(&[("a", clean()), ("b", clean())]).status, Status::Pass);
    assert_eq!(judge(&[]).status, Status::Unknown);
    let both = judge(&[("a", clean()), ("b", unknown())]);
    assert_eq!((both.status, both.reason.as_str()), (Status::Unknown, "b: not readable"));
    let all = judge(&[("a", unknown()), ("b", wrong(1)), ("c", clean())]);
    assert_eq!(
        (all.status, all.reason.as_str(), all.evidence.len()),
        (Status::Fail, "bad; to change: mend it", 3)
    );
    let many = judge(&[("a", wrong(20))]);
    assert_eq!(many.evidence.len(), SHOWN_MAX + 1);
    assert!(
        many.reason.ends_with("(and 19 more, in the evidence)")
            && many.evidence[SHOWN_MAX].contains("12 more")
    );
}

proptest! {
    /// No text makes the reader panic, and none is clean that does not say `no`.
    #[test]
    fn any_text_is_judged(text in "(?s).{0,300}") {
        if let Checked::Clean(_) = of(&text) {
            prop_assert!(text.to_lowercase().contains("no"));
        }
    }

    /// A line before all others decides, whatever follows outside of `Match`.
    #[test]
    fn the_first_line_decides(rest in prop::collection::vec("(PermitRootLogin|permitemptypasswords|Port|#)[ =](yes|no|22)", 0..20), no in any::<bool>()) {
        let text = format!("PermitRootLogin {}\nPermitEmptyPasswords no\n{}", if no { "no" } else { "yes" }, rest.join("\n"));
        prop_assert_eq!(matches!(of(&text), Checked::Clean(_)), no);
    }

    /// Some line of a block that says yes first is found, wherever the block is.
    #[test]
    fn a_block_is_found_wherever_it_is(before in 0..5_usize, after in 0..5_usize, key in "(?i)permitrootlogin") {
        let quiet = "Match User a\nX11Forwarding no\nPermitRootLogin no\n";
        let text = format!("PermitRootLogin no\n{}Match Host b\n{key} yes\n{}", quiet.repeat(before), quiet.repeat(after));
        prop_assert!(matches!(of(&text), Checked::Found(_)));
    }

    #[test]
    fn any_table_is_read_or_refused(text in "(?s).{0,400}") {
        drop(Sockets::default().add(&text));
    }

    /// Circles, holes and any tree end.
    #[test]
    fn any_processes_are_judged(parents in prop::collection::vec((0..30_u32, 0..2_u32), 0..30)) {
        let all: Vec<Process> = (0u32..).zip(&parents).map(|(pid, (parent, uid))| process(pid, *parent, "sshd", *uid)).collect();
        let _judged = sessions(&all, &Holders::default(), &Sockets::default());
        prop_assert!(asked(&all).len() <= all.len());
    }
}
