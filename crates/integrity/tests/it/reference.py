"""Drives the reference implementation of OpenSSF Model Signing through its API, for reference.rs."""

import pathlib
import sys

from model_signing import hashing, manifest, signing, verifying

P = pathlib.Path


def hashing_of(form):
    config = hashing.Config()
    if form == "shards":
        return config.use_shard_serialization(hashing_algorithm="sha256", shard_size=1000)
    if form == "blake3-shards":
        return config.use_shard_serialization(hashing_algorithm="blake3", shard_size=1000)
    # BLAKE2b has another name in its API than in its signatures.
    return config.use_file_serialization(hashing_algorithm={"blake2b": "blake2"}.get(form, form))


def sign(form, key, signature, model):
    signing.Config().use_elliptic_key_signer(private_key=P(key)).set_hashing_config(hashing_of(form)).sign(
        P(model), P(signature)
    )


def sign_certificate(key, certificate, chain, signature, model):
    signing.Config().use_certificate_signer(
        private_key=P(key), signing_certificate=P(certificate), certificate_chain=[P(chain)]
    ).sign(P(model), P(signature))


def verify(key, signature, model):
    verifying.Config().use_elliptic_key_verifier(public_key=P(key)).verify(P(model), P(signature))


def verify_certificate(chain, signature, model):
    verifying.Config().use_certificate_verifier(certificate_chain=[P(chain)]).verify(P(model), P(signature))


def shard_name(name):
    manifest._Shard.from_str(name)


globals()[sys.argv[1].replace("-", "_")](*sys.argv[2:])
