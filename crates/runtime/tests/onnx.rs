//! The real program with a real model: what it answers is what torch answers.

#![expect(clippy::unwrap_used, clippy::let_underscore_must_use, reason = "a test ends by panicking")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ops::inference::{
    DType, ErrorKind, FRAME_HEADER, Request, Response, Tensor, frame_len, from_frame, to_frame,
};
use ops::{Codec, List};

struct Runtime(Child);

impl Drop for Runtime {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn export(dir: &Path) -> serde_json::Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/export_model.py");
    let done = Command::new("/usr/bin/python3").arg(script).arg(dir).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&std::fs::read(dir.join("cases.json")).unwrap()).unwrap()
}

/// Starts the program with the listener as descriptor 3, as the warden does.
fn start(listener: UnixListener, model: &Path) -> Runtime {
    let child = Command::new("/bin/sh")
        .arg("-c")
        .arg("exec 3<&0 0</dev/null; exec \"$0\" serve --model \"$1\" --name m")
        .arg(env!("CARGO_BIN_EXE_strongroom-runtime"))
        .arg(model)
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .spawn()
        .unwrap();
    Runtime(child)
}

fn ask<T: Codec>(stream: &mut UnixStream, request: &T) -> Response {
    stream.write_all(&to_frame(request).unwrap()).unwrap();
    let mut header = [0; FRAME_HEADER];
    stream.read_exact(&mut header).unwrap();
    let mut body = vec![0; frame_len(header).unwrap()];
    stream.read_exact(&mut body).unwrap();
    from_frame(&body).unwrap()
}

fn infer(stream: &mut UnixStream, name: &str, dtype: DType, shape: &[u64], bytes: Vec<u8>) -> Response {
    let tensor = Tensor::new(name, dtype, shape.to_vec(), bytes).unwrap();
    ask(stream, &Request::Infer { tensors: List::new(vec![tensor]).unwrap() })
}

fn floats(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|v| v.to_string().parse().unwrap()).collect()
}

#[test]
fn a_torch_model_gives_torch_answers_and_bad_input_gives_reasons() {
    let dir = tempfile::tempdir().unwrap();
    let cases = export(dir.path());
    let path = dir.path().join("endpoint.sock");
    let _runtime = start(UnixListener::bind(&path).unwrap(), &dir.path().join("model"));
    let mut stream = UnixStream::connect(&path).unwrap();

    let Response::Described { metadata } = ask(&mut stream, &Request::Describe {}) else { panic!() };
    assert_eq!(&*metadata.inputs[0].name, "input");
    assert_eq!(&*metadata.inputs[0].shape, &[None, Some(1), Some(8), Some(8)]);
    assert_eq!(&*metadata.outputs[0].name, "logits");
    assert_eq!(&*metadata.outputs[0].shape, &[None, Some(5)]);

    // Batches in both orders, so that a plan is taken from the cache too.
    for case in cases.as_array().unwrap().iter().chain(cases.as_array().unwrap()) {
        let batch = case["batch"].as_u64().unwrap();
        let bytes = floats(&case["input"]).iter().flat_map(|v| v.to_le_bytes()).collect();
        let answer = infer(&mut stream, "input", DType::Fp32, &[batch, 1, 8, 8], bytes);
        let Response::Outputs { tensors } = answer else { panic!("{answer:?}") };
        assert_eq!(tensors[0].shape(), [batch, 5]);
        let ours = tensors[0].bytes().as_chunks::<4>().0.iter().map(|c| f32::from_le_bytes(*c));
        for (ours, torch) in ours.zip(floats(&case["logits"])) {
            assert!((ours - torch).abs() < 1e-5, "{ours} {torch}");
        }
    }

    for (name, dtype, shape, len) in [
        ("other", DType::Fp32, &[1, 1, 8, 8][..], 256),
        ("input", DType::Fp64, &[1, 1, 8, 8], 512),
        ("input", DType::Fp32, &[1, 1, 8, 9], 288),
        ("input", DType::Fp32, &[64], 256),
        ("input", DType::Fp32, &[0, 1, 8, 8], 0),
    ] {
        let answer = infer(&mut stream, name, dtype, shape, vec![0; len]);
        assert!(matches!(answer, Response::Error { kind: ErrorKind::Invalid, .. }), "{answer:?}");
    }

    // Garbage ends its connection with a reason, and only that one.
    let mut garbage = UnixStream::connect(&path).unwrap();
    garbage.write_all(&[3, 0, 0, 0, 9, 9, 9]).unwrap();
    let mut all = Vec::new();
    garbage.read_to_end(&mut all).unwrap();
    assert!(matches!(from_frame::<Response>(&all[4..]), Ok(Response::Error { .. })));
    let mut endless = UnixStream::connect(&path).unwrap();
    endless.write_all(&u32::MAX.to_le_bytes()).unwrap();
    assert_eq!(endless.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    assert!(matches!(ask(&mut stream, &Request::Describe {}), Response::Described { .. }));
}

#[test]
fn what_is_not_one_model_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let run = |dir: &Path| {
        let listener = UnixListener::bind(dir.join("s")).unwrap();
        let mut runtime = start(listener, dir);
        let status = runtime.0.wait().unwrap();
        std::fs::remove_file(dir.join("s")).unwrap();
        status.success()
    };
    assert!(!run(dir.path()), "no model");
    std::fs::write(dir.path().join("a.onnx"), b"\x08\x07 not a model").unwrap();
    assert!(!run(dir.path()), "garbage");
    std::fs::write(dir.path().join("b.onnx"), b"").unwrap();
    assert!(!run(dir.path()), "two");
}
