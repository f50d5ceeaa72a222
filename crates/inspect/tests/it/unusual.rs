//! What real writers write rarely: it loads, and what stands next to it does not.

use strongroom_inspect::Verdict;

use crate::archives::tar;
use crate::support::{
    cat, entry, inspect, loads, message, number, onnx, refused, safetensors, short_text, zip,
};

fn global(module: &str, name: &str) -> Vec<u8> {
    cat(&[&short_text(module), &short_text(name), b"\x93"])
}

fn pickle(body: &[u8]) -> Vec<u8> {
    cat(&[b"\x80\x04", body, b"."])
}

#[test]
fn an_empty_value_is_made_by_its_type_and_nothing_larger() {
    loads("bytes()", "m.pkl", b"\x80\x02c__builtin__\nbytes\n)R.");
    refused("bytes(n)", "m.pkl", b"\x80\x02c__builtin__\nbytes\nJ\xff\xff\xff\x7f\x85R.", "SR-INS-0013");
    refused("list()", "m.pkl", b"\x80\x02c__builtin__\nlist\n)R.", "SR-INS-0012");
}

/// `_mareconstruct` of a class, and the state of one number with a mask.
fn masked(class: &[u8], mask: &[u8], fill: &[u8]) -> Vec<u8> {
    let dtype = cat(&[
        &global("numpy", "dtype"),
        &short_text("f8"),
        b"\x89\x88\x87R(K\x03",
        &short_text("<"),
        b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    ]);
    pickle(&cat(&[
        &global("numpy.ma.core", "_mareconstruct"),
        b"(",
        class,
        &global("numpy", "ndarray"),
        b"K\x00\x85",
        &short_text("b"),
        b"tR(K\x01K\x01\x85",
        &dtype,
        b"\x89C\x08\0\0\0\0\0\0\0\0C",
        &[u8::try_from(mask.len()).unwrap()],
        mask,
        fill,
        b"tb",
    ]))
}

#[test]
fn an_array_with_a_mask_has_the_mask_of_its_shape() {
    let class = global("numpy.ma", "MaskedArray");
    loads("masked", "m.pkl", &masked(&class, b"\0", b"N"));
    refused("mask too long", "m.pkl", &masked(&class, b"\0\0", b"N"), "SR-INS-0014");
    let call = cat(&[&global("os", "system"), &short_text("id"), b"\x85R"]);
    refused("call as fill value", "m.pkl", &masked(&class, b"\0", &call), "SR-INS-0010");
    refused("class of another", "m.pkl", &masked(&global("os", "system"), b"\0", b"N"), "SR-INS-0013");
    refused(
        "class that is no mask",
        "m.pkl",
        &masked(&global("numpy", "ndarray"), b"\0", b"N"),
        "SR-INS-0013",
    );
}

#[test]
fn a_dictionary_of_a_class_is_filled_by_the_built_in_type() {
    let made = |base: &str, content: &[u8]| {
        pickle(&cat(&[
            &global("copyreg", "_reconstructor"),
            &global("mine", "Table"),
            &global("builtins", base),
            content,
            b"\x87R",
        ]))
    };
    let report = inspect("m.pkl", &made("dict", b"}"));
    assert_eq!(report.verdict, Verdict::LoadWithPolicy, "{report:?}");
    for (what, bytes) in
        [("list", made("list", b"]")), ("text", made("dict", &short_text("x"))), ("type", made("type", b"}"))]
    {
        assert_eq!(inspect("m.pkl", &bytes).verdict, Verdict::Refuse, "{what}");
    }
}

