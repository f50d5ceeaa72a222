//! Hostile pickles, bare and in a torch container.

use crate::support::{Torch, cat, entry, refused, short_text, zip};

const GLOBAL: &str = "SR-INS-0010";
const DOTTED: &str = "SR-INS-0011";
const CALL: &str = "SR-INS-0012";
const ARGUMENTS: &str = "SR-INS-0013";
const BUILD: &str = "SR-INS-0014";
const MUTATE: &str = "SR-INS-0015";
const EXT: &str = "SR-INS-0016";
const PERSISTENT: &str = "SR-INS-0017";
const BUFFER: &str = "SR-INS-0018";
const MEMO: &str = "SR-INS-0019";
const STACK: &str = "SR-INS-0020";
const STREAM: &str = "SR-INS-0021";
const TRAILING: &str = "SR-INS-0022";
const NESTED: &str = "SR-INS-0023";
const COMPUTED: &str = "SR-INS-0024";
const SECOND: &str = "SR-INS-0025";
const UNHASHABLE: &str = "SR-INS-0027";
const LIMIT: &str = "SR-INS-0005";

fn all(code: &str, samples: &[(&str, &[u8])]) {
    for (what, bytes) in samples {
        refused(what, "model.pkl", bytes, code);
    }
}

#[test]
fn globals_that_are_not_listed() {
    let names: &[(&str, &str)] = &[
        ("os", "system"),
        ("posix", "system"),
        ("nt", "system"),
        ("subprocess", "Popen"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("builtins", "print"),
        ("copyreg", "_reconstructor"),
        ("pip", "main"),
        ("pkgutil", "resolve_name"),
        ("_ctypes", "dlopen"),
        ("ctypes", "CDLL"),
        ("importlib", "import_module"),
        ("runpy", "run_path"),
        ("webbrowser", "open"),
        ("torch.storage", "_load_from_bytes"),
        ("torch", "load"),
        ("torch.jit", "load"),
        ("torch.hub", "load"),
        ("torch._utils", "_rebuild_tensor"),
        ("torch._utils", "_rebuild_wrapper_subclass"),
        ("torch.utils._config_module", "load_config"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy.core.multiarray", "fromfile"),
        ("pickle", "loads"),
        ("_pickle", "loads"),
        ("joblib", "load"),
        ("collections", "ordereddict"),
        ("Collections", "OrderedDict"),
        ("collections ", "OrderedDict"),
        ("torch._utils_", "_rebuild_tensor_v2"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("types", "CodeType"),
        ("asyncio.unix_events", "_UnixSubprocessTransport"),
        ("code", "InteractiveInterpreter"),
        ("sys", "modules"),
    ];
    for (module, name) in names {
        let line = format!("c{module}\n{name}\n(S'id'\ntR.");
        refused(&line, "model.pkl", line.as_bytes(), GLOBAL);
        let mut named = vec![0x80, 4];
        named.extend(short_text(module));
        named.extend(short_text(name));
        named.extend_from_slice(b"\x93\x8c\x02id\x85R.");
        refused(&line, "model.pkl", &named, GLOBAL);
        refused(&line, "", &named, GLOBAL);
    }
}

#[test]
fn every_way_to_name_and_call() {
    all(
        GLOBAL,
        &[
            ("python 2 name", b"\x80\x02c__builtin__\neval\nU\x011\x85R."),
            ("inst", b"(S'id'\nios\nsystem\n."),
            ("obj", b"(cos\nsystem\nS'id'\no."),
            ("newobj", b"\x80\x02cos\nsystem\nU\x02id\x85\x81."),
            ("newobj_ex", b"\x80\x04cos\nsystem\n\x8c\x02id\x85}\x92."),
            ("popped result", b"cos\nsystem\n(S'id'\ntR0N."),
            ("pop_mark", b"(cos\nsystem\n(S'id'\ntR1N."),
            ("memo indirection", b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94h\x02\x8c\x02id\x85R."),
            ("memo names", b"\x80\x04\x8c\x06systemq\x050\x8c\x02osh\x05\x93\x8c\x02id\x85R."),
            ("escaped unicode name", b"\x80\x02V\\u006fs\nVsyste\\u006d\n\x93(S'id'\ntR."),
            ("duplicated callable", b"cos\nsystem\n2(S'id'\ntR0N0."),
            ("second stream", b"\x80\x04N.\x80\x04cos\nsystem\n\x8c\x02id\x85R."),
            ("stream breaks after the call", b"cos\nsystem\n(S'id'\ntR\xff"),
            ("stream ends after the call", b"cos\nsystem\n(S'id'\ntR"),
            ("raises after the call", b"cos\nsystem\n(S'id'\ntR0g99\n."),
            ("stack underflow after the call", b"cos\nsystem\n(S'id'\ntR000."),
            ("build on foreign object", b"cos\nFoo\n)R}S'x'\nI1\nsb."),
            ("only referred to", b"cos\nsystem\n."),
        ],
    );
    all(
        CALL,
        &[
            ("inst of a listed class", b"(icollections\nOrderedDict\n."),
            ("obj of a listed class", b"(ccollections\nOrderedDict\no."),
            ("newobj of a listed class", b"\x80\x02ccollections\nOrderedDict\n)\x81."),
            ("newobj_ex of a listed class", b"\x80\x04ccollections\nOrderedDict\n)}\x92."),
            ("calls a text", b"S'x'\n)R."),
            ("calls an object", b"ccollections\nOrderedDict\n)R)R."),
            ("calls a storage class", b"ctorch\nFloatStorage\n(I9999999999\ntR."),
            ("calls a dtype", b"ctorch\nfloat32\n)R."),
            ("calls ndarray", b"cnumpy\nndarray\n((I4\ntS'O'\ntR."),
        ],
    );
    all(
        DOTTED,
        &[
            ("dotted name", b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93)R."),
            ("dotted global", b"ccollections\nOrderedDict.fromkeys\n)R."),
            ("dotted in a listed module", b"\x80\x04\x8c\x05torch\x8c\x0dos.path.exist\x93)R."),
            ("dotted inst", b"(icollections\nabc.Mapping\n."),
        ],
    );
    all(
        COMPUTED,
        &[
            ("operand is a number", b"\x80\x04K\x01\x8c\x06system\x93."),
            ("operand is bytes", b"\x80\x04C\x02osC\x06system\x93."),
            (
                "operand is a call",
                b"\x80\x04c_codecs\nencode\n\x8c\x02os\x8c\x06latin1\x86R\x8c\x06system\x93.",
            ),
            ("operand depends on the encoding", b"\x80\x04U\x02\xff\xfe\x8c\x06system\x93."),
        ],
    );
}

#[test]
fn listed_globals_with_other_arguments() {
    all(
        ARGUMENTS,
        &[
            ("OrderedDict of something", b"ccollections\nOrderedDict\n((lp0\ntR."),
            ("encode to hex", b"c_codecs\nencode\n(Vab\nVhex\ntR."),
            ("encode to rot13", b"c_codecs\nencode\n(Vab\nVrot13\ntR."),
            ("encode beyond latin1", b"c_codecs\nencode\n(V\\u20ac\nVlatin1\ntR."),
            ("bytearray of a count", b"\x80\x02c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R."),
            ("set of objects", b"\x80\x02c__builtin__\nset\n]ccollections\nOrderedDict\n)Ra\x85R."),
            ("complex of texts", b"\x80\x02c__builtin__\ncomplex\nU\x011U\x011\x86R."),
            ("object dtype without a copy", b"cnumpy\ndtype\n(S'O8'\nI00\nI00\ntR."),
            ("dtype without a copy", b"cnumpy\ndtype\n(S'f4'\nI00\nI00\ntR."),
            ("unknown dtype", b"cnumpy\ndtype\n(S'Q8'\nI00\nI01\ntR."),
            (
                "_reconstruct of another class",
                b"cnumpy.core.multiarray\n_reconstruct\n(ccollections\nOrderedDict\n(I0\ntS'b'\ntR.",
            ),
            (
                "_reconstruct of a large array",
                b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I999999999\ntS'b'\ntR.",
            ),
            (
                "scalar of an object",
                b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\nI00\nI01\ntRS'x'\ntR.",
            ),
            ("size of texts", b"ctorch\nSize\n((S'x'\nttR."),
            ("negative size", b"ctorch\nSize\n((I-1\nttR."),
        ],
    );
    let dtype: &[u8] = b"cnumpy\ndtype\n(S'f4'\nI00\nI01\ntR";
    let array: &[u8] = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR";
    let state: &[u8] = b"(I3\nS'<'\nNNNI-1\nI-1\nI0\ntb";
    let samples: &[(&str, Vec<u8>)] = &[
        ("OrderedDict attributes", b"ccollections\nOrderedDict\n)R}S'items'\nI1\nsb.".to_vec()),
        ("OrderedDict state tuple", b"ccollections\nOrderedDict\n)R(N}tb.".to_vec()),
        ("dict has no state", b"}}b.".to_vec()),
        ("dtype of huge items", cat(&[dtype, b"(I3\nS'<'\nNNNI1000000\nI1\nI0\ntb."])),
        ("dtype with object flags", cat(&[dtype, b"(I3\nS'|'\nNNNI-1\nI-1\nI63\ntb."])),
        ("dtype with fields", cat(&[dtype, b"(I3\nS'|'\nN(S'a'\nt}I-1\nI-1\nI0\ntb."])),
        ("dtype twice", cat(&[dtype, state, state, b"."])),
        ("array of a list", cat(&[array, b"(I1\n(I1\nt", dtype, b"I00\n(lp0\nS'x'\natb."])),
        (
            "array longer than its data",
            cat(&[b"\x80\x03", array, b"(I1\n(I9\nt", dtype, b"I00\nC\x04abcdtb."]),
        ),
        (
            "array twice",
            cat(&[
                b"\x80\x03",
                array,
                b"(I1\n(I1\nt",
                dtype,
                b"I00\nC\x04abcdtb(I1\n(I1\nt",
                dtype,
                b"I00\nC\x04abcdtb.",
            ]),
        ),
        (
            "type changed after use",
            cat(&[b"\x80\x03(", array, b"(I1\n(I1\nt", dtype, b"q\x01I00\nC\x04abcdtbh\x01", state, b"l."]),
        ),
    ];
    for (what, bytes) in samples {
        refused(what, "model.pkl", bytes, BUILD);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of samples")]
fn machine_abuse() {
    all(
        EXT,
        &[
            ("ext1", b"\x80\x02\x82\x01."),
            ("ext2", b"\x80\x02\x83\x01\0."),
            ("ext4", b"\x80\x02\x84\x01\0\0\0."),
        ],
    );
    all(PERSISTENT, &[("bare persistent id", b"\x80\x02U\x01xQ."), ("textual persistent id", b"Pabc\n.")]);
    all(BUFFER, &[("next buffer", b"\x80\x05\x97."), ("read-only buffer", b"\x80\x05N\x98.")]);
    all(
        MEMO,
        &[
            ("missing entry", b"g1\n."),
            ("missing entry, binary", b"h\x07."),
            ("missing entry, long", b"j\x07\0\0\0."),
            ("object overwritten", b"ccollections\nOrderedDict\nq\x000Nq\0."),
            ("unknown overwritten", b"cos\nsystem\nq\x000Nq\0."),
            ("negative index", b"Np-1\n."),
        ],
    );
    all(
        MUTATE,
        &[
            ("append to an object", b"ccollections\nOrderedDict\n)RI1\na."),
            ("setitem on a list", b"]I1\nI2\ns."),
            ("additems on a list", b"\x80\x04](K\x01\x90."),
            ("append to a text", b"S'x'\nI1\na."),
            ("setitem on a tuple", b")I1\nI2\ns."),
        ],
    );
    all(
        UNHASHABLE,
        &[
            ("object as key", b"}ccollections\nOrderedDict\n)RI1\ns."),
            ("global as key", b"}ctorch\nfloat32\nI1\ns."),
            ("object in a set", b"\x80\x04\x8f(ccollections\nOrderedDict\n)R\x90."),
            ("object in a frozen set", b"\x80\x04(ccollections\nOrderedDict\n)R\x91."),
        ],
    );
    all(
        STACK,
        &[
            ("underflow", b"0."),
            ("below the mark", b"\x80\x02N(\x85."),
            ("no mark", b"Nt."),
            ("two values", b"NN."),
            ("no value", b"(1."),
            ("odd items", b"}(I1\nI2\nI3\nu."),
            ("stop under a mark", b"N(."),
        ],
    );
    all(
        STREAM,
        &[
            ("unknown opcode", b"\x80\x02\xfe."),
            ("late proto", b"\x80\x02N0\x80\x02N."),
            ("proto 6", b"\x80\x06N."),
            ("frame in a frame", b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x95\x01\0\0\0\0\0\0\0N."),
            ("frame beyond the file", b"\x80\x04\x95\xff\0\0\0\0\0\0\0N."),
            ("opcode crosses a frame", b"\x80\x04\x95\x02\0\0\0\0\0\0\0J\0\0\0\0."),
            ("stop within a frame", b"\x80\x04\x95\x03\0\0\0\0\0\0\0N.N"),
            ("BYTEARRAY8 of 1 TiB", b"\x80\x05\x96\0\0\0\0\0\x01\0\0."),
            ("BINBYTES8 of 2^63", b"\x80\x04\x8e\0\0\0\0\0\0\0\x80."),
            ("BINUNICODE8 of 2^64-1", b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xff."),
            ("negative BINSTRING", b"T\xff\xff\xff\xff."),
            ("negative LONG4", b"\x80\x02\x8b\xff\xff\xff\xff."),
            ("number with an underscore", b"I1_0\n."),
            ("number too long for its line", b"Ix\n."),
            ("text is not utf-8", b"X\x02\0\0\0\xff\xfe."),
            ("unquoted string", b"Sx\n."),
            ("no stop", b"\x80\x02N"),
        ],
    );
    all(TRAILING, &[("trailing bytes", b"\x80\x02N.\xff\xff"), ("trailing zero", b"\x80\x04N.\0")]);
    all(LIMIT, &[("LONG_BINPUT bomb", b"\x80\x02Nr\xff\xff\xff\xff."), ("PUT bomb", b"Np99999999999\n.")]);
    let digits = [b"I".to_vec(), vec![b'9'; 5_000], b"\n.".to_vec()].concat();
    refused("digit bomb", "model.pkl", &digits, STREAM);
    let streams = b"\x80\x02N.".repeat(65);
    refused("stream bomb", "model.pkl", &streams, LIMIT);
    let deep = [b"\x80\x02".to_vec(), vec![b'N'; (1 << 20) + 1], b".".to_vec()].concat();
    refused("stack bomb", "model.pkl", &deep, LIMIT);
}

/// Work that the memo multiplies is bounded, however short the file.
#[test]
fn work_is_bounded() {
    let long = 1_u32 << 20;
    let mut encode = [b"\x80\x02X", &long.to_le_bytes()[..], &vec![b'a'; 1 << 20]].concat();
    encode.extend_from_slice(b"q\x01c_codecs\nencode\nq\x02X\x06\0\0\0latin1q\x030");
    encode.extend(b"h\x02h\x01h\x03\x86R0".repeat(100));
    encode.extend_from_slice(b"00N.");
    let limits = strongroom_inspect::Limits { pickle_opcodes: 500_000, ..Default::default() };
    let report = strongroom_inspect::inspect_pickle(&encode, &limits);
    assert!(report.findings.iter().any(|finding| finding.code == LIMIT), "{report:?}");
    let mut keys = [b"\x80\x02X", &long.to_le_bytes()[..], &vec![b'a'; 1 << 20]].concat();
    keys.extend_from_slice(b"q\x010}");
    keys.extend(b"h\x01Ns".repeat(200_000));
    keys.push(b'.');
    crate::support::loads("one long key many times", "model.pkl", &keys);
    let mut args = b"\x80\x02(".to_vec();
    args.extend(b"]".repeat(100_000));
    args.extend_from_slice(b"tq\x010ccollections\nOrderedDict\nh\x01R.");
    refused("a call with many arguments", "model.pkl", &args, ARGUMENTS);
    let marks = [&b"\x80\x02"[..], &vec![b'('; (1 << 20) + 1]].concat();
    refused("mark bomb", "model.pkl", &marks, LIMIT);
}

fn wrap(inner: &[u8]) -> Vec<u8> {
    let len = u32::try_from(inner.len()).unwrap();
    [b"\x80\x03B", &len.to_le_bytes()[..], inner, b"."].concat()
}

#[test]
fn pickles_in_byte_strings() {
    let hostile: &[u8] = b"\x80\x04cos\nsystem\n\x8c\x02id\x85R.";
    let mut bytes = hostile.to_vec();
    for depth in 1..=3 {
        bytes = wrap(&bytes);
        refused(&format!("nested {depth}"), "model.pkl", &bytes, NESTED);
    }
    for _ in 0..4 {
        bytes = wrap(&bytes);
    }
    refused("nested too deeply", "model.pkl", &bytes, LIMIT);
    refused("nested, protocol 0", "model.pkl", &wrap(b"cos\nsystem\n(S'id'\ntR."), NESTED);
    refused("nested, broken after the call", "model.pkl", &wrap(b"cos\nsystem\n(S'id'\ntR"), NESTED);
    let array = [&b"\x80\x05\x96"[..], &21_u64.to_le_bytes(), b"cos\nsystem\n(S'id'\ntR.", b"."].concat();
    refused("in a byte array", "model.pkl", &array, NESTED);
    let latin = b"\x80\x02c_codecs\nencode\nX\x1a\0\0\0\xc2\x80\x04cos\nsystem\n\x8c\x02id\x85R.X\x06\0\0\0latin1\x86R.";
    refused("not utf-8 in text", "model.pkl", latin, STREAM);
    let latin = b"\x80\x02c_codecs\nencode\n(Vcos\\u000asystem\\u000a(S'id'\\u000atR.\nVlatin1\ntR.";
    refused("as latin-1 text", "model.pkl", latin, NESTED);
}

#[test]
fn torch_containers() {
    let file = |torch: Torch| torch.file();
    let with = |pickle: &[u8]| {
        let mut entries = Torch::default().entries();
        entries[0] = entry("m/data.pkl", pickle);
        zip(&entries)
    };
    let checks: Vec<(&str, Vec<u8>, &str)> = vec![
        ("call in data.pkl", with(b"\x80\x02cos\nsystem\nU\x02id\x85R."), GLOBAL),
        (
            "call after the tensors",
            file(Torch { tail: b"cos\nsystem\nU\x02id\x85R0", ..Torch::default() }),
            GLOBAL,
        ),
        ("second stream", with(&[Torch::default().pickle(), b"\x80\x02N.".to_vec()].concat()), SECOND),
        ("bytes after the stream", with(&[Torch::default().pickle(), b"\xff".to_vec()].concat()), TRAILING),
        ("key without a member", file(Torch { key: b"7", ..Torch::default() }), PERSISTENT),
        ("key with a path", file(Torch { key: b"../0", ..Torch::default() }), PERSISTENT),
        ("more elements than bytes", file(Torch { elements: 7, ..Torch::default() }), PERSISTENT),
        ("fewer elements than bytes", file(Torch { elements: 4, ..Torch::default() }), PERSISTENT),
        ("class is no storage", file(Torch { class: b"ctorch\nfloat32\n", ..Torch::default() }), PERSISTENT),
        ("class not listed", file(Torch { class: b"cbuiltins\ntype\n", ..Torch::default() }), GLOBAL),
        ("offset beyond the storage", file(Torch { offset: 1, ..Torch::default() }), ARGUMENTS),
        ("view beyond the storage", file(Torch { size: [3, 3], ..Torch::default() }), ARGUMENTS),
        ("stride beyond the storage", file(Torch { stride: [200, 1], ..Torch::default() }), ARGUMENTS),
        (
            "hooks with a callable",
            file(Torch {
                hooks: b"ccollections\nOrderedDict\n)Rq\x05K\x01ccollections\nOrderedDict\ns",
                ..Torch::default()
            }),
            ARGUMENTS,
        ),
        (
            "hooks filled afterwards",
            file(Torch {
                hooks: b"ccollections\nOrderedDict\n)Rq\x05",
                tail: b"h\x05K\x01K\x02s0",
                ..Torch::default()
            }),
            MUTATE,
        ),
        ("hooks are a dict", file(Torch { hooks: b"}", ..Torch::default() }), ARGUMENTS),
    ];
    for (what, bytes, code) in checks {
        refused(what, "model.pt", &bytes, code);
    }
}
