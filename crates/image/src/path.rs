//! Paths of images, as archives and directories name them.

use crate::error::ImageError;
use crate::limits;

/// Directories at the root that the sandbox makes itself: what an image has below them is never seen, so it is no
/// part of the image. `opt/ml` is where the job's own directories are.
pub const PLATFORM: [&str; 5] = ["dev", "proc", "run", "sys", "tmp"];
/// Beginning of the names by which a layer removes what lower layers have (OCI image specification, "Whiteouts").
const WHITEOUT: &str = ".wh.";
/// The name that empties its directory.
const OPAQUE: &str = ".wh..wh..opq";

/// What an archive's name stands for: a plain relative path, empty for the root itself. A leading `/` or `./`
/// means the root, as every reader of images takes it.
///
/// # Errors
/// [`ImageError::Path`]: `..`, a zero byte, not UTF-8, too long or too deep.
pub fn clean(raw: &[u8]) -> Result<String, ImageError> {
    let refuse = |why| {
        let shown = String::from_utf8_lossy(raw.get(..raw.len().min(200)).unwrap_or(raw));
        ImageError::Path { path: shown.escape_debug().to_string(), why }
    };
    if raw.len() > limits::PATH_BYTES {
        return Err(refuse("it is too long"));
    }
    let text = std::str::from_utf8(raw).map_err(|_| refuse("it is not UTF-8"))?;
    if text.contains('\0') {
        return Err(refuse("it holds a zero byte"));
    }
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => return Err(refuse("it holds `..`")),
            part if part.len() > limits::NAME_BYTES => return Err(refuse("a name in it is too long")),
            part => parts.push(part),
        }
    }
    if parts.len() > limits::DEPTH {
        return Err(refuse("it is too deep"));
    }
    Ok(parts.join("/"))
}

/// Whether the sandbox has a place of its own there, so that nothing below it belongs to the image.
pub fn is_platform(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    PLATFORM.contains(&first) || path == "opt/ml" || path.starts_with("opt/ml/")
}

/// What a name in a layer removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whiteout {
    /// This path, with all below it, as lower layers have it.
    Path(String),
    /// Everything that lower layers have in this directory.
    Inside(String),
    /// Nothing: notes of a storage driver (AUFS) to itself, which other readers skip too.
    Note,
}

/// Whether a path is a whiteout.
///
/// # Errors
/// [`ImageError::Path`]: a reserved name without a meaning.
pub fn whiteout(path: &str) -> Result<Option<Whiteout>, ImageError> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(hidden) = name.strip_prefix(WHITEOUT) else { return Ok(None) };
    if name == OPAQUE {
        return Ok(Some(Whiteout::Inside(parent.to_owned())));
    }
    if hidden.starts_with(WHITEOUT) {
        return Ok(Some(Whiteout::Note));
    }
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        let why = "names that begin with `.wh.` are reserved";
        return Err(ImageError::Path { path: path.to_owned(), why });
    }
    let path = if parent.is_empty() { hidden.to_owned() } else { format!("{parent}/{hidden}") };
    Ok(Some(Whiteout::Path(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives_are_relative_to_the_root_or_refused() {
        for (raw, path) in [
            ("./", ""),
            ("/", ""),
            ("./etc/passwd", "etc/passwd"),
            ("/etc//passwd", "etc/passwd"),
            ("usr/lib/", "usr/lib"),
            ("a/./b", "a/b"),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(clean(raw.as_bytes()).unwrap(), path, "{raw}");
        }
        let deep = "a/".repeat(65);
        let long = "a".repeat(256);
        for raw in ["..", "../etc", "a/../../b", "/..", "a\0b", deep.as_str(), long.as_str()] {
            assert!(clean(raw.as_bytes()).is_err(), "{raw:?}");
        }
        assert!(clean(b"\xff").is_err());
        assert!(clean(&[b'a'; 1025]).is_err());
    }

    #[test]
    fn what_the_sandbox_makes_itself_is_no_part_of_an_image() {
        for path in ["proc", "dev/null", "sys/kernel", "tmp/x", "run", "opt/ml", "opt/ml/code/x"] {
            assert!(is_platform(path), "{path}");
        }
        for path in ["", "process", "opt", "opt/mlx", "usr/dev", "etc"] {
            assert!(!is_platform(path), "{path}");
        }
    }

    #[test]
    fn whiteouts_are_names_with_a_prefix() {
        assert_eq!(whiteout("etc/.wh.passwd").unwrap(), Some(Whiteout::Path("etc/passwd".into())));
        assert_eq!(whiteout(".wh.etc").unwrap(), Some(Whiteout::Path("etc".into())));
        assert_eq!(whiteout("etc/.wh..wh..opq").unwrap(), Some(Whiteout::Inside("etc".into())));
        assert_eq!(whiteout(".wh..wh..opq").unwrap(), Some(Whiteout::Inside(String::new())));
        assert_eq!(whiteout("a/.wh..wh.plnk").unwrap(), Some(Whiteout::Note));
        assert_eq!(whiteout("etc/.wh").unwrap(), None);
        for path in [".wh.", ".wh..", ".wh..."] {
            assert!(whiteout(path).is_err(), "{path}");
        }
    }
}
