//! Documents of an image layout (OCI image specification 1.1): manifest, index, configuration. Documents of Docker's
//! registry (schema 2) say the same under other names.

use base::Digest;
use serde::Deserialize;

use crate::error::ImageError;
use crate::limits;

/// What a blob of the layout holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Zstandard (RFC 8878).
    Zstd,
}

/// A manifest: what one image is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Its configuration.
    pub config: Blob,
    /// Its layers, the lowest first.
    pub layers: Vec<(Blob, Compression)>,
}

/// An index: several images, or the ones of a layout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// What it names, in order.
    pub manifests: Vec<Listed>,
}

/// An entry of an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The document that it names.
    pub blob: Blob,
    /// Whether that is an index again.
    pub is_index: bool,
    /// For which operating system and architecture, if it says so: `linux/amd64`.
    pub platform: Option<String>,
}

/// What a configuration asks for. Its command, user and working directory are the job's business here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Variables, in order.
    pub env: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: Option<String>,
    digest: String,
    size: u64,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    os: Option<String>,
    architecture: Option<String>,
}

#[derive(Deserialize)]
struct RawConfig {
    os: Option<String>,
    architecture: Option<String>,
    config: Option<RawRun>,
}

#[derive(Deserialize)]
struct RawRun {
    #[serde(rename = "Env")]
    env: Option<Vec<String>>,
}

fn bad(document: &'static str, reason: impl Into<String>) -> ImageError {
    ImageError::Document { document, reason: reason.into() }
}

fn parse<'a, T: Deserialize<'a>>(document: &'static str, bytes: &'a [u8]) -> Result<T, ImageError> {
    if bytes.len() > limits::DOCUMENT_BYTES {
        return Err(bad(document, format!("it is longer than {} bytes", limits::DOCUMENT_BYTES)));
    }
    serde_json::from_slice(bytes).map_err(|e| bad(document, e.to_string()))
}

impl Descriptor {
    fn blob(&self, document: &'static str) -> Result<Blob, ImageError> {
        let hex = self.digest.strip_prefix("sha256:");
        let digest = hex.and_then(|hex| hex.parse().ok());
        let digest =
            digest.ok_or_else(|| bad(document, "a digest in it is not `sha256:` and 64 hex digits"))?;
        Ok(Blob { digest, size: self.size })
    }

    fn compression(&self) -> Result<Compression, ImageError> {
        let kind = self.media_type.as_deref().unwrap_or("");
        Ok(match kind {
            "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
                Compression::None
            }
            "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Compression::Gzip,
            "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Compression::Zstd,
            _ => {
                let shown: String = kind.chars().take(100).flat_map(char::escape_debug).collect();
                return Err(bad("image manifest", format!("layers of type `{shown}` are not supported")));
            }
        })
    }
}

impl Manifest {
    /// Parses a manifest.
    ///
    /// # Errors
    /// [`ImageError::Index`] for an index, which names several; [`ImageError::Document`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        const WHAT: &str = "image manifest";
        let raw: RawManifest = parse(WHAT, bytes)?;
        if raw.schema_version != 2 {
            return Err(bad(WHAT, "only schema version 2 is known"));
        }
        if let Some(manifests) = &raw.manifests {
            return Err(index(manifests));
        }
        let known = [
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
        ];
        if raw.media_type.as_deref().is_some_and(|kind| !known.contains(&kind)) {
            return Err(bad(WHAT, "its media type is not that of a manifest"));
        }
        let (Some(config), Some(layers)) = (raw.config, raw.layers) else {
            return Err(bad(WHAT, "`config` or `layers` is missing"));
        };
        if layers.is_empty() || layers.len() > limits::LAYERS {
            return Err(bad(WHAT, format!("it has {} layers, not 1 to {}", layers.len(), limits::LAYERS)));
        }
        let layers = layers.iter().map(|layer| Ok((layer.blob(WHAT)?, layer.compression()?)));
        Ok(Self { config: config.blob(WHAT)?, layers: layers.collect::<Result<_, ImageError>>()? })
    }
}

impl Platform {
    /// As people write it.
    fn shown(&self) -> Option<String> {
        let text = format!("{}/{}", self.os.as_deref()?, self.architecture.as_deref()?);
        Some(text.chars().take(40).flat_map(char::escape_debug).collect())
    }
}

impl Index {
    /// Parses an index.
    ///
    /// # Errors
    /// [`ImageError::Document`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        const WHAT: &str = "image index";
        let raw: RawManifest = parse(WHAT, bytes)?;
        let listed = raw.manifests.filter(|_| raw.schema_version == 2);
        let listed = listed.ok_or_else(|| bad(WHAT, "it is no index of schema version 2"))?;
        let manifests = listed.iter().map(|item| {
            let kind = item.media_type.as_deref().unwrap_or("");
            Ok(Listed {
                blob: item.blob(WHAT)?,
                is_index: kind.contains("image.index") || kind.contains("manifest.list"),
                platform: item.platform.as_ref().and_then(Platform::shown),
            })
        });
        Ok(Self { manifests: manifests.collect::<Result<_, ImageError>>()? })
    }
}

