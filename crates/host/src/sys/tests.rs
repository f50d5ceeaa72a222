use std::os::fd::AsFd;

use super::*;

#[test]
fn a_multi_threaded_process_may_not_fork() {
    // The test harness runs each test in a thread of its own, so this process has at least two.
    let error = fork(0, None, || 0).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

#[test]
fn a_lease_is_refused_while_a_writer_is_open() {
    let dir = std::env::temp_dir().join(format!("strongroom-lease-{}", std::process::id()));
    let writer = std::fs::File::create(&dir).unwrap();
    let reader = std::fs::File::open(&dir).unwrap();
    let refused = set_lease(reader.as_fd(), Lease::Read).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EAGAIN));
    drop(writer);
    set_lease(reader.as_fd(), Lease::Read).unwrap();
    assert_eq!(lease(reader.as_fd()).unwrap(), Lease::Read);
    set_lease(reader.as_fd(), Lease::None).unwrap();
    assert_eq!(lease(reader.as_fd()).unwrap(), Lease::None);
    std::fs::remove_file(dir).unwrap();
}

#[test]
fn an_inherited_descriptor_is_taken_once_and_must_be_open() {
    assert!(take_inherited(63).is_err());
    assert!(take_inherited(64).is_err());
}

#[test]
fn signal_masks_have_one_bit_per_signal() {
    assert_eq!(mask(&[1, 15]), 1 | 1 << 14);
}

#[test]
fn advice_on_memory_changes_nothing_but_the_size_of_pages() {
    let mut small = vec![1u8, 2, 3];
    prefer_huge_pages(&mut small);
    prefer_huge_pages(&mut Vec::new());
    assert_eq!(small, [1, 2, 3]);
    let mut large: Vec<u8> = Vec::with_capacity(5 * HUGE_PAGE);
    large.extend_from_slice(&[7; 4096]);
    prefer_huge_pages(&mut large);
    assert_eq!((large.len(), large.capacity()), (4096, 5 * HUGE_PAGE));
    assert!(large.iter().all(|b| *b == 7));
    large.resize(5 * HUGE_PAGE, 9);
    assert!(large[4096..].iter().all(|b| *b == 9));
    // The kernel tells per mapping whether it was advised: flag `hg`.
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let supported = std::path::Path::new("/sys/kernel/mm/transparent_hugepage").exists();
    let flags = |line: &str| line.starts_with("VmFlags:") && line.split_whitespace().any(|flag| flag == "hg");
    assert_eq!(maps.lines().any(flags), supported);
}
