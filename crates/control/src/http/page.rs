//! Pages of lists. A cursor is a place in one list as one caller sees it: it carries an authentication code over the
//! list, so that one of another list, tenant or caller is refused before the database sees it.

use api::shape::{PAGE_DEFAULT, PAGE_MAX};
use base::hmac_sha256;
use base::wire::lp;
use store::PageRequest;

use super::handlers::Call;
use crate::Fail;

/// Hex digits of the authentication code: 128 bits.
const CODE_LEN: usize = 32;

/// What the caller asks for.
pub(super) fn request(call: &Call<'_>) -> Result<PageRequest, Fail> {
    let limit = match call.query.get("limit") {
        None => PAGE_DEFAULT,
        Some(text) => limit(text)?,
    };
    let after = call.query.get("after").map(|cursor| opened(call, cursor)).transpose()?;
    Ok(PageRequest { after, limit })
}

/// A number of items, from 1 to [`PAGE_MAX`].
pub(crate) fn limit(text: &str) -> Result<usize, Fail> {
    let number = text.parse().ok().filter(|n| (1..=PAGE_MAX).contains(n));
    number.ok_or_else(|| Fail::invalid(format!("`limit` is a number from 1 to {PAGE_MAX}")))
}

/// The cursor of the next page, as it is given out.
pub(super) fn sealed(call: &Call<'_>, place: &str) -> String {
    format!("{}{place}", code(call, place))
}

fn opened(call: &Call<'_>, cursor: &str) -> Result<String, Fail> {
    let (given, place) = cursor.split_at_checked(CODE_LEN).ok_or_else(Fail::not_a_cursor)?;
    if base::digest::ct_eq(given.as_bytes(), code(call, place).as_bytes()) {
        Ok(place.to_owned())
    } else {
        Err(Fail::not_a_cursor())
    }
}

fn code(call: &Call<'_>, place: &str) -> String {
    let Call { node, principal, params, route, .. } = call;
    // A person sees other sessions than another of the same tenant.
    let view = match route.operation {
        "session.list" => principal.actor(),
        _ => principal.confined_to().unwrap_or("").to_owned(),
    };
    let of = [
        "strongroom list cursor",
        route.operation,
        params.get("tenant").unwrap_or(""),
        &params.thing(route),
        &view,
        place,
    ];
    let parts: Vec<Vec<u8>> = of.iter().map(|part| lp(part.as_bytes())).collect();
    let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    hmac_sha256(&node.key_mac_key.0, &parts).hex().chars().take(CODE_LEN).collect()
}
