use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use strongroom_host as host;

use host::channel::wait_readable;
use host::mounts;
use host::sandbox::Ids;
use host::seccomp::{Filter, Profile};
use ops::warden::{FeatureState, Signal};

use super::support::{self, Case, Setting, python, run, start};

/// All cases, in order.
pub(crate) const ALL: &[Case] = &[
    ("an ordinary program runs and its exit code arrives", exit_codes),
    ("a command that is not there is a failed start that says so", no_such_command),
    ("what a program sees of its machine is what it was granted", granted_view),
    ("a torch program trains a convolutional network", torch_trains),
    ("the inference profile runs a program that reads and computes", inference_profile),
    ("the memory limit ends the workload and is told", out_of_memory),
    ("a fork bomb stops at the limit of processes", fork_bomb),
    ("a killed sandbox leaves nothing of a double-forked tree", whole_tree),
    ("a frozen sandbox does not go on until it is thawed", freezing),
    ("USR1 goes only to a program that handles it", usr1),
    ("TERM reaches the program and its exit code says so", term),
    ("an input is refused while a writer is open and then cannot change", frozen_input),
    ("an image is the root file system, and nothing of the host's is there", image),
    ("every protection reads back as enforced", report),
    ("the host's features are found by trying", probe),
    ("a helper has its own user and reaches only what it was given", helper),
];

fn exit_codes() {
    for code in [0, 7, 255] {
        let done = run(&Setting::default(), &["sh", "-c", &format!("exit {code}")]);
        assert_eq!((done.end.code, done.end.signal), (Some(code), None), "{}", done.output);
    }
    let done = run(&Setting::default(), &["sh", "-c", "kill -9 $$"]);
    assert_eq!((done.end.code, done.end.signal), (None, Some(9)));
}

fn no_such_command() {
    let error =
        support::try_start(&Setting::default(), &["no-such-program"], None, Vec::new()).err().unwrap();
    let said = base::error::chain(&error);
    assert!(said.contains("execute the command"), "{said}");
    let error = support::try_start(&Setting::default(), &["/etc/passwd"], None, Vec::new()).err().unwrap();
    assert!(base::error::chain(&error).contains("execute the command"));
}

fn granted_view() {
    let done = python(
        &Setting { memory: 512 << 20, ..Setting::default() },
        "import os\n\
         print('cpus', open('/proc/cpuinfo').read().count('processor\\t'))\n\
         print('mem', open('/proc/meminfo').read().split()[1])\n\
         print('uid', os.getuid(), os.getgid(), os.getgroups())\n\
         print('pids', sorted(int(p) for p in os.listdir('/proc/pid') if p.isdigit()))\n\
         print('fds', sorted(int(f) for f in os.listdir('/proc/self/fd')))\n\
         print('host', os.uname().nodename)\n\
         print('root', sorted(os.listdir('/')))\n\
         print('etc', sorted(os.listdir('/etc')))\n\
         print('env', sorted(os.environ))\n",
    );
    assert_eq!(done.end.code, Some(0), "{}", done.output);
    for line in [
        "cpus 2\n",
        "mem 524288\n",
        "uid 1000 1000 []\n",
        "fds [0, 1, 2, 3]\n",
        "host sandbox\n",
        "root ['bin', 'dev', 'etc', 'lib', 'lib64', 'opt', 'proc', 'run', 'sbin', 'tmp', 'usr']\n",
        "etc ['alternatives', 'group', 'ld.so.cache', 'localtime', 'passwd']\n",
    ] {
        assert!(done.output.contains(line), "{line:?} is not in\n{}", done.output);
    }
    // Its first process is another user's to it: only its own processes show.
    assert!(done.output.contains("pids [2]\n"), "{}", done.output);
}

const TRAIN: &str = "
import torch, os
torch.manual_seed(0)
torch.set_num_threads(2)
model = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8*26*26, 10))
step = torch.optim.Adam(model.parameters())
x, y = torch.randn(64, 1, 28, 28), torch.randint(0, 10, (64,))
first = None
for _ in range(12):
    step.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), y)
    loss.backward()
    step.step()
    first = first or loss.item()
torch.save({'model': model.state_dict(), 'opt': step.state_dict()}, '/opt/ml/checkpoints/new.tmp')
os.replace('/opt/ml/checkpoints/new.tmp', '/opt/ml/checkpoints/last.pt')
again = torch.load('/opt/ml/checkpoints/last.pt')
open('/opt/ml/model/done', 'w').write('x')
print('trained', loss.item() < first * 0.7, os.path.getsize('/opt/ml/checkpoints/last.pt') > 100000, len(again))
";

