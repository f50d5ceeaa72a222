//! Pickles that only a policy can accept: exact pairs off the start list, legacy torch, joblib. And what none can.

use strongroom_inspect::{Report, Risk, Verdict};

use crate::support::{cat, inspect, loads, refused, short_text};

const POLYGLOT: &str = "SR-INS-0003";
const LIMIT: &str = "SR-INS-0005";
const GLOBAL: &str = "SR-INS-0010";
const CALL: &str = "SR-INS-0012";
const ARGUMENTS: &str = "SR-INS-0013";
const BUILD: &str = "SR-INS-0014";
const MUTATE: &str = "SR-INS-0015";
const PERSISTENT: &str = "SR-INS-0017";
const UNHASHABLE: &str = "SR-INS-0027";
const CODE: &str = "SR-INS-0201";
const LAYOUT: &str = "SR-INS-0203";
const ARRAY: &str = "SR-INS-0205";

/// The file needs a policy, for these risks and pairs exactly.
fn risky(what: &str, name: &str, bytes: &[u8], risks: &[Risk], pairs: &[&str]) -> Report {
    let report = inspect(name, bytes);
    assert_eq!(report.verdict, Verdict::LoadWithPolicy, "{what}: {report:?}");
    assert_eq!(report.risks().collect::<Vec<_>>(), risks, "{what}");
    let found: Vec<String> = report.globals().map(|(module, name)| format!("{module}.{name}")).collect();
    assert_eq!(found, pairs, "{what}");
    report
}

/// `module.name` by STACK_GLOBAL.
fn global(module: &str, name: &str) -> Vec<u8> {
    cat(&[&short_text(module), &short_text(name), b"\x93"])
}

/// An instance as protocol 2 and later remake it, with this state.
fn instance(module: &str, name: &str, state: &[u8]) -> Vec<u8> {
    cat(&[&global(module, name), b")\x81", state, b"b"])
}

fn file(body: &[u8]) -> Vec<u8> {
    cat(&[b"\x80\x04", body, b"."])
}

const PICKLE: &[Risk] = &[Risk::PickleGlobal];

#[test]
fn instances_of_classes_need_a_policy_that_lists_them() {
    let own = file(&instance("mine.models", "Net", b"}\x8c\x01aK\x01s"));
    risky("own class", "m.pkl", &own, PICKLE, &["mine.models.Net"]);
    risky("by content", "", &own, PICKLE, &["mine.models.Net"]);
    let namespace = file(&instance("argparse", "Namespace", b"}\x8c\x02lrG\x3f\xf0\0\0\0\0\0\0s"));
    risky("namespace", "m.pkl", &namespace, PICKLE, &["argparse.Namespace"]);
    let twice = file(&cat(&[b"(", &own[2..own.len() - 1], &namespace[2..namespace.len() - 1], b"l"]));
    risky("two pairs", "m.pkl", &twice, PICKLE, &["argparse.Namespace", "mine.models.Net"]);
    risky("only named", "m.pkl", b"cmine\nNet\n.", PICKLE, &["mine.Net"]);
    risky(
        "dict subclass",
        "m.pkl",
        &file(&cat(&[&global("mine", "Box"), b")\x81K\x01K\x02s"])),
        PICKLE,
        &["mine.Box"],
    );
    risky(
        "list subclass",
        "m.pkl",
        &file(&cat(&[&global("mine", "Row"), b")\x81K\x01a"])),
        PICKLE,
        &["mine.Row"],
    );
    let old = b"ccopy_reg\n_reconstructor\n(cmine\nNet\nc__builtin__\nobject\nNtR(dS'a'\nI1\nsb.";
    risky("protocol 0", "m.pkl", old, PICKLE, &["mine.Net"]);
    let tree = file(&cat(&[&global("sklearn.tree._tree", "Tree"), b"K\x04]K\x01\x87R"]));
    risky("called by its library", "m.pkl", &tree, PICKLE, &["sklearn.tree._tree.Tree"]);
    let objects = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\nU\x02O8\x89\x88\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89](U\x01aNetb.";
    risky("array of objects", "m.pkl", objects, PICKLE, &["numpy.object_"]);
}

