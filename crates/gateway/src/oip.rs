//! Inference requests and answers of the Open Inference Protocol v2, REST form.

use std::fmt;

use ops::inference::{DIMS_MAX, DType, Metadata, TENSORS_MAX, Tensor, TensorSpec, elements};
use ops::snapshot::Endpoint;
use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::limits::REQUEST_ID_MAX;
use crate::problem::Refusal;

/// No parameter is known, so only an empty object is taken.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InferRequest {
    id: Option<String>,
    #[serde(default, rename = "parameters")]
    _parameters: Parameters,
    inputs: Vec<Input>,
    #[serde(default)]
    outputs: Vec<Wanted>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    name: String,
    shape: Vec<u64>,
    datatype: String,
    #[serde(default, rename = "parameters")]
    _parameters: Parameters,
    data: Data,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    name: String,
    #[serde(default, rename = "parameters")]
    _parameters: Parameters,
}

/// Elements as JSON had them, all of one kind; 8 bytes each at most.
#[derive(Debug)]
enum Elements {
    Bools(Vec<u8>),
    Ints(Vec<i64>),
    Floats(Vec<f64>),
}

/// Elements and, if they were nested, the shape of the nesting.
#[derive(Debug)]
struct Data {
    elements: Elements,
    /// Length at each depth; `None` until the first array of that depth ended.
    nesting: Vec<Option<usize>>,
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut data = Self { elements: Elements::Ints(Vec::new()), nesting: Vec::new() };
        Level { data: &mut data, depth: 0 }.deserialize(deserializer)?;
        Ok(data)
    }
}

/// Reads one value at a depth of the nesting.
struct Level<'a> {
    data: &'a mut Data,
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Level<'_> {
    type Value = ();
    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth == 0 { deserializer.deserialize_seq(self) } else { deserializer.deserialize_any(self) }
    }
}

impl Level<'_> {
    /// An element may stand only at the deepest level.
    fn leaf<E: de::Error>(&self) -> Result<(), E> {
        if self.depth == self.data.nesting.len() {
            Ok(())
        } else {
            Err(E::custom("`data` is nested unevenly"))
        }
    }
}

/// 2^53: integers up to it are exact as floating-point numbers.
#[expect(clippy::cast_precision_loss, reason = "JSON numbers round to the nearest value of their datatype")]
fn float(value: i64) -> f64 {
    value as f64
}

impl<'de> Visitor<'de> for Level<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or booleans in an array")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.leaf()?;
        match &mut self.data.elements {
            Elements::Bools(all) => all.push(u8::from(value)),
            Elements::Ints(all) if all.is_empty() => {
                self.data.elements = Elements::Bools(vec![u8::from(value)]);
            }
            _ => return Err(E::custom("`data` mixes numbers and booleans")),
        }
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        self.leaf()?;
        match &mut self.data.elements {
            Elements::Ints(all) => all.push(value),
            Elements::Floats(all) => all.push(float(value)),
            Elements::Bools(_) => return Err(E::custom("`data` mixes numbers and booleans")),
        }
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => Err(E::custom("`data` has an integer above 2^63 - 1")),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        self.leaf()?;
        if let Elements::Ints(all) = &self.data.elements {
            self.data.elements = Elements::Floats(all.iter().copied().map(float).collect());
        }
        match &mut self.data.elements {
            Elements::Floats(all) => all.push(value),
            _ => return Err(E::custom("`data` mixes numbers and booleans")),
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { data, depth } = self;
        let inner = depth.saturating_add(1);
        if depth == data.nesting.len() {
            // Deeper than before is right only on the very first way down.
            let started = match &data.elements {
                Elements::Bools(all) => !all.is_empty(),
                Elements::Ints(all) => !all.is_empty(),
                Elements::Floats(all) => !all.is_empty(),
            };
            if started || data.nesting.iter().any(Option::is_some) || depth >= DIMS_MAX {
                return Err(de::Error::custom("`data` is nested unevenly or too deep"));
            }
            data.nesting.push(None);
        }
        let mut count = 0usize;
        while seq.next_element_seed(Level { data: &mut *data, depth: inner })?.is_some() {
            count = count.saturating_add(1);
        }
        match data.nesting.get_mut(depth) {
            Some(Some(before)) if *before != count => Err(de::Error::custom("`data` is nested unevenly")),
            Some(slot) => {
                *slot = Some(count);
                Ok(())
            }
            None => Err(de::Error::custom("`data` is nested unevenly")),
        }
    }
}

/// A request that fits the endpoint.
#[derive(Debug)]
pub(crate) struct Inference {
    /// The client's own id.
    pub(crate) id: Option<String>,
    /// The inputs.
    pub(crate) tensors: Vec<Tensor>,
    /// Names of the outputs to give; empty: all.
    pub(crate) wanted: Vec<String>,
}

