//! Files made by the real torch and NumPy of Debian load without a finding.

use std::path::Path;
use std::process::Command;

use strongroom_inspect::{Format, Verdict, tensors};

use crate::support::{Torch, inspect, loads};

/// Debian's interpreter: the one that has torch and NumPy (`scripts/install-deps.sh`).
const PYTHON: &str = "/usr/bin/python3";

fn make(directory: &Path) -> usize {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/make_benign.py");
    let output = Command::new(PYTHON)
        .args(["-W", "ignore", script])
        .arg(directory)
        .env("OMP_NUM_THREADS", "1")
        .env("OPENBLAS_NUM_THREADS", "1")
        .output()
        .expect("python3 starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    text.lines()
        .last()
        .and_then(|line| line.trim().parse().ok())
        .expect("the script prints how many files it made")
}

#[test]
fn ordinary_files_load_without_findings() {
    let directory = tempfile::tempdir().unwrap();
    let made = make(directory.path());
    let mut failures = Vec::new();
    let mut seen = 0;
    for item in std::fs::read_dir(directory.path()).unwrap() {
        let path = item.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let report = inspect(&name, &std::fs::read(&path).unwrap());
        if report.verdict != Verdict::Load || !report.findings.is_empty() {
            failures.push(format!("{name}: {report:?}"));
        }
        seen += 1;
    }
    assert!(failures.is_empty(), "{} refused:\n{}", failures.len(), failures.join("\n"));
    assert_eq!(seen, made);
    assert!(made >= 120, "only {made} files were made");
    check_checkpoint(directory.path());
    check_views(directory.path());
}

/// Names, shapes and finiteness of a real checkpoint.
fn check_checkpoint(directory: &Path) {
    let bytes = std::fs::read(directory.join("checkpoint-adam-4.pt")).unwrap();
    let report = inspect("checkpoint-adam-4.pt", &bytes);
    assert_eq!(report.format, Format::TorchZip);
    assert_eq!(report.all_finite, Some(true));
    let find = |name: &str| report.tensors.iter().find(|tensor| tensor.name == name).cloned();
    let weight = find("model.conv.weight").expect("named by its path");
    assert_eq!((weight.dtype.as_str(), weight.shape.as_slice()), ("F32", &[4, 1, 3, 3][..]));
    assert!(find("optimizer.state.0.exp_avg").is_some());
    assert_eq!(find("torch_rng").unwrap().dtype, "U8");
    assert_eq!(tensors(&bytes).unwrap(), report.tensors);
}

/// The digest is of the numbers, not of their layout: transposing twice gives the first digest.
fn check_views(directory: &Path) {
    let views = inspect("views.pt", &std::fs::read(directory.join("views.pt")).unwrap());
    let digest =
        |name: &str| views.tensors.iter().find(|tensor| tensor.name == name).unwrap().digest.unwrap();
    assert_ne!(digest("t"), digest("same"));
    let fortran = inspect("f.npy", &std::fs::read(directory.join("fortran.npy")).unwrap());
    let data: Vec<u8> = (0_u8..6).flat_map(|at| f64::from(at).to_le_bytes()).collect();
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 3), }";
    let plain = inspect("c.npy", &crate::support::npy(header, &data));
    assert_eq!(fortran.tensors[0].digest, plain.tensors[0].digest);
}

#[test]
fn the_builder_of_hostile_samples_builds_a_benign_one() {
    let report = loads("torch", "m.pt", &Torch::default().file());
    assert_eq!(report.tensors[0].name, "w");
    assert_eq!(report.tensors[0].shape, [2, 3]);
    // The same numbers in another format have the same digest.
    let data: Vec<u8> = (0_u8..6).flat_map(|at| f32::from(at).to_le_bytes()).collect();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
    let other = loads("npy", "m.npy", &crate::support::npy(header, &data));
    assert_eq!(other.tensors[0].digest, report.tensors[0].digest);
}

#[test]
fn the_step_is_the_one_of_the_outermost_dictionary() {
    let step = |tail: &'static [u8]| loads("torch", "m.pt", &Torch { tail, ..Torch::default() }.file()).step;
    assert_eq!(step(b""), None);
    assert_eq!(step(b"U\x04stepK\x07s"), Some(7));
    assert_eq!(step(b"X\x04\0\0\0stepq\x01M\x2c\x01s"), Some(300));
    assert_eq!(step(b"(U\x04stepK\x07U\x0bglobal_stepK\x09u"), Some(9), "the more telling name wins");
    assert_eq!(step(b"U\x04stepK\x07sU\x04stepK\x08s"), Some(8), "the later value of a key");
    assert_eq!(step(b"U\x05inner}U\x04stepK\x07ss"), None, "of a dictionary within");
    assert_eq!(step(b"U\x04stepJ\xff\xff\xff\xffs"), None, "below zero");
    // The bytes of `get 1, 1` stand in the number 360 and the one after it.
    assert_eq!(step(b"U\x04stepq\x01K\xfesU\x01xM\x68\x01K\x01\x86s"), Some(254));
}

#[test]
fn numbers_that_are_not_finite_are_seen() {
    for (value, finite) in [(1.0_f32, true), (f32::NAN, false), (f32::INFINITY, false), (f32::MAX, true)] {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
        let report = loads("npy", "x.npy", &crate::support::npy(header, &value.to_le_bytes()));
        assert_eq!(report.all_finite, Some(finite), "{value}");
    }
}

#[test]
fn onnx_numbers_that_are_not_finite_are_seen() {
    use crate::support::{message, number, onnx, varint};
    let model =
        |parts: &[Vec<u8>]| onnx(&message(5, &[vec![number(1, 1)], parts.to_vec()].concat().concat()));
    let nan = f32::NAN.to_le_bytes();
    let unpacked = [varint(4 << 3 | 5), nan.to_vec()].concat();
    let samples = [
        ("raw", model(&[number(2, 1), message(9, &nan)]), false),
        ("packed", model(&[number(2, 1), message(4, &nan)]), false),
        ("unpacked", model(&[number(2, 1), unpacked]), false),
        ("half as integer", model(&[number(2, 10), message(5, &varint(0x7c00))]), false),
        ("integer", model(&[number(2, 6), message(5, &varint(0x7c00))]), true),
        ("finite", model(&[number(2, 1), message(4, &1.0_f32.to_le_bytes())]), true),
    ];
    for (what, bytes, finite) in samples {
        assert_eq!(loads(what, "m.onnx", &bytes).all_finite, Some(finite), "{what}");
    }
}
