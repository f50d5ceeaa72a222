//! Images: root file systems of jobs, pinned by digest. An import seals the archives as they come and has a porter
//! unpack them once, in its confined process, so that the tree that every later run must show is known.

use std::sync::{Arc, MutexGuard, TryLockError};

use api::Page;
use base::id::RunId;
use base::names::Name;
use base::{Digest, Timestamp};
use image::oci::{Blob, Compression, Config, Manifest};
use image::packages::{Package, Source};
use ops::event::{Event, EventKind, Outcome, Phase};
use ops::porter::{Compression as Wire, PackageSource, Request, Told};
use ops::warden::{InputKind, Limits, RunKind};
use store::PageRequest;
use store::records::{
    File, Image, ImageContents, ImageForm, ImageLayer, ImagePackage, ImagePackageSource, LayerCompression,
};
use vault::KeyScope;

use crate::Fail;
use crate::auth::{By, Principal};
use crate::clock::{now, random};
use crate::keygroups::{KeyRing, Use};
use crate::node::{Node, correlation, store_fail, time};
use crate::run::{FileRef, InputPlan, Purpose, Run, RunEvent, Unpacked, porter_refused};

/// The one file of a directory's import.
const DIRECTORY_ARCHIVE: &str = "rootfs.tar";
/// The manifest among the files of an image's import; blobs are found by their digest.
const MANIFEST: &str = "manifest.json";
/// Fewest digits of a digest that name an image: as many as lists show.
const PREFIX_MIN: usize = 12;
/// Most images of a tenant.
const IMAGES_MAX: u64 = 1000;
/// Memory of a survey beside the image: buffers, the list of its names.
const SURVEY_BYTES: u64 = 256 << 20;
/// Processes and threads of a survey.
const SURVEY_PIDS: u32 = 16;
/// Longest survey, all layers together: 60 GB at 0.2 GB/s.
const SURVEY_MS: u64 = 300_000;
/// Longest wait for the turn to survey.
const TURN_MS: u64 = 120_000;
/// How often the wait looks at the clock.
const TICK: std::time::Duration = std::time::Duration::from_millis(100);
/// Bytes of a page: each file, directory and link of a memory-backed mount takes up to one more than its content.
const PAGE: u64 = 4096;

/// Variables that an image sets, in order.
type Variables = Vec<(String, String)>;

/// The digest of an image, as people write it.
pub(crate) fn digest(text: &str) -> Result<Digest, Fail> {
    text.strip_prefix("sha256:").unwrap_or(text).parse().map_err(|_| {
        Fail::invalid(format!("`{}` is no digest: write 64 hex digits", crate::fail::printable(text)))
    })
}

fn made(digest: Digest) -> String {
    format!("image/{digest}")
}

/// The image that there is already is what this request came to.
fn again(node: &Node, principal: &Principal, known: Image) -> Result<Image, Fail> {
    if principal.repeat.is_some() {
        node.meta.transaction(|tx| principal.made(tx, &made(known.digest))).map_err(store_fail)?;
    }
    Ok(known)
}