/// Reads a request for a model that takes and gives what it says.
///
/// # Errors
/// [`Refusal::Invalid`], which says what does not fit.
pub(crate) fn parse(body: &[u8], model: &Metadata) -> Result<Inference, Refusal> {
    let request: InferRequest = serde_json::from_slice(body)
        .map_err(|e| Refusal::Invalid(format!("not an inference request: {e}")))?;
    let refuse = |reason: String| Err(Refusal::Invalid(reason));
    if let Some(id) = &request.id
        && (id.len() > REQUEST_ID_MAX || id.chars().any(char::is_control))
    {
        return refuse(format!("`id` is longer than {REQUEST_ID_MAX} bytes or has control characters"));
    }
    if request.inputs.len() > TENSORS_MAX || request.inputs.len() != model.inputs.len() {
        let (given, takes) = (request.inputs.len(), model.inputs.len());
        return refuse(format!("{given} inputs given, the model takes {takes}"));
    }
    let mut tensors: Vec<Tensor> = Vec::with_capacity(request.inputs.len());
    for input in request.inputs {
        if tensors.iter().any(|tensor| tensor.name() == input.name) {
            return refuse(format!("input `{}` is given twice", shown(&input.name)));
        }
        tensors.push(tensor(input, model)?);
    }
    let mut wanted = Vec::new();
    for output in request.outputs {
        if !model.outputs.iter().any(|spec| spec.name.as_str() == output.name)
            || wanted.contains(&output.name)
        {
            return refuse(format!(
                "output `{}` is not one of the model's, or is asked twice",
                shown(&output.name)
            ));
        }
        wanted.push(output.name);
    }
    Ok(Inference { id: request.id, tensors, wanted })
}

/// A name from outside, made harmless and short.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

fn tensor(input: Input, model: &Metadata) -> Result<Tensor, Refusal> {
    let name = shown(&input.name);
    let refuse = |reason: String| Refusal::Invalid(format!("input `{name}`: {reason}"));
    let spec = model
        .inputs
        .iter()
        .find(|spec| spec.name.as_str() == input.name)
        .ok_or_else(|| refuse("the model has no such input".to_owned()))?;
    if input.datatype != spec.dtype.name() {
        return Err(refuse(format!("`datatype` is not {}", spec.dtype)));
    }
    if !spec.admits(&input.shape) {
        return Err(refuse(format!("`shape` is not {:?}", dims(spec))));
    }
    let bytes = match (&input.data.elements, spec.dtype) {
        (Elements::Bools(all), DType::Bool) => Some(all.clone()),
        (Elements::Ints(all), dtype) if all.is_empty() => (dtype != DType::Bool).then(Vec::new),
        (Elements::Ints(all), dtype) => integers(all, dtype),
        (Elements::Floats(all), dtype) => floats(all, dtype),
        (Elements::Bools(_), _) => None,
    };
    let bytes =
        bytes.ok_or_else(|| refuse(format!("`data` has an element that is not of {}", spec.dtype)))?;
    let count = elements(&input.shape);
    if count.and_then(|n| n.checked_mul(spec.dtype.size())) != Some(bytes.len()) || count == Some(0) {
        let has = bytes.len() / spec.dtype.size();
        return Err(refuse(format!("`data` has {has} elements, `shape` says {:?}", input.shape)));
    }
    if input.data.nesting.len() > 1 {
        let nested = input.data.nesting.iter().map(|len| len.and_then(|len| u64::try_from(len).ok()));
        if !nested.eq(input.shape.iter().map(|dim| Some(*dim))) {
            return Err(refuse("`data` is not nested as `shape` says".to_owned()));
        }
    }
    Tensor::new(&input.name, spec.dtype, input.shape, bytes).map_err(|e| refuse(e.to_string()))
}

/// Integers as bytes of this type; `None` if one does not fit.
fn integers(all: &[i64], dtype: DType) -> Option<Vec<u8>> {
    fn each<const N: usize>(all: &[i64], write: impl Fn(i64) -> Option<[u8; N]>) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(all.len().saturating_mul(N));
        for value in all {
            bytes.extend_from_slice(&write(*value)?);
        }
        Some(bytes)
    }
    match dtype {
        DType::Bool => None,
        DType::Uint8 => each(all, |v| u8::try_from(v).ok().map(u8::to_le_bytes)),
        DType::Int8 => each(all, |v| i8::try_from(v).ok().map(i8::to_le_bytes)),
        DType::Int32 => each(all, |v| i32::try_from(v).ok().map(i32::to_le_bytes)),
        DType::Int64 => each(all, |v| Some(v.to_le_bytes())),
        DType::Fp32 => each(all, |v| single(float(v)).map(f32::to_le_bytes)),
        DType::Fp64 => each(all, |v| Some(float(v).to_le_bytes())),
    }
}

