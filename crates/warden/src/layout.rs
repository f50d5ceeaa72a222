//! The state directory: who owns what, made before any process of the node starts.
//!
//! | path | owner | mode | why |
//! |---|---|---|---|
//! | `.` | warden | 1711 and an access list | traversable; control and gateway may place files, nobody another's |
//! | `keeper/` | keeper | 0700 | keys |
//! | `log/` | keeper, group control | 2750 | only the keeper writes, control reads |
//! | `control/`, `gateway/` | each its own | 0700 | private |
//! | `management/` | control | 0711 | address and certificate authority of the management plane, for its clients |
//! | `run/` | warden | 1711 and an access list | keeper, control, gateway, relay bind sockets, nobody removes another's |
//! | `run/endpoints/` | warden, group gateway | 0750 | only the gateway enters |
//! | `logs/` | warden | 0755 | what the processes print |

use std::fs;
use std::path::Path;

use base::config::Config;
use rustix::fs::{Gid, Mode, OFlags, Uid, XattrFlags};

use crate::error::WardenError;
use host::HostError;

/// Version and tags of a POSIX access list (linux/posix_acl_xattr.h).
const ACL_VERSION: u32 = 2;
const USER_OBJ: u16 = 1;
const USER: u16 = 2;
const GROUP_OBJ: u16 = 4;
const MASK: u16 = 16;
const OTHER: u16 = 32;
/// Id of an entry that has none.
const NO_ID: u32 = u32::MAX;

/// Makes and mends every directory. `separated` is false where all processes share one user.
///
/// # Errors
/// The state directory cannot be used.
pub(crate) fn make(config: &Config, separated: bool) -> Result<(), WardenError> {
    let users = &config.users;
    fs::create_dir_all(&config.state).map_err(HostError::at("make the state directory"))?;
    for (path, uid, gid, mode) in [
        (config.state.clone(), None, None, 0o1711),
        (config.run_dir(), None, None, 0o1711),
        (config.endpoints_dir(), None, Some(users.gateway), 0o750),
        (config.state.join("logs"), None, None, 0o755),
        (config.keeper_dir(), Some(users.keeper), Some(users.keeper), 0o700),
        (config.log_dir(), Some(users.keeper), Some(users.control), 0o2750),
        (config.control_dir(), Some(users.control), Some(users.control), 0o700),
        (config.gateway_dir(), Some(users.gateway), Some(users.gateway), 0o700),
        (config.management_dir(), Some(users.control), Some(users.control), 0o711),
    ] {
        directory(&path, uid.filter(|_| separated), gid.filter(|_| separated), mode)?;
    }
    if separated {
        allow(&config.state, &[users.control, users.gateway])?;
        allow(&config.run_dir(), &[users.keeper, users.control, users.gateway, users.relay])?;
    }
    Ok(())
}

/// One directory with owner and mode, whatever it was. A link in its place is refused.
fn directory(path: &Path, uid: Option<u32>, gid: Option<u32>, mode: u32) -> Result<(), WardenError> {
    if let Err(error) = fs::create_dir(path)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(HostError::at("make a directory of the state")(error).into());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags, Mode::empty())
        .map_err(HostError::at("open a directory of the state"))?;
    if uid.is_some() || gid.is_some() {
        rustix::fs::fchown(&opened, uid.map(Uid::from_raw), gid.map(Gid::from_raw))
            .map_err(HostError::at("give a directory its owner"))?;
    }
    rustix::fs::fchmod(&opened, Mode::from_raw_mode(mode)).map_err(HostError::at("protect a directory"))?;
    Ok(())
}

/// Lets these users make entries in a sticky directory: others can neither list it nor take over a name.
fn allow(path: &Path, users: &[u32]) -> Result<(), WardenError> {
    rustix::fs::setxattr(path, "system.posix_acl_access", &access_list(users), XattrFlags::empty()).map_err(
        HostError::at("set the access list of a directory (the file system must keep POSIX ACLs)"),
    )?;
    Ok(())
}

/// The list in the form of the extended attribute.
fn access_list(users: &[u32]) -> Vec<u8> {
    let mut users: Vec<u32> = users.to_vec();
    users.sort_unstable();
    users.dedup();
    let mut entries = vec![(USER_OBJ, 7u16, NO_ID)];
    entries.extend(users.iter().map(|id| (USER, 7, *id)));
    entries.extend([(GROUP_OBJ, 1, NO_ID), (MASK, 7, NO_ID), (OTHER, 1, NO_ID)]);
    let mut bytes = ACL_VERSION.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::access_list;

    #[test]
    fn the_access_list_is_sorted_and_complete() {
        let bytes = access_list(&[9, 3, 9]);
        assert_eq!(bytes.len(), 4 + 6 * 8);
        assert_eq!(bytes[..4], [2, 0, 0, 0]);
        assert_eq!(bytes[12..20], [2, 0, 7, 0, 3, 0, 0, 0]);
        assert_eq!(bytes[20..28], [2, 0, 7, 0, 9, 0, 0, 0]);
        assert_eq!(bytes[44..52], [32, 0, 1, 0, 255, 255, 255, 255]);
    }
}
