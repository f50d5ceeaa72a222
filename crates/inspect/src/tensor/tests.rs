use super::*;

#[test]
fn the_norm_is_that_of_the_numbers_whatever_their_type() {
    let norm = |dtype: Dtype, data: &[u8]| {
        let mut measure = Measure::new(dtype, &[2]);
        for half in data.chunks(data.len() / 2) {
            measure.update(half);
        }
        measure.finish().norm_bits.map(f64::from_bits)
    };
    let f32s: Vec<u8> = [3f32, -4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let f64s: Vec<u8> = [3f64, -4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let bf16s: Vec<u8> =
        [3f32, -4.0].iter().flat_map(|v| (v.to_bits() >> 16).to_le_bytes()[..2].to_vec()).collect();
    assert_eq!(norm(Dtype::F32, &f32s), Some(5.0));
    assert_eq!(norm(Dtype::F64, &f64s), Some(5.0));
    assert_eq!(norm(Dtype::Bf16, &bf16s), Some(5.0));
    assert_eq!(norm(Dtype::I64, &f64s), None);
}

/// Bytes without NaNs or infinities in any type: no byte is 0x7c or above in its low seven bits.
fn calm(len: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from(at * 7 % 0x3b).unwrap()).collect()
}

#[test]
fn one_odd_number_is_found_wherever_it_stands() {
    let odd: [(Dtype, &[u8]); 9] = [
        (Dtype::F64, &[0, 0, 0, 0, 0, 0, 0xf0, 0x7f]),
        (Dtype::F64, &[1, 0, 0, 0, 0, 0, 0xf0, 0xff]),
        (Dtype::F32, &[0, 0, 0x80, 0xff]),
        (Dtype::F32, &[1, 0, 0x80, 0x7f]),
        (Dtype::F16, &[0, 0x7c]),
        (Dtype::Bf16, &[0x80, 0x7f]),
        (Dtype::F8E4M3, &[0xff]),
        (Dtype::F8E5M2, &[0xfc]),
        (Dtype::C128, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf8, 0x7f]),
    ];
    for (dtype, bad) in odd {
        // Two whole groups of lanes and a rest.
        let good = calm(bad.len() * (2 * LANES + 3));
        let finite = |data: &[u8]| {
            let mut measure = Measure::new(dtype, &[]);
            measure.update(data);
            let found = measure.finish().finite;
            assert_eq!(found, dtype.all_finite(data), "{dtype:?}");
            found
        };
        assert!(finite(&good), "{dtype:?}");
        for at in (0..good.len()).step_by(bad.len()) {
            let mut data = good.clone();
            data[at..at + bad.len()].copy_from_slice(bad);
            assert!(!finite(&data), "{dtype:?} at byte {at}");
        }
    }
}

#[test]
fn the_norm_of_many_numbers_is_theirs_and_the_same_for_every_layout() {
    let values: Vec<f32> =
        (0..100_003_u32).map(|i| f32::from(u16::try_from(i % 977).unwrap()) / 7.0 - 60.0).collect();
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let exact = values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>().sqrt();
    let mut whole = Measure::new(Dtype::F32, &[100_003]);
    whole.update(&data);
    let whole = whole.finish();
    let norm = f64::from_bits(whole.norm_bits.unwrap());
    assert!((norm - exact).abs() <= exact * 1e-12, "{norm} {exact}");
    // Every second number, by strides: gathered in blocks instead of taken whole.
    let spread: Vec<u8> = values.iter().flat_map(|v| [v.to_le_bytes(), [0xff; 4]].concat()).collect();
    let mut strided = Measure::new(Dtype::F32, &[100_003]);
    walk(&spread, 4, 0, &[100_003], &[2], |block| strided.update(block)).unwrap();
    let strided = strided.finish();
    assert_eq!(strided.norm_bits, whole.norm_bits);
    assert_eq!(strided.digest, whole.digest);
    assert!(strided.finite);
}

/// Expected values by the `blake3` package of Python (version 1.0): `blake3(header + blake3(data).digest())`.
#[test]
fn the_digest_is_that_of_another_implementation() {
    let floats: Vec<u8> = (0_u8..6).flat_map(|at| f32::from(at).to_le_bytes()).collect();
    // The input of BLAKE3's published test vectors; the first is one of their lengths.
    let pattern: Vec<u8> = (0..300_000_u32).map(|at| u8::try_from(at % 251).unwrap()).collect();
    let published = "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085";
    assert_eq!(blake3::hash(&pattern[..102_400]).to_hex().as_str(), published);
    let cases: [(Dtype, &[u64], &[u8], &str); 5] = [
        (Dtype::F32, &[2, 3], &floats, "367d3f0bd90a713985e36318c921cde97c748c7b18fb0daba56a8acc03d5e530"),
        (
            Dtype::U8,
            &[102_400],
            &pattern[..102_400],
            "67bfaa30b089fa18dc3198c67aeed9b3359f93830584bc7bfd9b917000a5f109",
        ),
        (
            Dtype::U8,
            &[3, 100_000],
            &pattern,
            "d3964a4117ed2e7c488e6d71c875c6e35bbfd07c991ebccbd278bc455b61906a",
        ),
        (Dtype::F64, &[], &[0; 8], "ef1f627ba1d3d90a6727ece3f4c85b5b0eafa01f51694898b504a2b2d44e5096"),
        (Dtype::F32, &[0], &[], "7345af1970213584b63f6affc8993eeeb1753677896336e857327153ffbed05e"),
    ];
    for (dtype, shape, data, expected) in cases {
        let mut measure = Measure::new(dtype, shape);
        measure.update(data);
        assert_eq!(measure.finish().digest.to_string(), format!("b3:{expected}"), "{dtype:?} {shape:?}");
        // In blocks, as a view is gathered.
        let mut measure = Measure::new(dtype, shape);
        data.chunks(BLOCK).for_each(|block| measure.update(block));
        assert_eq!(measure.finish().digest.to_string(), format!("b3:{expected}"), "{dtype:?} {shape:?}");
    }
}