/// The whole point: no policy can make these load.
#[test]
fn what_no_policy_can_accept() {
    let names: &[(&str, &str)] = &[
        ("numpy.f2py.crackfortran", "getlincoef"),
        ("pandas.core.computation.eval", "eval"),
        ("torch._dynamo.guards", "GuardBuilder"),
        ("torch.utils.bottleneck.__main__", "run_cprofile"),
        ("sklearn.utils._testing", "check_call"),
        ("joblib.numpy_pickle", "load"),
        ("idlelib.pyshell", "ModifiedInterpreter"),
        ("lib2to3.pgen2.grammar", "Grammar"),
        ("cProfile", "run"),
        ("timeit", "timeit"),
        ("doctest", "debug_script"),
        ("ensurepip", "_run_pip"),
        ("logging.config", "_resolve"),
        ("_io", "FileIO"),
        ("io", "open"),
        ("codecs", "open"),
        ("tempfile", "mktemp"),
        ("numba.pycc", "main"),
        ("distutils.file_util", "write_file"),
        ("IPython.utils.process", "system"),
    ];
    for (module, name) in names {
        refused(name, "m.pkl", &file(&cat(&[&global(module, name), b"\x8c\x02id\x85R"])), GLOBAL);
        refused(name, "m.pkl", &file(&instance(module, name, b"}")), GLOBAL);
        refused(name, "m.pkl", format!("c{module}\n{name}\n.").as_bytes(), GLOBAL);
        refused(name, "m.pkl", format!("(S'id'\ni{module}\n{name}\n.").as_bytes(), GLOBAL);
    }
    let called: &[(&str, Vec<u8>, &str)] = &[
        ("function of an own module", cat(&[&global("mine", "run"), b"\x8c\x02id\x85R"]), GLOBAL),
        ("class of an own module called", cat(&[&global("mine", "Net"), b")R"]), GLOBAL),
        ("catalogue's class called", cat(&[&global("argparse", "Namespace"), b")R"]), GLOBAL),
        ("obj of an own class", cat(&[b"(", &global("mine", "Net"), b"K\x01o"]), CALL),
        ("build on a class", cat(&[&global("mine", "Net"), b"}b"]), BUILD),
        ("setitem on a class", cat(&[&global("mine", "Net"), b"K\x01K\x02s"]), MUTATE),
        ("append to a class", cat(&[&global("mine", "Net"), b"K\x01a"]), MUTATE),
        ("class of an instance", instance("mine", "Net", b"N}\x8c\x09__class__K\x01s\x86"), BUILD),
        ("own instance as key", cat(&[b"}", &instance("mine", "Net", b"}"), b"Ns"]), UNHASHABLE),
        (
            "hostile in its state",
            instance("mine", "Net", &cat(&[b"}\x8c\x01a", &global("os", "system"), b"s"])),
            GLOBAL,
        ),
        (
            "argument is no data",
            cat(&[&global("sklearn.tree._tree", "Tree"), &global("os", "system"), b"\x85R"]),
            GLOBAL,
        ),
        ("special name", global("mine", "__import__"), GLOBAL),
        ("module as name", global("mine", "os"), GLOBAL),
        (
            "reconstructor with a base",
            cat(&[
                &global("copyreg", "_reconstructor"),
                &global("mine", "Net"),
                &global("builtins", "list"),
                b"]\x87R",
            ]),
            GLOBAL,
        ),
        (
            "defaultdict of a class",
            cat(&[&global("collections", "defaultdict"), &global("mine", "Net"), b"\x85R"]),
            ARGUMENTS,
        ),
    ];
    for (what, body, code) in called {
        refused(what, "m.pkl", &file(body), code);
    }
}