/// Registers an image whose archives are sealed. The same digest again is the image that there is.
pub(crate) fn import(
    node: &Arc<Node>,
    principal: &Principal,
    tenant: &Name,
    name: &Name,
    form: ImageForm,
    pin: Digest,
    files: &[File],
) -> Result<api::Image, Fail> {
    let cor = correlation()?;
    let at = now().as_millis();
    let event = Event::new(EventKind::ImageImport, Phase::Intent, Outcome::Unknown, at, cor)
        .tenant(tenant.as_str())
        .by(principal)
        .asset("image", name.as_str(), Some(pin))
        .detail("form", form.as_str());
    let record = node.keeper.audited_with(
        event,
        || {
            let known = node.meta.read(|tx| tx.of(tenant).get::<Image>(&pin)).map_err(store_fail)?;
            if let Some(known) = known {
                return again(node, principal, known.record);
            }
            let count = node.meta.read(|tx| tx.of(tenant).count::<Image>()).map_err(store_fail)?;
            if count >= IMAGES_MAX {
                return Err(Fail::conflict(format!("this tenant has its {IMAGES_MAX} images")));
            }
            let actor = principal.actor();
            // One at a time: an image takes as much memory as it has bytes, and nobody knows them before.
            let _turn = turn(node)?;
            if let Ok(known) = find(node, tenant, &pin) {
                return again(node, principal, known);
            }
            let (layers, env) = match form {
                ImageForm::Directory => (directory(files)?, Vec::new()),
                ImageForm::Oci => oci(node, tenant, pin, files, &actor, cor)?,
            };
            let seen = survey(node, tenant, name, &layers, &actor, cor)?;
            if form == ImageForm::Directory && seen.tree != pin {
                return Err(Fail::refused(
                    "SR-CTL-0030",
                    format!("the directory has the digest sha256:{}, not sha256:{pin}", seen.tree),
                )
                .help(
                    "it was changed since its digest was taken; see it with `strongroom image digest PATH`",
                ));
            }
            let record = Image {
                tenant: tenant.clone(),
                digest: pin,
                form,
                name: name.clone(),
                tree: seen.tree,
                entries: seen.entries,
                bytes: seen.bytes,
                unpacking: seen.unpacking,
                layers,
                env,
                system: seen.system,
                packages: u32::try_from(seen.packages.len()).unwrap_or(u32::MAX),
                created_ms: at,
            };
            let contents = ImageContents { tenant: tenant.clone(), digest: pin, packages: seen.packages };
            node.meta
                .transaction(|tx| {
                    let rows = tx.of(tenant);
                    rows.insert(&record)?;
                    rows.insert(&contents)?;
                    principal.made(tx, &made(pin))
                })
                .map_err(store_fail)?;
            Ok(record)
        },
        |event, record| {
            let event =
                event.detail("tree", &record.tree.hex()).detail("entries", &record.entries.to_string());
            event.detail("bytes", &record.bytes.to_string())
        },
    )?;
    show(node, tenant, &record.digest.hex())
}

/// A directory comes as one archive.
fn directory(files: &[File]) -> Result<Vec<ImageLayer>, Fail> {
    match files {
        [file] if file.path == DIRECTORY_ARCHIVE => {
            Ok(vec![ImageLayer { size: file.size, digest: file.digest, compression: LayerCompression::None }])
        }
        _ => Err(Fail::invalid(format!("a directory is imported as one file `{DIRECTORY_ARCHIVE}`"))),
    }
}

/// Layers and variables of an OCI image whose manifest has the digest `pin`: every document is read from the sealed
/// store, and every blob must be the one that the manifest names.
fn oci(
    node: &Node,
    tenant: &Name,
    pin: Digest,
    files: &[File],
    actor: &str,
    cor: u128,
) -> Result<(Vec<ImageLayer>, Variables), Fail> {
    let mut ring = KeyRing::default();
    let mut read = |file: &File| -> Result<Vec<u8>, Fail> {
        if file.size > u64::try_from(image::limits::DOCUMENT_BYTES).unwrap_or(u64::MAX) {
            return Err(Fail::too_large(format!("`{}` is too long for a document", file.path)));
        }
        let scope = KeyScope::Tenant(tenant.clone());
        let purpose = format!("read {}", file.path);
        let why = Use { actor, purpose: &purpose, correlation: cor };
        let reader = node.reader(&scope, &file.digest, &mut ring, why)?;
        let mut bytes = Vec::new();
        reader.copy_to(&mut bytes).map_err(store_fail)?;
        Ok(bytes)
    };
    let manifest = files.iter().find(|file| file.path == MANIFEST);
    let manifest = manifest.ok_or_else(|| Fail::invalid(format!("an image has a file `{MANIFEST}`")))?;
    if manifest.digest != pin {
        return Err(Fail::refused(
            "SR-CTL-0030",
            format!("the manifest has the digest sha256:{}, not sha256:{pin}", manifest.digest),
        ));
    }
    let parsed = Manifest::parse(&read(manifest)?).map_err(|e| Fail::explained(422, &e))?;
    let find = |blob: &Blob| {
        let found = files.iter().find(|file| file.digest == blob.digest && file.size == blob.size);
        found.ok_or_else(|| {
            let what = format!(
                "the manifest names sha256:{} of {} bytes, which was not given",
                blob.digest, blob.size
            );
            Fail::refused("SR-CTL-0030", what).help("the image layout is damaged; pull the image again")
        })
    };
    let config = Config::parse(&read(find(&parsed.config)?)?).map_err(|e| Fail::explained(422, &e))?;
    let layers = parsed.layers.iter().map(|(blob, compression)| {
        find(blob).map(|file| ImageLayer {
            size: file.size,
            digest: file.digest,
            compression: match compression {
                Compression::None => LayerCompression::None,
                Compression::Gzip => LayerCompression::Gzip,
                Compression::Zstd => LayerCompression::Zstd,
            },
        })
    });
    Ok((layers.collect::<Result<_, Fail>>()?, config.env))
}

