use std::collections::BTreeMap;

use posture::Catalogue;

use crate::docs::{self, AREAS, Built};

fn catalogue() -> Catalogue {
    Catalogue::load().unwrap()
}

#[test]
fn the_map_is_read_strictly() {
    let good = "[TR-1]\ncode = [\"a.rs\"]\ntest = [\"b.rs::c\"]\nnote = \"n\"\n";
    let built = docs::parse_map(good, &catalogue()).unwrap();
    assert_eq!(built["TR-1"].test, ["b.rs::c"]);
    for bad in [
        "[XX-1]\ntest = [\"b\"]\n",
        "[TR-1]\ncode = [\"a.rs\"]\n",
        "[TR-1]\ntests = [\"b\"]\n",
        "[TR-1]\ntest = \"b\"\n",
        "[TR-1]\ntest = [1]\n",
        "TR-1 = 1\n",
        "[TR-1\n",
    ] {
        assert!(docs::parse_map(bad, &catalogue()).is_err(), "{bad}");
    }
}

#[test]
fn what_the_map_names_exists() {
    let root = crate::root();
    let check = |name: &str| {
        let built = Built { test: vec![name.to_owned()], ..Built::default() };
        docs::missing_files(&root, &BTreeMap::from([("TR-1".to_owned(), built)])).len()
    };
    assert_eq!(check("xtask/src/docs/tests.rs::what_the_map_names_exists"), 0);
    assert_eq!(check("xtask/src/docs/nowhere.rs"), 1);
    let absent = format!("xtask/src/docs/tests.rs::{}", ["no", "such", "item"].join("_"));
    assert_eq!(check(&absent), 1);
}

#[test]
fn every_control_has_a_section_and_says_what_is_not_built() {
    let catalogue = catalogue();
    let built = BTreeMap::from([(
        "TR-1".to_owned(),
        Built { code: vec!["a|b".to_owned()], test: vec!["t".to_owned()], ..Built::default() },
    )]);
    let mut sections = 0;
    for (area, title) in AREAS {
        let page = docs::page(area, title, &catalogue, &built);
        sections += page.matches("\n## ").count();
        assert_eq!(page.matches("| code |").count(), page.matches("\n## ").count());
        if *area == "TR" {
            assert!(page.contains("| code | `a\\|b` |") && page.contains("| probe | not built |"));
        }
    }
    assert_eq!(sections, catalogue.controls().len());
}

#[test]
fn probes_are_read_from_their_table() {
    let text = "x\nconst ALL: &[X] = &[\n    (\"AC-3\", stranger),\n    (\"AU-2\", tampered_log),\n];\n(\"AU-9\", no),\n";
    let found = docs::probes_of(text);
    assert_eq!(found.len(), 2);
    assert_eq!(found[0], ("AC-3".to_owned(), "posture run: stranger".to_owned()));
}
