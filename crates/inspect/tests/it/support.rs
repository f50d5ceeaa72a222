//! Builders of files, benign and hostile.

use strongroom_inspect::{Limits, Report, Verdict, inspect_bytes};

pub(crate) fn inspect(name: &str, bytes: &[u8]) -> Report {
    inspect_bytes(name, bytes, &Limits::default())
}

/// The file is refused, and for this reason among others: a sample that is refused only because it was
/// built wrongly fails the test.
pub(crate) fn refused(what: &str, name: &str, bytes: &[u8], code: &str) {
    let report = inspect(name, bytes);
    assert_eq!(report.verdict, Verdict::Refuse, "{what}: {report:?}");
    assert!(report.findings.iter().any(|finding| finding.code == code), "{what}: {code} not in {report:?}");
    assert!(report.tensors.is_empty(), "{what}: a refused file gives no tensors");
}

pub(crate) fn loads(what: &str, name: &str, bytes: &[u8]) -> Report {
    let report = inspect(name, bytes);
    assert_eq!(report.verdict, Verdict::Load, "{what}: {report:?}");
    assert!(report.findings.is_empty(), "{what}: {report:?}");
    report
}

/// Pickle pieces.
pub(crate) fn short_text(text: &str) -> Vec<u8> {
    let mut out = vec![0x8c, u8::try_from(text.len()).unwrap()];
    out.extend_from_slice(text.as_bytes());
    out
}

pub(crate) fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// How a ZIP member is written, so that a test can spoil one thing at a time.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) data: Vec<u8>,
    pub(crate) local_name: Option<String>,
    pub(crate) local_flags: u16,
    pub(crate) central_flags: u16,
    pub(crate) central_method: u16,
    pub(crate) central_crc: Option<u32>,
    pub(crate) local_crc: Option<u32>,
    pub(crate) central_size: Option<u32>,
    pub(crate) external: u32,
    pub(crate) extra: Vec<u8>,
    pub(crate) gap_before: usize,
    pub(crate) deflated: Option<Vec<u8>>,
}

pub(crate) fn entry(name: &str, data: &[u8]) -> Entry {
    Entry {
        name: name.to_owned(),
        data: data.to_vec(),
        local_name: None,
        local_flags: 0,
        central_flags: 0,
        central_method: 0,
        central_crc: None,
        local_crc: None,
        central_size: None,
        external: 0,
        extra: Vec::new(),
        gap_before: 0,
        deflated: None,
    }
}

fn crc(data: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(data);
    sum.sum()
}

pub(crate) fn zip(entries: &[Entry]) -> Vec<u8> {
    zip_with(entries, b"", b"")
}

pub(crate) fn zip_with(entries: &[Entry], before_central: &[u8], comment: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut central = Vec::new();
    for entry in entries {
        out.extend(std::iter::repeat_n(0_u8, entry.gap_before));
        let at = u32::try_from(out.len()).unwrap();
        let sum = crc(&entry.data);
        let packed = entry.deflated.as_ref().unwrap_or(&entry.data);
        let method: u16 = if entry.deflated.is_some() { 8 } else { 0 };
        let packed_len = u32::try_from(packed.len()).unwrap();
        let size = u32::try_from(entry.data.len()).unwrap();
        let local_name = entry.local_name.as_ref().unwrap_or(&entry.name);
        out.extend_from_slice(b"PK\x03\x04\x14\0");
        out.extend_from_slice(&entry.local_flags.to_le_bytes());
        out.extend_from_slice(&method.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&entry.local_crc.unwrap_or(sum).to_le_bytes());
        out.extend_from_slice(&packed_len.to_le_bytes());
        out.extend_from_slice(&size.to_le_bytes());
        out.extend_from_slice(&u16::try_from(local_name.len()).unwrap().to_le_bytes());
        out.extend_from_slice(&u16::try_from(entry.extra.len()).unwrap().to_le_bytes());
        out.extend_from_slice(local_name.as_bytes());
        out.extend_from_slice(&entry.extra);
        out.extend_from_slice(packed);

        central.extend_from_slice(b"PK\x01\x02\x14\0\x14\0");
        central.extend_from_slice(&entry.central_flags.to_le_bytes());
        central.extend_from_slice(&(method | entry.central_method).to_le_bytes());
        central.extend_from_slice(&[0; 4]);
        central.extend_from_slice(&entry.central_crc.unwrap_or(sum).to_le_bytes());
        central.extend_from_slice(&packed_len.to_le_bytes());
        central.extend_from_slice(&entry.central_size.unwrap_or(size).to_le_bytes());
        central.extend_from_slice(&u16::try_from(entry.name.len()).unwrap().to_le_bytes());
        central.extend_from_slice(&[0; 8]);
        central.extend_from_slice(&entry.external.to_le_bytes());
        central.extend_from_slice(&at.to_le_bytes());
        central.extend_from_slice(entry.name.as_bytes());
    }
    out.extend_from_slice(before_central);
    let start = u32::try_from(out.len()).unwrap();
    let count = u16::try_from(entries.len()).unwrap();
    out.extend_from_slice(&central);
    out.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&u32::try_from(central.len()).unwrap().to_le_bytes());
    out.extend_from_slice(&start.to_le_bytes());
    out.extend_from_slice(&u16::try_from(comment.len()).unwrap().to_le_bytes());
    out.extend_from_slice(comment);
    out
}

