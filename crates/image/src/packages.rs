//! Which packages a file system holds, from the lists that package managers keep in it. Read, never executed; what
//! the image says of itself is what is listed.

/// Who lists a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// `dpkg`: Debian and its relatives.
    Dpkg,
    /// `apk`: Alpine.
    Apk,
    /// Python's metadata directories (PEP 376).
    Python,
}

/// A package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Package {
    /// Who lists it.
    pub source: Source,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Where `dpkg` keeps its list.
pub const DPKG: &str = "var/lib/dpkg/status";
/// Where `apk` keeps its list.
pub const APK: &str = "lib/apk/db/installed";
/// The same where `/lib` is a link into `/usr`.
pub const APK_MERGED: &str = "usr/lib/apk/db/installed";

/// Beginning of the lists of images that keep one file for each package (distroless).
pub const DPKG_PARTS: &str = "var/lib/dpkg/status.d/";
/// Where a system names itself, in order (os-release(5)).
pub const OS_RELEASE: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];

/// What a system calls itself: `ID`, as package URLs have it, and its name for people.
pub fn os_release(text: &str) -> Option<(String, String)> {
    let value = |key: &str| {
        let raw = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?.trim();
        let plain = raw.trim_matches(['"', '\'']).to_owned();
        short(&plain).then_some(plain)
    };
    let id = value("ID")?;
    let good = id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b));
    good.then(|| (id.clone(), value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or(id)))
}

/// A file of [`DPKG_PARTS`]: one paragraph, without the state that the one list has.
pub fn dpkg_part(text: &str) -> Vec<Package> {
    paragraphs(text, |field| {
        Some(Package { source: Source::Dpkg, name: field("Package: ")?, version: field("Version: ")? })
    })
}

/// The installed packages of a `dpkg` status file (deb-control(5) paragraphs).
pub fn dpkg(status: &str) -> Vec<Package> {
    paragraphs(status, |field| {
        if !field("Status: ")?.ends_with(" installed") {
            return None;
        }
        Some(Package { source: Source::Dpkg, name: field("Package: ")?, version: field("Version: ")? })
    })
}

/// The packages of `apk`'s database of installed ones.
pub fn apk(installed: &str) -> Vec<Package> {
    paragraphs(installed, |field| {
        Some(Package { source: Source::Apk, name: field("P:")?, version: field("V:")? })
    })
}

fn paragraphs(text: &str, read: impl Fn(&dyn Fn(&str) -> Option<String>) -> Option<Package>) -> Vec<Package> {
    text.split("\n\n")
        .filter_map(|paragraph| {
            read(&|name| paragraph.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned))
        })
        .filter(|package| short(&package.name) && short(&package.version))
        .collect()
}

/// The package whose metadata directory a path is, as in `.../site-packages/torch-2.4.1.dist-info`.
pub fn python(path: &str) -> Option<Package> {
    let (parent, name) = path.rsplit_once('/')?;
    if !parent.ends_with("/site-packages") && !parent.ends_with("/dist-packages") {
        return None;
    }
    let stem = name.strip_suffix(".dist-info").or_else(|| name.strip_suffix(".egg-info"))?;
    let (name, rest) = stem.split_once('-')?;
    // `name-version-py3.11` is the older form.
    let version = rest.split_once("-py").map_or(rest, |(version, _)| version);
    let good = short(name) && short(version) && version.starts_with(|c: char| c.is_ascii_digit());
    good.then(|| Package {
        source: Source::Python,
        name: name.to_ascii_lowercase().replace('_', "-"),
        version: version.to_owned(),
    })
}

fn short(text: &str) -> bool {
    !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(packages: &[Package]) -> Vec<String> {
        packages.iter().map(|p| format!("{}={}", p.name, p.version)).collect()
    }

    #[test]
    fn only_installed_packages_are_listed() {
        let status = "Package: a\nStatus: install ok installed\nVersion: 1\n\nPackage: b\nStatus: deinstall ok config-files\nVersion: 2\n\nPackage: c\nStatus: install ok installed\nDescription: x\n Version: no\nVersion: 3\n";
        assert_eq!(shown(&dpkg(status)), ["a=1", "c=3"]);
        let installed = "C:Q1x\nP:musl\nV:1.2.5-r0\nA:x86_64\n\nP:busybox\nV:1.36.1-r2\n";
        assert_eq!(shown(&apk(installed)), ["musl=1.2.5-r0", "busybox=1.36.1-r2"]);
    }

    #[test]
    fn a_system_names_itself() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian\"\nID=debian\n";
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(os_release(text), pair("debian", "Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(os_release("ID='wolfi'\n"), pair("wolfi", "wolfi"));
        for bad in ["", "ID=", "ID=a b", "ID=../x", "VERSION_ID=1"] {
            assert_eq!(os_release(bad), None, "{bad}");
        }
    }

    #[test]
    fn metadata_directories_of_python_are_packages() {
        let of = |path: &str| python(path).map(|p| format!("{}={}", p.name, p.version));
        let site = "usr/local/lib/python3.12/site-packages";
        assert_eq!(of(&format!("{site}/torch-2.4.1.dist-info")).as_deref(), Some("torch=2.4.1"));
        assert_eq!(
            of(&format!("{site}/typing_extensions-4.1.dist-info")).as_deref(),
            Some("typing-extensions=4.1")
        );
        assert_eq!(
            of("usr/lib/python3/dist-packages/six-1.16.0-py3.egg-info").as_deref(),
            Some("six=1.16.0")
        );
        for path in [
            "torch-2.4.1.dist-info",
            "a/site-packages/torch",
            "a/site-packages/x-.dist-info",
            "a/b-1.dist-info",
        ] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
