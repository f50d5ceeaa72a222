//! Releases of the platform: staged where only root writes, activated by one small file that is replaced, and taken back
//! if what they start does not come up.
//!
//! The file `state` alone says which release is active. A release is a directory that got its name after everything in
//! it was durable, and is verified anew each time that programs are taken from it: signatures, floor, each program by
//! the descriptor that is executed.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::config::{Config, Mode};
use base::release::{
    MANIFEST, MANIFEST_MAX, Manifest, PROGRAMS, ReleaseError, SIGNATURES, Signed, Version, parse_signatures,
    signers, write_signatures,
};
use host::Process;
use host::program::Program;
use host::release::{COPIED, DIFFERS, Source};
use ops::List;
use ops::release::{RELEASES_MAX, ReleaseFacts, ReleaseState, Releases as Told, SignedManifest};
use ops::warden::Response;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::clock::now_ms;
use crate::error::WardenError;
use crate::limits::{CONFIRM_MS, COPY_MS};
use crate::runs::Asked;

/// The file that says which release is active.
const STATE: &str = "state";
/// Longest it can be: five versions and their marks.
const STATE_MAX: u64 = 256;
/// Longest file of signatures: sixteen lines of 194.
const SIGNATURES_MAX: u64 = 4096;
/// Where a release is while it is copied.
const STAGE: &str = ".stage";
/// Where one is while it is removed.
const OLD: &str = ".old";

/// The programs that a node executes.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) strongroom: Program,
    pub(crate) keeper: Program,
    pub(crate) porter: Program,
    pub(crate) runtime: Program,
}

/// A release that is being copied.
#[derive(Debug)]
struct Copying {
    process: Process,
    manifest: Manifest,
    text: Vec<u8>,
    signatures: String,
    asked: Asked,
    deadline_ms: u64,
}

/// A release with what proves it.
struct Kept {
    manifest: Manifest,
    text: Vec<u8>,
}

/// All releases of the node.
#[derive(Debug)]
pub(crate) struct Releases {
    directory: PathBuf,
    installed: PathBuf,
    /// Whose releases are taken and how many must sign, or why none is.
    trust: Result<(Vec<[u8; 32]>, usize), &'static str>,
    state: ReleaseState,
    copying: Option<Copying>,
    /// Until when the pending release must have come up.
    confirm_ms: u64,
    /// Why the last release was taken back, until it was told.
    returned: Option<(Version, String)>,
}

impl Releases {
    /// Opens the directory. A copy that was not finished is removed, and a release that had not yet come up is not
    /// active.
    ///
    /// # Errors
    /// Others may write there, its state is damaged, or a release is active and none may be.
    pub(crate) fn open(config: &Config, separated: bool) -> Result<Self, WardenError> {
        let trust = match (&config.release, config.mode) {
            (_, Mode::Dev) => Err("it is for development, and runs the programs that it was started with"),
            (_, Mode::Production) if !separated => Err("it was started without root"),
            (None, _) => Err("no key is trusted for them"),
            (Some(release), _) => {
                Ok((release.trusted().map_err(WardenError::Config)?, usize::from(release.threshold)))
            }
        };
        let state = ReleaseState {
            current: None,
            before: None,
            pending: None,
            returned: None,
            floor: Version::default(),
        };
        let mut releases = Self {
            directory: config.releases_dir(),
            installed: config.programs.clone(),
            trust,
            state,
            copying: None,
            confirm_ms: 0,
            returned: None,
        };
        if releases.trust.is_ok() {
            host::release::own_directory(&releases.directory)?;
        }
        if let Some(bytes) = host::release::read(&releases.directory.join(STATE), STATE_MAX)? {
            releases.state = ops::from_bytes(&bytes)
                .map_err(|e| WardenError::Config(format!("the state of releases is damaged: {e}")))?;
        }
        if releases.trust.is_ok() {
            releases.clear_stage()?;
            if let Some(version) = releases.state.pending {
                releases.take_back(version, "the node ended before it had come up")?;
            }
        } else if releases.state.current.is_some() && config.mode == Mode::Production {
            let why = "a release is active and `[release]` trusts no key; its programs cannot be verified";
            return Err(WardenError::Config(why.to_owned()));
        }
        Ok(releases)
    }

