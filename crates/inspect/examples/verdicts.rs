//! Prints the verdict on each file, with its findings: `cargo run --release -p strongroom-inspect --example verdicts FILE...`
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::process::ExitCode;

use strongroom_inspect::{Limits, Verdict, inspect_bytes};

fn main() -> ExitCode {
    let mut all = true;
    for path in std::env::args().skip(1) {
        let Ok(bytes) = std::fs::read(&path) else {
            println!("unreadable\t{path}");
            all = false;
            continue;
        };
        let report = inspect_bytes(&path, &bytes, &Limits::default());
        all &= report.verdict == Verdict::Load;
        println!(
            "{}\t{}\t{path}\t{} tensors",
            report.verdict.as_str(),
            report.format.as_str(),
            report.tensors.len()
        );
        for finding in report.findings {
            println!("    {} at {}: {}", finding.code, finding.offset, finding.explanation);
        }
    }
    if all { ExitCode::SUCCESS } else { ExitCode::from(3) }
}
