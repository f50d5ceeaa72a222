use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::{Client, Conn, LinkError, Listener, PACKET_MAX};

#[test]
fn messages_keep_their_boundaries_and_carry_descriptors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = Listener::bind(&path, 0o600).unwrap();
    let client = Conn::connect(&path).unwrap();
    let (server, peer) = listener.accept().unwrap();
    assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
    assert_eq!(u32::try_from(peer.pid).unwrap(), std::process::id());

    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"inside").unwrap();
    client.send(b"one", &[file.as_fd(), file.as_fd()]).unwrap();
    client.send(&vec![7; PACKET_MAX], &[]).unwrap();
    let (message, fds) = server.recv(100, 2).unwrap();
    assert_eq!((message.as_slice(), fds.len()), (&b"one"[..], 2));
    let mut got = std::fs::File::from(fds.into_iter().next().unwrap());
    let flags = rustix::io::fcntl_getfd(&got).unwrap();
    assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
    std::io::Seek::rewind(&mut got).unwrap();
    let mut text = String::new();
    got.read_to_string(&mut text).unwrap();
    assert_eq!(text, "inside");
    assert_eq!(server.recv(PACKET_MAX, 0).unwrap().0.len(), PACKET_MAX);
    drop(client);
    assert!(matches!(server.recv(10, 0), Err(LinkError::Closed)));
    assert!(matches!(server.send(b"x", &[]), Err(LinkError::Closed)));
}

#[test]
fn too_long_or_too_many_is_refused_on_both_sides() {
    let (a, b) = Conn::pair().unwrap();
    assert!(matches!(a.send(&[], &[]), Err(LinkError::Size { .. })));
    assert!(matches!(a.send(&vec![0; PACKET_MAX + 1], &[]), Err(LinkError::Size { .. })));
    a.send(b"12345", &[]).unwrap();
    assert!(matches!(b.recv(4, 0), Err(LinkError::Size { .. })));
    for allowed in [0, 1, 2] {
        let count = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let fd = a.as_fd();
        let before = count();
        a.send(b"x", &[fd, fd, fd]).unwrap();
        assert!(matches!(b.recv(4, allowed), Err(LinkError::Descriptors { .. })), "{allowed}");
        // Other tests of this binary open descriptors too, so look for at most a small change.
        assert!(count() <= before + 8);
    }
}

#[test]
fn a_late_answer_is_never_taken_for_another_question() {
    let (a, b) = Conn::pair().unwrap();
    let client = Client::over(a, Duration::from_millis(50)).unwrap();
    assert!(matches!(client.call(b"first", &[], 0), Err(LinkError::TimedOut)));
    b.send(b"answer to the first", &[]).unwrap();
    assert!(matches!(client.call(b"second", &[], 0), Err(LinkError::Poisoned)));
    assert!(!client.is_usable());
}

#[test]
fn calls_of_many_threads_get_their_own_answers() {
    let (a, b) = Conn::pair().unwrap();
    let client = Client::over(a, Duration::from_secs(10)).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..400 {
                let (question, _) = b.recv(100, 0).unwrap();
                b.send(&question, &[]).unwrap();
            }
        });
        for t in 0..4u8 {
            let client = &client;
            scope.spawn(move || {
                for i in 0..100u8 {
                    assert_eq!(client.call(&[t, i], &[], 0).unwrap().0, [t, i]);
                }
            });
        }
    });
}

#[test]
fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let first = Listener::bind(&path, 0o660).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);
    assert!(matches!(Listener::bind(&path, 0o660), Err(LinkError::InUse { .. })));
    drop(first);
    let _second = Listener::bind(&path, 0o660).unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    assert!(matches!(Listener::bind(&file, 0o660), Err(LinkError::InUse { .. })));
    assert!(file.exists());
}

#[test]
fn a_stream_socket_is_refused() {
    let (a, _b) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(Conn::from_fd(a.into()).is_err());
}
