//! A whole import (read, hash, seal, write, without the final flush) against `openssl dgst -sha256` of the same file, in
//! CPU time, rounds interleaved.
//!
//! usage: `import_bench [MiB]`, default 1024; the files lie in the directory of temporary files
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::process::Command;

use rustix::time::{ClockId, clock_gettime};
use strongroom_store::{ObjectStore, Seal};
use vault::{ChunkSize, Content, FreshDek, KeyScope};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MIB: usize = 1 << 20;
const ROUNDS: usize = 7;

fn cpu_seconds(clock: ClockId) -> f64 {
    let t = clock_gettime(clock);
    let nanos = f64::from(i32::try_from(t.tv_nsec).unwrap_or(0));
    let seconds = f64::from(i32::try_from(t.tv_sec).unwrap_or(i32::MAX));
    seconds + nanos / 1e9
}

fn gigabytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes / MIB).unwrap_or(u32::MAX)) * 1.048_576e-3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU seconds of the whole import, the flush of the commit excluded.
fn import(store: &ObjectStore, path: &std::path::Path, scope: &KeyScope) -> Outcome<f64> {
    let before = cpu_seconds(ClockId::ProcessCPUTime);
    let mut import = store.import(Seal {
        scope: scope.clone(),
        dek: FreshDek::take(&mut [3; 32]),
        salt: [4; 32],
        chunk: ChunkSize::default(),
        content: Content::Unknown,
        limit_bytes: u64::MAX,
    })?;
    import.read_from(&mut File::open(path)?)?;
    drop(import.finish()?);
    Ok(cpu_seconds(ClockId::ProcessCPUTime) - before)
}

/// CPU seconds of `openssl dgst -sha256`, as the shell's `times` reports its children.
fn openssl(path: &std::path::Path) -> Outcome<f64> {
    let script = "openssl dgst -sha256 \"$0\" > /dev/null && times";
    let out = Command::new("bash").args(["-c", script]).arg(path).output()?;
    let text = String::from_utf8(out.stdout)?;
    let children = text.lines().nth(1).ok_or("times")?;
    let mut sum = 0.0;
    for time in children.split_whitespace() {
        let (minutes, seconds) = time.trim_end_matches('s').split_once('m').ok_or("times")?;
        sum += minutes.parse::<f64>()? * 60.0 + seconds.parse::<f64>()?;
    }
    Ok(sum)
}

fn row(what: &str, ours: &[f64], peer: &[f64], goal: &str) {
    let ratio = median(ours.iter().zip(peer).map(|(a, b)| a / b).collect());
    let (ours, peer) = (median(ours.to_vec()), median(peer.to_vec()));
    println!("{what:<44} {ours:6.2} GB/s   peer {peer:6.2} GB/s   ratio {ratio:5.2}   goal {goal}");
}

fn main() -> Outcome<()> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(1024), |arg| arg.parse())?;
    let scope: KeyScope = "bench".parse()?;
    let bytes = mib * MIB;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("plain");
    let mut file = File::create(&path)?;
    let mut random = File::open("/dev/urandom")?.take(u64::try_from(bytes)?);
    std::io::copy(&mut random, &mut file)?;
    file.flush()?;
    let (store, _) = ObjectStore::open(&dir.path().join("store"))?;
    let (mut imports, mut digests) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        imports.push(gigabytes(bytes) / import(&store, &path, &scope)?);
        digests.push(gigabytes(bytes) / openssl(&path)?);
    }
    row("whole import / openssl dgst -sha256", &imports, &digests, "hash of it >= 0.85");
    Ok(())
}