    /// The programs to be executed: those of the release that is pending or active, or those that are installed.
    ///
    /// # Errors
    /// They cannot be read, or are not those of the release.
    pub(crate) fn programs(&self) -> Result<Programs, WardenError> {
        let version = self.state.pending.or(self.state.current).filter(|_| self.trust.is_ok());
        let (directory, manifest) = match version {
            Some(version) => (self.directory.join(version.to_string()), Some(self.kept(version)?.manifest)),
            None => (self.installed.clone(), None),
        };
        let open = |at: usize, name: &'static str| {
            let program = Program::open(&directory.join(name))?;
            let expected = manifest.as_ref().and_then(|m| m.programs.get(at)).map(|p| p.digest);
            if expected.is_some_and(|expected| expected != program.digest()) {
                return Err(WardenError::from(ReleaseError::Program(name)));
            }
            Ok(program)
        };
        let [strongroom, keeper, porter, runtime] = PROGRAMS;
        Ok(Programs {
            strongroom: open(0, strongroom)?,
            keeper: open(1, keeper)?,
            porter: open(2, porter)?,
            runtime: open(3, runtime)?,
        })
    }

    fn trusted(&self) -> Result<(&[[u8; 32]], usize), WardenError> {
        let (keys, needed) = self.trust.as_ref().map_err(|why| ReleaseError::NotTaken(why))?;
        Ok((keys, *needed))
    }

    /// A staged release, whose signatures are checked again.
    fn kept(&self, version: Version) -> Result<Kept, WardenError> {
        let trusted = self.trusted()?;
        let directory = self.directory.join(version.to_string());
        let most = u64::try_from(MANIFEST_MAX).unwrap_or(u64::MAX);
        let text =
            host::release::read(&directory.join(MANIFEST), most)?.ok_or(ReleaseError::Absent(version))?;
        let signatures = host::release::read(&directory.join(SIGNATURES), SIGNATURES_MAX)?;
        let signatures = parse_signatures(&signatures.ok_or(ReleaseError::Absent(version))?)?;
        signers(&text, &signatures, trusted, verify)?;
        let manifest = Manifest::parse(&text)?;
        if manifest.version != version {
            return Err(ReleaseError::Form("it is of another version than its directory").into());
        }
        Ok(Kept { manifest, text })
    }

    /// Versions that are staged, the oldest first.
    fn staged(&self) -> Result<Vec<Version>, WardenError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut versions: Vec<Version> = names.filter_map(|name| name.parse().ok()).collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// What there is. A release that does not verify any more is not told of: it cannot be activated.
    pub(crate) fn told(&self) -> Result<Told, WardenError> {
        let fact = |version| {
            let kept = self.kept(version).ok()?;
            let manifest = base::sha256(&kept.text);
            Some(ReleaseFacts { version, floor: kept.manifest.floor, manifest })
        };
        let staged = self.staged()?.into_iter().filter_map(fact).collect();
        Ok(Told { state: self.state.clone(), staged: List::clip(staged) })
    }

    /// Begins to copy a release. None where it is staged already.
    pub(crate) fn stage(
        &mut self,
        signed: &SignedManifest,
        files: Vec<OwnedFd>,
        asked: Asked,
    ) -> Result<bool, WardenError> {
        let trusted = self.trusted()?;
        if self.copying.is_some() || self.state.pending.is_some() {
            return Err(ReleaseError::Busy.into());
        }
        let text: &[u8] = &signed.manifest;
        let signatures: Vec<Signed> = signed.signatures.iter().map(|s| (s.key, s.signature)).collect();
        signers(text, &signatures, trusted, verify)?;
        let manifest = Manifest::parse(text)?;
        self.above_floor(manifest.version)?;
        if self.staged()?.contains(&manifest.version) {
            return match self.kept(manifest.version) {
                Ok(kept) if kept.text == text => Ok(false),
                _ => Err(ReleaseError::Exists(manifest.version).into()),
            };
        }
        if files.len() != PROGRAMS.len() {
            return Err(ReleaseError::Form("it does not come with one file for each program").into());
        }
        self.clear_stage()?;
        self.make_room()?;
        let stage = self.directory.join(STAGE);
        host::release::own_directory(&stage)?;
        let sources: Vec<Source> = PROGRAMS
            .into_iter()
            .zip(&manifest.programs)
            .zip(files)
            .map(|((name, program), file)| Source {
                file,
                name,
                bytes: program.bytes,
                digest: program.digest,
            })
            .collect();
        let process = host::release::copy(&sources, &stage)?;
        let (text, signatures) = (text.to_vec(), write_signatures(&signatures));
        let deadline_ms = now_ms().saturating_add(COPY_MS);
        self.copying = Some(Copying { process, manifest, text, signatures, asked, deadline_ms });
        Ok(true)
    }

    /// The child that copies, to wait for.
    pub(crate) fn copying(&self) -> Option<BorrowedFd<'_>> {
        self.copying.as_ref().map(|copying| copying.process.pidfd.as_fd())
    }

    /// Ends a copy that takes too long; its end shows like any other.
    pub(crate) fn tick(&self) {
        if let Some(copying) = self.copying.as_ref().filter(|c| now_ms() >= c.deadline_ms) {
            // It may have just ended.
            let _gone =
                rustix::process::pidfd_send_signal(&copying.process.pidfd, rustix::process::Signal::KILL);
        }
    }

    /// The child that copied has ended.
    pub(crate) fn copied(&mut self) -> Option<(Asked, Result<Response, WardenError>)> {
        let copying = self.copying.take()?;
        let ended = host::reap(&copying.process);
        let result = match ended {
            Ok(Some(COPIED)) => self.publish(&copying),
            Ok(Some(code)) => {
                let at = code.checked_sub(DIFFERS).and_then(|at| PROGRAMS.get(usize::from(at)));
                Err(at.map_or_else(
                    || WardenError::Invalid("the release could not be copied; is the disk full?".to_owned()),
                    |name| ReleaseError::Program(name).into(),
                ))
            }
            _ => Err(WardenError::Invalid("the release was not copied in time".to_owned())),
        };
        let result = match result {
            Ok(()) => Ok(Response::Done {}),
            Err(error) => self.clear_stage().and(Err(error)),
        };
        Some((copying.asked, result))
    }

    fn publish(&self, copying: &Copying) -> Result<(), WardenError> {
        let stage = self.directory.join(STAGE);
        host::release::replace(&stage, MANIFEST, &copying.text)?;
        host::release::replace(&stage, SIGNATURES, copying.signatures.as_bytes())?;
        Ok(host::release::publish(&self.directory, STAGE, &copying.manifest.version.to_string())?)
    }

    fn above_floor(&self, version: Version) -> Result<(), WardenError> {
        let floor = self.state.floor;
        if version < floor { Err(ReleaseError::BelowFloor { version, floor }.into()) } else { Ok(()) }
    }

    /// Removes the oldest release that nothing goes back to, where there are as many as are kept.
    fn make_room(&self) -> Result<(), WardenError> {
        let staged = self.staged()?;
        if staged.len() < RELEASES_MAX {
            return Ok(());
        }
        let kept = [self.state.current, self.state.before];
        match staged.into_iter().find(|version| !kept.contains(&Some(*version))) {
            Some(oldest) => {
                // It loses its name first: a half of it is no release.
                host::release::publish(&self.directory, &oldest.to_string(), OLD)?;
                remove(&self.directory.join(OLD))
            }
            None => Err(ReleaseError::Busy.into()),
        }
    }

    fn clear_stage(&self) -> Result<(), WardenError> {
        remove(&self.directory.join(STAGE)).and_then(|()| remove(&self.directory.join(OLD)))
    }

    /// From now on the release is pending; the node is to be started from it.
    /// `refused` is what stands against ending the node now: said after everything that is wrong with the release.
    ///
    /// # Errors
    /// It is not staged, does not verify, or is below the floor.
    pub(crate) fn activate(
        &mut self,
        version: Version,
        refused: Option<WardenError>,
    ) -> Result<(), WardenError> {
        self.trusted()?;
        self.is_idle()?;
        if self.state.current == Some(version) {
            return Err(WardenError::State { operation: "activate_release", why: "it is active already" });
        }
        self.kept(version)?;
        self.above_floor(version)?;
        refused.map_or(Ok(()), Err)?;
        let before = self.state.pending.replace(version);
        // Every program is read and compared before anything ends for it.
        if let Err(error) = self.programs().map(drop).and_then(|()| self.save()) {
            self.state.pending = before;
            return Err(error);
        }
        self.confirm_ms = now_ms().saturating_add(CONFIRM_MS);
        Ok(())
    }

    /// The release before is active from now on; the node is to be started from it.
    pub(crate) fn go_back(&mut self, refused: Option<WardenError>) -> Result<(), WardenError> {
        self.trusted()?;
        self.is_idle()?;
        if self.state.current.is_none() {
            return Err(ReleaseError::NothingBefore.into());
        }
        // The programs that are installed came with this one.
        let version = self.state.before.map_or_else(|| env!("CARGO_PKG_VERSION").parse(), Ok)?;
        self.above_floor(version)?;
        refused.map_or(Ok(()), Err)?;
        let old = self.state.clone();
        self.state.current = self.state.before.take();
        if let Err(error) = self.programs().map(drop).and_then(|()| self.save()) {
            self.state = old;
            return Err(error);
        }
        Ok(())
    }

    fn is_idle(&self) -> Result<(), WardenError> {
        let idle = self.copying.is_none() && self.state.pending.is_none();
        if idle { Ok(()) } else { Err(ReleaseError::Busy.into()) }
    }

    /// The pending release has come up, and is active from now on.
    pub(crate) fn confirm(&mut self, version: Version, down: bool) -> Result<(), WardenError> {
        self.trusted()?;
        if down {
            let why = "a process of the node is down";
            return Err(WardenError::State { operation: "confirm_release", why });
        }
        if self.state.pending != Some(version) {
            return Err(WardenError::State {
                operation: "confirm_release",
                why: "it is not being activated",
            });
        }
        let floor = self.kept(version)?.manifest.floor;
        let old = self.state.clone();
        self.state = ReleaseState {
            current: Some(version),
            before: old.current,
            pending: None,
            returned: None,
            floor: floor.max(old.floor),
        };
        self.save().inspect_err(|_| self.state = old)
    }

    /// The release that must still come up.
    pub(crate) fn pending(&self) -> Option<Version> {
        self.state.pending
    }

    /// Until when it must have.
    pub(crate) fn due_ms(&self) -> Option<u64> {
        self.state.pending.map(|_| self.confirm_ms)
    }

    /// A release did not come up: what was active before is again.
    pub(crate) fn take_back(&mut self, version: Version, why: &str) -> Result<(), WardenError> {
        self.state.pending = None;
        self.state.returned = Some(version);
        self.returned = Some((version, why.to_owned()));
        self.save()
    }

    /// What was taken back and why, to be told once.
    pub(crate) fn take_returned(&mut self) -> Option<(Version, String)> {
        self.returned.take()
    }

    fn save(&self) -> Result<(), WardenError> {
        Ok(host::release::replace(&self.directory, STATE, &ops::to_bytes(&self.state))?)
    }
}

fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

/// Removes a directory that may not be there.
fn remove(path: &Path) -> Result<(), WardenError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(host::HostError::at("remove a release")(error).into())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
