//! The model: loaded once, planned per combination of input shapes.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use base::names::Name;
use ops::inference::{DType, ErrorKind, Metadata, TENSORS_MAX, Tensor, TensorSpec, elements};
use ops::{List, Text};
use tract_onnx::prelude as tract;
use tract_onnx::prelude::{DatumType, Framework as _, InferenceModelExt as _, IntoRunnable as _};
use tract_onnx::tract_hir::infer::{Factoid as _, InferenceFact};

use crate::limits::{DIM_MAX, FILES_MAX, MODEL_MAX, PLANS_MAX};

/// A model cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// Its directory or file.
    #[error("cannot read {path}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// None, or several.
    #[error("the model has {0} files ending in .onnx, it must have one")]
    Count(usize),
    /// Too long.
    #[error("the model has {0} bytes, limit {MODEL_MAX}")]
    TooLong(u64),
    /// Not a model that can be run.
    #[error("not an ONNX model that can be served: {0}")]
    Model(String),
}

impl base::Explain for LoadError {
    fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "SR-RUN-0010",
            Self::Count(_) => "SR-RUN-0011",
            Self::TooLong(_) => "SR-RUN-0012",
            Self::Model(_) => "SR-RUN-0013",
        }
    }
    fn help(&self) -> Option<base::Help> {
        Some("see what the model is with `strongroom model inspect`")
    }
}

/// A request cannot be answered.
#[derive(Debug)]
pub(crate) struct InferError {
    /// For programs.
    pub(crate) kind: ErrorKind,
    /// For people.
    pub(crate) detail: String,
}

fn invalid(detail: String) -> InferError {
    InferError { kind: ErrorKind::Invalid, detail }
}

fn failed(detail: impl std::fmt::Display) -> InferError {
    InferError { kind: ErrorKind::Failed, detail: detail.to_string() }
}

type Plan = Arc<tract::TypedRunnableModel>;
type Shapes = Vec<Vec<u64>>;

/// A loaded model.
pub(crate) struct Engine {
    model: tract::InferenceModel,
    metadata: Metadata,
    /// Most recently used last.
    plans: Mutex<VecDeque<(Shapes, Plan)>>,
}

impl Engine {
    /// Loads the one ONNX file in a directory.
    pub(crate) fn load(dir: &Path, name: &Name) -> Result<Self, LoadError> {
        let bytes = read_model(dir)?;
        guarded(|| Self::parse(&bytes, name)).map_err(LoadError::Model)
    }

    fn parse(bytes: &[u8], name: &Name) -> Result<Self, String> {
        let mut reader = bytes;
        // Declared shapes of outputs and inner values are only claims; they are derived from the inputs.
        let model = tract_onnx::onnx()
            .with_ignore_output_shapes(true)
            .with_ignore_value_info(true)
            .model_for_read(&mut reader)
            .map_err(|e| format!("{e:#}"))?;
        let inputs = specs(&model, model.input_outlets().map_err(|e| e.to_string())?)?;
        let given: Shapes =
            inputs.iter().map(|spec| spec.shape.iter().map(|dim| dim.unwrap_or(1)).collect()).collect();
        let mut engine = Self {
            metadata: Metadata {
                name: Text::clip(name.as_str()),
                inputs: List::new(inputs).map_err(|e| e.to_string())?,
                outputs: List::default(),
            },
            model,
            plans: Mutex::new(VecDeque::new()),
        };
        // Proves before the first request that the model can be run, and learns what it gives.
        let first = engine.prepare(&given)?;
        let other: Shapes = engine
            .metadata
            .inputs
            .iter()
            .map(|spec| spec.shape.iter().map(|d| d.unwrap_or(2)).collect())
            .collect();
        let second = if other == given { None } else { engine.prepare(&other).ok() };
        engine.metadata.outputs =
            List::new(engine.outputs(&first, second.as_ref())?).map_err(|e| e.to_string())?;
        engine.keep(given, first);
        Ok(engine)
    }

