//! How a model that was made elsewhere comes in: steps in one order, none of which can be left out.
//!
//! Where an intake stands says which steps succeeded for the files with its manifest digest. Only [`next`] moves it,
//! and whoever keeps it (control, in a record) writes down nothing that [`next`] did not give.

use base::Digest;

/// What must succeed, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Who it is from is stated, approved where a list says who is, and its signature verified if one came with it.
    Source,
    /// Every file was inspected, and may be loaded.
    Inspect,
    /// A Model BoM tells what is known of it.
    Describe,
    /// It behaved as was asked of it, or the configuration does not ask.
    Accept,
    /// Somebody other than who brought it answers for it.
    Approve,
    /// It is signed here, and registered.
    Admit,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 6] =
        [Self::Source, Self::Inspect, Self::Describe, Self::Accept, Self::Approve, Self::Admit];

    /// In a word, for records and people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Inspect => "inspection",
            Self::Describe => "description",
            Self::Accept => "acceptance",
            Self::Approve => "approval",
            Self::Admit => "admission",
        }
    }
}

/// Where an intake stands: the last step that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It lies here, sealed, and nothing is known of it.
    Quarantined,
    /// After [`Step::Source`].
    Sourced,
    /// After [`Step::Inspect`].
    Inspected,
    /// After [`Step::Describe`].
    Described,
    /// After [`Step::Accept`].
    Accepted,
    /// After [`Step::Approve`].
    Approved,
    /// After [`Step::Admit`]: it is a model like others.
    Admitted,
    /// Refused, for good.
    Refused,
}

impl Stage {
    /// The step that is next; none at an end.
    pub const fn wants(self) -> Option<Step> {
        match self {
            Self::Quarantined => Some(Step::Source),
            Self::Sourced => Some(Step::Inspect),
            Self::Inspected => Some(Step::Describe),
            Self::Described => Some(Step::Accept),
            Self::Accepted => Some(Step::Approve),
            Self::Approved => Some(Step::Admit),
            Self::Admitted | Self::Refused => None,
        }
    }

    const fn after(step: Step) -> Self {
        match step {
            Step::Source => Self::Sourced,
            Step::Inspect => Self::Inspected,
            Step::Describe => Self::Described,
            Step::Accept => Self::Accepted,
            Step::Approve => Self::Approved,
            Step::Admit => Self::Admitted,
        }
    }
}

/// Where an intake stands, and for which files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// How far.
    pub stage: Stage,
    /// Digest over names, sizes and digests of the files that every step so far was about.
    pub manifest: Digest,
}

impl State {
    /// The beginning.
    pub const fn new(manifest: Digest) -> Self {
        Self { stage: Stage::Quarantined, manifest }
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A step succeeded for the files with this manifest digest.
    Pass(Step, Digest),
    /// A step is left out because the configuration says that it may be.
    Waive(Step, Digest),
    /// The answer is no: of a step, or of a person.
    Refuse,
    /// The files are now these.
    Replace(Digest),
}

/// Whether behaviour is asked about. Every other step is fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acceptance {
    /// It is.
    Require,
    /// It may be left out.
    Waive,
}

/// An event that changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotNow {
    /// Another step comes first.
    #[error("{} comes before {}", .first.as_str(), .asked.as_str())]
    Order {
        /// What is next.
        first: Step,
        /// What was to be done.
        asked: Step,
    },
    /// It was about other files.
    #[error("the files are not those of the steps before")]
    OtherFiles,
    /// This step is never left out here.
    #[error("{} is not left out here", .0.as_str())]
    Needed(Step),
    /// It was refused.
    #[error("it was refused, which is final")]
    Refused,
    /// It is in already.
    #[error("it was admitted already")]
    Admitted,
}

/// What comes of an event.
///
/// # Errors
/// [`NotNow`]: the state stays as it is.
pub fn next(state: State, event: Event, acceptance: Acceptance) -> Result<State, NotNow> {
    let wants = state.stage.wants().ok_or(match state.stage {
        Stage::Refused => NotNow::Refused,
        _ => NotNow::Admitted,
    })?;
    let (step, manifest) = match event {
        Event::Refuse => return Ok(State { stage: Stage::Refused, ..state }),
        Event::Replace(manifest) if manifest == state.manifest => return Ok(state),
        Event::Replace(manifest) => return Ok(State::new(manifest)),
        Event::Waive(step, _) if step != Step::Accept || acceptance == Acceptance::Require => {
            return Err(NotNow::Needed(step));
        }
        Event::Pass(step, manifest) | Event::Waive(step, manifest) => (step, manifest),
    };
    if step != wants {
        return Err(NotNow::Order { first: wants, asked: step });
    }
    if manifest != state.manifest {
        return Err(NotNow::OtherFiles);
    }
    Ok(State { stage: Stage::after(step), manifest })
}

#[cfg(test)]
mod tests;