#[test]
fn small_types_of_safetensors_fill_their_bytes() {
    let file = |dtype: &str, elements: u64, bytes: usize| {
        let header =
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":[{elements}],"data_offsets":[0,{bytes}]}}}}"#);
        safetensors(&header, &vec![0; bytes])
    };
    for (dtype, elements, bytes) in [
        ("F4", 6, 3),
        ("F6_E2M3", 4, 3),
        ("F6_E3M2", 8, 6),
        ("F8_E8M0", 2, 2),
        ("F8_E4M3FNUZ", 1, 1),
        ("F8_E5M2FNUZ", 3, 3),
    ] {
        assert_eq!(loads(dtype, "m.safetensors", &file(dtype, elements, bytes)).tensors[0].dtype, dtype);
        refused(dtype, "m.safetensors", &file(dtype, elements, bytes + 1), "SR-INS-0040");
    }
    refused("half a byte", "m.safetensors", &file("F4", 3, 2), "SR-INS-0040");
    // Of these types one pattern is no number.
    let odd = |dtype: &str, value: u8| {
        let header = format!(r#"{{"a":{{"dtype":"{dtype}","shape":[1],"data_offsets":[0,1]}}}}"#);
        loads(dtype, "m.safetensors", &safetensors(&header, &[value])).all_finite
    };
    assert_eq!((odd("F8_E8M0", 0xff), odd("F8_E8M0", 0xfe)), (Some(false), Some(true)));
    assert_eq!((odd("F8_E4M3FNUZ", 0x80), odd("F8_E5M2FNUZ", 0x7f)), (Some(false), Some(true)));
}

#[test]
fn packed_types_of_onnx_fill_their_bytes() {
    let raw = |code: u64, elements: u64, bytes: &[u8]| {
        onnx(&message(
            5,
            &[number(1, elements), number(2, code), message(8, b"w"), message(9, bytes)].concat(),
        ))
    };
    for (code, name, elements) in [(21, "U4", 3), (22, "I4", 4), (23, "F4", 3), (25, "U2", 7), (26, "I2", 8)]
    {
        assert_eq!(loads(name, "m.onnx", &raw(code, elements, &[0; 2])).tensors[0].dtype, name);
        refused(name, "m.onnx", &raw(code, elements, &[0; 3]), "SR-INS-0054");
        let typed = |bytes: &[u8]| {
            onnx(&message(5, &[number(1, elements), number(2, code), message(5, bytes)].concat()))
        };
        loads(name, "m.onnx", &typed(&[0; 2]));
        refused(name, "m.onnx", &typed(&[0; 1]), "SR-INS-0054");
    }
}

#[test]
fn long_names_of_gnu_tar_are_names() {
    let header = |name: &str, kind: u8, data: &[u8]| {
        let mut block = [0_u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[100..108].copy_from_slice(b"0000644\0");
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[156] = kind;
        block[257..265].copy_from_slice(b"ustar  \0");
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let mut out = block.to_vec();
        out.extend_from_slice(data);
        out.resize(out.len().div_ceil(512) * 512, 0);
        out
    };
    let long = |name: &str, data: &[u8]| {
        let named = [name.as_bytes(), b"\0"].concat();
        tar(&[header("././@LongLink", b'L', &named), header("short", b'0', data)])
    };
    let deep = format!("{}a.json", "directory/".repeat(20));
    let report = inspect("m.tar", &long(&deep, b"{}"));
    assert_ne!(report.verdict, Verdict::Refuse, "{report:?}");
    // The long name counts, and not the short one behind it.
    refused("slip", "m.tar", &long(&format!("{}evil", "../".repeat(50)), b"{}"), "SR-INS-0211");
    refused("program", "m.tar", &long(&deep.replace(".json", ".py"), b"import os"), "SR-INS-0066");
    refused("no name", "m.tar", &long("", b"{}"), "SR-INS-0212");
    refused(
        "two long names",
        "m.tar",
        &tar(&[
            header("././@LongLink", b'L', b"a\0"),
            header("././@LongLink", b'L', b"b\0"),
            header("c", b'0', b"{}"),
        ]),
        "SR-INS-0211",
    );
}

#[test]
fn a_directory_that_is_not_ascii_is_shared_by_all_members() {
    let files = |first: &str, second: &str| {
        let mut entries = crate::support::Torch::default().entries();
        for (at, item) in entries.iter_mut().enumerate() {
            let directory = if at == 2 { second } else { first };
            item.name = item.name.replacen("m/", &format!("{directory}/"), 1);
        }
        zip(&entries)
    };
    loads("shared", "m.pt", &files("\u{6a21} \u{e9}", "\u{6a21} \u{e9}"));
    // One to a reader that composes letters or folds their width, two to another.
    refused("composed", "m.pt", &files("\u{e9}", "e\u{301}"), "SR-INS-0033");
    refused("beside", "m.pt", &files("\u{e9}", "m"), "SR-INS-0033");
    refused("direction", "m.pt", &files("\u{202e}m", "\u{202e}m"), "SR-INS-0033");
    refused("within", "m.zip", &zip(&[entry("a/\u{e9}.json", b"{}")]), "SR-INS-0033");
}

#[test]
fn templates_bind_names_and_repeat_within_bounds() {
    let load = |text: &str| inspect("chat_template.jinja", text.as_bytes()).verdict == Verdict::Load;
    assert!(load("{% for _ in range(3) %}x{% endfor %}{% set _a = messages %}{{ _a[0] }}"));
    assert!(load("{{ '-' * 1000000 }}"));
    for text in [
        "{{ _a }}",
        "{% set __a = 1 %}",
        "{% set _mro = 1 %}",
        "{{ 'a' * 10 ** 9 }}",
        "{{ 'a' * 100000000 }}",
    ] {
        assert!(!load(text), "{text}");
    }
}
