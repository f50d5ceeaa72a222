//! Hostile safetensors, NumPy, ONNX, JSON, text, and content that is not what it says.

use strongroom_inspect::{Format, Verdict};

use crate::support::{Torch, inspect, loads, message, npy, number, onnx, refused, safetensors};

const EXTENSION: &str = "SR-INS-0002";
const POLYGLOT: &str = "SR-INS-0003";
const OTHER: &str = "SR-INS-0004";
const LIMIT: &str = "SR-INS-0005";
const SCRIPT: &str = "SR-INS-0066";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn safetensors_layout() {
    let one = r#""a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#;
    let good = safetensors(&format!("{{{one}}}"), &[0; 8]);
    assert_eq!(loads("good", "m.safetensors", &good).format, Format::Safetensors);
    let two =
        |range: &str| format!(r#"{{{one},"b":{{"dtype":"F32","shape":[2],"data_offsets":[{range}]}}}}"#);
    const HEADER: &str = "SR-INS-0040";
    const LAYOUT: &str = "SR-INS-0041";
    let body = |text: &str| format!(r#"{{"a":{text}}}"#);
    let checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("overlap", safetensors(&two("4,12"), &[0; 12]), LAYOUT),
        ("same range", safetensors(&two("0,8"), &[0; 8]), LAYOUT),
        ("hole", safetensors(&two("12,20"), &[0; 20]), LAYOUT),
        ("trailing payload", safetensors(&format!("{{{one}}}"), &[0; 9]), LAYOUT),
        ("cut off", safetensors(&format!("{{{one}}}"), &[0; 7]), LAYOUT),
        (
            "not from the start",
            safetensors(&body(r#"{"dtype":"U8","shape":[1],"data_offsets":[1,2]}"#), &[0; 2]),
            LAYOUT,
        ),
        ("duplicate key", safetensors(&format!("{{{one},{one}}}"), &[0; 8]), "SR-INS-0061"),
        (
            "duplicate member",
            safetensors(&body(r#"{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}"#), &[0]),
            "SR-INS-0061",
        ),
        (
            "escaped duplicate",
            safetensors(&format!("{{{one},{}}}", one.replace("\"a\"", "\"\\u0061\"")), &[0; 8]),
            "SR-INS-0061",
        ),
        (
            "size differs",
            safetensors(&body(r#"{"dtype":"F32","shape":[3],"data_offsets":[0,8]}"#), &[0; 8]),
            HEADER,
        ),
        (
            "shape overflow",
            safetensors(
                &body(r#"{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}"#),
                &[],
            ),
            HEADER,
        ),
        (
            "backward range",
            safetensors(&body(r#"{"dtype":"U8","shape":[1],"data_offsets":[8,0]}"#), &[0; 8]),
            HEADER,
        ),
        (
            "negative size",
            safetensors(&body(r#"{"dtype":"U8","shape":[-1],"data_offsets":[0,8]}"#), &[0; 8]),
            HEADER,
        ),
        (
            "fractional size",
            safetensors(&body(r#"{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}"#), &[0]),
            HEADER,
        ),
        (
            "unknown dtype",
            safetensors(&body(r#"{"dtype":"OBJ","shape":[1],"data_offsets":[0,1]}"#), &[0]),
            HEADER,
        ),
        (
            "unknown member",
            safetensors(&body(r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}"#), &[0]),
            HEADER,
        ),
        ("missing member", safetensors(&body(r#"{"dtype":"U8","data_offsets":[0,1]}"#), &[0]), HEADER),
        ("metadata of numbers", safetensors(r#"{"__metadata__":{"a":1}}"#, &[]), HEADER),
        ("padded with newlines", safetensors("{}\n\n", &[]), HEADER),
        ("starts with a space", [&3_u64.to_le_bytes()[..], b" {}"].concat(), EXTENSION),
        ("header of 2^62 bytes", [&(1_u64 << 62).to_le_bytes()[..], b"{}"].concat(), HEADER),
        ("header beyond the file", [&900_u64.to_le_bytes()[..], b"{}"].concat(), HEADER),
        ("header ends early", safetensors(r#"{"a":"#, &[]), HEADER),
        ("nesting bomb", safetensors(&format!("{}1{}", "{\"a\":[".repeat(99), "]}".repeat(99)), &[]), HEADER),
    ];
    for (what, bytes, code) in checks {
        refused(what, "m.safetensors", &bytes, code);
    }
}

#[test]
fn numpy_headers() {
    let with = |descr: &str, shape: &str, len: usize| {
        npy(&format!("{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}"), &vec![0; len])
    };
    loads("good", "a.npy", &with("'<f4'", "(2,)", 8));
    const HEADER: &str = "SR-INS-0045";
    const OBJECT: &str = "SR-INS-0046";
    const LENGTH: &str = "SR-INS-0047";
    let checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("objects", with("'|O'", "(1,)", 8), OBJECT),
        ("sized objects", with("'|O8'", "(1,)", 8), OBJECT),
        ("objects in a structure", with("[('a', '<f4'), ('b', '|O')]", "(1,)", 12), OBJECT),
        ("objects in a nested structure", with("[('a', [('b', '|O')])]", "(1,)", 8), OBJECT),
        ("trailing bytes", with("'<f4'", "(2,)", 9), LENGTH),
        ("cut off", with("'<f4'", "(2,)", 7), LENGTH),
        ("shape overflow", with("'<f8'", "(4294967296, 4294967296)", 0), LENGTH),
        ("call in the header", with("__import__('os').system('id')", "(1,)", 4), HEADER),
        ("expression", with("'<f' + '4'", "(1,)", 4), HEADER),
        ("negative size", with("'<f4'", "(-1,)", 4), HEADER),
        ("shape is no tuple", with("'<f4'", "(2)", 8), HEADER),
        ("unknown kind", with("'<x4'", "(1,)", 4), HEADER),
        ("no byte order", with("'f4'", "(1,)", 4), HEADER),
        (
            "repeated member",
            npy("{'descr': '<f4', 'descr': '|O', 'fortran_order': False, 'shape': (1,)}", &[0; 4]),
            HEADER,
        ),
        (
            "unknown member",
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}", &[0; 4]),
            HEADER,
        ),
        ("missing member", npy("{'descr': '<f4', 'shape': (1,)}", &[0; 4]), HEADER),
        (
            "text after the literal",
            npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} + x", &[0; 4]),
            HEADER,
        ),
        ("version 9", [b"\x93NUMPY\x09\0\0\0".to_vec()].concat(), HEADER),
        ("header bomb", [b"\x93NUMPY\x02\0\xff\xff\xff\xff".to_vec()].concat(), HEADER),
        ("nesting bomb", with(&"[".repeat(5_000), "(1,)", 4), HEADER),
    ];
    for (what, bytes, code) in checks {
        refused(what, "a.npy", &bytes, code);
    }
}

fn tensor(parts: &[Vec<u8>]) -> Vec<u8> {
    onnx(&message(5, &parts.concat()))
}

#[test]
fn onnx_messages() {
    const BAD: &str = "SR-INS-0050";
    const EXTERNAL: &str = "SR-INS-0051";
    const DEPTH: &str = "SR-INS-0053";
    const TENSOR: &str = "SR-INS-0054";
    let f32s = || vec![number(1, 2), number(2, 1), message(8, b"w"), message(9, &[0; 8])];
    assert_eq!(loads("good", "m.onnx", &tensor(&f32s())).tensors[0].name, "w");
    let external = |location: &[u8]| {
        let place = message(13, &[message(1, b"location"), message(2, location)].concat());
        tensor(&[number(1, 2), number(2, 1), place, number(14, 1)])
    };
    let node = |body: Vec<u8>| onnx(&message(1, &body));
    let mut graph = Vec::new();
    for _ in 0..60 {
        graph = message(1, &message(5, &message(6, &graph)));
    }
    let mut checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("flag without a place", tensor(&[number(1, 2), number(2, 1), number(14, 1)]), EXTERNAL),
        ("place without a flag", tensor(&[f32s().concat(), message(13, &message(1, b"location"))]), EXTERNAL),
        (
            "external in a constant",
            node(message(5, &[message(1, b"value"), message(5, &number(14, 1))].concat())),
            EXTERNAL,
        ),
        ("external in a subgraph", node(message(5, &message(6, &message(5, &number(14, 1))))), EXTERNAL),
        ("domain that is no word", node(message(7, b"../evil.so")), BAD),
        ("nested graphs", onnx(&graph), DEPTH),
        ("two graphs", [onnx(b""), message(7, b"")].concat(), BAD),
        ("two domains", node([message(7, b""), message(7, b"")].concat()), BAD),
        ("two locations", tensor(&[f32s().concat(), number(14, 0), number(14, 0)]), BAD),
        ("unknown field", onnx(&message(40, b"payload")), BAD),
        ("wrong wire type", onnx(&number(2, 7)), BAD),
        ("group", onnx(&[0x0b, 0x0c]), BAD),
        ("length beyond the message", onnx(&[0x12, 0x7f, b'a']), BAD),
        ("text is not utf-8", onnx(&message(2, b"\xff")), BAD),
        ("raw data too short", tensor(&[number(1, 3), number(2, 1), message(9, &[0; 8])]), TENSOR),
        ("raw data too long", tensor(&[number(1, 1), number(2, 1), message(9, &[0; 8])]), TENSOR),
        (
            "shape overflow",
            tensor(&[number(1, 1 << 40), number(1, 1 << 40), number(2, 1), message(9, b"")]),
            TENSOR,
        ),
        ("negative dimension", tensor(&[number(1, u64::MAX), number(2, 1), message(9, b"")]), TENSOR),
        ("raw and typed data", tensor(&[f32s().concat(), message(4, &[0; 8])]), TENSOR),
        ("unknown type", tensor(&[number(1, 1), number(2, 99), message(9, &[0])]), TENSOR),
        ("segments", tensor(&[f32s().concat(), message(3, &number(1, 0))]), TENSOR),
        ("a million dimensions", tensor(&[message(1, &[1; 1 << 20]), number(2, 1)]), TENSOR),
        ("typed data too short", tensor(&[number(1, 2), number(2, 1), message(4, &[0; 4])]), TENSOR),
    ];
    for location in [&b"../../etc/passwd"[..], b"/etc/passwd", b"weights.bin", b"a\\..\\b", b"", b"C:\\x"] {
        checks.push(("external", external(location), EXTERNAL));
    }
    for (what, bytes, code) in checks {
        refused(what, "m.onnx", &bytes, code);
    }
    refused("cut off", "m.onnx", &onnx(&message(2, b"graph"))[..6], EXTENSION);
}

/// The runtime brings the code of such operators, so a policy decides.
#[test]
fn onnx_operators_of_custom_domains_need_a_policy() {
    let node = |body: Vec<u8>| onnx(&message(1, &body));
    let samples = [
        ("custom operator", node([message(4, b"Evil"), message(7, b"com.evil")].concat())),
        ("custom operator in a subgraph", node(message(5, &message(6, &message(1, &message(7, b"x")))))),
        ("custom operator in a function", [onnx(b""), message(25, &message(7, &message(7, b"x")))].concat()),
        ("custom domain imported", [onnx(b""), message(8, &message(1, b"com.microsoft"))].concat()),
        ("domain but for case", node(message(7, b"AI.ONNX"))),
    ];
    for (what, bytes) in samples {
        let report = inspect("m.onnx", &bytes);
        assert_eq!(report.verdict, Verdict::LoadWithPolicy, "{what}: {report:?}");
        assert_eq!(
            report.risks().collect::<Vec<_>>(),
            [strongroom_inspect::Risk::OnnxCustomDomain],
            "{what}"
        );
        // What is wrong with the rest of the file still refuses it.
        let cut = [bytes, message(40, b"payload")].concat();
        assert_eq!(inspect("m.onnx", &cut).verdict, Verdict::Refuse, "{what}");
    }
}

#[test]
fn configurations() {
    const BAD: &str = "SR-INS-0060";
    const TWICE: &str = "SR-INS-0061";
    const CODE: &str = "SR-INS-0062";
    let deep = format!("{}{}", "[".repeat(66), "]".repeat(66));
    let checks: &[(&str, &str, &str)] = &[
        ("auto_map", r#"{"auto_map":{"AutoModel":"evil.Model"}}"#, CODE),
        ("auto_map inside", r#"{"a":[{"auto_map":{"AutoModel":"evil--code.Model"}}]}"#, CODE),
        ("escaped", r#"{"auto\u005fmap":{"AutoModel":"evil.Model"}}"#, CODE),
        ("trust_remote_code", r#"{"trust_remote_code":true}"#, CODE),
        ("custom_pipelines", r#"{"custom_pipelines":{"a":{"impl":"evil.P"}}}"#, CODE),
        ("module path", r#"{"module":"os","class_name":"system"}"#, "SR-INS-0104"),
        ("hydra", r#"{"_target_":"os.system"}"#, CODE),
        ("jsonpickle", r#"{"py/reduce":[]}"#, CODE),
        ("template", r#"{"chat_template":"{{ x.__class__ }}"}"#, "SR-INS-0100"),
        ("duplicate", r#"{"a":1,"a":2}"#, TWICE),
        ("escaped duplicate", r#"{"a":1,"\u0061":2}"#, TWICE),
        ("deep", &deep, LIMIT),
        ("trailing", r#"{"a":1} {}"#, BAD),
        ("comment", "{\"a\":1 /* x */}", BAD),
        ("trailing comma", r#"{"a":1,}"#, BAD),
        ("not a number", r#"{"a":nan}"#, BAD),
        ("leading zero", r#"{"a":01}"#, BAD),
        ("half a pair", r#"{"a":"\ud800"}"#, BAD),
        ("control character", "{\"a\":\"\t\"}", BAD),
        ("open", r#"{"a":1"#, BAD),
    ];
    for (what, text, code) in checks {
        refused(what, "config.json", text.as_bytes(), code);
    }
    refused("YAML objects", "c.yaml", b"a: !!python/object/apply:os.system ['id']\n", CODE);
}

#[test]
fn content_that_is_not_what_its_name_says() {
    let torch = Torch::default().file();
    let safe = safetensors(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, &[0]);
    let pickle = b"\x80\x04N.";
    for (name, bytes) in [
        ("m.safetensors", &torch[..]),
        ("m.safetensors", pickle),
        ("m.npy", pickle),
        ("m.onnx", &safe),
        ("m.pt", &safe),
        ("m.json", pickle),
        ("m.txt", pickle),
        ("m.gguf", &safe),
        ("m.zip", &torch),
        ("m.json", b"hello"),
        ("M.SAFETENSORS", &torch),
        ("dir.json/m.npz", &torch),
    ] {
        refused(name, name, bytes, EXTENSION);
    }
    for name in ["evil.py", "evil.so", "evil.sh"] {
        refused(name, name, b"print(1)\n", SCRIPT);
    }
    refused("empty", "m.safetensors", b"", "SR-INS-0006");
    assert_eq!(inspect("notes.txt", b"").verdict, Verdict::Load);
}

#[test]
fn formats_that_are_never_loaded() {
    let checks: &[(&str, &[u8], &str)] = &[
        ("elf", b"\x7fELF\x02\x01\x01\0", SCRIPT),
        ("windows", b"MZ\x90\0\x03\0", SCRIPT),
        ("mach-o", b"\xcf\xfa\xed\xfe\x07\0", SCRIPT),
        ("script", b"#!/bin/sh\nid\n", SCRIPT),
        ("wasm", b"\0asm\x01\0\0\0", SCRIPT),
        ("ggml", b"lmgg\x03\0\0\0\0\0\0\0", OTHER),
        ("CoreML", &[number(1, 7), message(2, b"x"), message(502, b"y")].concat(), OTHER),
        ("OpenVINO", b"<?xml version=\"1.0\"?>\n<net name=\"m\" version=\"11\">\n\t<layers>\n", OTHER),
        ("TensorRT", b"ftrt\0\0\0\0", OTHER),
        ("CatBoost", b"CBM1\x10\0\0\0", OTHER),
        ("XGBoost of old", b"binf\0\0\0\x3f", OTHER),
        ("GGMF", b"fmgg\x01\0\0\0", OTHER),
        ("GGJT", b"tjgg\x03\0\0\0", OTHER),
        ("llamafile", b"MZqFpD='\n\0\0", SCRIPT),
        ("ExecuTorch", b"\x1c\0\0\0ET12\0\0\0\0", SCRIPT),
        ("unknown", b"\x00\x01\x02\x03\xff\xfe", "SR-INS-0001"),
        ("latin-1 text", b"caf\xe9 au lait", "SR-INS-0001"),
        ("text with NUL", b"hello\0world", "SR-INS-0001"),
    ];
    for (what, bytes, code) in checks {
        refused(what, "", bytes, code);
    }
}

#[test]
fn polyglots() {
    refused("safetensors and pickle", "m.safetensors", &safetensors_pickle(), POLYGLOT);
    refused("onnx and pickle", "m.onnx", &onnx_pickle(), POLYGLOT);
    let text = b"cos\nsystem\n(S'id'\ntR.";
    refused("text", "notes.txt", text, POLYGLOT);
    refused("no name", "", text, POLYGLOT);
    refused("broken after the call", "notes.txt", b"cos\nsystem\n(S'id'\ntR and so on\n", POLYGLOT);
    // A pickle reader would need more opcodes than are looked at to come to the call.
    let mut late = safetensors_pickle();
    let limits = strongroom_inspect::Limits { pickle_opcodes: 10, ..strongroom_inspect::Limits::default() };
    let report = strongroom_inspect::inspect_bytes("m.safetensors", &late, &limits);
    assert_eq!(report.verdict, Verdict::Refuse, "{report:?}");
    late.truncate(7);
    assert_eq!(inspect("m.safetensors", &late).verdict, Verdict::Refuse);
    // Begins like a pickle and is none.
    let model = [number(5, u64::from(b'0')), number(1, 8), message(7, &message(2, b"x"))].concat();
    assert_eq!(loads("onnx that begins like a pickle", "m.onnx", &model).format, Format::Onnx);
}

/// A valid safetensors file that a pickle reader executes: the low byte of the header length is `T`
/// (BINSTRING), its other bytes are that string's length, which leads into a text of the header, where
/// `U~` (SHORT_BINSTRING of 126) hops on, and the last hop lands in the data.
fn safetensors_pickle() -> Vec<u8> {
    let data = b"cos\nsystem\n(S'id'\ntR.";
    let header_len = 0x1954_usize;
    assert_eq!(header_len & 0xff, usize::from(b'T'));
    let mut header = String::from(r#"{"__metadata__":{"a":""#);
    assert_eq!(8 + header.len(), 5 + (header_len >> 8));
    let hop = format!("U~{}", "x".repeat(126));
    while header_len - header.len() > 220 {
        header.push_str(&hop);
    }
    // Short hops, then the last one from here to the data.
    while header_len - header.len() - 2 > 126 {
        header.push_str(&format!("U8{}", "x".repeat(56)));
    }
    let left = header_len - header.len() - 2;
    header.push('U');
    header.push(char::from(u8::try_from(left).unwrap()));
    assert!((32..127).contains(&left) && left != 34 && left != 92);
    let tail = format!(r#""}},"a":{{"dtype":"U8","shape":[{0}],"data_offsets":[0,{0}]}}}}"#, data.len());
    header.push_str(&tail);
    assert!(header.len() <= header_len);
    header.push_str(&" ".repeat(header_len - header.len()));
    safetensors(&header, data)
}

/// A valid model that a pickle reader executes: `(` is the tag of field 5, `)` its value, `B` (BINBYTES) the
/// tag of field 8 with an empty message; the next three bytes are field 1 for one reader and the rest of a
/// length of 8.9 MB for the other, which leads into the documentation text.
fn onnx_pickle() -> Vec<u8> {
    let head = b"()B\0\x08\x88\0";
    let skip = usize::from_le_bytes([0, 0x08, 0x88, 0, 0, 0, 0, 0]);
    let mut doc = vec![b' '; skip + 64];
    let call = b"cos\nsystem\n(S'id'\ntR.";
    let doc_at = head.len() + message(6, &doc).len() - doc.len();
    let at = head.len() + skip - doc_at;
    doc[at..at + call.len()].copy_from_slice(call);
    [head.to_vec(), message(6, &doc), message(7, b"")].concat()
}

/// The last bytes decide for a reader of ZIP, the first ones for all others.
#[test]
fn an_archive_at_the_end_of_another_format() {
    let evil = crate::support::zip(&[crate::support::entry("a/data.pkl", b"cos\nsystem\n(S'true'\ntR.")]);
    let size = evil.len();
    let header = format!(r#"{{"a":{{"dtype":"U8","shape":[{size}],"data_offsets":[0,{size}]}}}}"#);
    refused("safetensors", "m.safetensors", &safetensors(&header, &evil), POLYGLOT);
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': ({size},), }}");
    refused("NumPy", "m.npy", &npy(&header, &evil), POLYGLOT);
    let tensor =
        [number(1, size.try_into().unwrap()), number(2, 2), message(8, b"w"), message(9, &evil)].concat();
    refused("ONNX", "m.onnx", &onnx(&message(5, &tensor)), POLYGLOT);
}

/// Where the first bytes are enough they tell the same as all of them.
#[test]
fn the_head_of_safetensors_tells_what_all_of_it_does() {
    use strongroom_inspect::{Limits, TAIL, head_len, inspect_bytes, inspect_head};
    let limits = Limits { measure: false, ..Limits::default() };
    let body = |data: &[u8]| {
        let header = r#"{"a":{"dtype":"U8","shape":[400000],"data_offsets":[0,400000]}}"#;
        safetensors(header, data)
    };
    let plain = body(&vec![7; 400_000]);
    let zipped = [
        &plain[..plain.len() - 200_000],
        &crate::support::zip(&[crate::support::entry("a", &vec![0; 199_900])]),
    ]
    .concat();
    let short = plain[..plain.len() - 1].to_vec();
    for bytes in [plain, zipped, short] {
        let len = u64::try_from(bytes.len()).unwrap();
        let head = usize::try_from(head_len(&bytes).unwrap()).unwrap();
        let found = inspect_head("m.safetensors", &bytes[..head], len, &bytes[bytes.len() - TAIL..], &limits)
            .unwrap();
        assert_eq!(found, inspect_bytes("m.safetensors", &bytes, &limits));
    }
    assert_eq!(head_len(b"\x80\x04N."), None);
    // `V` reads a line, which may go on behind the header: all of it has to be seen.
    let mut header = r#"{"a":{"dtype":"U8","shape":[8],"data_offsets":[0,8]}}"#.to_owned();
    header.push_str(&" ".repeat(0x56 - header.len()));
    let line = safetensors(&header, b"\n\x93.....");
    let head = usize::try_from(head_len(&line).unwrap()).unwrap();
    assert!(inspect_head("m", &line[..head], line.len().try_into().unwrap(), &line, &limits).is_none());
}
