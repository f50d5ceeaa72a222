use super::*;
use crate::limits;
use base::Timestamp;

fn spec(text: &str) -> JobSpec {
    JobSpec::parse("job.toml", text).unwrap()
}

const JOB: &str = include_str!("../../../../examples/fashion-mnist/job.toml");

fn config(spec: &JobSpec) -> RunConfig<'_> {
    RunConfig {
        image_env: &[],
        job: JobId::new(Timestamp::from_millis(1), [0; 10]),
        spec,
        resume_step: Some(120),
        restarts: 2,
    }
}

#[test]
fn the_environment_is_what_sagemaker_scripts_read() {
    let spec = spec(JOB);
    let env = config(&spec).environment();
    assert_eq!(env["SM_CHANNEL_TRAINING"], "/opt/ml/input/data/training");
    assert_eq!(env["SM_CHANNELS"], "[\"training\"]");
    assert_eq!(env["SM_HPS"], "{\"lr\":0.001}");
    assert_eq!(env["SM_HP_LR"], "0.001");
    assert_eq!(env["SM_CHECKPOINT_DIR"], "/opt/ml/checkpoints");
    assert_eq!(env["STRONGROOM_RESUME_STEP"], "120");
    assert_eq!(env["OMP_NUM_THREADS"], "2");
    assert!(!env.contains_key("SLURM_JOB_ID"));
}

#[test]
fn the_largest_job_file_still_fits_the_variables_that_a_run_carries() {
    let mut text = JOB.replace(
        "[inputs]\n",
        "[inputs]\na=\"x\"\nb=\"x\"\nc=\"x\"\nd=\"x\"\ne=\"x\"\nf=\"x\"\ng=\"x\"\nh=\"x\"\ni=\"x\"\n",
    );
    let many: String =
        (0..limits::HYPERPARAMETERS_MAX - 1).map(|i| format!("h{i} = \"{}\"\n", "v".repeat(150))).collect();
    text = text.replace("[hyperparameters]\n", &format!("[hyperparameters]\n{many}"));
    let spec = spec(&text);
    let env = config(&spec).environment();
    assert_eq!(spec.inputs.len(), limits::CHANNELS_MAX);
    assert!(env.len() <= 96, "{}", env.len());
    assert!(env.len() <= limits::CHANNELS_MAX + limits::HYPERPARAMETERS_MAX + limits::VARIABLES_FIXED_MAX);
    for (name, value) in &env {
        assert!(name.len() <= 128 && value.len() <= 8192, "{name}");
    }
}

#[test]
fn the_contract_is_the_same_in_every_run_of_a_job_and_names_what_changed() {
    let spec_a = spec(JOB);
    let one = config(&spec_a);
    let two = RunConfig { resume_step: None, restarts: 9, ..one };
    assert_eq!(environment_digest(&one.environment()), environment_digest(&two.environment()));
    assert_eq!(config_digest(&one.config_files()), config_digest(&two.config_files()));
    let changed = spec(&JOB.replace("lr = 0.001", "lr = 0.01"));
    let contract = |spec: &JobSpec, data: &[u8]| {
        let run = config(spec);
        Contract {
            code: sha256(b"code"),
            config: config_digest(&run.config_files()),
            env: environment_digest(&run.environment()),
            command: command_digest(&spec.command),
            image: "host".into(),
            image_pinned: false,
            packages: None,
            data: vec![ChannelDigest {
                channel: "training".into(),
                manifest: sha256(data),
                bytes: 1,
                files: 1,
            }],
        }
    };
    let was = contract(&spec_a, b"a");
    assert!(was.differences(&contract(&spec_a, b"a")).is_empty());
    let now = was.differences(&contract(&changed, b"b")).join("; ");
    assert!(
        now.contains("config was") && now.contains("environment was") && now.contains("data `training` was"),
        "{now}"
    );
    assert!(!now.contains("code"), "{now}");
}

#[test]
fn words_of_a_command_cannot_run_together() {
    let words = |w: &[&str]| command_digest(&w.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>());
    assert_ne!(words(&["ab", "c"]), words(&["a", "bc"]));
}

#[test]
fn exits_mean_what_the_contract_says() {
    let exit =
        |cause, code| Exit { cause, code, memory_peak_bytes: 0, cpu_ms: 0, detail: ops::Text::default() };
    assert_eq!(ending(&exit(EndCause::Exited, 0), false), Ending::Done);
    assert_eq!(ending(&exit(EndCause::Exited, 0), true), Ending::Done);
    assert_eq!(ending(&exit(EndCause::Exited, 143), true), Ending::Interrupted);
    assert!(matches!(ending(&exit(EndCause::Exited, 143), false), Ending::Failed(_)));
    assert_eq!(ending(&exit(EndCause::Exited, 75), false), Ending::Requeue);
    assert!(matches!(ending(&exit(EndCause::Signalled, 9), false), Ending::Failed(_)));
    assert!(matches!(ending(&exit(EndCause::OutOfMemory, 9), false), Ending::Failed(_)));
    assert!(matches!(ending(&exit(EndCause::WallTime, 9), false), Ending::Final(_)));
}
