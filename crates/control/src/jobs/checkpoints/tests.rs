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

fn record(version: u64, state: CheckpointState, files: usize) -> Checkpoint {
    let file = |n: usize| File { path: format!("f{n}"), size: 1, digest: base::sha256(&[7]), media: None };
    Checkpoint {
        tenant: "acme".parse().unwrap(),
        job: JobId::from_bits(1),
        id: CheckpointId::from_bits(1),
        version,
        step: Some(version),
        manifest: "m".repeat(10_000),
        manifest_digest: base::sha256(b"manifest"),
        signature: "s".to_owned(),
        prev: Some(base::sha256(b"previous")),
        state,
        reason: None,
        files: (0..files).map(file).collect(),
        bytes: 9,
        rule: "rename".to_owned(),
        committed_ms: 1,
        sealed_ms: 2,
    }
}

/// The chain, the Model BoM and the list need version, step, digests, size and times; nothing of what grows with a
/// checkpoint's tensors stays.
#[test]
fn little_stays_of_a_pruned_record_and_the_chain_does() {
    let whole = record(4, CheckpointState::Good, 200);
    let mut left = whole.clone();
    strip(&mut left);
    assert_eq!(left.state, CheckpointState::Pruned);
    assert_eq!((left.version, left.step, left.bytes, left.sealed_ms), (4, Some(4), 9, 2));
    assert_eq!((left.manifest_digest, left.prev), (whole.manifest_digest, whole.prev));
    assert_eq!(left.signature, whole.signature);
    assert!(left.files.is_empty() && left.manifest.is_empty());
}

#[test]
fn retention_looks_at_what_is_present_only() {
    let mut all: Vec<_> = (1..=2000).map(|v| record(v, CheckpointState::Good, 1)).collect();
    all.iter_mut().take(1990).for_each(strip);
    let left = present_of(all.iter());
    assert_eq!(left.iter().map(|p| p.version).collect::<Vec<_>>(), (1991..=2000).collect::<Vec<_>>());
    assert!(left.iter().all(|p| p.good && !p.pinned));
    // Set aside: evidence that stays. Pruned by an earlier release, which left the list of files: goes.
    let others = [record(1, CheckpointState::Pruned, 1), record(2, CheckpointState::Suspect, 1)];
    let kept: Vec<_> = present_of(others.iter()).iter().map(|p| (p.good, p.pinned)).collect();
    assert_eq!(kept, [(false, false), (false, true)]);
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
