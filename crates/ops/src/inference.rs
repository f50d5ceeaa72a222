//! What the gateway and a model's process (`strongroom-runtime`) say to each other over the endpoint's stream
//! socket: a frame is a `u32` length (little-endian) and one message in the encoding of this crate.
//!
//! The two ends do not trust each other: the runtime holds a tenant's model, the gateway holds other tenants'
//! traffic. So both ends decode with the same limits.

use base::wire::{Reader, WireError, Writer};

use crate::{Codec, List, Text, from_bytes, to_bytes};

/// Most tensors in one message.
pub const TENSORS_MAX: usize = 16;
/// Most dimensions of one tensor.
pub const DIMS_MAX: usize = 8;
/// Most bytes of all tensors of one message together: 16 MiB, the gateway's body limit, since no datatype is
/// longer in binary than in JSON but `FP64` and `INT64` (8 bytes against at least 2), which are so bounded too.
pub const TENSOR_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest message: the tensors' bytes and 64 KiB for names, shapes and lengths (16 x (64 + 8 x 8 + 16)).
pub const FRAME_MAX: usize = TENSOR_BYTES_MAX + 64 * 1024;
/// Bytes of the length before each message.
pub const FRAME_HEADER: usize = 4;
/// Longest name of a tensor.
pub const TENSOR_NAME_MAX: usize = 64;

names! {
    /// Element type of a tensor, by its name in the Open Inference Protocol v2.
    pub enum DType {
        /// One byte, 0 or 1.
        1 Bool = "BOOL",
        /// Unsigned, 1 byte.
        2 Uint8 = "UINT8",
        /// Signed, 1 byte.
        3 Int8 = "INT8",
        /// Signed, 4 bytes.
        4 Int32 = "INT32",
        /// Signed, 8 bytes.
        5 Int64 = "INT64",
        /// IEEE 754 binary32.
        6 Fp32 = "FP32",
        /// IEEE 754 binary64.
        7 Fp64 = "FP64",
    }
}

impl DType {
    /// Bytes of one element.
    pub const fn size(self) -> usize {
        match self {
            Self::Bool | Self::Uint8 | Self::Int8 => 1,
            Self::Int32 | Self::Fp32 => 4,
            Self::Int64 | Self::Fp64 => 8,
        }
    }
}

/// Elements of a shape; `None` if that number does not fit. A shape without dimensions is a scalar: 1.
pub fn elements(shape: &[u64]) -> Option<usize> {
    shape.iter().try_fold(1usize, |count, dim| count.checked_mul(usize::try_from(*dim).ok()?))
}

/// A tensor: row-major, little-endian.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    name: Text<TENSOR_NAME_MAX>,
    dtype: DType,
    shape: Vec<u64>,
    bytes: Vec<u8>,
}

/// The parts do not make a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TensorError {
    /// The name is too long.
    #[error("tensor name of {0} bytes, limit {TENSOR_NAME_MAX}")]
    Name(usize),
    /// Too many dimensions.
    #[error("tensor of {0} dimensions, limit {DIMS_MAX}")]
    Dims(usize),
    /// The shape's product times the element's size is not the number of bytes.
    #[error("shape {shape:?} of {dtype} does not describe {bytes} bytes")]
    Length {
        /// The shape.
        shape: Vec<u64>,
        /// The element type.
        dtype: DType,
        /// Bytes given.
        bytes: usize,
    },
    /// A byte of a `BOOL` tensor is neither 0 nor 1.
    #[error("a BOOL element is {0}, not 0 or 1")]
    Bool(u8),
    /// Above [`TENSOR_BYTES_MAX`].
    #[error("tensor of {0} bytes, limit {TENSOR_BYTES_MAX}")]
    TooLong(usize),
}

