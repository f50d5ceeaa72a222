//! Durable events a second through the real keeper process, beside the disk's own `fdatasync` rate in the same run.
//!
//! Run with `cargo run --release -p strongroom-keeper --example append_rate -- KEEPER_BINARY [DIRECTORY]`.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use link::KeeperClient;
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::keeper::Role;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut words = std::env::args_os().skip(1);
    let binary = PathBuf::from(words.next().ok_or("give the path of strongroom-keeper")?);
    let parent = words.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = parent.join(format!("append-rate-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let outcome = run(&binary, &dir);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

struct Keeper(Child);

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        drop(self.0.wait());
    }
}

fn run(binary: &Path, dir: &Path) -> Result<(), Failure> {
    let state = dir.join("state");
    let config = dir.join("node.toml");
    let uid = rustix::process::geteuid().as_raw();
    std::fs::write(
        &config,
        format!(
            "version = 1\nmode = \"dev\"\nnode = \"bench\"\nstate = \"{}\"\nprograms = \"/p\"\n[users]\nkeeper = {uid}\n\
             control = {uid}\ngateway = {uid}\nrelay = {uid}\noperator = {uid}\n[gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n",
            state.display()
        ),
    )?;
    let keeper = Keeper(Command::new(binary).arg("--config").arg(&config).spawn()?);
    let socket = state.join("run/keeper.sock");
    for _ in 0..1000 {
        if link::Conn::connect(&socket).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<34} {:>12} {:>10} {:>10} {:>12}", "", "per second", "p50 ms", "p99 ms", "CPU us each")?;
    for len in [400, 1 << 20] {
        let (rate, p50, p99) = raw(&dir.join("raw"), len)?;
        writeln!(
            out,
            "{:<34} {rate:>12.0} {p50:>10.2} {p99:>10.2}",
            format!("disk: write {len} B + fdatasync")
        )?;
    }
    for (clients, batch, seconds) in [(1, 1, 3), (16, 1, 3), (48, 1, 3), (1, 32, 3), (16, 32, 5), (48, 32, 5)]
    {
        let before = cpu_ms(keeper.0.id())?;
        let (events, times) = load(&socket, clients, batch, Duration::from_secs(seconds))?;
        let cpu = cpu_ms(keeper.0.id())?.saturating_sub(before);
        let (p50, p99) = percentiles(times);
        let (count, span) = (f64::from(events), f64::from(u32::try_from(seconds)?));
        let each = f64::from(u32::try_from(cpu)?) * 1000.0 / count;
        let name = format!("keeper: {clients} clients x {batch} events");
        writeln!(out, "{name:<34} {:>12.0} {p50:>10.2} {p99:>10.2} {each:>12.1}", count / span)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// The disk alone, on a preallocated file as the keeper's.
fn raw(path: &Path, len: usize) -> Result<(f64, f64, f64), Failure> {
    let file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 256 << 20)?;
    file.sync_all()?;
    let (bytes, start, mut times, mut at) = (vec![7u8; len], now(), Vec::new(), 0u64);
    while start.elapsed() < Duration::from_secs(2) && at < 200 << 20 {
        let one = now();
        file.write_all_at(&bytes, at)?;
        file.sync_data()?;
        times.push(one.elapsed());
        at = at.saturating_add(u64::try_from(len)?);
    }
    let rate = f64::from(u32::try_from(times.len())?) / start.elapsed().as_secs_f64();
    let (p50, p99) = percentiles(times);
    Ok((rate, p50, p99))
}

fn load(socket: &Path, clients: u32, batch: u32, span: Duration) -> Result<(u32, Vec<Duration>), Failure> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..clients)
            .map(|t| {
                scope.spawn(move || -> Result<(u32, Vec<Duration>), Failure> {
                    let client = KeeperClient::connect(socket, Role::Control, Duration::from_secs(20))?;
                    let event = Event::new(EventKind::DatasetRead, Phase::Observed, Outcome::Success, 1, 1)
                        .tenant("acme")
                        .actor("job:bench")
                        .asset("dataset", &format!("bench-{t}"), Some(base::sha256(b"x")))
                        .detail("bytes", "1048576");
                    let (start, mut events, mut times) = (now(), 0u32, Vec::new());
                    while start.elapsed() < span {
                        let one = now();
                        client.append((0..batch).map(|_| event.clone()).collect())?;
                        times.push(one.elapsed());
                        events = events.saturating_add(batch);
                    }
                    Ok((events, times))
                })
            })
            .collect();
        let (mut all, mut times) = (0u32, Vec::new());
        for thread in threads {
            let (events, mut own) = thread.join().map_err(|_| "a client panicked")??;
            all = all.saturating_add(events);
            times.append(&mut own);
        }
        Ok((all, times))
    })
}

fn percentiles(mut times: Vec<Duration>) -> (f64, f64) {
    times.sort();
    let at = |percent: usize| {
        let index = times.len().saturating_mul(percent) / 100;
        times.get(index.min(times.len().saturating_sub(1))).map_or(0.0, |t| t.as_secs_f64() * 1000.0)
    };
    (at(50), at(99))
}

/// CPU time of a process so far, in milliseconds (100 clock ticks a second on every Linux that matters).
fn cpu_ms(pid: u32) -> Result<u64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after = stat.rsplit_once(')').ok_or("no such process")?.1;
    let ticks: u64 = after.split_whitespace().skip(11).take(2).map(|t| t.parse::<u64>().unwrap_or(0)).sum();
    Ok(ticks.saturating_mul(10))
}