/// What a porter saw of an unpacked image.
#[derive(Debug)]
struct Seen {
    tree: Digest,
    entries: u32,
    bytes: u64,
    unpacking: (u32, u64),
    system: Option<(String, String)>,
    packages: Vec<ImagePackage>,
}

/// Waits for the turn to unpack an image; who waits too long is told.
fn turn(node: &Node) -> Result<MutexGuard<'_, ()>, Fail> {
    let since = now();
    loop {
        match node.surveys.try_lock() {
            Ok(turn) => return Ok(turn),
            Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) if now().millis_since(since) < TURN_MS => std::thread::sleep(TICK),
            Err(TryLockError::WouldBlock) => {
                return Err(Fail::unavailable(
                    "other images are being unpacked to be looked at",
                    format!("no turn within {} s", TURN_MS / 1000),
                )
                .help("import it again in a few minutes"));
            }
        }
    }
}

/// Bytes that an image may take while it is looked at: half of the machine's memory, and half of what is free now.
fn room(node: &Node) -> u64 {
    (node.facts.memory_bytes / 2).min(crate::hostfacts::free_memory_bytes() / 2).min(image::limits::BYTES)
}

/// Unpacks an image once and asks what it is.
fn survey(
    node: &Arc<Node>,
    tenant: &Name,
    name: &Name,
    layers: &[ImageLayer],
    actor: &str,
    correlation: u128,
) -> Result<Seen, Fail> {
    let room = room(node);
    let since = now();
    let unknown =
        Unpacked { tree: Digest::from_bytes([0; 32]), entries: image::limits::ENTRIES, bytes: room };
    let plan = InputPlan::image(tenant, layers, unknown);
    let limits = Limits {
        memory_bytes: SURVEY_BYTES,
        image_bytes: room,
        cpu_milli: node.facts.cpus.saturating_mul(1000),
        pids: SURVEY_PIDS,
        scratch_bytes: 0,
    };
    let purpose = Purpose {
        tenant: tenant.to_string(),
        actor: actor.to_owned(),
        what: format!("survey image {name}"),
        correlation,
    };
    let id = RunId::new(now(), random::<10>()?);
    let plans = std::slice::from_ref(&plan);
    let mut run = Run::start_porter(node, id, RunKind::Serving, limits, plans, purpose)?;
    run.must_end(since.plus_millis(SURVEY_MS));
    let unpacking = run.open_files(0, &plan)?;
    let seen = collect(&mut run, unpacking, since)?;
    run.destroy()?;
    Ok(seen)
}

