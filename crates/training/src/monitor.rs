//! What a checkpoint looks like from outside, compared with its predecessors (training.md section 9).
//!
//! The porter tells a digest and an L2 norm for each tensor, not its values. So the move of a tensor is the
//! relative change of its norm, which is a lower bound of its relative distance (reverse triangle inequality):
//! a change that keeps the norm, such as a flipped sign, is not seen here; replaying the segment sees it.

use std::collections::{BTreeMap, BTreeSet};

use crate::limits;
use crate::manifest::{FileEntry, TensorEntry};

#[cfg(test)]
mod tests;

/// Robust z-score above which a move stands out.
const Z_LIMIT: f64 = 8.0;
/// Smallest spread of log moves: below it an ordinary change of the learning rate would stand out.
const SPREAD_MIN: f64 = 0.5;
/// Largest spread: above it a run that began with large moves would hide anything. 8 x 0.7 = 5.6, a factor of 270.
const SPREAD_MAX: f64 = 0.7;
/// A move that at most halves or doubles nothing is never a finding, however steady the run was.
const MOVE_MIN: f64 = 0.5;
/// The MAD of a normal distribution is its deviation divided by this.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// What the monitors say of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing stands out.
    Good,
    /// One exact or two behavioural findings: not resumed from.
    Suspect,
}

impl Verdict {
    /// The name in manifests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspect => "suspect",
        }
    }
    /// The verdict of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Good, Self::Suspect].into_iter().find(|v| v.name() == name)
    }
}

/// One thing that stands out.
#[derive(Debug, Clone, PartialEq)]
pub enum Finding {
    /// A file has a float that is not finite. Exact.
    NotFinite {
        /// The file.
        path: String,
    },
    /// Tensors came, went, or changed type or shape. Exact.
    TensorSet {
        /// The first few, with what happened.
        detail: String,
    },
    /// One tensor's norm moved far more than it used to. Behavioural.
    Tensor {
        /// The tensor.
        name: String,
        /// Relative change of its norm.
        moved: f64,
    },
    /// The norm of all tensors together moved far more than it used to. Behavioural.
    Global {
        /// Relative change of the norm.
        moved: f64,
    },
}

impl Finding {
    /// Exact findings suffice alone.
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::NotFinite { .. } | Self::TensorSet { .. })
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFinite { path } => write!(f, "`{path}` has a float that is not finite"),
            Self::TensorSet { detail } => write!(f, "tensors differ from the predecessor's: {detail}"),
            Self::Tensor { name, moved } => write!(f, "norm of `{name}` moved by {moved:.3} of itself"),
            Self::Global { moved } => write!(f, "norm of all tensors moved by {moved:.3} of itself"),
        }
    }
}

/// One exact finding, or two of any kind.
pub fn verdict(findings: &[Finding]) -> Verdict {
    if findings.iter().any(Finding::is_exact) || findings.len() >= 2 {
        Verdict::Suspect
    } else {
        Verdict::Good
    }
}

/// Differences in names, types and shapes; empty text if there are none.
pub fn tensor_set_difference(was: &[TensorEntry], is: &[TensorEntry]) -> String {
    let keys = |tensors: &[TensorEntry]| -> BTreeSet<(String, String, Vec<u64>)> {
        tensors.iter().map(|t| (t.name.clone(), t.dtype.clone(), t.shape.clone())).collect()
    };
    let (was, is) = (keys(was), keys(is));
    let gone = was.difference(&is).map(|(n, d, s)| format!("-`{n}` {d} {s:?}"));
    let new = is.difference(&was).map(|(n, d, s)| format!("+`{n}` {d} {s:?}"));
    gone.chain(new).take(4).collect::<Vec<_>>().join(", ")
}

/// Remembers the moves of a job's checkpoints, version after version.
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    last: Vec<TensorEntry>,
    tensor_moves: BTreeMap<String, Vec<f64>>,
    global_moves: Vec<f64>,
}

impl Monitor {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at the next checkpoint. It becomes what the next is compared with unless it is suspect.
    pub fn observe(&mut self, files: &[FileEntry], tensors: &[TensorEntry]) -> Vec<Finding> {
        let mut findings: Vec<Finding> = files
            .iter()
            .filter(|f| f.all_finite == Some(false))
            .map(|f| Finding::NotFinite { path: f.path.clone() })
            .collect();
        let moves =
            if self.last.is_empty() { Moves::default() } else { self.compare(tensors, &mut findings) };
        if verdict(&findings) == Verdict::Good {
            self.remember(tensors, moves);
        }
        findings
    }

