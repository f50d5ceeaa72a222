//! Models of XGBoost and LightGBM: of the real libraries, and spoiled in one place.

use strongroom_inspect::{Format, Limits, Verdict, inspect_bytes};

use crate::keras::framework;
use crate::support::{inspect, loads, refused};

const BAD: &str = "SR-INS-0119";

fn text(name: &str) -> String {
    String::from_utf8(framework(name)).unwrap()
}

/// Puts a text in place of the first occurrence of another, which must be there.
fn with(text: &str, from: &str, to: &str) -> Vec<u8> {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

#[test]
fn ordinary_models_load() {
    let report = loads("json", "m.json", &framework("load/xgb-names.json"));
    assert_eq!((report.format, report.tensors.len()), (Format::XgboostJson, 2));
    assert_eq!(report.tensors[0].shape, [7]);
    let report = loads("ubj", "m.ubj", &framework("load/xgb-names.ubj"));
    assert_eq!((report.format, report.tensors.len()), (Format::XgboostUbj, 2));
    let report = loads("text", "m.txt", &framework("load/lgb-categories.txt"));
    assert_eq!((report.format, report.tensors.len()), (Format::LightgbmText, 2));
}

#[test]
fn spoiled_xgboost_models_are_refused() {
    let good = text("load/xgb-names.json");
    let change = |from: &str, to: &str| with(&good, from, to);
    let samples = [
        ("child beyond the nodes", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,99")),
        ("child that is far away", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,4294967296")),
        ("negative child", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,-7")),
        ("child that is the root", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,0")),
        ("child of two nodes", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,4")),
        ("node that is its own child", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,2")),
        ("half a leaf", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,-1")),
        ("short array", change("\"left_children\":[1,3,5,", "\"left_children\":[1,3,")),
        ("long array", change("\"split_conditions\":[", "\"split_conditions\":[0,")),
        ("other number of nodes", change("\"num_nodes\":\"7\"", "\"num_nodes\":\"8\"")),
        ("2^60 nodes", change("\"num_nodes\":\"7\"", "\"num_nodes\":\"1152921504606846976\"")),
        ("other number of trees", change("\"num_trees\":\"2\"", "\"num_trees\":\"3\"")),
        ("class that is not there", change("\"tree_info\":[0,0]", "\"tree_info\":[0,5]")),
        ("negative class", change("\"tree_info\":[0,0]", "\"tree_info\":[0,-1]")),
        (
            "iterations beyond the trees",
            change("\"iteration_indptr\":[0,1,2]", "\"iteration_indptr\":[0,1,9]"),
        ),
        ("iterations that go back", change("\"iteration_indptr\":[0,1,2]", "\"iteration_indptr\":[0,3,2]")),
        ("feature that is not there", change("\"split_indices\":[2,4,4", "\"split_indices\":[2,4,77")),
        ("fraction for a node", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,5.5")),
        ("text for a node", change("\"left_children\":[1,3,5", "\"left_children\":[1,3,\"5\"")),
        ("categories without nodes", change("\"categories_nodes\":[]", "\"categories_nodes\":[1]")),
        ("array that is missing", change("\"parents\"", "\"parent\"")),
        ("unknown booster", change("\"name\":\"gbtree\"", "\"name\":\"evil\"")),
        ("unknown member", change("{\"learner\":{", "{\"x\":1,\"learner\":{")),
        ("unknown member of the learner", change("\"learner\":{", "\"learner\":{\"x\":1,")),
    ];
    for (what, bytes) in samples {
        refused(what, "m.json", &bytes, BAD);
    }
    refused("repeated key", "m.json", &change("\"parents\"", "\"left_children\""), "SR-INS-0061");
    refused("old form", "m.bin", b"binf\0\0\0\0", "SR-INS-0004");
    refused(
        "code",
        "m.json",
        &change("\"attributes\":{}", "\"attributes\":{\"auto_map\":{\"a\":\"b.C\"}}"),
        "SR-INS-0062",
    );
}

#[test]
fn spoiled_ubjson_is_refused() {
    let good = framework("load/xgb-names.ubj");
    let huge = [&b"{L\0\0\0\0\0\0\0\x01a"[..], b"[$d#L", &(1_u64 << 62).to_be_bytes()].concat();
    let deep = [&b"{L\0\0\0\0\0\0\0\x01a"[..], &[b'['; 5_000]].concat();
    let of = |rest: &[u8]| [&b"{L\0\0\0\0\0\0\0\x01a"[..], rest].concat();
    let samples: Vec<(&str, Vec<u8>, &str)> = vec![
        ("trailing bytes", [good.clone(), b"x".to_vec()].concat(), BAD),
        ("cut off", good[..good.len() - 1].to_vec(), BAD),
        ("2^62 numbers", huge, BAD),
        ("nesting bomb", deep, "SR-INS-0005"),
        ("array of nulls without bytes", of(b"[$Z#L\0\0\0\0\x7f\xff\xff\xff}"), BAD),
        ("array of arrays by type", of(b"[$[#i\x01"), BAD),
        ("type without a length", of(b"[$d\0\0\0\0]}"), BAD),
        ("negative length", of(b"[#i\xff]}"), BAD),
        ("length that is no number", of(b"[#d\0\0\0\0]}"), BAD),
        ("high-precision number", of(b"HL\0\0\0\0\0\0\0\x011}"), BAD),
        ("padding", of(b"NZ}"), BAD),
        ("object of a stated length", of(b"{#i\0}"), BAD),
        ("character that is not ASCII", of(b"C\xff}"), BAD),
        ("text that is not UTF-8", of(b"Si\x01\xff}"), BAD),
        ("key twice", of(b"ZL\0\0\0\0\0\0\0\x01aZ}"), BAD),
        ("another object", of(b"Z}"), BAD),
    ];
    for (what, bytes, code) in samples {
        refused(what, "m.ubj", &bytes, code);
    }
    for len in 10..good.len() {
        assert_eq!(inspect("m.ubj", &good[..len]).verdict, Verdict::Refuse, "cut to {len}");
    }
    for place in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone();
            bytes[place] ^= 1 << bit;
            inspect_bytes("m.ubj", &bytes, &Limits::default());
        }
    }
}

#[test]
fn spoiled_lightgbm_models_are_refused() {
    let good = text("load/lgb-categories.txt");
    let change = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len(), "sizes of trees are stated");
        with(&good, from, to)
    };
    let samples = [
        ("child beyond the nodes", change("left_child=1 -1 -2", "left_child=9 -1 -2")),
        ("leaf beyond the leaves", change("left_child=1 -1 -2", "left_child=1 -9 -2")),
        ("node that is its own child", change("left_child=1 -1 -2", "left_child=0 -1 -2")),
        ("leaf of two nodes", change("left_child=1 -1 -2", "left_child=1 -3 -2")),
        ("cycle", change("left_child=1 -1 -2", "left_child=1 1  -2")),
        ("short array", change("right_child=2 -3 -4", "right_child=2 -3   ")),
        ("other number of leaves", change("num_leaves=4", "num_leaves=5")),
        ("no leaves", change("num_leaves=4", "num_leaves=0")),
        ("feature that is not there", change("split_feature=2 2 1", "split_feature=2 7 1")),
        ("negative feature", change("split_feature=2 2 1", "split_feature=2 -1 ")),
        ("categories that are not there", change("decision_type=2 2 2", "decision_type=1 2 2")),
        ("category list that is not there", change("num_cat=0", "num_cat=1")),
        ("value that is no number", change("leaf_value=0.46849", "leaf_value=a.46849")),
        ("size of a tree", change("tree_sizes=481 498", "tree_sizes=480 498")),
        ("size beyond the file", change("tree_sizes=481 498", "tree_sizes=9999999")),
        ("number of a tree", change("Tree=1", "Tree=7")),
        ("end of trees", change("end of trees", "end of treez")),
        ("unknown line", [good.clone().into_bytes(), b"import os\n".to_vec()].concat()),
        ("categories of pandas", with(&good, "pandas_categorical:", "pandas_categorical:__import__('os')")),
        ("key twice", with(&good, "num_class=1", "num_class=1\nnum_class=2")),
        ("no features", with(&good, "max_feature_idx", "max_feature_id_")),
    ];
    for (what, bytes) in samples {
        refused(what, "m.txt", &bytes, BAD);
    }
}
