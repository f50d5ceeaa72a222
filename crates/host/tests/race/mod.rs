//! The races, and the control.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::yield_now;

use base::Digest;
use strongroom_host::mounts;
use strongroom_host::sandbox::Ids;

use super::support::Case;

/// Races that are to come to a check.
const RACES: u64 = 10_000;
/// Mounts over which they are spread: each is made read-only while the attack is under way.
const MOUNTS: u64 = 50;
/// Races of the control: the attack either works there or it does not.
const CONTROLS: u64 = 200;
/// Where the numbers begin that the attacker between check and use writes; a multiple of its four ways.
const MINE: u64 = 1 << 32;
/// How often a mount that a writer holds is tried again. The platform refuses it the first time.
const HELD_MAX: u64 = 100_000;

/// All cases, in order.
pub(crate) const ALL: &[Case] = &[
    ("what_is_used_is_what_was_checked_in_10000_races", frozen),
    ("checked_by_path_the_same_attack_works", by_path),
];

/// What the check saw, and what was used.
type Seen = (Option<Digest>, Option<Digest>);

/// Writes something new into the file by one of its ways; whether that worked.
fn attempt(dir: &Path, number: u64, kept: &mut Option<fs::File>) -> bool {
    let (file, other) = (dir.join("model.bin"), dir.join("other"));
    let evil = number.to_le_bytes();
    match number % 4 {
        0 => OpenOptions::new().write(true).open(&file).and_then(|f| f.write_all_at(&evil, 0)).is_ok(),
        1 => fs::write(&other, evil).and_then(|()| fs::rename(&other, &file)).is_ok(),
        2 => fs::remove_file(&file).and_then(|()| fs::write(&file, evil)).is_ok(),
        // A descriptor from before is kept over some attempts.
        _ => match kept.take() {
            Some(before) => before.write_all_at(&evil, 0).is_ok(),
            None => {
                *kept = OpenOptions::new().write(true).open(&file).ok();
                kept.as_ref().is_some_and(|f| f.write_all_at(&evil, 0).is_ok())
            }
        },
    }
}

/// What stands there; nothing while the attack is half-way through an attempt.
fn look(dir: &Path) -> Option<Digest> {
    let bytes = fs::read(dir.join("model.bin")).ok().filter(|bytes| !bytes.is_empty());
    bytes.map(|bytes| base::sha256(&bytes))
}

/// As a loader does that goes by the path alone: it finds a file, sooner or later.
fn find(dir: &Path) -> Option<Digest> {
    loop {
        if let found @ Some(_) = look(dir) {
            return found;
        }
        yield_now();
    }
}

/// Races over one mount, while one attacker writes all the time and another between each check and use: what the
/// check saw, and what was used. How often a file that was held open for writing put off the check.
fn races(freezes: bool, many: u64) -> (Vec<Seen>, u64) {
    let ids = Ids::slot(65_003).unwrap();
    let input = mounts::input(1 << 20, 8, ids.inner()).unwrap();
    let dir = format!("/proc/self/fd/{}", input.root.as_raw_fd());
    let dir = Path::new(&dir);
    fs::File::create(dir.join("model.bin")).unwrap().write_all(b"as it was signed").unwrap();
    let (made, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut kept = None;
            for number in 1u64.. {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                attempt(dir, number, &mut kept);
                made.store(number, Ordering::SeqCst);
            }
        });
        // The attack is under way when the mount is made read-only, and goes on.
        while made.load(Ordering::SeqCst) == 0 {
            yield_now();
        }
        let mut held = 0;
        while freezes && held < HELD_MAX && mounts::freeze(input.root.as_fd()).is_err() {
            held += 1;
            yield_now();
        }
        let see = if freezes { look } else { find };
        let (mut seen, mut kept) = (Vec::new(), None);
        for race in 0..many {
            let checked = see(dir);
            // Content of its own for each attempt.
            for way in 0..4 {
                let worked = attempt(dir, MINE + race * 4 + way, &mut kept);
                assert!(!(freezes && worked), "race {race}: way {way} writes to what is read-only for good");
            }
            seen.push((checked, see(dir)));
        }
        over.store(true, Ordering::SeqCst);
        (seen, held)
    })
}

fn frozen() {
    let (mut raced, mut held) = (0, 0);
    for _ in 0..MOUNTS {
        let (seen, waited) = races(true, RACES / MOUNTS);
        assert!(waited < HELD_MAX, "the mount was never made read-only");
        for (checked, used) in seen {
            assert_eq!(checked, used, "race {raced}: other bytes than were checked");
            raced += 1;
        }
        held += waited;
    }
    assert_eq!(raced, RACES);
    println!("{raced} races over {MOUNTS} mounts; {held} times a writer put off the check");
}

/// Where nothing is made read-only every single race is lost.
fn by_path() {
    let (seen, _) = races(false, CONTROLS);
    for (race, (checked, used)) in seen.into_iter().enumerate() {
        assert_ne!(checked, used, "race {race}: the attack does not work where it should");
    }
}
