use super::*;

const GOOD: &str = include_str!("../../../../examples/fashion-mnist/job.toml");

fn error(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    JobSpec::parse("job.toml", &GOOD.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn the_example_is_read_as_it_stands() {
    let spec = JobSpec::parse("job.toml", GOOD).unwrap();
    assert_eq!(spec.name.as_str(), "fashion-mnist");
    assert_eq!(spec.command, ["python3", "train.py", "--epochs", "3"]);
    assert_eq!(spec.resources.cpu_milli, 2000);
    assert_eq!(spec.resources.memory.bytes(), 4 << 30);
    assert_eq!(spec.resources.wall_time_s, 1200);
    assert_eq!(spec.hyperparameters["lr"], Scalar::Float(0.001));
    let training: Name = "training".parse().unwrap();
    let data: Name = "fashion-mnist".parse().unwrap();
    assert_eq!(spec.inputs[&training], InputRef::Dataset { name: data, version: 1 });
    assert_eq!(spec.checkpoints, CheckpointPolicy { required: true, max_lost_seconds: Some(30), keep: 3 });
}

#[test]
fn every_refusal_names_file_line_and_remedy() {
    for (from, to, expect) in [
        ("keep = 3", "kep = 3", "job.toml:15:1: unknown key `kep`: did you mean `keep`?"),
        ("keep = 3", "keep = 1", "job.toml:15:8: `checkpoints.keep`: from 2 to 1000"),
        ("cpus = 2", "cpus = 0", "job.toml:17:8: `resources.cpus`: a number from 0.1"),
        ("cpus = 2", "cpus = -1.5", "job.toml:17:8: `resources.cpus`"),
        ("cpus = 2", "cpus = nan", "job.toml:17:8: `resources.cpus`"),
        ("\"4GiB\"", "\"4GB\"", "job.toml:18:10: `resources.memory`: `4GB` is not a size"),
        ("\"4GiB\"", "\"1MiB\"", "job.toml:18:10: `resources.memory`: from 64MiB"),
        ("\"20m\"", "\"20\"", "job.toml:19:13: `resources.wall_time`: a time from 1s"),
        ("\"20m\"", "\"31d\"", "job.toml:19:13: `resources.wall_time`"),
        (
            "\"standard\"",
            "\"standart\"",
            "job.toml:21:9: `isolation.class`: no such class: did you mean `standard`?",
        ),
        (
            "dataset:fashion-mnist@1",
            "dataset:fashion-mnist",
            "job.toml:9:12: `inputs.training`: write `dataset:",
        ),
        ("dataset:fashion-mnist@1", "dataset:fashion-mnist@0", "job.toml:9:12"),
        ("\"host\"", "\"ubuntu:22.04\"", "job.toml:7:9: `job.image`: write `host`"),
        ("lr = 0.001", "lr = [1, 2]", "job.toml:11:6: `hyperparameters.lr`: a hyperparameter is one"),
        ("lr = 0.001", "lr = inf", "job.toml:11:6"),
        ("required = true", "required = false", "nothing is promised"),
        ("max_lost_seconds = 30\n", "", "needs `max_lost_seconds`"),
        ("max_lost_seconds = 30", "max_lost_seconds = 0", "from 5 to"),
        ("version = 1", "version = 2", "job.toml:1:11: `version`: only"),
        ("[\"python3\", \"train.py\", \"--epochs\", \"3\"]", "[]", "`job.command`: the program is missing"),
        ("tenant = \"acme\"", "tenant = \"Acme\"", "job.toml:4:10: `job.tenant`: `Acme` is not a name"),
    ] {
        let message = error(from, to);
        assert!(message.contains(expect), "{to}: {message}");
    }
}

#[test]
fn a_file_without_a_checkpoint_policy_is_refused_and_one_that_waives_it_is_not() {
    let without = GOOD.replace("[checkpoints]\nrequired = true\nmax_lost_seconds = 30\nkeep = 3\n", "");
    let message = JobSpec::parse("job.toml", &without).unwrap_err().to_string();
    assert!(message.contains("section `[checkpoints]` is missing"), "{message}");
    let waived = GOOD.replace("required = true\nmax_lost_seconds = 30\nkeep = 3\n", "required = false\n");
    assert!(!JobSpec::parse("job.toml", &waived).unwrap().checkpoints.required);
}

#[test]
fn what_the_machine_does_not_have_is_refused_at_its_line() {
    let spec = JobSpec::parse("job.toml", GOOD).unwrap();
    spec.check_capacity(2000, ByteSize::from_bytes(4 << 30)).unwrap();
    let few = spec.check_capacity(1000, ByteSize::from_bytes(4 << 30)).unwrap_err().to_string();
    assert!(few.starts_with("job.toml:17:8: `resources.cpus`: this node has 1"), "{few}");
    let small = spec.check_capacity(2000, ByteSize::from_bytes(1 << 30)).unwrap_err().to_string();
    assert!(small.starts_with("job.toml:18:10: `resources.memory`: this node has 1GiB"), "{small}");
}

#[test]
fn channels_and_hyperparameters_never_share_a_variable() {
    let two = "[hyperparameters]\na-b = 1\na_b = 2\n";
    assert!(error("[hyperparameters]\n", two).contains("same variable"));
    let channels = "[inputs]\ntraining-x = \"a\"\n\"training.x\" = \"b\"\n";
    assert!(error("[inputs]\n", channels).contains("same variable"));
}

#[test]
fn egresses_are_named_once_and_few() {
    let with = |list: &str| {
        let text = GOOD.replacen("image = \"host\"", &format!("image = \"host\"\negress = {list}"), 1);
        JobSpec::parse("job.toml", &text)
    };
    assert!(JobSpec::parse("job.toml", GOOD).unwrap().egress.is_empty());
    let names = with("[\"hub\", \"mirror\"]").unwrap().egress;
    assert_eq!(names.iter().map(Name::as_str).collect::<Vec<_>>(), ["hub", "mirror"]);
    let many = format!("[{}]", (0..9).map(|n| format!("\"e{n}\"")).collect::<Vec<_>>().join(", "));
    for (list, says) in
        [("[\"hub\", \"hub\"]", "twice"), ("[\"../x\"]", "egress"), (many.as_str(), "at most 8")]
    {
        assert!(with(list).unwrap_err().to_string().contains(says), "{list}");
    }
}

proptest::proptest! {
    #[test]
    fn parsing_any_text_ends_without_a_panic(text in "\\PC{0,200}", cut in 0usize..600) {
        assert!(JobSpec::parse("f", &text).is_err());
        let cut: String = GOOD.chars().take(cut).chain(text.chars()).collect();
        let _ignored = JobSpec::parse("f", &cut);
    }
}

#[test]
fn a_job_that_measures_has_one_more_channel_that_is_its_own() {
    let spec = || JobSpec::parse("job.toml", GOOD).unwrap();
    let channel: Name = limits::QUARANTINED_CHANNEL.parse().unwrap();
    let measuring = spec().measuring().unwrap();
    assert_eq!(measuring.inputs.len(), spec().inputs.len() + 1);
    assert_eq!(measuring.inputs[&channel], InputRef::Quarantined);
    // The file has a channel of that name, and as many as there may be.
    assert!(measuring.measuring().unwrap_err().to_string().contains("inputs.model"));
    let mut full = spec();
    for n in full.inputs.len()..limits::CHANNELS_MAX {
        full.inputs.insert(format!("c{n}").parse().unwrap(), InputRef::Path("d".into()));
    }
    assert!(full.measuring().unwrap_err().to_string().contains("at most"));
    // No text of a job file means it.
    assert!(
        JobSpec::parse("job.toml", &GOOD.replace("dataset:", "intake:"))
            .is_ok_and(|s| !s.inputs.values().any(|i| *i == InputRef::Quarantined))
    );
}
