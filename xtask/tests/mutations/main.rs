//! Every target of the fuzzer, without the fuzzer: its corpus and some thousand changes to it, the same ones in every
//! run. Each target runs in a process of its own, under a limit of memory and one of processor time.
//!
//! The long run, which learns from what it reaches, is `scripts/fuzz [TARGET] [SECONDS]`.

// The targets stand in their files as the fuzzer builds them; its crate is stood in for.
#[cfg(test)]
extern crate self as libfuzzer_sys;

#[cfg(test)]
mod mutate;
#[cfg(test)]
#[expect(unused_attributes, reason = "a target has no main function where the fuzzer builds it")]
mod target;

/// What the fuzzer's macro makes of a target, here a function.
#[cfg(test)]
#[macro_export]
macro_rules! fuzz_target {
    (|$data:ident: &[u8]| $body:block) => {
        pub(super) fn run($data: &[u8]) $body
    };
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use crate::mutate::{Dice, mutate};
    use crate::target::TARGETS;

    /// Changed files for each target.
    const ROUNDS: u64 = 4_000;
    /// Address space of a target's process: the inspector's own bound is 512 MiB, and as much again is for the test.
    const MEMORY_KIB: u64 = 1 << 20;
    /// Seconds of processor time, far above what any target takes: a file that is never done ends here.
    const CPU_S: u64 = 300;

    fn fuzz() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
    }

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let directory = fuzz().join("corpus").join(name);
        let listed =
            fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let mut paths: Vec<PathBuf> = listed.map(|item| item.unwrap().path()).collect();
        paths.sort();
        let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        assert!(!seeds.is_empty(), "target {name} has no corpus");
        seeds
    }

    /// Starts this program again for one target. What it was at when it ended stands in a file.
    fn in_a_process_of_its_own(name: &str) {
        let at = tempfile::NamedTempFile::new().unwrap();
        let program = std::env::current_exe().unwrap();
        let limits = format!("ulimit -v {MEMORY_KIB} && ulimit -t {CPU_S} && exec \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &limits, "sh"])
            .arg(program)
            .args(["--exact", "tests::one_target", "--ignored", "--nocapture"])
            .env("STRONGROOM_TARGET", name)
            .env("STRONGROOM_AT", at.path())
            .output()
            .unwrap();
        let last = fs::read(at.path()).unwrap();
        assert!(
            output.status.success(),
            "target {name} ended with {} over these {} bytes: {}\n{}{}",
            output.status,
            last.len(),
            last.escape_ascii(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "{output:?}");
    }

    #[test]
    #[ignore = "the other tests start it, in a process for each target"]
    fn one_target() {
        let name = std::env::var("STRONGROOM_TARGET").unwrap();
        let at = std::env::var_os("STRONGROOM_AT").unwrap();
        let (_, run) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
        let seeds = corpus(&name);
        let changed = (0..ROUNDS).map(|round| mutate(&mut Dice::of(&name, round), &seeds));
        for bytes in seeds.iter().cloned().chain(changed) {
            fs::write(&at, &bytes).unwrap();
            run(&bytes);
        }
    }

    #[test]
    fn every_target_is_listed_here_and_built_for_the_fuzzer() {
        let listed = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
        let mut files: Vec<String> = listed
            .map(|item| item.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        files.sort();
        let here: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(files, here, "xtask/tests/mutations/target.rs lists what stands in fuzz/fuzz_targets");
        assert_eq!(files, STARTED, "xtask/tests/mutations/main.rs starts what stands in fuzz/fuzz_targets");
        let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
        for name in files {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        }
    }

    macro_rules! started {
        ($($name:ident)*) => {
            const STARTED: &[&str] = &[$(stringify!($name)),*];
            $(
                #[test]
                fn $name() {
                    in_a_process_of_its_own(stringify!($name));
                }
            )*
        };
    }

    started! {
        certificate config crl data_files gguf hdf5 image_layer inspect_archive inspect_bytes keras lightgbm npy npz oms_bundle oms_statement onnx ops own_rules parquet pickle protobuf safetensors sentencepiece sevenz sshd_config template tflite timestamp torch_zip trust_policy ubjson xgboost_json yaml
    }
}