fn torch_trains() {
    if std::fs::metadata("/usr/lib/python3/dist-packages/torch").is_err() {
        println!("SKIPPED: python3-torch is not installed");
        return;
    }
    let done = python(&Setting::default(), TRAIN);
    assert_eq!(done.end.code, Some(0), "{}", done.output);
    assert!(done.output.contains("trained True True 2"), "{}", done.output);
}

fn inference_profile() {
    let setting = Setting { profile: Profile::Inference, ..Setting::default() };
    let done = python(
        &setting,
        "import json, hashlib\nprint(hashlib.sha256(open('/proc/cpuinfo','rb').read()).digest_size)",
    );
    assert_eq!((done.end.code, done.output.trim()), (Some(0), "32"));
    let done =
        python(&setting, "import os\ntry:\n os.mkdir('/tmp/x')\nexcept OSError as e:\n print(e.errno)");
    assert_eq!(done.output.trim(), "1", "no changes to files");
}

fn out_of_memory() {
    let setting = Setting { memory: 96 << 20, ..Setting::default() };
    let bomb = "x = []\nwhile True: x.append(bytearray(1 << 20))";
    let done = python(&setting, bomb);
    assert_eq!(done.end.signal, Some(9), "{}", done.output);
    assert!(done.oom_kills > 0);
    // The control: the same program under a larger limit and with an end does not meet it.
    let done = python(&Setting::default(), "x = []\nfor _ in range(200): x.append(bytearray(1 << 20))");
    assert_eq!((done.end.code, done.oom_kills), (Some(0), 0), "{}", done.output);
    // Memory-backed files count as well.
    let fill = "f = open('/dev/shm/x', 'wb')\nwhile True: f.write(b'x' * (1 << 20)); f.flush()";
    let done = python(&setting, fill);
    assert!(done.end.signal == Some(9) || done.end.code == Some(1), "{:?}", done.end);
}

fn fork_bomb() {
    let setting = Setting { pids: 32, ..Setting::default() };
    let bomb = "import os, time\nn = 0\ntry:\n  while True:\n    if os.fork() == 0: time.sleep(60)\n    n += 1\n\
                except OSError as e: print('stopped', n < 32, e.errno)\n";
    let done = python(&setting, bomb);
    assert!(done.output.contains("stopped True 11"), "{}", done.output);
    assert_eq!(done.end.code, Some(0));
}

fn whole_tree() {
    let program = "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    print('deep', flush=True)\n    time.sleep(600)\n  os._exit(0)\n\
                   os.wait()\ntime.sleep(600)\n";
    let running = start(&Setting::default(), &["/usr/bin/python3", "-I", "-c", program], Vec::new());
    assert!(wait_readable(&running.output, 10_000).unwrap());
    assert!(running.groups.work.processes().len() >= 3, "init, main and the one that got away");
    let before = host::channel::now_ms();
    running.sandbox.kill(&running.groups.work).unwrap();
    assert!(wait_readable(running.sandbox.pidfd(), 1_000).unwrap());
    assert!(host::channel::now_ms() - before < 1_000);
    let done = running.finish();
    assert_eq!(done.end.signal, Some(9));
}

fn freezing() {
    let program = "import time\nwhile True:\n  print('tick', flush=True)\n  time.sleep(0.01)\n";
    let running = start(&Setting::default(), &["/usr/bin/python3", "-I", "-c", program], Vec::new());
    assert!(wait_readable(&running.output, 10_000).unwrap());
    running.groups.work.freeze(true).unwrap();
    let drain = |fd: &OwnedFd| {
        while wait_readable(fd, 0).unwrap() {
            let mut buffer = [0; 65_536];
            let _got = rustix::io::read(fd, &mut buffer).unwrap();
        }
    };
    drain(&running.output);
    assert!(!wait_readable(&running.output, 300).unwrap(), "it ticks although frozen");
    running.groups.work.freeze(false).unwrap();
    assert!(wait_readable(&running.output, 5_000).unwrap(), "it does not go on");
    // A kill ends a frozen sandbox too.
    running.groups.work.freeze(true).unwrap();
    running.sandbox.kill(&running.groups.work).unwrap();
    assert!(wait_readable(running.sandbox.pidfd(), 5_000).unwrap());
    running.finish();
}