#[test]
fn byte_code_is_named() {
    for (module, name) in [
        ("dill._dill", "_create_code"),
        ("dill._dill", "_create_function"),
        ("dill", "loads"),
        ("types", "CodeType"),
        ("types", "FunctionType"),
        ("cloudpickle.cloudpickle", "_make_function"),
        ("cloudpickle.cloudpickle", "_builtin_type"),
        ("cloudpickle", "loads"),
        ("marshal", "loads"),
        ("mine.vendor", "_make_function"),
    ] {
        let bytes = file(&cat(&[&global(module, name), b"C\x01a\x85R"]));
        if module == "mine.vendor" {
            refused(name, "m.pkl", &bytes, GLOBAL);
        } else {
            refused(name, "m.pkl", &bytes, CODE);
        }
    }
}

#[test]
fn values_of_the_standard_library() {
    let good: &[(&str, &[u8])] = &[
        ("defaultdict", b"ccollections\ndefaultdict\nc__builtin__\nlist\n\x85RU\x01aK\x01s"),
        ("Counter", b"ccollections\nCounter\n}U\x01aK\x01s\x85R"),
        ("deque", b"ccollections\ndeque\n)K\x03\x86RK\x01a"),
        ("path", b"cpathlib\nPosixPath\n(U\x01/U\x01aU\x01btR"),
        ("date as key", b"}cdatetime\ndate\nc_codecs\nencode\nX\x05\0\0\0\x07\xc3\xa4\x01\x01X\x06\0\0\0latin1\x86R\x85RK\x01s"),
        ("timedelta", b"cdatetime\ntimedelta\nK\x01K\x02K\x03\x87R"),
        ("decimal", b"cdecimal\nDecimal\nU\x041e-3\x85R"),
        ("range", b"c__builtin__\nxrange\nK\0K\x03K\x01\x87R"),
        ("uuid", b"cuuid\nUUID\n)\x81}U\x03intK\x07sb"),
        ("device", b"ctorch\ndevice\nU\x04cudaK\0\x86R"),
    ];
    for (what, body) in good {
        loads(what, "m.pkl", &cat(&[b"\x80\x02", body, b"."]));
    }
    let bad: &[(&str, &[u8], &str)] = &[
        ("fraction of an exponent", b"cfractions\nFraction\nU\x09", "SR-INS-0021"),
        ("huge fraction", b"cfractions\nFraction\nU\x0b1e999999999\x85R", ARGUMENTS),
        ("decimal of words", b"cdecimal\nDecimal\nU\x05hello\x85R", ARGUMENTS),
        ("path of a number", b"cpathlib\nPosixPath\nK\x01\x85R", ARGUMENTS),
        ("date of other bytes", b"cdatetime\ndate\nU\x02ab\x85R", ARGUMENTS),
        ("datetime of numbers", b"cdatetime\ndatetime\nK\x01K\x01K\x01\x87R", ARGUMENTS),
        ("uuid called", b"cuuid\nUUID\nU\x01a\x85R", ARGUMENTS),
        ("uuid with attributes", b"cuuid\nUUID\n)\x81}U\x03int]sb", BUILD),
        ("uuid twice", b"cuuid\nUUID\n)\x81}b}b", BUILD),
        ("range of a text", b"c__builtin__\nxrange\nU\x01a\x85R", ARGUMENTS),
        ("builtin type called", b"c__builtin__\nlist\n)R", CALL),
        ("deque of an object", b"ccollections\ndeque\nccollections\nOrderedDict\n)R\x85R", ARGUMENTS),
    ];
    for (what, body, code) in bad {
        refused(what, "m.pkl", &cat(&[b"\x80\x02", body, b"."]), code);
    }
}

