//! SentencePiece models, built piece by piece, and protobuf that is something else.

use strongroom_inspect::Format;

use crate::support::{loads, message, number, refused, varint};

const BAD: &str = "SR-INS-0109";

fn piece(text: &[u8], kind: u64) -> Vec<u8> {
    let score = [varint(2 << 3 | 5), (-1.5_f32).to_le_bytes().to_vec()].concat();
    message(1, &[message(1, text), score, number(3, kind)].concat())
}

fn model(more: &[u8]) -> Vec<u8> {
    let trainer = message(2, &[message(2, b"model"), number(3, 1), number(4, 8_000), number(40, 0)].concat());
    let normalizer = message(3, &[message(1, b"nmt_nfkc"), message(2, &[0; 64]), number(3, 1)].concat());
    [piece("<unk>".as_bytes(), 2), piece("▁the".as_bytes(), 1), more.to_vec(), trainer, normalizer].concat()
}

#[test]
fn ordinary_models_load() {
    for name in ["tokenizer.model", "spiece.model", "", "x.spm"] {
        assert_eq!(loads("good", name, &model(b"")).format, Format::SentencePiece);
    }
    loads("with self-test data", "m.model", &[model(b""), message(4, &message(1, b""))].concat());
}

#[test]
fn malformed_models_are_refused() {
    let samples: Vec<(&str, Vec<u8>, &str)> = vec![
        ("piece that is not UTF-8", model(&piece(b"\xff", 1)), BAD),
        ("piece of an unknown kind", model(&piece(b"a", 7)), BAD),
        ("piece with two texts", model(&message(1, &[message(1, b"a"), message(1, b"b")].concat())), BAD),
        ("two trainers", [model(b""), message(2, &number(3, 1))].concat(), BAD),
        ("two normalisers", [model(b""), message(3, b"")].concat(), BAD),
        ("unknown field of the trainer", [model(b""), message(2, &message(99, b"x"))].concat(), BAD),
        ("unknown field of the normaliser", model(&message(5, &message(60, b"x"))), BAD),
        ("table of 17 MiB", model(&message(5, &message(2, &vec![0; 17 << 20]))), BAD),
        ("unknown field", [model(b""), message(6, b"x")].concat(), "SR-INS-0001"),
        ("trailing bytes", [model(b""), vec![0xff]].concat(), "SR-INS-0001"),
        ("piece without a text", model(&message(1, &number(3, 1))), "SR-INS-0001"),
        ("group", [model(b""), vec![0x0b, 0x0c]].concat(), "SR-INS-0001"),
        ("pieces alone", piece(b"a", 1), "SR-INS-0001"),
        ("payload in a field", [model(b""), message(200, b"payload")].concat(), "SR-INS-0001"),
    ];
    for (what, bytes, code) in samples {
        refused(what, "tokenizer.model", &bytes, code);
    }
    refused("model with another name", "m.safetensors", &model(b""), "SR-INS-0002");
}
