//! From a host's name to a connection.

use std::net::SocketAddr;

use ops::relay::Destination;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::error::RelayError;
use crate::limits::{ADDRESSES_MAX, TRIED_MAX};
use crate::reach::{Near, allows, near};

/// The addresses of a destination: all of them within its reach, or none. A name of which only some are is no place that
/// anybody meant.
pub(crate) async fn resolve(to: &Destination, places: &Semaphore) -> Result<Vec<SocketAddr>, RelayError> {
    let unreachable =
        |reason: &str| RelayError::Unreachable { host: to.host.to_string(), reason: reason.to_owned() };
    let place = places.acquire().await.map_err(|_| RelayError::TooMany("names that are asked for"))?;
    let found = tokio::net::lookup_host((to.host.as_str(), to.port)).await;
    drop(place);
    let found: Vec<SocketAddr> =
        found.map_err(|e| unreachable(&e.to_string()))?.take(ADDRESSES_MAX.saturating_add(1)).collect();
    match found.len() {
        0 => return Err(unreachable("the name has no address")),
        1..=ADDRESSES_MAX => {}
        _ => return Err(unreachable("the name has more addresses than are looked at")),
    }
    for address in &found {
        let near = near(address.ip());
        if !allows(to.reach, near) {
            let what = match near {
                Near::Public => "public",
                Near::Private => "of a private network",
                Near::Node => "of this node",
                Near::Never => "one that nobody may reach",
            };
            return Err(RelayError::Reach(format!(
                "{} has the address {}, which is {what}; the egress reaches what is {}",
                to.host,
                address.ip(),
                to.reach
            )));
        }
    }
    Ok(found)
}

/// The first of these that answers.
pub(crate) async fn connect(host: &str, addresses: &[SocketAddr]) -> Result<TcpStream, RelayError> {
    let mut reason = "the name has no address".to_owned();
    for address in addresses.iter().take(TRIED_MAX) {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(RelayError::at("set up a connection"))?;
                return Ok(stream);
            }
            Err(error) => reason = error.to_string(),
        }
    }
    Err(RelayError::Unreachable { host: host.to_owned(), reason })
}
