//! The oldest version of a model that is deployed anew: no release goes back unseen.
//!
//! The floor of a name stands in its newest version, so that it is there as long as the name is. Who deploys a version
//! approves it, and that raises the floor by at most one ([`next_floor`]); nothing lowers it. It binds where the tenant
//! has a trust policy, and it binds what is released anew: what serves already goes on, over restarts too.

use integrity::trust::{Stage, next_floor};
use store::StoreError;
use store::records::Model;

use crate::Fail;
use crate::node::{Node, store_fail};

/// How an older release is used all the same.
pub(super) const WAY_BACK: &str =
    "; on purpose it comes back as a new release: `strongroom model export`, then `strongroom model import`";

/// The floor that binds what is about to happen with a model.
pub(super) fn of(node: &Node, model: &Model, stage: Stage) -> Result<u64, Fail> {
    match stage {
        Stage::Load => Ok(0),
        Stage::Admit => {
            let rows = |tx: &store::Tx<'_>| tx.of(&model.tenant).last_under::<Model, _, _>(&model.name);
            Ok(node.meta.read(rows).map_err(store_fail)?.map_or(0, |last| last.record.floor))
        }
    }
}

/// Raises the floor of a name, for this version was released. The floor after that.
pub(crate) fn raise(node: &Node, model: &Model) -> Result<u64, Fail> {
    let raised = node.meta.transaction(|tx| {
        let rows = tx.of(&model.tenant);
        let Some(mut last) = rows.last_under::<Model, _, _>(&model.name)? else {
            return Ok::<_, StoreError>(0);
        };
        let floor = next_floor(last.record.floor, model.version);
        if floor != last.record.floor {
            last.record.floor = floor;
            rows.update(&last)?;
        }
        Ok(floor)
    });
    raised.map_err(store_fail)
}