impl Tensor {
    /// A tensor whose shape, type and bytes agree.
    ///
    /// # Errors
    /// They do not, or a limit is exceeded.
    pub fn new(name: &str, dtype: DType, shape: Vec<u64>, bytes: Vec<u8>) -> Result<Self, TensorError> {
        let text = Text::new(name).map_err(|_| TensorError::Name(name.len()))?;
        if shape.len() > DIMS_MAX {
            return Err(TensorError::Dims(shape.len()));
        }
        if bytes.len() > TENSOR_BYTES_MAX {
            return Err(TensorError::TooLong(bytes.len()));
        }
        let expected = elements(&shape).and_then(|n| n.checked_mul(dtype.size()));
        if expected != Some(bytes.len()) {
            return Err(TensorError::Length { shape, dtype, bytes: bytes.len() });
        }
        if dtype == DType::Bool
            && let Some(bad) = bytes.iter().find(|b| **b > 1)
        {
            return Err(TensorError::Bool(*bad));
        }
        Ok(Self { name: text, dtype, shape, bytes })
    }

    /// Its name in the model.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Its element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }
    /// Its dimensions, outermost first.
    pub fn shape(&self) -> &[u64] {
        &self.shape
    }
    /// Its elements, row-major, little-endian.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl std::fmt::Debug for Tensor {
    /// Without the content, which is a tenant's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, dtype, shape, bytes } = self;
        write!(f, "Tensor({name:?} {dtype} {shape:?}, {} bytes)", bytes.len())
    }
}

impl Codec for Tensor {
    fn encode(&self, w: &mut Writer) {
        let Self { name, dtype, shape, bytes } = self;
        name.encode(w);
        dtype.encode(w);
        w.list(shape, |w, dim| {
            w.u64(*dim);
        });
        w.bytes(bytes);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let name = Text::<TENSOR_NAME_MAX>::decode(r)?;
        let dtype = DType::decode(r)?;
        let shape = r.list("dimensions", DIMS_MAX, Reader::u64)?;
        let bytes = r.bytes("tensor bytes", TENSOR_BYTES_MAX)?.to_vec();
        Self::new(&name, dtype, shape, bytes).map_err(|_| WireError::Invalid("tensor"))
    }
}

record! {
    /// What a model takes or gives under one name.
    pub struct TensorSpec {
        /// Its name in the model.
        name: Text<TENSOR_NAME_MAX>,
        /// Element type.
        dtype: DType,
        /// Dimensions; `None` where the model takes any (a batch axis).
        shape: List<Option<u64>, DIMS_MAX>,
    }
}

impl TensorSpec {
    /// Whether a tensor of this shape may be given.
    pub fn admits(&self, shape: &[u64]) -> bool {
        self.shape.len() == shape.len()
            && self.shape.iter().zip(shape).all(|(want, is)| want.is_none_or(|want| want == *is))
    }
}

record! {
    /// What a model takes and gives.
    pub struct Metadata {
        /// The model's name.
        name: Text<63>,
        /// What it takes.
        inputs: List<TensorSpec, TENSORS_MAX>,
        /// What it gives.
        outputs: List<TensorSpec, TENSORS_MAX>,
    }
}

names! {
    /// Why the runtime did not answer with tensors.
    pub enum ErrorKind {
        /// The request does not fit the model: names, types or shapes.
        1 Invalid = "invalid",
        /// The model failed on this input.
        2 Failed = "failed",
        /// The runtime is at its limit of concurrent work.
        3 Busy = "busy",
        /// The answer is longer than a message may be.
        4 TooLong = "too_long",
    }
}

choice! {
    /// What may be asked of a runtime.
    pub enum Request {
        /// What the model takes and gives.
        1 Describe {},
        /// One inference.
        2 Infer { /// Every input of the model, by name, in any order.
            tensors: List<Tensor, TENSORS_MAX> },
    }
}

choice! {
    /// The runtime's answer.
    pub enum Response {
        /// To `Describe`.
        1 Described { /// What the model takes and gives.
            metadata: Metadata },
        /// To `Infer`: every output, in the model's order.
        2 Outputs { /// The outputs.
            tensors: List<Tensor, TENSORS_MAX> },
        /// Nothing was computed.
        3 Error { /// Why, for programs.
            kind: ErrorKind,
            /// Why, for people.
            detail: Text<512> },
    }
}