/// An index is no image: it says which there are to choose from.
fn index(manifests: &[Descriptor]) -> ImageError {
    let shown = manifests.iter().take(16).filter_map(|m| {
        let platform = m.platform.as_ref()?.shown()?;
        let digest: Digest = m.digest.strip_prefix("sha256:")?.parse().ok()?;
        Some(format!("{platform} is sha256:{digest}"))
    });
    let choices = shown.collect::<Vec<_>>().join(", ");
    ImageError::Index {
        choices: if choices.is_empty() { "it names no platform".to_owned() } else { choices },
    }
}

impl Config {
    /// Parses a configuration, of an image for this kind of machine.
    ///
    /// # Errors
    /// [`ImageError::Platform`], [`ImageError::Document`], [`ImageError::Limit`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        const WHAT: &str = "image configuration";
        let raw: RawConfig = parse(WHAT, bytes)?;
        let (os, architecture) = (raw.os.unwrap_or_default(), raw.architecture.unwrap_or_default());
        if os != "linux" || architecture != "amd64" {
            let found =
                format!("{os}/{architecture}").chars().take(60).flat_map(char::escape_debug).collect();
            return Err(ImageError::Platform { found });
        }
        let listed = raw.config.and_then(|run| run.env).unwrap_or_default();
        let bytes: usize = listed.iter().map(String::len).sum();
        if listed.len() > limits::VARIABLES || bytes > limits::VARIABLE_BYTES {
            let limit = u64::try_from(limits::VARIABLES).unwrap_or(u64::MAX);
            return Err(ImageError::Limit { what: "variables, or bytes in them,", limit });
        }
        let mut env = Vec::with_capacity(listed.len());
        for variable in &listed {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            if name.is_empty() || name.len() > 128 || variable.contains('\0') {
                return Err(bad(WHAT, "a variable in it has no name, or one that cannot be"));
            }
            env.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self { env })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn manifest(layer: &str) -> String {
        format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"x","digest":"{A}","size":2}},
                "layers":[{{"mediaType":"{layer}","digest":"{A}","size":7}}]}}"#
        )
    }

    #[test]
    fn a_manifest_names_its_layers_in_order() {
        for (kind, compression) in [
            ("application/vnd.oci.image.layer.v1.tar", Compression::None),
            ("application/vnd.oci.image.layer.v1.tar+gzip", Compression::Gzip),
            ("application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::Gzip),
            ("application/vnd.oci.image.layer.v1.tar+zstd", Compression::Zstd),
        ] {
            let parsed = Manifest::parse(manifest(kind).as_bytes()).unwrap();
            assert_eq!(
                parsed.layers,
                [(Blob { digest: "aa".repeat(32).parse().unwrap(), size: 7 }, compression)]
            );
            assert_eq!(parsed.config.size, 2);
        }
    }

    #[test]
    fn what_is_no_manifest_is_refused_with_its_reason() {
        let said = |text: &str| Manifest::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(said("{").contains("EOF"));
        assert!(
            said(&manifest("application/vnd.oci.image.layer.v1.tar+encrypted")).contains("not supported")
        );
        assert!(said(r#"{"schemaVersion":1}"#).contains("schema version"));
        assert!(said(r#"{"schemaVersion":2,"schemaVersion":2}"#).contains("duplicate"));
        assert!(said(&manifest("x").replace("sha256:", "md5:")).contains("sha256"));
        assert!(said(r#"{"schemaVersion":2,"layers":[]}"#).contains("missing"));
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"digest":"{A}","size":1,"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#
        );
        assert!(said(&index).contains(&format!("linux/amd64 is {A}")), "{}", said(&index));
        let listed = Index::parse(index.as_bytes()).unwrap().manifests;
        assert_eq!((listed[0].platform.as_deref(), listed[0].is_index), (Some("linux/amd64"), false));
        assert!(Index::parse(br#"{"schemaVersion":2}"#).is_err());
    }

    #[test]
    fn a_configuration_gives_variables_and_must_be_for_this_machine() {
        let config =
            r#"{"os":"linux","architecture":"amd64","config":{"Env":["PATH=/a:/b","X=1=2","EMPTY="]}}"#;
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            Config::parse(config.as_bytes()).unwrap().env,
            [pair("PATH", "/a:/b"), pair("X", "1=2"), pair("EMPTY", "")]
        );
        assert_eq!(Config::parse(br#"{"os":"linux","architecture":"amd64"}"#).unwrap(), Config::default());
        let arm = Config::parse(br#"{"os":"linux","architecture":"arm64"}"#).unwrap_err();
        assert!(arm.to_string().contains("linux/arm64"));
        for env in [r#"["=x"]"#, r#"["a\u0000=x"]"#] {
            let text = format!(r#"{{"os":"linux","architecture":"amd64","config":{{"Env":{env}}}}}"#);
            assert!(Config::parse(text.as_bytes()).is_err(), "{env}");
        }
    }
}