    /// What the model gives: a dimension that differs between two plans follows the input.
    fn outputs(&self, one: &Plan, two: Option<&Plan>) -> Result<Vec<TensorSpec>, String> {
        let outlets = self.model.output_outlets().map_err(|e| e.to_string())?;
        let mut specs = Vec::new();
        for (index, outlet) in outlets.iter().enumerate() {
            let fact = one.model().output_fact(index).map_err(|e| e.to_string())?;
            let shape = concrete(fact).ok_or("an output has no fixed shape")?;
            let again = two.and_then(|plan| plan.model().output_fact(index).ok()).and_then(concrete);
            let shape = shape
                .iter()
                .enumerate()
                .map(|(at, dim)| match &again {
                    Some(again) if again.get(at) != Some(dim) => None,
                    _ => Some(*dim),
                })
                .collect();
            specs.push(TensorSpec {
                name: label(&self.model, *outlet, index)?,
                dtype: from_datum(fact.datum_type)?,
                shape: List::new(shape).map_err(|e| e.to_string())?,
            });
        }
        Ok(specs)
    }

    /// What the model takes and gives.
    pub(crate) fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// One line for people.
    pub(crate) fn summary(&self) -> String {
        format!("{} inputs, {} outputs", self.metadata.inputs.len(), self.metadata.outputs.len())
    }

    /// Runs the model.
    pub(crate) fn infer(&self, tensors: &[Tensor]) -> Result<Vec<Tensor>, InferError> {
        let ordered = self.ordered(tensors)?;
        let shapes: Shapes = ordered.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let values = guarded(|| {
            let plan = self.plan(shapes)?;
            let inputs = ordered.iter().map(|tensor| to_tract(tensor)).collect::<Result<_, String>>()?;
            plan.run(inputs).map_err(|e| format!("{e:#}"))
        })
        .map_err(failed)?;
        if values.len() != self.metadata.outputs.len() {
            return Err(failed("the model gave another number of outputs"));
        }
        self.metadata
            .outputs
            .iter()
            .zip(values)
            .map(|(spec, value)| guarded(|| from_tract(&spec.name, &value)).map_err(failed))
            .collect()
    }

    /// The tensors in the model's order, each checked against what the model takes.
    fn ordered<'a>(&self, tensors: &'a [Tensor]) -> Result<Vec<&'a Tensor>, InferError> {
        if tensors.len() != self.metadata.inputs.len() {
            let (given, takes) = (tensors.len(), self.metadata.inputs.len());
            return Err(invalid(format!("{given} inputs given, the model takes {takes}")));
        }
        self.metadata.inputs.iter().map(|spec| pick(spec, tensors)).collect()
    }

    fn plan(&self, shapes: Shapes) -> Result<Plan, String> {
        {
            let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = plans.iter().position(|(have, _)| *have == shapes)
                && let Some(found) = plans.remove(at)
            {
                let plan = Arc::clone(&found.1);
                plans.push_back(found);
                return Ok(plan);
            }
        }
        // Outside the lock: planning is slow, and two requests may do it twice without harm.
        let plan = self.prepare(&shapes)?;
        self.keep(shapes, Arc::clone(&plan));
        Ok(plan)
    }

    fn keep(&self, shapes: Shapes, plan: Plan) {
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        while plans.len() >= PLANS_MAX {
            plans.pop_front();
        }
        plans.push_back((shapes, plan));
    }

    /// An optimised plan for exactly these input shapes.
    fn prepare(&self, shapes: &[Vec<u64>]) -> Result<Plan, String> {
        let mut model = self.model.clone();
        for (index, (spec, shape)) in self.metadata.inputs.iter().zip(shapes).enumerate() {
            let dims = shape
                .iter()
                .map(|dim| usize::try_from(*dim).map_err(|e| e.to_string()))
                .collect::<Result<Vec<usize>, _>>()?;
            let fact = InferenceFact::dt_shape(to_datum(spec.dtype), dims);
            model.set_input_fact(index, fact).map_err(|e| format!("{e:#}"))?;
        }
        model.into_optimized().and_then(|m| m.into_runnable()).map_err(|e| format!("{e:#}"))
    }
}

