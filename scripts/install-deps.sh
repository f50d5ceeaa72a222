#!/bin/sh
# Installs what building and testing need on Debian 12, and nothing that is already there.
# As root, or as a user who may use sudo. `--bench` adds the peers that the benchmarks measure against.
set -eu
cd "$(dirname "$0")/.."

say() { printf '%s\n' "install-deps: $*"; }
fail() {
    printf '%s\n' "install-deps: $*" >&2
    exit 1
}

packages="gcc g++ make pkg-config libssl-dev perl openssl curl ca-certificates
    umoci skopeo zstd python3 python3-venv python3-numpy python3-torch python3-cryptography libopenblas0-pthread
    dataset-fashion-mnist strace util-linux procps openssh-client
    chromium chromium-driver libnss3-tools"
[ "${1:-}" = "--bench" ] && packages="$packages bubblewrap crun nginx-light"

# The OpenID provider of the tests runs on Debian's Node.js 18 and on later ones.
command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 || packages="$packages nodejs npm"

command -v cargo >/dev/null 2>&1 || fail "cargo is missing; install a Rust toolchain (1.95 or later) first"

# ---- Debian packages ----

installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

missing=""
if command -v dpkg-query >/dev/null 2>&1; then
    for package in $packages; do
        installed "$package" || missing="$missing $package"
    done
else
    fail "this is not Debian: install by hand:" $packages
fi

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo -- "$@"
    else
        fail "not root and no sudo; as root run: apt-get install --yes$missing"
    fi
}

apt() {
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 --yes --no-install-recommends "$@"
}

retry() {
    for pause in 2 5 15 0; do
        "$@" && return 0
        [ "$pause" = 0 ] || { say "trying again in $pause s"; sleep "$pause"; }
    done
    return 1
}

if [ -n "$missing" ]; then
    say "installing$missing"
    retry apt update || fail "apt-get update failed; check the network and the package sources"
    # shellcheck disable=SC2086
    retry apt install $missing || fail "apt-get install failed for:$missing"
fi

# ---- Python reference tools, in a virtual environment of their own ----

# model-signing 1.1.1 imports OpenSSL without naming it, hence pyopenssl.
pinned="model-signing==1.1.1 pyopenssl==26.4.0 cyclonedx-python-lib[validation]==11.12.0"
pinned="$pinned jsonschema==4.26.0 ocsf-json-schema==1.2.0"
pinned="$pinned schemathesis==4.32.5 openapi-spec-validator==0.9.0"
stamp=".venv/strongroom-tools"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$pinned" ]; then
    say "making .venv with the reference signer, the validators of CycloneDX, OCSF and OpenAPI, and schemathesis"
    # By its full path: another python3 may come first on the PATH. What is there may be of another one.
    /usr/bin/python3 -m venv --clear .venv || fail "python3 -m venv failed; is python3-venv whole?"
    # shellcheck disable=SC2086
    retry .venv/bin/pip install --quiet --disable-pip-version-check $pinned ||
        fail "pip could not install: $pinned"
    .venv/bin/python -c 'import model_signing, OpenSSL, cyclonedx, jsonschema, ocsf_json_schema, openapi_spec_validator, schemathesis' ||
        fail "the reference tools in .venv do not import"
    printf '%s\n' "$pinned" >"$stamp"
fi

# ---- Scanners of models, and the frameworks that make samples for them: each set pinned, in an environment of its own ----

environment() {
    place="$1"
    wanted="$2"
    [ "$(cat "$place/strongroom-tools" 2>/dev/null || true)" != "$wanted" ] || return 0
    say "making $place with $wanted"
    /usr/bin/python3 -m venv --clear "$place" || fail "python3 -m venv failed; is python3-venv whole?"
    # shellcheck disable=SC2086
    retry "$place/bin/pip" install --quiet --disable-pip-version-check $wanted || fail "pip could not install: $wanted"
    printf '%s\n' "$wanted" >"$place/strongroom-tools"
}
if [ "${1:-}" = "--bench" ]; then
    # fickling imports typing_extensions without naming it.
    environment .venv/peers \
        "picklescan==1.0.5 modelscan==0.8.8 fickling==0.1.12 modelaudit==0.2.54 typing_extensions==4.16.0"
    environment .venv/frameworks "numpy==2.4.6 scikit-learn==1.9.1 joblib==1.6.0 safetensors==0.8.0 onnx==1.23.2 \
skops==0.16.0 xgboost-cpu==3.2.0 lightgbm==4.7.0 gguf==0.19.0"
fi

# ---- An OpenID provider that is not ours, for tests: pinned with all that it uses by package-lock.json ----

oidc="tests/lib/oidc"
stamp="$oidc/node_modules/.strongroom"
locked="$(sha256sum <"$oidc/package-lock.json")"
if [ "$(cat "$stamp" 2>/dev/null || true)" != "$locked" ]; then
    say "fetching the OpenID provider of the tests"
    # No script of a package runs.
    retry npm ci --prefix "$oidc" --ignore-scripts --no-audit --no-fund --loglevel=error ||
        fail "npm could not install what $oidc/package-lock.json names"
    printf '%s\n' "$locked" >"$stamp"
fi

# ---- A server of ssh for one test: unpacked and not installed, because installed it would listen ----

openssh() {
    rm -rf .venv/openssh && mkdir -p .venv/openssh && (
        cd .venv/openssh &&
            apt-get -o Acquire::Retries=3 download openssh-server libwrap0 >/dev/null 2>&1 &&
            for archive in *.deb; do dpkg-deb -x "$archive" . || exit 1; done
    )
}
if [ ! -x /usr/sbin/sshd ] && [ ! -x .venv/openssh/usr/sbin/sshd ]; then
    say "unpacking a server of ssh below .venv"
    openssh || { retry apt update && openssh; } || fail "openssh-server could not be fetched"
fi
say "everything is there"