fn usr1() {
    let deaf = start(&Setting::default(), &["sleep", "600"], Vec::new());
    let refused = deaf.sandbox.signal(&deaf.groups.work, Signal::Usr1).unwrap_err();
    assert!(refused.to_string().contains("does not handle"), "{refused}");
    deaf.sandbox.kill(&deaf.groups.work).unwrap();
    deaf.finish();

    let program = "import signal, sys, time\nsignal.signal(signal.SIGUSR1, lambda *a: sys.exit(42))\n\
                   print('ready', flush=True)\nwhile True: time.sleep(1)\n";
    let listening = start(&Setting::default(), &["/usr/bin/python3", "-I", "-c", program], Vec::new());
    assert!(wait_readable(&listening.output, 10_000).unwrap());
    listening.sandbox.signal(&listening.groups.work, Signal::Usr1).unwrap();
    assert_eq!(listening.finish().end.code, Some(42));
}

fn term() {
    let running = start(&Setting::default(), &["sleep", "600"], Vec::new());
    running.sandbox.signal(&running.groups.work, Signal::Term).unwrap();
    assert_eq!(running.finish().end.signal, Some(15));
}

fn frozen_input() {
    let setting = Setting { slot: 65_001, ..Setting::default() };
    let ids = Ids::slot(setting.slot).unwrap();
    let input = mounts::input(1 << 20, 4, ids.inner()).unwrap();
    let path = format!("/proc/self/fd/{}/data.bin", input.root.as_raw_fd());
    let writer = std::fs::File::create(&path).unwrap();
    std::io::Write::write_all(&mut &writer, b"verified").unwrap();
    let busy = mounts::freeze(input.root.as_fd()).unwrap_err();
    assert!(matches!(busy, host::HostError::Busy), "{busy}");
    drop(writer);
    mounts::freeze(input.root.as_fd()).unwrap();
    let refused = std::fs::OpenOptions::new().write(true).open(&path).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS), "even for root");
    let program = "import os\nprint(open('/opt/ml/input/data/train/data.bin').read())\n\
        for act in [lambda: open('/opt/ml/input/data/train/data.bin', 'w'), lambda: os.unlink('/opt/ml/input/data/train/data.bin'),\n\
                    lambda: open('/opt/ml/input/data/train/new', 'w'), lambda: open('/opt/ml/new', 'w'), lambda: os.mkdir('/new')]:\n\
        \x20 try:\n    act(); print('CHANGED')\n  except OSError as e: print('refused', e.errno)\n";
    let running = start(
        &setting,
        &["/usr/bin/python3", "-I", "-c", program],
        vec![(&input.root, "input/data/train".to_owned())],
    );
    let done = running.finish();
    assert!(done.output.starts_with("verified\n") && !done.output.contains("CHANGED"), "{}", done.output);
    assert_eq!(done.output.matches("refused").count(), 5, "{}", done.output);
}

/// Copies a program of the host with the libraries that it loads.
fn copy_program(root: &str, program: &str) {
    let listed = std::process::Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/')).map(str::to_owned);
    for path in libraries.chain([program.to_owned()]) {
        // Where the merged directories of the host are links, the image has real ones.
        let target = format!("{root}{path}");
        std::fs::create_dir_all(std::path::Path::new(&target).parent().unwrap()).unwrap();
        std::fs::copy(&path, &target).unwrap();
    }
}

/// A frozen image with four programs and a few files.
fn small_image(ids: Ids) -> OwnedFd {
    let image = mounts::image(64 << 20, 256, ids.inner()).unwrap().root;
    let root = format!("/proc/self/fd/{}", image.as_raw_fd());
    for program in ["/usr/bin/env", "/usr/bin/find", "/usr/bin/touch", "/usr/bin/readlink"] {
        copy_program(&root, program);
    }
    std::os::unix::fs::symlink("usr/bin", format!("{root}/bin")).unwrap();
    for directory in ["opt/tool", "opt/ml", "dev", "srv"] {
        std::fs::create_dir_all(format!("{root}/{directory}")).unwrap();
    }
    for file in ["opt/tool/own", "opt/ml/hidden", "dev/hidden", "top"] {
        std::fs::write(format!("{root}/{file}"), "x").unwrap();
    }
    mounts::freeze(image.as_fd()).unwrap();
    image
}

