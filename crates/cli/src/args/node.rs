//! The verbs of `node`.

use std::path::PathBuf;

use clap::Subcommand;

/// Verbs of `node`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum NodeCommand {
    /// What the node tells of itself to whoever is to help: versions, processes, limits, counts; nobody's name
    #[command(before_long_help = "Examples:
  strongroom node diagnostics
  strongroom node diagnostics --to diagnostics.json
  strongroom node diagnostics -o json --fields processes,runs

What stands in it is chosen field by field: numbers, switches, digests of programs and words of the platform's own. It
ends with what is left out, and why.")]
    Diagnostics {
        /// Write the JSON document to this new file, to be handed on
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// End the node in order and start its machine again; a node in service alone, by its operator
    #[command(before_long_help = "Examples:
  strongroom node reboot --reason \"new kernel\"
  strongroom node reboot --stop-jobs --reason \"ticket 4711\"

While jobs or endpoints are under way it is refused unless --stop-jobs says to end them. Jobs go on from their newest
checkpoint when the node is up again, and endpoints are deployed again. Other programs of the machine are not asked to
end: it starts again as soon as the node has ended and everything is written to the disks.")]
    Reboot {
        /// Why, for the log
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// End jobs and endpoints that are under way
        #[arg(long)]
        stop_jobs: bool,
    },
}
