//! Rates per CPU-second of one core, each next to its peer in the same run, rounds interleaved: sealing and opening
//! (digest known) against ring's AES-256-GCM over the same bytes.
//!
//! usage: `seal_bench [MiB]`, default 1024
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rustix::time::{ClockId, clock_gettime};
use strongroom_vault::{ChunkSize, Content, FreshDek, KeyScope, Opener, Sealer, SefError};

type Outcome<T> = Result<T, Box<dyn Error>>;

const MIB: usize = 1 << 20;
const ROUNDS: usize = 9;

fn cpu_seconds(clock: ClockId) -> f64 {
    let t = clock_gettime(clock);
    let nanos = f64::from(i32::try_from(t.tv_nsec).unwrap_or(0));
    let seconds = f64::from(i32::try_from(t.tv_sec).unwrap_or(i32::MAX));
    seconds + nanos / 1e9
}

/// GB per CPU-second of this thread.
fn rate(bytes: usize, work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let before = cpu_seconds(ClockId::ThreadCPUTime);
    work()?;
    Ok(gigabytes(bytes) / (cpu_seconds(ClockId::ThreadCPUTime) - before))
}

fn gigabytes(bytes: usize) -> f64 {
    f64::from(u32::try_from(bytes / MIB).unwrap_or(u32::MAX)) * 1.048_576e-3
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn ring_raw(mib: usize, chunk: &mut [u8]) -> Outcome<()> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| "key")?);
    for i in 0..mib {
        let mut nonce = [0u8; 12];
        nonce.iter_mut().zip(i.to_le_bytes()).for_each(|(to, from)| *to = from);
        let tag = key.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), chunk);
        if tag.map_err(|_| "seal")?.as_ref() == [0; 16] {
            return Err("an impossible tag".into());
        }
    }
    Ok(())
}

fn sealer(content: Content) -> Outcome<Sealer> {
    Ok(Sealer::new(FreshDek::take(&mut [9; 32]), [1; 32], ChunkSize::default(), content)?)
}

/// Seals what stands in the sealer's own space: what a read into it costs is the reader's.
fn seal(mib: usize, content: Content, scope: &KeyScope) -> Outcome<()> {
    let mut sealer = sealer(content)?;
    let mut emit = |_, bytes: &[u8]| -> Result<(), SefError> {
        std::hint::black_box(bytes);
        Ok(())
    };
    for _ in 0..mib {
        let len = sealer.space().len();
        sealer.advance(len, &mut emit)?;
    }
    sealer.finish(scope, &mut emit)?;
    Ok(())
}

/// A sealed file in memory and what opens it.
fn sealed(mib: usize, scope: &KeyScope) -> Outcome<(Opener, Vec<u8>)> {
    let mut body = Vec::with_capacity(mib * MIB);
    let mut emit = |_, bytes: &[u8]| -> Result<(), SefError> {
        body.extend_from_slice(bytes);
        Ok(())
    };
    let mut sealer = sealer(Content::Unknown)?;
    for _ in 0..mib {
        sealer.push(&[5; MIB], &mut emit)?;
    }
    let s = sealer.finish(scope, &mut emit)?;
    let opener = Opener::verify(&s.header, s.tags, s.layout.file_len(), &s.dek, scope, &s.digest)?;
    Ok((opener, body))
}

fn open(opener: &Opener, body: &[u8], mib: usize, out: &mut [u8]) -> Outcome<()> {
    for i in 0..mib {
        let at = i % (body.len() / MIB) * MIB;
        // The copy stands for the read that a caller makes into the destination.
        out.copy_from_slice(body.get(at..at + MIB).ok_or("body")?);
        opener.open_chunk(u64::try_from(at / MIB)?, out)?;
    }
    Ok(())
}

fn copy(body: &[u8], mib: usize, out: &mut [u8]) -> Outcome<()> {
    for i in 0..mib {
        let at = i % (body.len() / MIB) * MIB;
        out.copy_from_slice(body.get(at..at + MIB).ok_or("body")?);
        std::hint::black_box(&out);
    }
    Ok(())
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
    let mut chunk = vec![0u8; MIB];
    let known = Content::Known(base::sha256(b""));
    let (opener, body) = sealed(16, &scope)?;
    let (mut raw, mut seals, mut hashed, mut opens, mut raw_copied) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..ROUNDS {
        raw.push(rate(bytes, || ring_raw(mib, &mut chunk))?);
        seals.push(rate(bytes, || seal(mib, known, &scope))?);
        hashed.push(rate(bytes, || seal(mib, Content::Unknown, &scope))?);
        opens.push(rate(bytes, || open(&opener, &body, mib, &mut chunk))?);
        let copies = rate(bytes, || copy(&body, mib, &mut chunk))?;
        raw_copied.push(1.0 / (1.0 / raw.last().copied().unwrap_or(f64::NAN) + 1.0 / copies));
    }
    println!("per CPU-second of one core, {mib} MiB, median of {ROUNDS} interleaved rounds");
    row("seal, digest known / ring AES-256-GCM", &seals, &raw, ">= 0.80");
    row("open with the read's copy / ring + that copy", &opens, &raw_copied, ">= 0.80");
    row("open with the read's copy / ring alone", &opens, &raw, "-");
    row("seal and hash / ring AES-256-GCM", &hashed, &raw, "-");
    Ok(())
}
