//! Which node and which caller: flags, then environment, then the context file that `strongroom dev` writes.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base::Secret;
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// Environment variable that names the state directory of the node.
pub(crate) const STATE_VARIABLE: &str = "STRONGROOM_STATE";
/// Environment variable that names the file of the caller's key.
pub(crate) const KEY_VARIABLE: &str = "STRONGROOM_KEY_FILE";
/// Longest key file: a key is below 128 characters.
const KEY_MAX: u64 = 4096;

/// The file that `strongroom dev` and `strongroom login` leave, so that the next command finds the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// State directory of the node, if it is one on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) state: Option<PathBuf>,
    /// Its management plane, if somebody logged in to it over the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server: Option<String>,
    /// Tenant that is meant where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tenant: Option<String>,
}

/// Where the context file is: `$XDG_CONFIG_HOME/strongroom/context`, else `~/.config/strongroom/context`.
pub(crate) fn context_path() -> Option<PathBuf> {
    let absolute = |name: &str| env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config.join("strongroom").join("context"))
}

/// Reads the context file; `None` if there is none.
///
/// # Errors
/// It is not a context file.
pub(crate) fn read_context() -> Result<Option<Context>, CliError> {
    let Some(path) = context_path() else { return Ok(None) };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(CliError::file("read", &path)(error)),
    };
    let context = toml::from_str(&text).map_err(|e| CliError::Content {
        path,
        reason: format!("it is not a context file ({}); remove it", e.message()),
    })?;
    Ok(Some(context))
}

/// Writes the context file, whole or not at all.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_context(context: &Context) -> Result<Option<PathBuf>, CliError> {
    let Some(path) = context_path() else { return Ok(None) };
    let text = toml::to_string(context).unwrap_or_default();
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(CliError::file("create", directory))?;
    }
    write_whole(&path, text.as_bytes(), 0o600)?;
    Ok(Some(path))
}

/// Removes the context file if it still names this node.
pub(crate) fn forget_context(state: &Path) {
    if let (Ok(Some(context)), Some(path)) = (read_context(), context_path())
        && context.state.as_deref() == Some(state)
    {
        // A context file that stays names a node that is gone; the next command says so.
        drop(fs::remove_file(path));
    }
}

/// Writes a file through a temporary name beside it, so that readers see all of it or none.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Result<(), CliError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let attempt = || -> std::io::Result<()> {
        let mut file =
            fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    attempt().map_err(CliError::file("write", path))
}

/// Where the node's state directory comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `--state`.
    Flag,
    /// `STRONGROOM_STATE`.
    Environment,
    /// The context file.
    Context,
}

impl Origin {
    /// In words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag --state",
            Self::Environment => "environment STRONGROOM_STATE",
            Self::Context => "context file",
        }
    }
}

/// The state directory of the node that is meant.
///
/// # Errors
/// [`CliError::NoNode`].
pub(crate) fn find_state(flag: Option<&Path>) -> Result<(PathBuf, Origin), CliError> {
    if let Some(path) = flag {
        return Ok((path.to_owned(), Origin::Flag));
    }
    if let Some(path) = env::var_os(STATE_VARIABLE).filter(|v| !v.is_empty()) {
        return Ok((PathBuf::from(path), Origin::Environment));
    }
    read_context()?.and_then(|c| c.state).map(|state| (state, Origin::Context)).ok_or(CliError::NoNode)
}

/// The control socket below a state directory (`base::config::Config::control_socket`).
pub(crate) fn control_socket(state: &Path) -> PathBuf {
    state.join("run").join("control.sock")
}

/// Where what belongs to one node is kept, below the directory of the context file.
fn place_file(folder: &str, place: &str) -> Option<PathBuf> {
    let name: String = base::sha256(place.as_bytes()).hex().chars().take(32).collect();
    Some(context_path()?.parent()?.join(folder).join(name))
}

fn keep(folder: &str, place: &str, bytes: &[u8]) -> Result<(), CliError> {
    let Some(path) = place_file(folder, place) else {
        return Err(CliError::Usage("there is no HOME to keep it below".to_owned()));
    };
    if let Some(directory) = path.parent() {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(CliError::file("create", directory))?;
    }
    write_whole(&path, bytes, 0o600)
}

/// Keeps the token of a session with the node at this place.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_login(place: &str, token: &str) -> Result<(), CliError> {
    keep("sessions", place, format!("{token}\n").as_bytes())
}

/// The token of a session with the node at this place, if somebody logged in.
///
/// # Errors
/// [`CliError::KeyFile`].
pub(crate) fn read_login(place: &str) -> Result<Option<Secret<String>>, CliError> {
    match place_file("sessions", place).filter(|path| path.exists()) {
        Some(path) => read_key(Some(&path)),
        None => Ok(None),
    }
}

/// Forgets the session with the node at this place; whether there was one.
///
/// # Errors
/// It cannot be removed.
pub(crate) fn forget_login(place: &str) -> Result<bool, CliError> {
    let Some(path) = place_file("sessions", place) else { return Ok(false) };
    match fs::remove_file(&path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(CliError::file("remove", &path)(error)),
    }
}

/// Keeps whom to trust at a management plane, and makes it the node that the next commands mean.
///
/// # Errors
/// It cannot be written.
pub(crate) fn write_server(server: &str, authority: &str) -> Result<(), CliError> {
    keep("authorities", server, authority.as_bytes())?;
    write_context(&Context { state: None, server: Some(server.to_owned()), tenant: None }).map(drop)
}

/// Whom to trust at a management plane that somebody logged in to.
pub(crate) fn read_authority(server: &str) -> Option<String> {
    fs::read_to_string(place_file("authorities", server)?).ok()
}

/// Reads the caller's key from a file that nobody else may read.
///
/// # Errors
/// [`CliError::KeyFile`].
pub(crate) fn read_key(flag: Option<&Path>) -> Result<Option<Secret<String>>, CliError> {
    let from_environment = env::var_os(KEY_VARIABLE).filter(|v| !v.is_empty()).map(PathBuf::from);
    let Some(path) = flag.map(Path::to_owned).or(from_environment) else { return Ok(None) };
    let refuse = |reason: String| CliError::KeyFile { path: path.clone(), reason };
    let meta = fs::metadata(&path).map_err(|e| refuse(e.to_string()))?;
    if !meta.is_file() || meta.len() > KEY_MAX {
        return Err(refuse(format!("a key file is a regular file of at most {KEY_MAX} bytes")));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(refuse(format!(
            "others may read it (mode {:o}); run chmod 600 on it",
            meta.mode() & 0o777
        )));
    }
    let text = fs::read_to_string(&path).map_err(|e| refuse(e.to_string()))?;
    let key = text.trim();
    if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(refuse("it does not hold one line with a key".to_owned()));
    }
    Ok(Some(Secret::new(key.to_owned())))
}
