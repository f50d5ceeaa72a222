use super::*;
use proptest::prelude::*;

#[test]
fn lines_of_real_scripts_are_understood() {
    let of = |line: &str| {
        let p = printed_line(line);
        (p.step, p.total, p.loss)
    };
    assert_eq!(of("epoch 1/3 step 20/2814 loss 0.8714 4200 images/s"), (Some(20), Some(2814), Some(0.8714)));
    assert_eq!(of("Step: 5, Loss=1e-3"), (Some(5), None, Some(0.001)));
    assert_eq!(of("[iter 7/9] train_loss: nan").0, Some(7));
    assert_eq!(of("nothing to see"), (None, None, None));
}

#[test]
fn metrics_are_read_also_where_python_writes_no_json() {
    let metric = metric_line("{\"step\": 3, \"name\": \"loss\", \"value\": 0.5}").unwrap();
    assert_eq!((metric.step, metric.value), (3, 0.5));
    assert!(metric_line("{\"step\": 3, \"name\": \"loss\", \"value\": NaN}").unwrap().value.is_nan());
    assert!(metric_line("{\"step\": 3, \"name\": \"loss\", \"value\": -Infinity}").unwrap().value < 0.0);
    for bad in ["", "{}", "{\"step\":1,\"name\":\"\",\"value\":1}", "{\"name\":\"a\\u0007\",\"value\":1}"] {
        assert_eq!(metric_line(bad), None, "{bad}");
    }
}

#[test]
fn rate_and_time_left_follow_the_steps() {
    let mut progress = Progress::new();
    for i in 0..=10u64 {
        progress.line(&format!("step {}/200 loss 1.0", i * 10), i * 1000);
    }
    assert_eq!(progress.steps_per_1000_s(), Some(10_000));
    assert_eq!(progress.left_s(), Some(10));
    progress.line("step 40/200 loss 0.9", 20_000);
    assert_eq!(progress.left_s(), None);
    assert_eq!(progress.latest("loss"), Some(0.9));
}

proptest! {
    #[test]
    fn reading_any_line_ends_without_a_panic(line in "\\PC{0,80}") {
        let _metric = metric_line(&line);
        Progress::new().line(&line, 1);
    }
}