fn image() {
    let setting = Setting { slot: 65_002, ..Setting::default() };
    // A mount goes with the sandbox that it is attached in, so each has its own.
    let run = |argv: &[&str]| {
        let image = small_image(Ids::slot(setting.slot).unwrap());
        let running = support::try_start(&setting, argv, Some(&image), Vec::new());
        running.unwrap_or_else(|error| panic!("{}", base::error::chain(&error))).finish()
    };
    let found = run(&["/bin/find", "/", "-path", "/proc/pid", "-prune", "-o", "-print"]).output;
    let has = |path: &str| found.lines().any(|line| line == path);
    for path in ["/usr/bin/find", "/bin", "/opt/tool/own", "/opt/ml/model", "/srv", "/top", "/dev/null"] {
        assert!(has(path), "{path} is missing in {found}");
    }
    // The platform's places are the platform's, and the host's programs are not there.
    for path in
        ["/opt/ml/hidden", "/dev/hidden", "/image", "/usr/bin/python3", "/etc/passwd", "/usr/bin/true"]
    {
        assert!(!has(path), "{path} is there in {found}");
    }
    for path in ["/usr/bin/new", "/srv/new", "/opt/tool/own", "/new", "/opt/new"] {
        let done = run(&["touch", path]);
        assert_ne!(done.end.code, Some(0), "{path} was written: {}", done.output);
    }
    // The control of the writes: where the job may, it can.
    assert_eq!(run(&["touch", "/opt/ml/model/new"]).end.code, Some(0));
}

fn report() {
    let setting = Setting::default();
    let running = start(&setting, &["sleep", "600"], Vec::new());
    let filter = Filter::new(setting.profile);
    let expected = host::report::Expected {
        ids: Ids::slot(setting.slot).unwrap(),
        calls: filter.allowed(),
        filter: filter.digest(),
    };
    let features = host::report::report(&running.sandbox, &running.groups.work, &expected).unwrap();
    for feature in &features {
        assert_eq!(feature.state, FeatureState::Enforced, "{} {}", feature.name, feature.detail);
    }
    assert!(features.len() >= 20, "{features:?}");
    running.sandbox.kill(&running.groups.work).unwrap();
    running.finish();
}

fn probe() {
    let layout = host::cgroup::Layout::detect(&format!("strongroom-test-{}", std::process::id())).unwrap();
    let features = host::probe::probe(&layout);
    for name in
        ["namespace.user", "namespace.net", "seccomp", "landlock", "cgroup.memory", "cgroup.delegation"]
    {
        let feature = features.iter().find(|f| &*f.name == name).unwrap();
        assert_eq!(feature.state, FeatureState::Enforced, "{name}: {}", feature.detail);
    }
}

fn helper() {
    let ids = Ids::slot(65_002).unwrap();
    let layout = host::cgroup::Layout::detect(&format!("strongroom-test-{}", std::process::id())).unwrap();
    let limits = host::cgroup::Limits { memory_bytes: 128 << 20, image_bytes: 0, cpu_milli: 1000, pids: 16 };
    let groups = layout.create("helper", &limits).unwrap();
    let input = mounts::input(1 << 20, 4, ids.inner()).unwrap();
    let secret = mounts::input(1 << 20, 4, ids.inner()).unwrap();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    // A shell as the helper: it may write below its directory, and see and reach nothing else.
    let program = host::program::Program::open(std::path::Path::new("/usr/bin/dash")).unwrap();
    let script = "echo filled > /proc/self/fd/3/file; read x < /proc/self/fd/3/file; echo $x; \
        read u < /proc/self/status; (: < /root) 2>/dev/null && echo REACHED; (: < /work) 2>/dev/null && echo REACHED; \
        /usr/bin/true 2>/dev/null && echo EXECUTED; : < /proc/self/fd/4/x; echo end";
    let spec = host::porter::Spec {
        ids,
        program: &program,
        argv: ["dash", "-c", script].into_iter().map(support::c).collect(),
        fds: vec![
            (null.as_fd(), host::porter::Reach::NotADirectory),
            (writer.as_fd(), host::porter::Reach::NotADirectory),
            (null.as_fd(), host::porter::Reach::NotADirectory),
            (input.root.as_fd(), host::porter::Reach::Write),
        ],
    };
    let process = host::porter::start(&spec, &groups.porter).unwrap();
    drop(writer);
    assert!(wait_readable(&process.pidfd, 10_000).unwrap());
    let code = host::reap(&process).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::fs::File::from(reader), &mut text).unwrap();
    groups.remove();
    assert_eq!(groups.left(), 0);
    assert!(text.starts_with("filled\n"), "{text:?} {code:?}");
    assert!(!text.contains("REACHED") && !text.contains("EXECUTED"), "{text}");
    drop(secret);
    let path = format!("/proc/self/fd/{}/file", input.root.as_raw_fd());
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path).unwrap());
    assert_eq!(owner, ids.inner());
}