/// The frame is longer than [`FRAME_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame of {0} bytes, limit {FRAME_MAX}")]
pub struct FrameError(usize);

/// The message with its length before it.
///
/// # Errors
/// It is longer than [`FRAME_MAX`].
pub fn to_frame<T: Codec>(message: &T) -> Result<Vec<u8>, FrameError> {
    let body = to_bytes(message);
    let len =
        u32::try_from(body.len()).ok().filter(|_| body.len() <= FRAME_MAX).ok_or(FrameError(body.len()))?;
    let mut frame = Vec::with_capacity(body.len().saturating_add(FRAME_HEADER));
    frame.extend_from_slice(&len.to_le_bytes());
    frame.extend_from_slice(&body);
    Ok(frame)
}

/// How many bytes follow this frame header.
///
/// # Errors
/// More than [`FRAME_MAX`].
pub fn frame_len(header: [u8; FRAME_HEADER]) -> Result<usize, FrameError> {
    let len = usize::try_from(u32::from_le_bytes(header)).unwrap_or(usize::MAX);
    if len <= FRAME_MAX { Ok(len) } else { Err(FrameError(len)) }
}

/// The message of a frame's body.
///
/// # Errors
/// Not an encoding.
pub fn from_frame<T: Codec>(body: &[u8]) -> Result<T, WireError> {
    from_bytes(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor() -> Tensor {
        Tensor::new("x", DType::Fp32, vec![1, 2], vec![0; 8]).unwrap()
    }

    #[test]
    fn messages_round_trip_in_frames() {
        let request = Request::Infer { tensors: List::new(vec![tensor()]).unwrap() };
        let frame = to_frame(&request).unwrap();
        let (header, body) = frame.split_at(FRAME_HEADER);
        assert_eq!(frame_len(header.try_into().unwrap()).unwrap(), body.len());
        assert_eq!(from_frame::<Request>(body).unwrap(), request);
        for end in 0..body.len() {
            assert!(from_frame::<Request>(&body[..end]).is_err());
        }
    }

    #[test]
    fn shape_type_and_bytes_must_agree() {
        for (dtype, shape, len) in [
            (DType::Fp32, vec![1, 2], 7),
            (DType::Int64, vec![3], 8),
            (DType::Uint8, vec![u64::MAX, u64::MAX], 0),
            (DType::Uint8, vec![1; 9], 1),
            (DType::Uint8, vec![], 0),
        ] {
            assert!(Tensor::new("x", dtype, shape.clone(), vec![0; len]).is_err(), "{dtype} {shape:?}");
        }
        assert!(Tensor::new("x", DType::Bool, vec![1], vec![2]).is_err());
        assert!(Tensor::new("x", DType::Uint8, vec![], vec![2]).is_ok());
    }

    #[test]
    fn a_lying_tensor_is_refused_when_read() {
        let mut bytes = to_bytes(&Request::Infer { tensors: List::new(vec![tensor()]).unwrap() });
        // Last dimension 2 -> 3: its eight bytes stand before the u32 length and the 8 bytes of data.
        let at = bytes.len() - 8 - 4 - 8;
        bytes[at] = 3;
        assert_eq!(from_bytes::<Request>(&bytes), Err(WireError::Invalid("tensor")));
    }

    #[test]
    fn frames_above_the_limit_are_refused_before_they_are_read() {
        assert!(frame_len(u32::MAX.to_le_bytes()).is_err());
        let two = vec![Tensor::new("x", DType::Uint8, vec![9 << 20], vec![0; 9 << 20]).unwrap(); 2];
        assert!(to_frame(&Response::Outputs { tensors: List::new(two).unwrap() }).is_err());
    }

    proptest::proptest! {
        #[test]
        fn decoding_any_bytes_never_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut framed = vec![1, 2];
            framed.extend_from_slice(&bytes);
            if let Ok(request) = from_bytes::<Request>(&framed) {
                proptest::prop_assert_eq!(to_bytes(&request), framed.clone());
            }
            drop(from_bytes::<Response>(&framed));
        }
    }
}
