use super::*;
use base::sha256;

fn tensor(name: &str, norm: f64) -> TensorEntry {
    TensorEntry {
        name: name.into(),
        dtype: "f32".into(),
        shape: vec![4],
        digest: base::TensorDigest::Sha256(sha256(&norm.to_le_bytes())),
        norm_bits: Some(norm.to_bits()),
    }
}

/// Norms of an honest run: they grow, ever more slowly, with a little noise.
fn honest(step: u32) -> Vec<TensorEntry> {
    let s = f64::from(step);
    let noise = f64::from((step * 7919) % 13) / 2000.0;
    vec![
        tensor("w", 10.0 + 2.0 * (s / 3.0).tanh() + noise),
        tensor("b", 0.1 + 0.05 * (s / 5.0).tanh() + noise / 10.0),
    ]
}

fn trained(steps: u32) -> Monitor {
    let mut monitor = Monitor::new();
    for step in 1..=steps {
        assert_eq!(monitor.observe(&[], &honest(step)), [], "step {step}");
    }
    monitor
}

#[test]
fn an_honest_run_has_no_finding() {
    trained(40);
}

#[test]
fn a_bias_pushed_far_away_is_suspect() {
    let mut monitor = trained(12);
    let mut changed = honest(13);
    changed[1] = tensor("b", 50.0);
    let findings = monitor.observe(&[], &changed);
    assert_eq!(verdict(&findings), Verdict::Suspect, "{findings:?}");
    // It is not what the next is compared with.
    assert_eq!(monitor.observe(&[], &honest(14)), []);
}

#[test]
fn a_tensor_of_another_shape_or_name_is_exact() {
    let mut monitor = trained(2);
    let mut other = honest(3);
    other[0].shape = vec![5];
    let findings = monitor.observe(&[], &other);
    assert!(matches!(findings.as_slice(), [Finding::TensorSet { .. }]), "{findings:?}");
    assert_eq!(verdict(&findings), Verdict::Suspect);
    let mut more = honest(3);
    more.push(tensor("extra", 1.0));
    assert_eq!(verdict(&monitor.observe(&[], &more)), Verdict::Suspect);
}

#[test]
fn a_value_that_is_not_finite_is_exact_from_the_first_checkpoint_on() {
    let mut file = crate::manifest::tests::sample(1, None).files.remove(0);
    file.all_finite = Some(false);
    assert_eq!(verdict(&Monitor::new().observe(&[file], &honest(1))), Verdict::Suspect);
}

#[test]
fn one_behavioural_finding_is_not_enough() {
    assert_eq!(verdict(&[Finding::Tensor { name: "w".into(), moved: 9.0 }]), Verdict::Good);
}

#[test]
fn losses_that_explode_are_seen() {
    let mut watch = LossWatch::default();
    for i in 0..20 {
        assert_eq!(watch.observe(2.0 - f64::from(i) * 0.05), None);
    }
    assert_eq!(watch.observe(500.0), Some(LossFinding::Spike));
    assert_eq!(watch.observe(f64::NAN), Some(LossFinding::NotFinite));
}