fn collect(run: &mut Run, unpacking: (u32, u64), since: Timestamp) -> Result<Seen, Fail> {
    let mut system = None;
    let mut packages = Vec::new();
    let mut tree = None;
    run.tell(&Request::Survey { input: 0 }, None)?;
    loop {
        match run.next(TICK) {
            Some(RunEvent::Told(Told::Packages { packages: some })) => {
                packages.extend(some.iter().map(|package| ImagePackage {
                    source: match package.source {
                        PackageSource::Dpkg => ImagePackageSource::Dpkg,
                        PackageSource::Apk => ImagePackageSource::Apk,
                        PackageSource::Python => ImagePackageSource::Python,
                    },
                    name: package.name.to_string(),
                    version: package.version.to_string(),
                }));
                if packages.len() > image::limits::PACKAGES {
                    return Err(Fail::internal("a porter told more packages than it may", "flood"));
                }
            }
            Some(RunEvent::Told(Told::System { id, name })) => {
                system = Some((id.to_string(), name.to_string()));
            }
            Some(RunEvent::Told(Told::Tree { digest, entries, bytes })) => {
                tree = Some((digest, entries, bytes));
            }
            Some(RunEvent::Told(Told::Done { .. })) => {
                let said =
                    tree.ok_or_else(|| Fail::internal("a porter did not tell the tree", "protocol"))?;
                let (tree, entries, bytes) = said;
                return Ok(Seen { tree, entries, bytes, unpacking, system, packages });
            }
            Some(RunEvent::Told(Told::Refused { code, detail })) => {
                return Err(porter_refused(&code, &format!("the image was refused: {detail}")));
            }
            Some(RunEvent::PorterGone) => {
                return Err(Fail::unavailable(
                    "the porter ended while it looked at the image",
                    "its socket was closed",
                ));
            }
            Some(_) | None => {}
        }
        if now().millis_since(since) > SURVEY_MS {
            return Err(Fail::unavailable("the image was not surveyed in time", format!("{SURVEY_MS} ms")));
        }
    }
}

impl InputPlan {
    /// The layers of an image, to be unpacked into one tree.
    fn image(tenant: &Name, layers: &[ImageLayer], unpacked: Unpacked) -> Self {
        let scope = KeyScope::Tenant(tenant.clone());
        let files = layers.iter().zip(1..).map(|(layer, number)| FileRef {
            path: format!("layer-{number}"),
            size: layer.size,
            digest: layer.digest,
            scope: scope.clone(),
        });
        let compressions = layers.iter().map(|layer| match layer.compression {
            LayerCompression::None => Wire::None,
            LayerCompression::Gzip => Wire::Gzip,
            LayerCompression::Zstd => Wire::Zstd,
        });
        Self {
            kind: InputKind::Image {},
            files: files.collect(),
            unpacked: Some((unpacked, compressions.collect())),
        }
    }
}

/// Where a job's programs come from.
#[derive(Debug, Clone)]
pub(crate) enum Programs {
    /// The host's, not pinned.
    Host,
    /// An image.
    Image(Box<Image>),
}

impl Programs {
    /// Those of a job that was accepted.
    pub(crate) fn of(node: &Node, tenant: &Name, image: Option<&Digest>) -> Result<Self, Fail> {
        match image {
            None => Ok(Self::Host),
            Some(digest) => Ok(Self::Image(Box::new(find(node, tenant, digest)?))),
        }
    }

    /// Variables that they bring.
    pub(crate) fn env(&self) -> &[(String, String)] {
        match self {
            Self::Host => &[],
            Self::Image(image) => &image.env,
        }
    }

    /// What a contract and a BoM call them.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Host => "host".to_owned(),
            Self::Image(image) => format!("sha256:{}", image.digest),
        }
    }

    pub(crate) const fn is_pinned(&self) -> bool {
        matches!(self, Self::Image(_))
    }

    /// The packages among them, sorted.
    pub(crate) fn packages(&self, node: &Node) -> Result<Vec<Package>, Fail> {
        Ok(match self {
            Self::Host => node.facts.packages.clone(),
            Self::Image(image) => contents(node, image)?
                .packages
                .iter()
                .map(|package| Package {
                    source: match package.source {
                        ImagePackageSource::Dpkg => Source::Dpkg,
                        ImagePackageSource::Apk => Source::Apk,
                        ImagePackageSource::Python => Source::Python,
                    },
                    name: package.name.clone(),
                    version: package.version.clone(),
                })
                .collect(),
        })
    }

    /// What the system among them calls itself, where an image says so.
    pub(crate) fn system(&self) -> Option<&(String, String)> {
        match self {
            Self::Host => None,
            Self::Image(image) => image.system.as_ref(),
        }
    }

    /// Memory that they take beside the job's own.
    pub(crate) fn memory_bytes(&self) -> u64 {
        match self {
            Self::Host => 0,
            Self::Image(image) => {
                let (entries, bytes) = image.unpacking;
                bytes.saturating_add(u64::from(entries).saturating_mul(2 * PAGE))
            }
        }
    }

    /// The input that shows them to a run, if one does.
    pub(crate) fn input(&self) -> Option<InputPlan> {
        let Self::Image(image) = self else { return None };
        let (entries, bytes) = image.unpacking;
        let unpacked = Unpacked { tree: image.tree, entries, bytes };
        Some(InputPlan::image(&image.tenant, &image.layers, unpacked))
    }
}

