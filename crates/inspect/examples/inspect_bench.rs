//! Inspection of a safetensors file against SHA-256 over the same bytes, in CPU time of one core, rounds
//! interleaved: the structure alone, and with a digest of each tensor and the check for finite numbers.
//!
//! usage: `inspect_bench [MiB]`, default 256
#![expect(clippy::print_stdout, reason = "it prints what it measured")]

use std::error::Error;
use std::hint::black_box;

use rustix::time::{ClockId, clock_gettime};
use strongroom_inspect::{Limits, Verdict, inspect_bytes};

const ROUNDS: usize = 7;

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = f64::from(i32::try_from(time.tv_nsec).unwrap_or(0));
    f64::from(i32::try_from(time.tv_sec).unwrap_or(i32::MAX)) + nanos / 1e9
}

/// The least of the times that `work` took.
fn least(best: &mut f64, work: impl FnOnce()) {
    let began = cpu_seconds();
    work();
    *best = best.min(cpu_seconds() - began);
}

fn main() -> Result<(), Box<dyn Error>> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(256), |arg| arg.parse())?;
    let data = mib << 20;
    let header = format!(r#"{{"w":{{"dtype":"F32","shape":[{}],"data_offsets":[0,{data}]}}}}"#, data / 4);
    let mut file = u64::try_from(header.len())?.to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..data).map(|at| u8::try_from(at % 63).unwrap_or(0)));
    let bare = Limits { measure: false, ..Limits::default() };
    let full = Limits::default();
    if inspect_bytes("w.safetensors", &file, &full).verdict != Verdict::Load {
        return Err("the sample does not load".into());
    }
    let (mut hash, mut structure, mut measured) = (f64::MAX, f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        least(&mut hash, || drop(black_box(base::sha256(&file).hex())));
        least(&mut structure, || drop(black_box(inspect_bytes("w.safetensors", &file, &bare))));
        least(&mut measured, || drop(black_box(inspect_bytes("w.safetensors", &file, &full))));
    }
    println!("{mib} MiB safetensors, CPU of one core, least of {ROUNDS}");
    println!("sha-256 alone            {hash:.3} s");
    println!("structure                {structure:.6} s, with the hash {:.3} x", (hash + structure) / hash);
    println!("structure and tensors    {measured:.3} s, {:.2} x of the hash", measured / hash);
    Ok(())
}
