//! The socket on which control pushes the policy and grants bytes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::names::NameError;
use net::identity::Known;
use ops::Text;
use ops::lease::Push;
use ops::snapshot::{Ack, SNAPSHOT_MAX, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::limits::{PUSH_TIMEOUT, PUSHES_MAX};
use crate::server::Shared;

/// Takes what control's user says, and nobody else.
pub(crate) async fn serve(listener: UnixListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(PUSHES_MAX));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            continue;
        };
        let allowed = stream.peer_cred().is_ok_and(|peer| peer.uid() == shared.config.users.control);
        if !allowed {
            continue;
        }
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A push that fails leaves what is in force; control sees the closed connection.
            drop(tokio::time::timeout(PUSH_TIMEOUT, take(stream, &shared)).await);
            drop(place);
        });
    }
}

async fn take(mut stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    let len = usize::try_from(stream.read_u32_le().await?).unwrap_or(usize::MAX);
    let refused = if len > SNAPSHOT_MAX {
        format!("snapshot of {len} bytes, limit {SNAPSHOT_MAX}")
    } else {
        let mut body = Vec::new();
        (&mut stream).take(u64::try_from(len).unwrap_or(0)).read_to_end(&mut body).await?;
        match ops::from_bytes::<Push>(&body) {
            Ok(Push::Policy { snapshot }) => replace(shared, snapshot).err().unwrap_or_default(),
            Ok(Push::Lease { grants }) => {
                let uses = shared.leases.exchange(grants, &shared.policies).await;
                return stream.write_all(&uses.to_frame()).await;
            }
            Err(error) => error.to_string(),
        }
    };
    let ack = Ack {
        generation: shared.policies.generation(),
        refused: Text::clip(&refused),
        answered: shared.answered.load(Ordering::Relaxed),
        refusals: shared.refusals.load(Ordering::Relaxed),
        records_lost: shared.recorder.lost(),
    };
    stream.write_all(&ack.to_frame()).await
}

/// Puts a policy in force, and with it the services that its keys may be bound to.
fn replace(shared: &Shared, snapshot: Snapshot) -> Result<(), String> {
    let known = match snapshot.services.as_str() {
        "" => None,
        pem => {
            let node = shared.config.node.parse().map_err(|e: NameError| e.to_string())?;
            Some(Known::new(pem, &node).map_err(|e| base::error::chain(&e))?)
        }
    };
    shared.policies.replace(snapshot, &shared.config.endpoints_dir(), &shared.leases)?;
    shared.services.set(known);
    Ok(())
}

/// Makes the socket; a stale one of an earlier run is removed, anything else is left and refused.
pub(crate) fn bind(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(std::io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    // Control runs under another user, so anybody may connect; the kernel says who it is.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}
