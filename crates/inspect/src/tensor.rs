//! Types, sizes and measurements of tensors.
//!
//! The digest of a tensor is `BLAKE3(lp(dtype) | u32 rank | rank x u64 dimension | BLAKE3(data))`, integers
//! little-endian, `lp` = u16 length and bytes, `data` the elements in row-major order, little-endian, BLAKE3 its plain
//! hash of 32 bytes. It does not depend on the file format, so that the same numbers saved twice compare equal.
//! The data is hashed apart from type and shape, so that its blocks lie as BLAKE3's tree does: with a few bytes before
//! them hashing took up to twice as long.

use base::TensorDigest;

/// An element type of fixed size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dtype {
    F64,
    F32,
    F16,
    Bf16,
    F8E4M3,
    F8E5M2,
    F8E4M3Fnuz,
    F8E5M2Fnuz,
    F8E8M0,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
    Bool,
    C64,
    C128,
}

impl Dtype {
    pub(crate) const fn size(self) -> u64 {
        match self {
            Self::C128 => 16,
            Self::F64 | Self::I64 | Self::U64 | Self::C64 => 8,
            Self::F32 | Self::I32 | Self::U32 => 4,
            Self::F16 | Self::Bf16 | Self::I16 | Self::U16 => 2,
            Self::F8E4M3
            | Self::F8E5M2
            | Self::F8E4M3Fnuz
            | Self::F8E5M2Fnuz
            | Self::F8E8M0
            | Self::I8
            | Self::U8
            | Self::Bool => 1,
        }
    }

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Bf16 => "BF16",
            Self::F8E4M3 => "F8_E4M3",
            Self::F8E5M2 => "F8_E5M2",
            Self::F8E4M3Fnuz => "F8_E4M3FNUZ",
            Self::F8E5M2Fnuz => "F8_E5M2FNUZ",
            Self::F8E8M0 => "F8_E8M0",
            Self::I64 => "I64",
            Self::I32 => "I32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::U64 => "U64",
            Self::U32 => "U32",
            Self::U16 => "U16",
            Self::U8 => "U8",
            Self::Bool => "BOOL",
            Self::C64 => "C64",
            Self::C128 => "C128",
        }
    }

    /// The type of a safetensors header (its `dtype` member).
    pub(crate) fn from_safetensors(name: &str) -> Option<Self> {
        const ALL: [Dtype; 19] = [
            Dtype::F64,
            Dtype::F32,
            Dtype::F16,
            Dtype::Bf16,
            Dtype::F8E4M3,
            Dtype::F8E5M2,
            Dtype::F8E4M3Fnuz,
            Dtype::F8E5M2Fnuz,
            Dtype::F8E8M0,
            Dtype::I64,
            Dtype::I32,
            Dtype::I16,
            Dtype::I8,
            Dtype::U64,
            Dtype::U32,
            Dtype::U16,
            Dtype::U8,
            Dtype::Bool,
            Dtype::C64,
        ];
        ALL.into_iter().find(|dtype| dtype.as_str() == name)
    }

    /// Whether every element is a finite number. Types without infinities are always finite; the 8-bit
    /// floats are judged by their own NaN and infinity patterns.
    pub(crate) fn all_finite(self, data: &[u8]) -> bool {
        match self {
            Self::F64 | Self::C128 => none::<8>(data, |raw| u64::from_le_bytes(raw) & F64_EXP == F64_EXP),
            Self::F32 | Self::C64 => none::<4>(data, |raw| u32::from_le_bytes(raw) & F32_EXP == F32_EXP),
            Self::F16 => none::<2>(data, |raw| u16::from_le_bytes(raw) & 0x7c00 == 0x7c00),
            Self::Bf16 => none::<2>(data, |raw| u16::from_le_bytes(raw) & 0x7f80 == 0x7f80),
            Self::F8E4M3 => none::<1>(data, |[byte]| byte & 0x7f == 0x7f),
            Self::F8E5M2 => none::<1>(data, |[byte]| byte & 0x7c == 0x7c),
            // One pattern alone is no number: minus zero, and the largest exponent of the type that is nothing else.
            Self::F8E4M3Fnuz | Self::F8E5M2Fnuz => none::<1>(data, |[byte]| byte == 0x80),
            Self::F8E8M0 => none::<1>(data, |[byte]| byte == 0xff),
            _ => true,
        }
    }

    /// Whether every element is finite, and the sum of the squares of all, for the types that models train in;
    /// integers and the rest have none.
    fn look(self, data: &[u8]) -> (bool, Option<f64>) {
        match self {
            Self::F64 => squares::<8>(data, f64::from_le_bytes),
            Self::F32 => squares::<4>(data, |raw| f64::from(f32::from_le_bytes(raw))),
            // A BF16 is the upper half of an F32.
            Self::Bf16 => {
                squares::<2>(data, |raw| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(raw)) << 16)))
            }
            _ => (self.all_finite(data), None),
        }
    }
}

const F64_EXP: u64 = 0x7ff0_0000_0000_0000;
const F32_EXP: u32 = 0x7f80_0000;

/// Whether no element is odd. It looks at all of them: without a way out the compiler does several at once.
fn none<const N: usize>(data: &[u8], odd: impl Fn([u8; N]) -> bool) -> bool {
    !data.as_chunks::<N>().0.iter().fold(false, |seen, raw| seen | odd(*raw))
}

/// Sums kept beside each other, so that an addition need not wait for the one before.
const LANES: usize = 16;