/// The pickle of `{"w": tensor}`, a view of storage "0"; the pieces can be replaced.
pub(crate) struct Torch {
    pub(crate) class: &'static [u8],
    pub(crate) key: &'static [u8],
    pub(crate) elements: u8,
    pub(crate) offset: u8,
    pub(crate) size: [u8; 2],
    pub(crate) stride: [u8; 2],
    pub(crate) hooks: &'static [u8],
    pub(crate) tail: &'static [u8],
}

impl Default for Torch {
    fn default() -> Self {
        Self {
            class: b"ctorch\nFloatStorage\n",
            key: b"0",
            elements: 6,
            offset: 0,
            size: [2, 3],
            stride: [3, 1],
            hooks: b"ccollections\nOrderedDict\n)R",
            tail: b"",
        }
    }
}

impl Torch {
    pub(crate) fn pickle(&self) -> Vec<u8> {
        let mut out = b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storage".to_vec();
        out.extend_from_slice(self.class);
        out.extend_from_slice(&[b'U', u8::try_from(self.key.len()).unwrap()]);
        out.extend_from_slice(self.key);
        out.extend_from_slice(b"U\x03cpu");
        out.extend_from_slice(&[b'K', self.elements, b't', b'Q', b'K', self.offset]);
        out.extend_from_slice(&[b'K', self.size[0], b'K', self.size[1], 0x86]);
        out.extend_from_slice(&[b'K', self.stride[0], b'K', self.stride[1], 0x86, 0x89]);
        out.extend_from_slice(self.hooks);
        out.extend_from_slice(b"tRs");
        out.extend_from_slice(self.tail);
        out.push(b'.');
        out
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        let floats: Vec<u8> = (0_u8..6).flat_map(|at| f32::from(at).to_le_bytes()).collect();
        vec![entry("m/data.pkl", &self.pickle()), entry("m/data/0", &floats), entry("m/version", b"3\n")]
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        zip(&self.entries())
    }
}

/// Protobuf pieces.
pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    loop {
        let low = u8::try_from(value & 0x7f).unwrap();
        value >>= 7;
        if value == 0 {
            out.push(low);
            return out;
        }
        out.push(low | 0x80);
    }
}

pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

pub(crate) fn message(field: u64, body: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(u64::try_from(body.len()).unwrap()), body.to_vec()].concat()
}

/// A model with this graph body.
pub(crate) fn onnx(graph: &[u8]) -> Vec<u8> {
    let opset = message(8, &[message(1, b""), number(2, 17)].concat());
    [number(1, 8), message(7, graph), opset].concat()
}

pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let len = u64::try_from(header.len()).unwrap();
    [&len.to_le_bytes()[..], header.as_bytes(), data].concat()
}

pub(crate) fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    let text = format!("{header}\n");
    let len = u16::try_from(text.len()).unwrap();
    [b"\x93NUMPY\x01\0", &len.to_le_bytes()[..], text.as_bytes(), data].concat()
}
