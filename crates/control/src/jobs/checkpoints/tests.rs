use super::*;

fn sealed(store: &store::ObjectStore, path: &str) -> SealedStage {
    SealedStage {
        stage: store.create_stage().unwrap(),
        path: path.to_owned(),
        size: 1,
        digest: base::sha256(b"x"),
        dek: Key32::new(&[7; 32]),
        format: "safetensors".to_owned(),
        verdict: "load".to_owned(),
        findings: Vec::new(),
        all_finite: None,
    }
}

/// What is left when a porter told of these files, each under its ticket.
fn told(store: &store::ObjectStore, files: &[(u32, &str)]) -> Tickets {
    let mut tickets = Tickets::default();
    for (number, path) in files {
        let file = sealed(store, path);
        tickets.ticket(*number).files.push(file);
    }
    tickets
}

#[test]
fn a_commit_is_what_was_sealed_under_its_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store::ObjectStore::open(dir.path()).unwrap();
    let taken = told(&store, &[(1, "a"), (1, "b/c")]).take(1, 2).unwrap();
    assert_eq!(taken.files.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(), ["a", "b/c"]);
    for (files, number, count, why) in [
        (vec![], 1, 0, "nothing was sealed"),
        (vec![(1, "a")], 2, 1, "another ticket"),
        (vec![(1, "a")], 1, 2, "a file is missing"),
        (vec![(1, "a"), (1, "b")], 1, 1, "a file too many"),
        (vec![(1, "a"), (1, "a")], 1, 2, "one path twice"),
        (vec![(1, "../../etc/passwd")], 1, 1, "a path that leads out"),
        (vec![(1, "/etc/passwd")], 1, 1, "an absolute path"),
    ] {
        assert!(told(&store, &files).take(number, count).is_err(), "{why}");
    }
}

#[test]
fn tickets_that_were_given_up_are_not_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store::ObjectStore::open(dir.path()).unwrap();
    let names: Vec<(u32, &str)> = (0..1000).map(|n| (n, "a")).collect();
    let mut tickets = told(&store, &names);
    assert_eq!(std::fs::read_dir(dir.path().join("stage")).unwrap().count(), 1);
    assert_eq!(tickets.take(999, 1).unwrap().files.len(), 1);
    // A stage that was not sealed into is replaced, so the next file is read from the stage it was written to.
    tickets.given = Some(store.create_stage().unwrap());
    tickets.given = Some(store.create_stage().unwrap());
    assert_eq!(std::fs::read_dir(dir.path().join("stage")).unwrap().count(), 1);
}