/// Floating-point numbers as bytes of this type; `None` for another type, or if one does not fit.
fn floats(all: &[f64], dtype: DType) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(all.len().saturating_mul(dtype.size()));
    for value in all {
        match dtype {
            DType::Fp32 => bytes.extend_from_slice(&single(*value)?.to_le_bytes()),
            DType::Fp64 => bytes.extend_from_slice(&value.to_le_bytes()),
            _ => return None,
        }
    }
    Some(bytes)
}

/// The nearest binary32; `None` if that is infinite.
#[expect(clippy::cast_possible_truncation, reason = "rounding to the datatype that the client named")]
fn single(value: f64) -> Option<f32> {
    Some(value as f32).filter(|value| value.is_finite())
}

/// Dimensions as the protocol writes them: -1 for any.
fn dims(spec: &TensorSpec) -> Vec<i64> {
    spec.shape.iter().map(|dim| dim.and_then(|dim| i64::try_from(dim).ok()).unwrap_or(-1)).collect()
}

#[derive(Serialize)]
#[serde(untagged)]
enum Values {
    Bools(Vec<bool>),
    Ints(Vec<i64>),
    Singles(Vec<f32>),
    Doubles(Vec<f64>),
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    shape: &'a [u64],
    datatype: &'a str,
    data: Values,
}

#[derive(Serialize)]
struct InferResponse<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    outputs: Vec<Output<'a>>,
}

/// Writes the answer.
///
/// # Errors
/// [`Refusal::Model`]: an output that the endpoint does not declare, or a number that JSON does not have.
pub(crate) fn render(
    endpoint: &Endpoint,
    model: &Metadata,
    request: &Inference,
    tensors: &[Tensor],
) -> Result<Vec<u8>, Refusal> {
    let mut outputs = Vec::new();
    for spec in model.outputs.iter() {
        if !request.wanted.is_empty() && !request.wanted.iter().any(|name| name == spec.name.as_str()) {
            continue;
        }
        let tensor = tensors
            .iter()
            .find(|tensor| tensor.name() == spec.name.as_str() && tensor.dtype() == spec.dtype)
            .ok_or_else(|| Refusal::Model(format!("output `{}` is missing or of another type", spec.name)))?;
        let data =
            values(tensor).ok_or_else(|| Refusal::Model("an output is not a finite number".to_owned()))?;
        outputs.push(Output {
            name: tensor.name(),
            shape: tensor.shape(),
            datatype: tensor.dtype().name(),
            data,
        });
    }
    let response = InferResponse {
        model_name: &endpoint.name,
        model_version: &endpoint.version,
        id: request.id.as_deref(),
        outputs,
    };
    serde_json::to_vec(&response).map_err(|e| Refusal::Model(e.to_string()))
}

fn values(tensor: &Tensor) -> Option<Values> {
    let bytes = tensor.bytes();
    Some(match tensor.dtype() {
        DType::Bool => Values::Bools(bytes.iter().map(|b| *b == 1).collect()),
        DType::Uint8 => Values::Ints(bytes.iter().map(|b| i64::from(*b)).collect()),
        DType::Int8 => Values::Ints(bytes.iter().map(|b| i64::from(i8::from_le_bytes([*b]))).collect()),
        DType::Int32 => {
            Values::Ints(bytes.as_chunks().0.iter().map(|c| i64::from(i32::from_le_bytes(*c))).collect())
        }
        DType::Int64 => Values::Ints(bytes.as_chunks().0.iter().map(|c| i64::from_le_bytes(*c)).collect()),
        DType::Fp32 => {
            let all: Vec<f32> = bytes.as_chunks().0.iter().map(|c| f32::from_le_bytes(*c)).collect();
            Values::Singles(all.iter().all(|v| v.is_finite()).then_some(all)?)
        }
        DType::Fp64 => {
            let all: Vec<f64> = bytes.as_chunks().0.iter().map(|c| f64::from_le_bytes(*c)).collect();
            Values::Doubles(all.iter().all(|v| v.is_finite()).then_some(all)?)
        }
    })
}

/// What the model takes and gives, as the protocol's metadata.
pub(crate) fn metadata(endpoint: &Endpoint, model: &Metadata) -> serde_json::Value {
    let list = |specs: &[TensorSpec]| -> Vec<serde_json::Value> {
        specs
            .iter()
            .map(|spec| serde_json::json!({"name": spec.name.as_str(), "datatype": spec.dtype.name(), "shape": dims(spec)}))
            .collect()
    };
    serde_json::json!({
        "name": endpoint.name.as_str(),
        "versions": [endpoint.version.as_str()],
        "platform": "onnx_tract",
        "inputs": list(&model.inputs),
        "outputs": list(&model.outputs),
    })
}

#[cfg(test)]
mod tests;
