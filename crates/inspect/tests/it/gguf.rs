//! GGUF, built piece by piece.

use strongroom_inspect::{Format, Limits, Verdict, inspect_bytes};

use crate::support::{inspect, loads, refused};

const BAD: &str = "SR-INS-0102";
const LAYOUT: &str = "SR-INS-0103";
const LIMIT: &str = "SR-INS-0005";

pub(crate) fn text(text: &str) -> Vec<u8> {
    [&u64::try_from(text.len()).unwrap().to_le_bytes()[..], text.as_bytes()].concat()
}

/// A metadata entry.
pub(crate) fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

pub(crate) fn tensor(name: &str, dims: &[u64], kind: u32, at: u64) -> Vec<u8> {
    let mut out = text(name);
    out.extend_from_slice(&u32::try_from(dims.len()).unwrap().to_le_bytes());
    dims.iter().for_each(|dim| out.extend_from_slice(&dim.to_le_bytes()));
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&at.to_le_bytes());
    out
}

pub(crate) fn file(entries: &[Vec<u8>], tensors: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0".to_vec();
    out.extend_from_slice(&u64::try_from(tensors.len()).unwrap().to_le_bytes());
    out.extend_from_slice(&u64::try_from(entries.len()).unwrap().to_le_bytes());
    out.extend(entries.concat());
    out.extend(tensors.concat());
    if !tensors.is_empty() {
        out.resize(out.len().next_multiple_of(32), 0);
    }
    out.extend_from_slice(data);
    out
}

pub(crate) fn good() -> Vec<u8> {
    let entries = [
        entry("general.architecture", 8, &text("llama")),
        entry("a.flag", 7, &[1]),
        entry(
            "a.list",
            9,
            &[&8_u32.to_le_bytes()[..], &2_u64.to_le_bytes(), &text("x"), &text("y")].concat(),
        ),
        entry("tokenizer.chat_template", 8, &text("{{ messages[0]['content'] }}")),
    ];
    let tensors = [tensor("w", &[4, 2], 0, 0), tensor("q", &[32, 1], 8, 32)];
    file(&entries, &tensors, &[[0; 32].to_vec(), vec![1; 34]].concat())
}

