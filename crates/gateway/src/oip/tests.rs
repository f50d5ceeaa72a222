use ops::inference::{DType, Metadata, TensorSpec, elements};
use ops::{List, Text};
use proptest::prelude::*;

use super::*;

const TYPES: [DType; 7] =
    [DType::Bool, DType::Uint8, DType::Int8, DType::Int32, DType::Int64, DType::Fp32, DType::Fp64];

fn model(dtype: DType, dims: usize) -> Metadata {
    let spec = |name: &str, dims| TensorSpec {
        name: Text::clip(name),
        dtype,
        shape: List::new(vec![None; dims]).unwrap(),
    };
    Metadata {
        name: Text::clip("m"),
        inputs: List::new(vec![spec("x", dims)]).unwrap(),
        outputs: List::new(vec![spec("y", 1)]).unwrap(),
    }
}

fn request(shape: &str, dtype: &str, data: &str) -> String {
    format!("{{\"inputs\":[{{\"name\":\"x\",\"shape\":{shape},\"datatype\":\"{dtype}\",\"data\":{data}}}]}}")
}

/// Whatever was accepted must be in itself right.
fn assert_sound(accepted: &Inference, model: &Metadata) {
    assert_eq!(accepted.tensors.len(), model.inputs.len());
    for tensor in &accepted.tensors {
        let spec = model.inputs.iter().find(|spec| spec.name.as_str() == tensor.name()).unwrap();
        assert_eq!(tensor.dtype(), spec.dtype);
        assert!(spec.admits(tensor.shape()));
        let count = elements(tensor.shape()).unwrap();
        assert!(count > 0);
        assert_eq!(count * tensor.dtype().size(), tensor.bytes().len());
    }
}

/// Arrays of any form, most of them of few elements and many uneven.
fn data() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(|v| v.to_string()),
        (-3i64..300).prop_map(|v| v.to_string()),
        any::<f64>().prop_map(|v| format!("{v:e}")),
        any::<bool>().prop_map(|v| v.to_string()),
        Just("null".to_owned()),
        Just("\"1\"".to_owned()),
        Just("18446744073709551615".to_owned()),
    ];
    leaf.prop_recursive(5, 64, 5, |inner| {
        prop::collection::vec(inner, 0..5).prop_map(|all| format!("[{}]", all.join(",")))
    })
}

/// Nested as the shape says.
fn nested(shape: &[u64], values: &mut impl Iterator<Item = String>) -> String {
    match shape.split_first() {
        None => values.next().unwrap(),
        Some((len, rest)) => {
            let all: Vec<String> = (0..*len).map(|_| nested(rest, values)).collect();
            format!("[{}]", all.join(","))
        }
    }
}

proptest! {
    #[test]
    fn reading_any_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let model = model(DType::Fp32, 2);
        if let Ok(accepted) = parse(&bytes, &model) {
            assert_sound(&accepted, &model);
        }
    }

    #[test]
    fn what_is_accepted_has_the_elements_that_its_shape_says(
        shape in prop::collection::vec(prop_oneof![0u64..4, any::<u64>()], 0..10),
        dtype in prop::sample::select(&TYPES[..]),
        named in prop::sample::select(&TYPES[..]),
        data in data(),
    ) {
        let model = model(dtype, shape.len().min(8));
        if let Ok(accepted) = parse(request(&format!("{shape:?}"), named.name(), &data).as_bytes(), &model) {
            assert_sound(&accepted, &model);
            prop_assert_eq!(named, dtype);
        }
    }

    #[test]
    fn a_right_request_is_accepted_flat_and_nested_with_the_same_bytes(
        shape in prop::collection::vec(1u64..4, 1..4),
        values in prop::collection::vec(any::<i32>(), 27),
    ) {
        let model = model(DType::Int32, shape.len());
        let count = elements(&shape).unwrap();
        let bytes: Vec<u8> = values.iter().take(count).flat_map(|v| v.to_le_bytes()).collect();
        let mut texts = values.iter().map(ToString::to_string);
        let deep = nested(&shape, &mut texts);
        let flat = nested(&[u64::try_from(count).unwrap()], &mut values.iter().map(ToString::to_string));
        for data in [deep, flat] {
            let accepted = parse(request(&format!("{shape:?}"), "INT32", &data).as_bytes(), &model).unwrap();
            assert_sound(&accepted, &model);
            prop_assert_eq!(accepted.tensors[0].bytes(), &bytes[..]);
        }
    }

    #[test]
    fn a_number_that_does_not_fit_its_type_is_refused(value in any::<i64>(), dtype in prop::sample::select(&TYPES[..])) {
        let fits = match dtype {
            DType::Bool => false,
            DType::Uint8 => u8::try_from(value).is_ok(),
            DType::Int8 => i8::try_from(value).is_ok(),
            DType::Int32 => i32::try_from(value).is_ok(),
            DType::Int64 | DType::Fp32 | DType::Fp64 => true,
        };
        let text = request("[1]", dtype.name(), &format!("[{value}]"));
        prop_assert_eq!(parse(text.as_bytes(), &model(dtype, 1)).is_ok(), fits, "{}", text);
    }
}

#[test]
fn depth_is_bounded() {
    let model = model(DType::Fp32, 1);
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(request("[1]", "FP32", &deep).as_bytes(), &model).is_err());
}