    fn compare(&self, tensors: &[TensorEntry], findings: &mut Vec<Finding>) -> Moves {
        let detail = tensor_set_difference(&self.last, tensors);
        if !detail.is_empty() {
            findings.push(Finding::TensorSet { detail });
            return Moves::default();
        }
        let moves = Moves::between(&self.last, tensors);
        let outlier = |name: &String, moved: f64| {
            self.tensor_moves.get(name).is_some_and(|earlier| stands_out(earlier, moved))
        };
        // One finding for the tensor that moved most, so that two findings are two kinds of evidence.
        let worst = moves
            .tensors
            .iter()
            .filter(|(name, moved)| outlier(name, **moved))
            .max_by(|a, b| a.1.total_cmp(b.1));
        if let Some((name, moved)) = worst {
            findings.push(Finding::Tensor { name: name.clone(), moved: *moved });
        }
        if let Some(moved) = moves.global.filter(|m| stands_out(&self.global_moves, *m)) {
            findings.push(Finding::Global { moved });
        }
        moves
    }

    fn remember(&mut self, tensors: &[TensorEntry], moves: Moves) {
        for (name, moved) in moves.tensors {
            push(self.tensor_moves.entry(name).or_default(), moved);
        }
        if let Some(moved) = moves.global {
            push(&mut self.global_moves, moved);
        }
        self.last = tensors.to_vec();
    }
}

fn push(window: &mut Vec<f64>, value: f64) {
    if window.len() >= limits::MONITOR_WINDOW {
        window.remove(0);
    }
    window.push(value);
}

/// Relative changes of norms between two checkpoints.
#[derive(Default)]
struct Moves {
    tensors: BTreeMap<String, f64>,
    global: Option<f64>,
}

impl Moves {
    fn between(was: &[TensorEntry], is: &[TensorEntry]) -> Self {
        let norms: BTreeMap<&str, f64> =
            was.iter().filter_map(|t| Some((t.name.as_str(), norm(t)?))).collect();
        let mut tensors = BTreeMap::new();
        let (mut sum_was, mut sum_is) = (0.0, 0.0);
        for tensor in is {
            if let (Some(now), Some(before)) = (norm(tensor), norms.get(tensor.name.as_str())) {
                sum_was += before * before;
                sum_is += now * now;
                if let Some(moved) = relative(*before, now) {
                    tensors.insert(tensor.name.clone(), moved);
                }
            }
        }
        Self { tensors, global: relative(sum_was.sqrt(), sum_is.sqrt()) }
    }
}

fn norm(tensor: &TensorEntry) -> Option<f64> {
    tensor.norm_bits.map(f64::from_bits).filter(|n| n.is_finite())
}

fn relative(was: f64, is: f64) -> Option<f64> {
    let moved = (is - was).abs() / was;
    (was > 0.0 && moved.is_finite()).then_some(moved)
}

/// Whether a move is large in itself and far outside the earlier ones, by median and MAD of the logarithms.
fn stands_out(earlier: &[f64], moved: f64) -> bool {
    if earlier.len() < limits::MONITOR_MIN || moved < MOVE_MIN {
        return false;
    }
    // Moves below a thousandth are as good as that: else the logarithms of mere noise spread widely.
    let logs: Vec<f64> = earlier.iter().map(|m| m.max(1e-3).ln()).collect();
    let centre = median(logs.clone());
    let spread = median(logs.iter().map(|l| (l - centre).abs()).collect()) * MAD_TO_DEVIATION;
    (moved.ln() - centre) / spread.clamp(SPREAD_MIN, SPREAD_MAX) > Z_LIMIT
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Watches one metric that should fall: not finite is exact, a spike is behavioural.
#[derive(Debug, Clone, Default)]
pub struct LossWatch {
    earlier: Vec<f64>,
}

/// What a loss says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LossFinding {
    /// It is not a finite number.
    NotFinite,
    /// It is far above the earlier ones.
    Spike,
}

impl LossWatch {
    /// Looks at the next value.
    pub fn observe(&mut self, value: f64) -> Option<LossFinding> {
        if !value.is_finite() {
            return Some(LossFinding::NotFinite);
        }
        let size = value.abs();
        let spike = self.earlier.len() >= limits::MONITOR_MIN && {
            let highest = self.earlier.iter().copied().fold(0.0, f64::max);
            size > 10.0 * highest.max(1e-6)
        };
        push(&mut self.earlier, size);
        spike.then_some(LossFinding::Spike)
    }
}