fn contents(node: &Node, image: &Image) -> Result<ImageContents, Fail> {
    let stored = node.meta.read(|tx| tx.of(&image.tenant).get::<ImageContents>(&image.digest));
    let stored = stored.map_err(store_fail)?;
    Ok(stored.ok_or_else(|| Fail::internal("an image has no list of packages", image.digest))?.record)
}

pub(crate) fn find(node: &Node, tenant: &Name, digest: &Digest) -> Result<Image, Fail> {
    let stored = node.meta.read(|tx| tx.of(tenant).get::<Image>(digest)).map_err(store_fail)?;
    let stored = stored.ok_or_else(|| {
        Fail::not_found("image", &format!("sha256:{digest}"))
            .help("import it with `strongroom image import PATH`, and see `strongroom image list`")
    })?;
    Ok(stored.record)
}

pub(crate) fn show(node: &Node, tenant: &Name, text: &str) -> Result<api::Image, Fail> {
    node.tenant(tenant)?;
    let image = match digest(text) {
        Ok(digest) => find(node, tenant, &digest)?,
        Err(_) => by_prefix(node, tenant, text)?,
    };
    let packages = contents(node, &image)?.packages;
    let packages = packages.iter().map(|p| format!("{}={}", p.name, p.version)).collect();
    Ok(api::Image { packages, ..wire(&image) })
}

/// The one image whose digest begins like this, as lists show it.
fn by_prefix(node: &Node, tenant: &Name, text: &str) -> Result<Image, Fail> {
    let prefix = text.strip_prefix("sha256:").unwrap_or(text);
    let all = records(node, tenant)?;
    let mut found =
        all.into_iter().filter(|image| prefix.len() >= PREFIX_MIN && image.digest.hex().starts_with(prefix));
    match (found.next(), found.next()) {
        (Some(image), None) => Ok(image),
        _ => Err(Fail::not_found("image", text).help("see `strongroom image list`")),
    }
}

fn records(node: &Node, tenant: &Name) -> Result<Vec<Image>, Fail> {
    let page =
        node.meta.read(|tx| tx.of(tenant).list::<Image>(&PageRequest::default())).map_err(store_fail)?;
    Ok(page.items.into_iter().map(|stored| stored.record).collect())
}

pub(crate) fn list(node: &Node, tenant: &Name, page: &PageRequest) -> Result<Page<api::Image>, Fail> {
    node.tenant(tenant)?;
    let page = node.meta.read(|tx| tx.of(tenant).list::<Image>(page)).map_err(store_fail)?;
    Ok(Page { items: page.items.iter().map(|s| wire(&s.record)).collect(), next: page.next })
}

fn wire(record: &Image) -> api::Image {
    api::Image {
        tenant: record.tenant.to_string(),
        digest: record.digest.hex(),
        form: record.form.as_str().to_owned(),
        name: record.name.to_string(),
        tree: record.tree.hex(),
        entries: record.entries,
        bytes: record.bytes,
        stored_bytes: record.layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add),
        layers: record.layers.iter().map(|layer| layer.digest.hex()).collect(),
        env: record.env.iter().cloned().collect(),
        system: record.system.as_ref().map(|(_, name)| name.clone()),
        package_count: record.packages,
        packages: Vec::new(),
        created: time(record.created_ms),
    }
}
