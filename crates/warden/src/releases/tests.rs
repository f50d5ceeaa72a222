use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;

use base::release::Program as Entry;
use ops::Blob;
use ops::release::ReleaseSignature;
use ring::signature::{Ed25519KeyPair, KeyPair};

use super::*;

const ASKED: Asked = Asked { connection: 1, correlation: 2 };

/// A node's directory, and people who sign.
struct Place {
    root: PathBuf,
    keys: Vec<Ed25519KeyPair>,
}

impl Drop for Place {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.root).unwrap();
    }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

impl Place {
    fn new(name: &str) -> Self {
        let root = std::env::temp_dir().join(format!("strongroom-releases-{name}-{}", std::process::id()));
        fs::create_dir(&root).unwrap();
        fs::create_dir(root.join("installed")).unwrap();
        for program in PROGRAMS {
            fs::write(root.join("installed").join(program), format!("installed {program}")).unwrap();
        }
        let key = |n| Ed25519KeyPair::from_seed_unchecked(&[n; 32]).unwrap();
        Self { root, keys: (1..=4).map(key).collect() }
    }

    /// The first three keys are trusted, and two must have signed.
    fn open(&self) -> Releases {
        let keys: Vec<String> =
            self.keys[..3].iter().map(|k| base::digest::hex(k.public_key().as_ref())).collect();
        let (state, installed) = (&self.root, self.root.join("installed"));
        let text = format!(
            "version = 1\nmode = \"production\"\nnode = \"n\"\nstate = {state:?}\nprograms = {installed:?}\n[users]\n\
             keeper = 1\ncontrol = 2\ngateway = 3\nrelay = 4\noperator = 0\n[gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n\
             [release]\nkeys = {keys:?}\nthreshold = 2\n"
        );
        Releases::open(&Config::parse("test", &text).unwrap(), true).unwrap()
    }

    fn contents(version: &str, program: &str) -> Vec<u8> {
        format!("{version} {program}").into_bytes()
    }

    fn manifest(of: &str, floor: &str) -> Manifest {
        let entry = |program: &str| {
            let bytes = Self::contents(of, program);
            Entry { bytes: u64::try_from(bytes.len()).unwrap(), digest: base::sha256(&bytes) }
        };
        Manifest { version: version(of), floor: version(floor), programs: PROGRAMS.map(entry) }
    }

    fn signed(&self, text: &str, by: &[usize]) -> SignedManifest {
        let sign = |n: &usize| ReleaseSignature {
            key: self.keys[*n].public_key().as_ref().try_into().unwrap(),
            signature: self.keys[*n].sign(text.as_bytes()).as_ref().try_into().unwrap(),
        };
        SignedManifest {
            manifest: Blob::new(text.as_bytes().to_vec()).unwrap(),
            signatures: List::clip(by.iter().map(sign).collect()),
        }
    }

    /// The files of a release, as control hands them over.
    fn files(&self, of: &str) -> Vec<OwnedFd> {
        PROGRAMS.iter().map(|program| self.file(&Self::contents(of, program))).collect()
    }

    fn file(&self, bytes: &[u8]) -> OwnedFd {
        fs::write(self.root.join("given"), bytes).unwrap();
        let file = File::open(self.root.join("given")).unwrap();
        fs::remove_file(self.root.join("given")).unwrap();
        file.into()
    }

    /// Puts a release where one lies that was copied: tests run on threads, from which nothing is forked.
    fn lay(&self, releases: &Releases, of: &str, floor: &str, by: &[usize]) {
        let text = Self::manifest(of, floor).to_string();
        let signed = self.signed(&text, by);
        let directory = releases.directory.join(of);
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(MANIFEST), &text).unwrap();
        let signatures: Vec<Signed> = signed.signatures.iter().map(|s| (s.key, s.signature)).collect();
        fs::write(directory.join(SIGNATURES), write_signatures(&signatures)).unwrap();
        for program in PROGRAMS {
            fs::write(directory.join(program), Self::contents(of, program)).unwrap();
        }
    }

    /// What lies in the directory of releases.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join("releases")).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, WardenError>, code: &str) {
    let error = result.unwrap_err();
    assert_eq!(base::Explain::code(&error), code, "{error}");
}

