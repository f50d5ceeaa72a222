//! The node's places for what runs, and the share of one tenant: none can take all of them.

use crate::Fail;

/// Places of one kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    /// What takes one, in the plural: `running jobs`.
    pub(crate) what: &'static str,
    /// Name of the share in the configuration.
    pub(crate) key: &'static str,
    /// Places of the node.
    pub(crate) most: usize,
    /// Places of one tenant.
    pub(crate) share: usize,
}

impl Places {
    /// Whether there is room for one more, with so many taken by the tenant and by all.
    pub(crate) fn room(&self, own: usize, all: usize) -> Result<(), Fail> {
        let Self { what, key, most, share } = self;
        if own >= *share {
            return Err(Fail::conflict(format!("this tenant has its share of {share} {what}, of {most} of the node"))
                .help(format!("end one of its own; the operator sets the share with `{key}` below `[tenants]` in the node's configuration")));
        }
        if all >= *most {
            return Err(Fail::conflict(format!("this node has its {most} {what}"))
                .help("try again when one has ended, of whichever tenant"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_takes_its_share_and_leaves_the_rest() {
        let places = Places { what: "endpoints", key: "endpoints", most: 64, share: 32 };
        assert!(places.room(31, 31).is_ok());
        let full = places.room(32, 32).unwrap_err();
        assert_eq!(
            (full.status, full.title.as_str()),
            (409, "this tenant has its share of 32 endpoints, of 64 of the node")
        );
        assert!(full.help.unwrap().contains("[tenants]"));
        assert!(places.room(0, 63).is_ok(), "another tenant still has room");
        assert_eq!(places.room(0, 64).unwrap_err().title, "this node has its 64 endpoints");
    }
}