/// Runs code of the model library; its panic becomes an error of this request.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    // INVARIANT: what `work` borrows is either not changed by it or, for the plans, behind a lock whose
    // poisoning is answered by taking the (always whole) list.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("the model library failed on it".to_owned()))
}

fn pick<'a>(spec: &TensorSpec, tensors: &'a [Tensor]) -> Result<&'a Tensor, InferError> {
    let mut named = tensors.iter().filter(|tensor| tensor.name() == spec.name.as_str());
    let (Some(tensor), None) = (named.next(), named.next()) else {
        return Err(invalid(format!("input `{}` must be given once", spec.name)));
    };
    if tensor.dtype() != spec.dtype {
        return Err(invalid(format!(
            "input `{}` is {}, the model takes {}",
            spec.name,
            tensor.dtype(),
            spec.dtype
        )));
    }
    if !spec.admits(tensor.shape()) {
        let takes: Vec<i64> =
            spec.shape.iter().map(|dim| dim.and_then(|d| i64::try_from(d).ok()).unwrap_or(-1)).collect();
        return Err(invalid(format!(
            "input `{}` has shape {:?}, the model takes {takes:?}",
            spec.name,
            tensor.shape()
        )));
    }
    if tensor.shape().iter().any(|dim| *dim == 0 || *dim > DIM_MAX) {
        return Err(invalid(format!("input `{}` has a dimension that is 0 or above {DIM_MAX}", spec.name)));
    }
    Ok(tensor)
}