/// Which release the programs are of.
fn running(releases: &Releases) -> String {
    let digest = releases.programs().unwrap().keeper.digest();
    let of = |version: &str| base::sha256(&Place::contents(version, PROGRAMS[1])) == digest;
    let known = ["1.0.0", "1.1.0", "2.0.0"].into_iter().find(|version| of(version));
    let installed = base::sha256(format!("installed {}", PROGRAMS[1]).as_bytes()) == digest;
    known.unwrap_or(if installed { "installed" } else { "unknown" }).to_owned()
}

#[test]
fn what_is_not_signed_by_enough_is_refused_before_a_byte_is_copied() {
    let place = Place::new("unsigned");
    let mut releases = place.open();
    let text = Place::manifest("1.0.0", "0.0.0").to_string();
    let mut stage = |signed: &SignedManifest| releases.stage(signed, place.files("1.0.0"), ASKED);
    refused(stage(&place.signed(&text, &[])), "SR-REL-0003");
    refused(stage(&place.signed(&text, &[0])), "SR-REL-0003");
    refused(stage(&place.signed(&text, &[0, 3])), "SR-REL-0003");
    refused(stage(&place.signed(&text, &[0, 0])), "SR-REL-0004");
    let mut other = place.signed(&text, &[0, 1]);
    other.manifest = Blob::new(text.replace("1.0.0", "1.0.1").into_bytes()).unwrap();
    refused(stage(&other), "SR-REL-0002");
    // Well signed, and no manifest.
    refused(stage(&place.signed("strongroom release 1\n", &[0, 1])), "SR-REL-0001");
    refused(
        stage(&place.signed(&text.replace("strongroom-keeper", "../etc/passwd"), &[0, 1])),
        "SR-REL-0001",
    );
    let fewer: Vec<OwnedFd> = place.files("1.0.0").into_iter().take(3).collect();
    refused(releases.stage(&place.signed(&text, &[0, 1]), fewer, ASKED), "SR-REL-0001");
    assert_eq!(place.names(), [] as [&str; 0]);
}

#[test]
fn a_release_is_active_when_it_has_come_up_and_not_before() {
    let place = Place::new("activate");
    let mut releases = place.open();
    assert_eq!(running(&releases), "installed");
    place.lay(&releases, "1.0.0", "0.0.0", &[0, 1]);
    assert_eq!(running(&releases), "installed", "what is staged changes nothing");
    refused(releases.activate(version("9.9.9"), None), "SR-REL-0007");
    refused(releases.activate(version("1.0.0"), Some(WardenError::UnderWay(1))), "SR-WRD-0021");
    releases.activate(version("1.0.0"), None).unwrap();
    assert_eq!((running(&releases).as_str(), releases.pending()), ("1.0.0", Some(version("1.0.0"))));
    refused(releases.activate(version("1.0.0"), None), "SR-REL-0011");
    refused(releases.confirm(version("1.0.0"), true), "SR-WRD-0002");
    refused(releases.confirm(version("1.1.0"), false), "SR-WRD-0002");
    // The node is killed here: it starts from what there was before.
    let again = place.open();
    assert_eq!((running(&again).as_str(), again.state.returned), ("installed", Some(version("1.0.0"))));
    let mut releases = place.open();
    assert_eq!(releases.take_returned(), None, "told by the one that found it");
    releases.activate(version("1.0.0"), None).unwrap();
    releases.confirm(version("1.0.0"), false).unwrap();
    let again = place.open();
    assert_eq!((running(&again).as_str(), again.state.returned), ("1.0.0", None));
    refused(place.open().activate(version("1.0.0"), None), "SR-WRD-0002");
}

#[test]
fn nothing_goes_below_the_floor_of_what_was_active() {
    let place = Place::new("floor");
    let mut releases = place.open();
    refused(releases.go_back(None), "SR-REL-0010");
    for (of, floor) in [("1.0.0", "0.0.0"), ("1.1.0", "0.0.0"), ("2.0.0", "1.1.0")] {
        place.lay(&releases, of, floor, &[0, 2]);
    }
    for of in ["1.0.0", "1.1.0"] {
        releases.activate(version(of), None).unwrap();
        releases.confirm(version(of), false).unwrap();
    }
    releases.go_back(None).unwrap();
    assert_eq!(running(&place.open()), "1.0.0");
    releases.activate(version("1.1.0"), None).unwrap();
    releases.confirm(version("1.1.0"), false).unwrap();
    // One with a floor that does not come up raises nothing.
    releases.activate(version("2.0.0"), None).unwrap();
    releases.take_back(version("2.0.0"), "for a test").unwrap();
    assert_eq!((running(&releases).as_str(), releases.state.floor), ("1.1.0", Version::default()));
    releases.activate(version("2.0.0"), None).unwrap();
    releases.confirm(version("2.0.0"), false).unwrap();
    refused(releases.activate(version("1.0.0"), None), "SR-REL-0006");
    refused(place.open().activate(version("1.0.0"), None), "SR-REL-0006");
    // 1.1.0 is at the floor, and may be gone back to; what is installed is not.
    releases.go_back(None).unwrap();
    assert_eq!(running(&releases), "1.1.0");
    refused(releases.go_back(None), "SR-REL-0006");
    let text = Place::manifest("1.0.0", "0.0.0").to_string();
    refused(releases.stage(&place.signed(&text, &[0, 1]), Vec::new(), ASKED), "SR-REL-0006");
}

