use super::support::{Case, Setting, run};

/// All cases, in order.
pub(crate) const ALL: &[Case] = &[("an ordinary program runs and its exit code arrives", exit_codes)];

fn exit_codes() {
    let done = run(&Setting::default(), &["true"]);
    assert_eq!(done.end.code, Some(0), "{}", done.output);
    let done = run(
        &Setting::default(),
        &[
            "sh",
            "-c",
            "id; ls -la / /proc /dev /opt/ml; cat /proc/self/status /proc/self/cgroup /proc/self/mountinfo; exit 7",
        ],
    );
    println!("{}", done.output);
    assert_eq!(done.end.code, Some(7), "{}", done.output);
}
