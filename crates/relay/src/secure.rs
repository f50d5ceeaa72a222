//! Speaking for a run: TLS towards the far end, in the run's name, and its own plain bytes towards the run.

use std::time::Duration;

use net::workload::{Presented, WorkloadError, connect};
use tokio::io::{AsyncWriteExt, DuplexStream, copy_bidirectional};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ask::{ESTABLISHED, refuse};
use crate::flow::End;
use crate::limits::CONNECT_TIMEOUT;

/// Shakes hands over `wire`, answers the run, and then passes its bytes through until both sides have said all.
///
/// # Errors
/// Why it ended before.
pub(crate) async fn speak(
    (host, authority): (&str, &str),
    presented: &Presented,
    mut run: TcpStream,
    wire: DuplexStream,
) -> Result<(), End> {
    let shaken = timeout(CONNECT_TIMEOUT, connect(wire, host, authority, presented)).await;
    let mut far = match shaken {
        Ok(Ok(far)) => far,
        Ok(Err(error)) => return Err(refused(&mut run, &why(&error)).await),
        Err(_) => return Err(refused(&mut run, "the server did not end the TLS handshake in time").await),
    };
    // From here on a connection that does not come to its end is broken off and not closed: the run has no TLS of its
    // own by which it could tell an answer that was cut from one that is whole.
    let linger = |how| rustix::net::sockopt::set_socket_linger(&run, how).map_err(|_| End::Broken);
    linger(Some(Duration::ZERO))?;
    run.write_all(ESTABLISHED).await.map_err(|_| End::Broken)?;
    copy_bidirectional(&mut run, &mut far).await.map_err(|error| broken(&error))?;
    rustix::net::sockopt::set_socket_linger(&run, None).map_err(|_| End::Broken)
}

async fn refused(run: &mut TcpStream, why: &str) -> End {
    refuse(run, "502 Bad Gateway", why).await;
    End::Tls(why.to_owned())
}

fn why(error: &WorkloadError) -> String {
    base::error::chain(error)
}

/// What the TLS library says is of the far end; all else is a connection that broke.
fn broken(error: &std::io::Error) -> End {
    match error.kind() {
        // A certificate of ours that is not taken is told after the handshake (RFC 8446 section 4.4.2.4).
        std::io::ErrorKind::InvalidData => End::Tls(format!("the far end broke it off: {error}")),
        std::io::ErrorKind::UnexpectedEof => {
            End::Tls("the far end cut it without saying that this is all".to_owned())
        }
        _ => End::Broken,
    }
}
