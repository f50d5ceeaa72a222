//! `FreezeMount`: the input becomes read-only for everybody, a helper without keys hashes it through that
//! read-only mount, and only the ordered digest makes it frozen. `HashMount`: the helper hashes it once more.

use std::os::fd::AsFd;

use host::porter::Reach;
use ops::porter::{HASH_RESULT_MAX, HashResult};

use super::porter::null;
use super::{
    Asked, Event, HASH_BASE_MS, HASH_BYTES_PER_S, Hash, HostError, InputKind, InputState, Mount, OwnedFd,
    Reply, Response, Runs, WardenError, mounts, now_ms, state, text,
};

impl Runs {
    pub(super) fn freeze_mount(&mut self, id: u128, input: u8, asked: Asked) -> Result<Reply, WardenError> {
        let name = "freeze_mount";
        let mount = self.input_to_hash(name, id, input)?;
        if mount.state != InputState::Filling {
            return Err(state(name, "the input is frozen already"));
        }
        mounts::freeze(mount.root.as_fd())?;
        // Read-only from here on, whatever the hash says: an input that fails stays unusable.
        mount.state = InputState::Hashing;
        self.hash(name, id, input, asked)
    }

    pub(super) fn hash_mount(&mut self, id: u128, input: u8, asked: Asked) -> Result<Reply, WardenError> {
        let name = "hash_mount";
        if self.input_to_hash(name, id, input)?.state != InputState::Frozen {
            return Err(state(name, "the input is not frozen"));
        }
        self.hash(name, id, input, asked)
    }

    /// An input of a run of which none is being hashed.
    fn input_to_hash(&mut self, name: &'static str, id: u128, input: u8) -> Result<&mut Mount, WardenError> {
        let run = self.runs.get_mut(&id).ok_or_else(|| state(name, "there is no such run"))?;
        if run.hash.is_some() {
            return Err(state(name, "another input of the run is being hashed"));
        }
        run.inputs.get_mut(usize::from(input)).ok_or_else(|| state(name, "there is no such input"))
    }

    /// Starts the helper; its end answers.
    fn hash(&mut self, name: &'static str, id: u128, input: u8, asked: Asked) -> Result<Reply, WardenError> {
        let settings = &self.settings;
        let run = self.runs.get_mut(&id).ok_or_else(|| state(name, "there is no such run"))?;
        let ids = run.ids;
        let mount =
            run.inputs.get(usize::from(input)).ok_or_else(|| state(name, "there is no such input"))?;
        let (result, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(HostError::at("make a pipe"))?;
        let null = null()?;
        let mut argv = vec![text("strongroom-porter")?, text("hash")?];
        if mount.order.kind == (InputKind::Image {}) {
            argv.push(text("--image")?);
        }
        let fds = vec![
            (null.as_fd(), Reach::NotADirectory),
            (writer.as_fd(), Reach::NotADirectory),
            (settings.porter_log.as_ref().unwrap_or(&null).as_fd(), Reach::NotADirectory),
            (mount.root.as_fd(), Reach::Read),
        ];
        let spec = host::porter::Spec { ids, program: &settings.porter, argv, fds };
        let process = host::porter::start(&spec, &run.groups.porter)?;
        let allowed =
            (mount.order.bytes / HASH_BYTES_PER_S).saturating_mul(1000).saturating_add(HASH_BASE_MS);
        let deadline_ms = now_ms().saturating_add(allowed);
        run.hash = Some(Hash { input, name, process, result, deadline_ms, asked });
        Ok(Reply::Later)
    }

    /// The helper has ended: its word against the order.
    pub(super) fn hash_ended(&mut self, id: u128) -> Option<Event> {
        let run = self.runs.get_mut(&id)?;
        let hash = run.hash.take()?;
        let input = hash.input;
        let failed = |why| WardenError::Hashing { input, why };
        let judged = match host::reap(&hash.process) {
            Ok(Some(0)) => read(&hash.result).ok_or_else(|| failed("its result cannot be read")),
            Ok(None) => Err(failed("the helper was ended; it may have taken too long")),
            _ => Err(failed("the helper failed")),
        };
        let mount = run.inputs.get_mut(usize::from(input))?;
        let outcome = judged.and_then(|found| {
            if found.manifest == mount.order.manifest {
                mount.state = InputState::Frozen;
                return Ok(Response::Done {});
            }
            // What was right once and is not any more is as unusable as what never was.
            mount.state = InputState::Hashing;
            let (found, expected) = (found.manifest.hex(), mount.order.manifest.hex());
            Err(WardenError::Digest { input, found, expected })
        });
        Some(Event::Answer(hash.asked, hash.name, id, outcome))
    }
}

/// What the helper wrote; it has ended, so this does not wait.
fn read(result: &OwnedFd) -> Option<HashResult> {
    let mut bytes = Vec::new();
    let mut buffer = [0; HASH_RESULT_MAX];
    loop {
        let got = rustix::io::read(result, &mut buffer).ok()?;
        match buffer.get(..got) {
            Some([]) | None => break,
            Some(part) => bytes.extend_from_slice(part),
        }
        if bytes.len() > HASH_RESULT_MAX {
            return None;
        }
    }
    ops::from_bytes(&bytes).ok()
}