/// The five streams and one storage of two floats; the parts can be replaced.
fn legacy(class: &[u8], system: &[u8], keys: &[u8], data: &[u8]) -> Vec<u8> {
    cat(&[
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
        b"\x80\x02M\xe9\x03.",
        system,
        b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storage",
        class,
        b"U\x017U\x03cpuK\x02NtQK\0K\x02\x85K\x01\x85\x89ccollections\nOrderedDict\n)RtRs.",
        keys,
        data,
    ])
}

pub(crate) fn legacy_file() -> Vec<u8> {
    legacy(CLASS, SYSTEM, KEYS, DATA)
}

pub(crate) fn joblib_file() -> Vec<u8> {
    wrapped(2, b"f4", &cat(&[b"\x02\xff\xff", &[0; 8]]))
}

const CLASS: &[u8] = b"ctorch\nFloatStorage\n";
const SYSTEM: &[u8] = b"\x80\x02}U\x0dlittle_endian\x88s.";
const KEYS: &[u8] = b"\x80\x02]U\x017a.";
const DATA: &[u8] = b"\x02\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40";

#[test]
fn legacy_torch_is_accounted_for() {
    let good = legacy(CLASS, SYSTEM, KEYS, DATA);
    let report = risky("legacy", "m.pt", &good, &[Risk::LegacyTorch], &[]);
    assert_eq!((report.tensors.len(), report.tensors[0].shape.as_slice()), (1, &[2][..]));
    for len in 1..good.len() {
        assert_eq!(inspect("m.pt", &good[..len]).verdict, Verdict::Refuse, "cut to {len}");
    }
    let bad: &[(&str, Vec<u8>, &str)] = &[
        ("trailing bytes", cat(&[&good, b"\0"]), LAYOUT),
        ("another pickle behind", cat(&[&good, b"\x80\x02N."]), LAYOUT),
        ("big-endian", legacy(CLASS, b"\x80\x02}U\x0dlittle_endian\x89s.", KEYS, DATA), LAYOUT),
        ("another count", legacy(CLASS, SYSTEM, KEYS, &cat(&[b"\x03", &DATA[1..]])), LAYOUT),
        ("huge count", legacy(CLASS, SYSTEM, KEYS, &cat(&[&[0xff; 8], &DATA[8..]])), LAYOUT),
        ("short data", legacy(CLASS, SYSTEM, KEYS, &DATA[..15]), LAYOUT),
        ("unknown key", legacy(CLASS, SYSTEM, b"\x80\x02]U\x018a.", DATA), LAYOUT),
        ("key twice", legacy(CLASS, SYSTEM, b"\x80\x02](U\x017U\x017e.", &cat(&[DATA, DATA])), LAYOUT),
        ("no keys", legacy(CLASS, SYSTEM, b"\x80\x02].", b""), LAYOUT),
        ("key is a number", legacy(CLASS, SYSTEM, b"\x80\x02]K\x07a.", DATA), LAYOUT),
        ("call in the system", legacy(CLASS, b"\x80\x02cos\nsystem\nU\x02id\x85R.", KEYS, DATA), GLOBAL),
        ("call in the keys", legacy(CLASS, SYSTEM, b"\x80\x02cos\nsystem\nU\x02id\x85R.", DATA), GLOBAL),
        ("storage of another class", legacy(b"cos\nsystem\n", SYSTEM, KEYS, DATA), GLOBAL),
        (
            "storage in the keys",
            legacy(
                CLASS,
                SYSTEM,
                b"\x80\x02(U\x07storagectorch\nFloatStorage\nU\x017U\x03cpuK\x02NtQ.",
                DATA,
            ),
            PERSISTENT,
        ),
    ];
    for (what, bytes, code) in bad {
        refused(what, "m.pt", bytes, code);
    }
}

/// A wrapper of joblib for `count` floats, and what stands behind its state.
fn wrapped(count: u8, code: &[u8], behind: &[u8]) -> Vec<u8> {
    aligned(count, code, b"K\x10", behind)
}