/// Whether all elements are finite, and the sum of their squares. Element `i` goes to lane `i % LANES` and the lanes
/// are added in order, so that equal data has an equal sum on every machine.
fn squares<const N: usize>(data: &[u8], number: impl Fn([u8; N]) -> f64) -> (bool, Option<f64>) {
    let (groups, rest) = data.as_chunks::<N>().0.as_chunks::<LANES>();
    let mut lanes = [0_f64; LANES];
    let mut odd = false;
    let mut add = |lane: &mut f64, raw: &[u8; N]| {
        let number = number(*raw);
        *lane += number * number;
        odd |= !number.is_finite();
    };
    for group in groups {
        for (lane, raw) in lanes.iter_mut().zip(group) {
            add(lane, raw);
        }
    }
    for (lane, raw) in lanes.iter_mut().zip(rest) {
        add(lane, raw);
    }
    (!odd, Some(lanes.iter().sum()))
}

/// The number of elements, or `None` on overflow.
pub(crate) fn count(shape: &[u64]) -> Option<u64> {
    // A zero dimension makes the product zero whatever the others are, so look for it first.
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim))
}

/// The number of bytes, or `None` on overflow.
pub(crate) fn bytes(shape: &[u64], item: u64) -> Option<u64> {
    count(shape)?.checked_mul(item)
}

/// Digest, finiteness and norm, computed in one pass.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Type and shape, as they are hashed.
    header: Vec<u8>,
    /// Of the data.
    hasher: blake3::Hasher,
    dtype: Dtype,
    finite: bool,
    /// Sum of squares; `None` for types that have none.
    squares: Option<f64>,
}

/// What was measured of a tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) digest: TensorDigest,
    pub(crate) finite: bool,
    /// IEEE 754 bits of the L2 norm.
    pub(crate) norm_bits: Option<u64>,
}

impl Measure {
    pub(crate) fn new(dtype: Dtype, shape: &[u64]) -> Self {
        let header = header(dtype.as_str(), shape);
        Self { header, hasher: blake3::Hasher::new(), dtype, finite: true, squares: dtype.look(&[]).1 }
    }

    /// Adds whole elements: all of them at once, or blocks of [`BLOCK`] bytes and what is left.
    pub(crate) fn update(&mut self, data: &[u8]) {
        // What was just hashed is still in the cache when it is looked at.
        for block in data.chunks(BLOCK) {
            self.hasher.update(block);
            let (finite, squares) = self.dtype.look(block);
            self.finite = self.finite && finite;
            self.squares = self.squares.zip(squares).map(|(sum, more)| sum + more);
        }
    }

    pub(crate) fn finish(self) -> Measured {
        let norm_bits = self.squares.map(|sum| sum.sqrt().to_bits());
        let mut whole = blake3::Hasher::new();
        whole.update(&self.header).update(self.hasher.finalize().as_bytes());
        let digest = TensorDigest::Blake3(*whole.finalize().as_bytes());
        Measured { digest, finite: self.finite, norm_bits }
    }
}

/// Type and shape, as they are hashed.
fn header(dtype: &str, shape: &[u64]) -> Vec<u8> {
    let mut header = base::wire::lp(dtype.as_bytes());
    header.extend_from_slice(&u32::try_from(shape.len()).unwrap_or(u32::MAX).to_le_bytes());
    for dim in shape {
        header.extend_from_slice(&dim.to_le_bytes());
    }
    header
}

/// The strides of a row-major tensor, in elements, or `None` on overflow.
pub(crate) fn row_major(shape: &[u64]) -> Option<Vec<u64>> {
    let mut strides = vec![1_u64; shape.len()];
    let mut step = 1_u64;
    for (stride, dim) in strides.iter_mut().zip(shape).rev() {
        *stride = step;
        step = step.checked_mul((*dim).max(1))?;
    }
    Some(strides)
}

/// Whether `strides` lay `shape` out row-major without holes (dimensions of size 1 may have any stride).
pub(crate) fn is_row_major(shape: &[u64], strides: &[u64]) -> bool {
    row_major(shape).is_some_and(|expected| {
        shape.iter().zip(strides).zip(&expected).all(|((dim, stride), want)| *dim <= 1 || stride == want)
    })
}

/// Feeds the elements of a strided view to `each`, in row-major order and in blocks of whole elements.
/// `None` when an element lies outside `data`.
pub(crate) fn walk(
    data: &[u8],
    item: u64,
    start: u64,
    shape: &[u64],
    strides: &[u64],
    mut each: impl FnMut(&[u8]),
) -> Option<()> {
    let total = count(shape)?;
    if total == 0 {
        return Some(());
    }
    let item_len = usize::try_from(item).ok()?;
    if is_row_major(shape, strides) {
        let from = usize::try_from(start.checked_mul(item)?).ok()?;
        let len = usize::try_from(total.checked_mul(item)?).ok()?;
        each(data.get(from..from.checked_add(len)?)?);
        return Some(());
    }
    let mut index = vec![0_u64; shape.len()];
    let mut element = start;
    let mut block = Vec::with_capacity(BLOCK + item_len);
    for _ in 0..total {
        let from = usize::try_from(element.checked_mul(item)?).ok()?;
        block.extend_from_slice(data.get(from..from.checked_add(item_len)?)?);
        if block.len() >= BLOCK {
            each(&block);
            block.clear();
        }
        for ((at, dim), stride) in index.iter_mut().zip(shape).zip(strides).rev() {
            *at = at.checked_add(1)?;
            element = element.checked_add(*stride)?;
            if *at < *dim {
                break;
            }
            element = element.checked_sub(stride.checked_mul(*dim)?)?;
            *at = 0;
        }
    }
    each(&block);
    Some(())
}

/// Bytes hashed and looked at together, 64 KiB: a multiple of every element's size, and small beside any cache.
/// Elements of a strided view are gathered in blocks of the same size, so that the same numbers have the same sum of
/// squares whatever their layout is.
const BLOCK: usize = 64 << 10;

#[cfg(test)]
mod tests;