#[test]
fn what_lies_there_is_verified_each_time_that_it_is_taken() {
    let place = Place::new("changed");
    let mut releases = place.open();
    place.lay(&releases, "1.0.0", "0.0.0", &[0, 1]);
    place.lay(&releases, "1.1.0", "0.0.0", &[0]);
    let told =
        |releases: &Releases| releases.told().unwrap().staged.iter().map(|f| f.version).collect::<Vec<_>>();
    assert_eq!(told(&releases), [version("1.0.0")], "one that too few signed is none");
    refused(releases.activate(version("1.1.0"), None), "SR-REL-0003");
    let keeper = releases.directory.join("1.0.0").join(PROGRAMS[1]);
    fs::write(&keeper, "1.0.0 strongroom-keepes").unwrap();
    refused(releases.activate(version("1.0.0"), None), "SR-REL-0005");
    assert_eq!((releases.pending(), running(&releases).as_str()), (None, "installed"));
    fs::write(&keeper, Place::contents("1.0.0", PROGRAMS[1])).unwrap();
    releases.activate(version("1.0.0"), None).unwrap();
    releases.confirm(version("1.0.0"), false).unwrap();
    fs::write(&keeper, "x").unwrap();
    refused(place.open().programs(), "SR-REL-0005");
    fs::rename(releases.directory.join("1.1.0"), releases.directory.join("3.0.0")).unwrap();
    refused(releases.activate(version("3.0.0"), None), "SR-REL-0003");
}

#[test]
fn a_directory_that_others_write_or_a_damaged_state_stops_the_node() {
    let place = Place::new("damaged");
    let releases = place.open();
    for half in [STAGE, OLD] {
        fs::create_dir(releases.directory.join(half)).unwrap();
        fs::write(releases.directory.join(half).join("half"), "x").unwrap();
    }
    drop(place.open());
    assert_eq!(place.names(), [] as [&str; 0], "a copy that was not finished is removed");
    let config = |mode: &str, more: &str| {
        let (state, installed) = (&place.root, place.root.join("installed"));
        let text = format!(
            "version = 1\nmode = \"{mode}\"\nnode = \"n\"\nstate = {state:?}\nprograms = {installed:?}\n[users]\n\
             keeper = 1\ncontrol = 2\ngateway = 3\nrelay = 4\noperator = 0\n[gateway]\nlisten = \"127.0.0.1:0\"\n[jobs]\n{more}"
        );
        Config::parse("test", &text).unwrap()
    };
    let trusting = format!("[release]\nkeys = [\"{}\"]\nthreshold = 1\n", "ab".repeat(32));
    fs::write(releases.directory.join(STATE), b"\x01nothing").unwrap();
    assert!(Releases::open(&config("production", &trusting), true).is_err());
    fs::remove_file(releases.directory.join(STATE)).unwrap();
    fs::set_permissions(&releases.directory, Permissions::from_mode(0o777)).unwrap();
    assert!(Releases::open(&config("production", &trusting), true).is_err());
    fs::set_permissions(&releases.directory, Permissions::from_mode(0o755)).unwrap();
    for (mode, more, separated) in
        [("production", "", true), ("production", trusting.as_str(), false), ("dev", trusting.as_str(), true)]
    {
        let mut releases = Releases::open(&config(mode, more), separated).unwrap();
        refused(releases.activate(version("1.0.0"), None), "SR-REL-0009");
        refused(releases.go_back(None), "SR-REL-0009");
        let signed = place.signed("x", &[0]);
        refused(releases.stage(&signed, Vec::new(), ASKED), "SR-REL-0009");
        assert!(releases.told().unwrap().staged.is_empty());
    }
}
