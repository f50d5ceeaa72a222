//! A log built in memory, as the keeper builds it on disk.

use std::collections::BTreeMap;

use audit::entry::{self, Stamp};
use audit::frame::{self, Frame};
use audit::tile::{self, Builder};
use audit::verify::{ReadError, ReadFile};
use audit::{Checkpoint, Frontier, LeafIndex, Signer, leaf_hash, segment};
use base::id::EventId;
use ops::event::{Event, EventKind, Outcome, Phase};

pub(crate) const ORIGIN: &str = "dev.strongroom.local/audit/n";

#[derive(Clone, Default)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl ReadFile for Files {
    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.get(path).cloned())
    }
}

impl Files {
    pub(crate) fn write_to(&self, dir: &std::path::Path) {
        for (path, bytes) in &self.0 {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }
}

pub(crate) fn signer() -> Signer {
    Signer::new(ORIGIN, &[42; 32]).unwrap()
}

/// `count` entries of every kind and of three chains, each as the keeper writes it.
pub(crate) fn entries(count: u64, salt: &str) -> Vec<Vec<u8>> {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    (0..count)
        .map(|i| {
            let kind = EventKind::ALL[usize::try_from(i).unwrap() % EventKind::ALL.len()];
            let tenant = ["", "acme", "globex"][usize::try_from(i % 3).unwrap()];
            let event =
                Event::new(kind, Phase::Observed, Outcome::Success, 1_795_000_000_000 + i, u128::from(i))
                    .tenant(tenant)
                    .asset("model", &format!("m{i}"), Some(base::sha256(&i.to_le_bytes())))
                    .because(salt);
            let chain = entry::chain(ORIGIN, tenant);
            let sequence = next.entry(chain.clone()).or_default();
            let stamp = Stamp {
                index: LeafIndex::new(i),
                sequence: *sequence,
                chain: &chain,
                uid: EventId::new(base::Timestamp::from_millis(i), [0; 10]),
                logged_ms: 1_795_000_000_000 + i,
                mono_ns: i,
                boot_id: &[1; 16],
                sender: "control",
                sender_uid: 1,
                node: "n",
                version: "0.1.0",
                generation: None,
            };
            *sequence += 1;
            entry::encode(&event, &stamp)
        })
        .collect()
}

/// Every file of a log with these entries, committed `batch` at a time.
pub(crate) fn log(entries: &[Vec<u8>], batch: usize, with_segments: bool) -> Files {
    let signer = signer();
    let mut files = Files::default();
    let (mut frontier, mut builder, mut seg) = (Frontier::new(), Builder::new(), Vec::new());
    for group in entries.chunks(batch) {
        for entry in group {
            frontier.push(leaf_hash(entry));
            builder.push(leaf_hash(entry), |(path, bytes)| {
                files.0.insert(path, bytes);
            });
            frame::put(&mut seg, Frame::Entry(entry));
        }
        let head = Checkpoint { origin: ORIGIN.into(), size: frontier.size(), root: frontier.root() };
        let note = head.sign(&signer).unwrap();
        frame::put(&mut seg, Frame::Note(note.as_bytes()));
        files.0.insert("checkpoint".into(), note.into_bytes());
    }
    files.0.extend(builder.partials());
    bundles(&mut files, entries, entries.len().try_into().unwrap());
    files.0.insert("vkey".into(), format!("{}\n", signer.verifier()).into_bytes());
    if with_segments {
        seg.resize(seg.len() + 4096, 0);
        files.0.insert(segment::file_name(LeafIndex::new(0)), seg);
    }
    files
}

/// Writes only the entry bundles, under the names that the log's size gives them: what somebody does who edits
/// entries. All that is left over goes into the last bundle.
pub(crate) fn bundles(files: &mut Files, entries: &[Vec<u8>], size: u64) {
    files.0.retain(|path, _| !path.starts_with("tile/entries"));
    let count = size.div_ceil(256);
    for n in 0..count {
        let from = usize::try_from(n * 256).unwrap().min(entries.len());
        let to = if n + 1 == count { entries.len() } else { (from + 256).min(entries.len()) };
        let width = tile::tile_width(0, n, audit::TreeSize::new(size));
        files
            .0
            .insert(tile::entries_path(n, width), tile::bundle(entries[from..to].iter().map(Vec::as_slice)));
    }
}

/// Every kind in every phase with every outcome, full and empty.
pub(crate) fn entries_of_every_kind() -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    for kind in EventKind::ALL {
        for phase in Phase::ALL {
            for outcome in Outcome::ALL {
                let bare = Event::new(*kind, *phase, *outcome, 1_795_000_000_000, 1);
                let full = bare
                    .clone()
                    .tenant("acme")
                    .actor("operator")
                    .asset("model", "m", Some(base::sha256(b"m")))
                    .bom(base::sha256(b"b"))
                    .because("reason")
                    .detail("key", "value");
                for event in [bare, full] {
                    let chain = entry::chain(ORIGIN, &event.tenant);
                    let stamp = Stamp {
                        index: LeafIndex::new(1),
                        sequence: 1,
                        chain: &chain,
                        uid: EventId::new(base::Timestamp::from_millis(1), [0; 10]),
                        logged_ms: 1_795_000_000_000,
                        mono_ns: 1,
                        boot_id: &[1; 16],
                        sender: "control",
                        sender_uid: 1,
                        node: "n",
                        version: "0.1.0",
                        generation: None,
                    };
                    out.push(entry::encode(&event, &stamp));
                }
            }
        }
    }
    out
}