fn aligned(count: u8, code: &[u8], alignment: &[u8], behind: &[u8]) -> Vec<u8> {
    let state: &[u8] = if code == b"O8" {
        b"(K\x03\x8c\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
    } else {
        b"(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    };
    let dtype = cat(&[
        &global("numpy", "dtype"),
        &short_text(std::str::from_utf8(code).unwrap()),
        b"\x89\x88\x87R",
        state,
    ]);
    let shape = [b'K', count, 0x85];
    let body = cat(&[
        &short_text("subclass"),
        &global("numpy", "ndarray"),
        &short_text("shape"),
        &shape,
        &short_text("order"),
        &short_text("C"),
        &short_text("dtype"),
        &dtype,
        &short_text("allow_mmap"),
        b"\x88",
        &short_text("numpy_array_alignment_bytes"),
        alignment,
    ]);
    file(&cat(&[
        b"}\x8c\x01w",
        &global("joblib.numpy_pickle", "NumpyArrayWrapper"),
        b")\x81}(",
        &body,
        b"ub",
        behind,
        b"s",
    ]))
}

#[test]
fn joblib_arrays_are_read_as_joblib_reads_them() {
    let both = &[Risk::PickleGlobal, Risk::Joblib];
    let wrapper = "joblib.numpy_pickle.NumpyArrayWrapper";
    let floats = cat(&[b"\x02\xff\xff", &[0; 8]]);
    let good = wrapped(2, b"f4", &floats);
    risky("array", "m.joblib", &good, both, &[wrapper]);
    let objects = cat(&[b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01K\x01\x85cnumpy\ndtype\nU\x02O8\x89\x88\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb\x89]U\x01aatb."]);
    risky("array of objects", "m.joblib", &wrapped(1, b"O8", &objects), both, &[wrapper, "numpy.object_"]);
    for len in 1..good.len() {
        assert_eq!(inspect("m.joblib", &good[..len]).verdict, Verdict::Refuse, "cut to {len}");
    }
    let hidden = b"cos\nsystem\n(S'true'\ntR..";
    let bad: &[(&str, Vec<u8>, &str)] = &[
        ("too little data", wrapped(200, b"f4", &floats), "SR-INS-0021"),
        ("padding with content", wrapped(2, b"f4", &cat(&[b"\x02\xffx", &[0; 8]])), ARRAY),
        ("call in an array of objects", wrapped(1, b"O8", b"\x80\x02cos\nsystem\nU\x02id\x85R."), GLOBAL),
        ("broken array of objects", wrapped(1, b"O8", b"\x80\x02cos\nsystem\nU\x02id\x85R"), GLOBAL),
        ("no array of objects", wrapped(1, b"O8", b"\x80\x02\xff"), ARRAY),
        ("call behind the array", wrapped(2, b"f4", &cat(&[&floats, b"cos\nsystem\n(S'id'\ntR0"])), GLOBAL),
        ("trailing bytes", cat(&[&good, b"\xff"]), "SR-INS-0022"),
        ("huge shape", wrapped(255, b"f8", b"\0"), "SR-INS-0021"),
        ("opcodes in the array", aligned(3, b"f8", b"N", hidden), POLYGLOT),
    ];
    for (what, bytes, code) in bad {
        refused(what, "m.joblib", bytes, code);
    }
}

#[test]
fn pairs_are_bounded() {
    let many: Vec<u8> = (0..1_100).flat_map(|at| format!("cmine\nC{at}\n0").into_bytes()).collect();
    let hidden: Vec<u8> = (0..200).flat_map(|at| format!("cmine\nC{at}\n0").into_bytes()).collect();
    refused("call behind many risks", "m.pkl", &cat(&[&hidden, b"cos\nsystem\n(S'id'\ntR."]), GLOBAL);
    refused("many pairs", "m.pkl", &cat(&[&many, b"N."]), LIMIT);
}