#[test]
fn ordinary_files_load() {
    let report = loads("good", "m.gguf", &good());
    assert_eq!(report.format, Format::Gguf);
    let shapes: Vec<_> =
        report.tensors.iter().map(|t| (t.name.as_str(), t.dtype.as_str(), t.shape.clone())).collect();
    assert_eq!(shapes, [("w", "F32", vec![2, 4]), ("q", "Q8_0", vec![1, 32])]);
    assert!(report.tensors[0].digest.is_some() && report.tensors[1].digest.is_none());
    assert_eq!(report.all_finite, None, "of quantised numbers nothing is known");
    let padded = [good(), vec![0; 30]].concat();
    loads("padded at its end", "m.gguf", &padded);
    loads("no tensors", "vocab.gguf", &file(&[entry("a", 4, &[0; 4])], &[], b""));
    let mut second = good();
    second[4] = 2;
    loads("version 2", "m.gguf", &second);
    let nan = file(&[], &[tensor("w", &[1], 0, 0)], &f32::NAN.to_le_bytes());
    assert_eq!(loads("not a number", "m.gguf", &nan).all_finite, Some(false));
    let wide = [entry("general.alignment", 4, &64_u32.to_le_bytes())];
    let mut aligned = file(&wide, &[tensor("w", &[1], 0, 0)], b"");
    aligned.resize(aligned.len().next_multiple_of(64), 0);
    aligned.extend_from_slice(&[0; 4]);
    loads("other alignment", "m.gguf", &aligned);
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn hostile_files_are_refused() {
    let head = |tensors: u64, keys: u64| {
        [&b"GGUF\x03\0\0\0"[..], &tensors.to_le_bytes(), &keys.to_le_bytes(), &[0; 64]].concat()
    };
    let one = |entry: Vec<u8>| file(&[entry], &[], b"");
    let array = |kind: u32, count: u64, rest: &[u8]| {
        one(entry("a", 9, &[&kind.to_le_bytes()[..], &count.to_le_bytes(), rest].concat()))
    };
    let nested: Vec<u8> = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat().repeat(5_000);
    let w = |dims: &[u64], kind: u32, at: u64, len: usize| {
        file(&[], &[tensor("w", dims, kind, at)], &vec![0; len])
    };
    let two = |first: u64, second: u64, len: usize| {
        file(&[], &[tensor("a", &[8], 0, first), tensor("b", &[8], 0, second)], &vec![0; len])
    };
    let mut dirty = good();
    let at = dirty.len() - 34 - 32 - 1;
    dirty[at] = 7;
    let checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("version 1", [b"GGUF\x01\0\0\0".to_vec(), vec![0; 64]].concat(), BAD),
        ("version 4", [b"GGUF\x04\0\0\0".to_vec(), vec![0; 64]].concat(), BAD),
        ("big-endian", [b"GGUF\0\0\0\x03".to_vec(), vec![0; 64]].concat(), BAD),
        ("magic alone", b"GGUF".to_vec(), BAD),
        ("2^60 tensors", head(1 << 60, 0), BAD),
        ("2^60 keys", head(0, 1 << 60), BAD),
        ("counts that overflow", head(u64::MAX, u64::MAX), BAD),
        ("a key of 2^62 bytes", [&head(0, 1)[..24], &(1_u64 << 62).to_le_bytes(), &[0; 64]].concat(), BAD),
        ("a text of 2^62 bytes", one(entry("a", 8, &(1_u64 << 62).to_le_bytes())), BAD),
        ("an array of 2^60 texts", array(8, 1 << 60, b""), BAD),
        ("an array of 2^62 numbers", array(5, 1 << 62, b""), BAD),
        ("an array of 2^60 arrays", array(9, 1 << 60, b""), BAD),
        ("thousands of nested arrays", one(entry("a", 9, &nested)), LIMIT),
        ("unknown value type", one(entry("a", 13, &[0; 8])), BAD),
        ("truth value of 2", one(entry("a", 7, &[2])), BAD),
        ("truth value of 2 in an array", array(7, 2, &[1, 2]), BAD),
        ("text that is not UTF-8", one(entry("a", 8, &[&1_u64.to_le_bytes()[..], b"\xff"].concat())), BAD),
        ("key that is not UTF-8", one([&1_u64.to_le_bytes()[..], b"\xff", &[0; 5]].concat()), BAD),
        ("key with a control character", one(entry("a\n", 7, &[1])), BAD),
        ("no key", one(entry("", 7, &[1])), BAD),
        ("key twice", file(&[entry("a", 7, &[1]), entry("a", 7, &[0])], &[], b""), LAYOUT),
        ("alignment of 3", one(entry("general.alignment", 4, &3_u32.to_le_bytes())), BAD),
        ("alignment of 0", one(entry("general.alignment", 4, &0_u32.to_le_bytes())), BAD),
        ("alignment of 2^31", one(entry("general.alignment", 4, &(1_u32 << 31).to_le_bytes())), BAD),
        ("alignment as a text", one(entry("general.alignment", 8, &text("32"))), BAD),
        ("alignment of 64 bits", one(entry("general.alignment", 10, &32_u64.to_le_bytes())), BAD),
        ("template that is an array", one(entry("tokenizer.chat_template", 9, &[0; 12])), "SR-INS-0063"),
        (
            "hostile template",
            one(entry("tokenizer.chat_template", 8, &text("{{ x.__class__ }}"))),
            "SR-INS-0100",
        ),
        (
            "hostile named template",
            one(entry("tokenizer.chat_template.tool_use", 8, &text("{{ x|attr('a') }}"))),
            "SR-INS-0100",
        ),
        (
            "hostile tokenizer",
            one(entry("tokenizer.huggingface.json", 8, &text(r#"{"auto_map":{"a":"b.C"}}"#))),
            "SR-INS-0062",
        ),
        ("five dimensions", w(&[1, 1, 1, 1, 1], 0, 0, 4), BAD),
        ("2^32 dimensions", file(&[], &[[text("w"), vec![0xff; 4], vec![0; 64]].concat()], b""), BAD),
        ("shape that overflows", w(&[1 << 33, 1 << 33], 0, 0, 4), BAD),
        ("bytes that overflow", w(&[1 << 62], 0, 0, 4), BAD),
        ("shape beyond the file", w(&[1 << 40], 0, 0, 4), LAYOUT),
        ("unknown type", w(&[1], 99, 0, 4), BAD),
        ("withdrawn type", w(&[32], 4, 0, 20), BAD),
        ("half a block", w(&[16], 8, 0, 34), BAD),
        ("name of 65 bytes", file(&[], &[tensor(&"n".repeat(65), &[1], 0, 0)], &[0; 4]), LIMIT),
        ("name twice", file(&[], &[tensor("w", &[8], 0, 0), tensor("w", &[8], 0, 32)], &[0; 64]), LAYOUT),
        ("offset that is not aligned", w(&[1], 0, 4, 8), LAYOUT),
        ("offset beyond the file", w(&[1], 0, 1 << 40, 4), LAYOUT),
        ("offset that overflows", w(&[1], 0, u64::MAX - 31, 4), LAYOUT),
        ("overlap", two(0, 0, 64), LAYOUT),
        ("overlap by part", two(0, 16, 64), LAYOUT),
        ("hole", two(0, 64, 96), LAYOUT),
        ("first not at the start", two(32, 64, 96), LAYOUT),
        ("trailing payload", w(&[8], 0, 0, 33), LAYOUT),
        ("payload beyond the padding", w(&[1], 0, 0, 64), LAYOUT),
        ("payload without tensors", file(&[entry("a", 7, &[1])], &[], b"payload"), LAYOUT),
        ("cut off", w(&[8], 0, 0, 31), LAYOUT),
        ("padding that is not zero", dirty, LAYOUT),
    ];
    for (what, bytes, code) in checks {
        refused(what, "m.gguf", &bytes, code);
    }
    refused("named after another format", "m.safetensors", &good(), "SR-INS-0002");
    refused("another format by its name", "m.gguf", b"hello", "SR-INS-0002");
}

#[test]
fn a_file_that_is_a_pickle_as_well_is_refused() {
    // `G` is BINFLOAT, which takes the eight bytes behind it; then the counts have to be opcodes.
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend_from_slice(&u64::from_le_bytes(*b"\0cos\nsys").to_le_bytes());
    bytes.extend_from_slice(b"tem\n(S'id'\ntR.");
    assert_eq!(inspect("m.gguf", &bytes).verdict, Verdict::Refuse);
}

#[test]
fn limits_can_be_turned_down() {
    let limits = Limits { tensors: 1, ..Limits::default() };
    let report = inspect_bytes("m.gguf", &good(), &limits);
    assert!(report.findings.iter().any(|finding| finding.code == LIMIT), "{report:?}");
    let unmeasured = Limits { measure: false, ..Limits::default() };
    let report = inspect_bytes("m.gguf", &good(), &unmeasured);
    assert_eq!((report.verdict, report.tensors[0].digest), (Verdict::Load, None));
}