fn read_model(dir: &Path) -> Result<Vec<u8>, LoadError> {
    let at = |path: &Path| {
        let path = path.to_path_buf();
        move |source| LoadError::Io { path, source }
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(at(dir))?.take(FILES_MAX) {
        let path = entry.map_err(at(dir))?.path();
        if path.extension().is_some_and(|extension| extension == "onnx") {
            found.push(path);
        }
    }
    let (Some(path), 1) = (found.first(), found.len()) else {
        return Err(LoadError::Count(found.len()));
    };
    let mut bytes = Vec::new();
    File::open(path)
        .map_err(at(path))?
        .take(MODEL_MAX.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(at(path))?;
    match u64::try_from(bytes.len()) {
        Ok(len) if len <= MODEL_MAX => Ok(bytes),
        _ => Err(LoadError::TooLong(MODEL_MAX.saturating_add(1))),
    }
}

fn specs(model: &tract::InferenceModel, outlets: &[tract::OutletId]) -> Result<Vec<TensorSpec>, String> {
    if outlets.len() > TENSORS_MAX {
        return Err(format!("{} inputs, limit {TENSORS_MAX}", outlets.len()));
    }
    let mut specs = Vec::new();
    for (index, outlet) in outlets.iter().enumerate() {
        let fact = model.outlet_fact(*outlet).map_err(|e| e.to_string())?;
        let datum = fact.datum_type.concretize().ok_or("an input has no type")?;
        if fact.shape.is_open() {
            return Err("an input has no fixed number of dimensions".to_owned());
        }
        let shape = fact
            .shape
            .dims()
            .map(|dim| {
                dim.concretize().and_then(|dim| dim.to_i64().ok()).and_then(|dim| u64::try_from(dim).ok())
            })
            .collect();
        specs.push(TensorSpec {
            name: label(model, *outlet, index)?,
            dtype: from_datum(datum)?,
            shape: List::new(shape).map_err(|e| e.to_string())?,
        });
    }
    Ok(specs)
}

fn label(model: &tract::InferenceModel, outlet: tract::OutletId, index: usize) -> Result<Text<64>, String> {
    let name =
        model.outlet_label(outlet).or_else(|| model.nodes().get(outlet.node).map(|node| node.name.as_str()));
    Text::new(name.unwrap_or("")).map_err(|e| format!("name of tensor {index}: {e}"))
}

fn concrete(fact: &tract::TypedFact) -> Option<Vec<u64>> {
    fact.shape.as_concrete()?.iter().map(|dim| u64::try_from(*dim).ok()).collect()
}

fn to_datum(dtype: DType) -> DatumType {
    match dtype {
        DType::Bool => DatumType::Bool,
        DType::Uint8 => DatumType::U8,
        DType::Int8 => DatumType::I8,
        DType::Int32 => DatumType::I32,
        DType::Int64 => DatumType::I64,
        DType::Fp32 => DatumType::F32,
        DType::Fp64 => DatumType::F64,
    }
}

fn from_datum(datum: DatumType) -> Result<DType, String> {
    match datum {
        DatumType::Bool => Ok(DType::Bool),
        DatumType::U8 => Ok(DType::Uint8),
        DatumType::I8 => Ok(DType::Int8),
        DatumType::I32 => Ok(DType::Int32),
        DatumType::I64 | DatumType::TDim => Ok(DType::Int64),
        DatumType::F32 => Ok(DType::Fp32),
        DatumType::F64 => Ok(DType::Fp64),
        other => Err(format!("element type {other:?} is not served")),
    }
}

fn to_tract(tensor: &Tensor) -> Result<tract::TValue, String> {
    fn fill<T: tract::Datum + Copy, const N: usize>(
        shape: &[usize],
        bytes: &[u8],
        read: impl Fn([u8; N]) -> T,
    ) -> Result<tract::Tensor, String> {
        let values: Vec<T> = bytes.as_chunks::<N>().0.iter().map(|chunk| read(*chunk)).collect();
        tract::Tensor::from_shape(shape, &values).map_err(|e| e.to_string())
    }
    let shape = tensor
        .shape()
        .iter()
        .map(|dim| usize::try_from(*dim).map_err(|e| e.to_string()))
        .collect::<Result<Vec<usize>, _>>()?;
    let bytes = tensor.bytes();
    let made = match tensor.dtype() {
        DType::Bool => fill(&shape, bytes, |[byte]: [u8; 1]| byte == 1),
        DType::Uint8 => fill(&shape, bytes, u8::from_le_bytes),
        DType::Int8 => fill(&shape, bytes, i8::from_le_bytes),
        DType::Int32 => fill(&shape, bytes, i32::from_le_bytes),
        DType::Int64 => fill(&shape, bytes, i64::from_le_bytes),
        DType::Fp32 => fill(&shape, bytes, f32::from_le_bytes),
        DType::Fp64 => fill(&shape, bytes, f64::from_le_bytes),
    };
    Ok(tract::IntoTValue::into_tvalue(made?))
}

fn from_tract(name: &str, value: &tract::Tensor) -> Result<Tensor, String> {
    fn drain<T: tract::Datum + Copy, const N: usize>(
        value: &tract::Tensor,
        write: impl Fn(T) -> [u8; N],
    ) -> Result<Vec<u8>, String> {
        let view = value.to_plain_array_view::<T>().map_err(|e| e.to_string())?;
        Ok(view.iter().flat_map(|item| write(*item)).collect())
    }
    let dtype = from_datum(value.datum_type())?;
    let shape = value
        .shape()
        .iter()
        .map(|dim| u64::try_from(*dim).map_err(|e| e.to_string()))
        .collect::<Result<Vec<u64>, _>>()?;
    let cast;
    let value = if value.datum_type() == DatumType::TDim {
        cast = value.cast_to::<i64>().map_err(|e| e.to_string())?;
        cast.as_ref()
    } else {
        value
    };
    let bytes = match dtype {
        DType::Bool => drain(value, |flag: bool| [u8::from(flag)]),
        DType::Uint8 => drain(value, u8::to_le_bytes),
        DType::Int8 => drain(value, i8::to_le_bytes),
        DType::Int32 => drain(value, i32::to_le_bytes),
        DType::Int64 => drain(value, i64::to_le_bytes),
        DType::Fp32 => drain(value, f32::to_le_bytes),
        DType::Fp64 => drain(value, f64::to_le_bytes),
    }?;
    debug_assert_eq!(elements(&shape).map(|n| n * dtype.size()), Some(bytes.len()));
    Tensor::new(name, dtype, shape, bytes).map_err(|e| e.to_string())
}
