#!/usr/bin/env python3
"""Independent reader of sealed files (SEF version 1), written from the format's specification alone.

usage: sef_open.py FILE DEK-HEX KEY-SCOPE SHA256-HEX    plaintext goes to standard output
"""
import hashlib, hmac, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def lp(x):
    return len(x).to_bytes(2, "little") + x


def check(holds, what):
    if not holds:
        sys.exit("refused: " + what)


def main(path, dek, scope, digest):
    with open(path, "rb") as f:
        data = f.read()
    dek, digest = bytes.fromhex(dek), bytes.fromhex(digest)
    check(len(data) >= 4096 and data[:4] == b"SEF1", "magic")
    p, log2 = data[4:8], data[7]
    check(p[:3] == b"\x01\x00\x01" and 16 <= log2 <= 24, "version, suite or chunk size")
    check(data[144:4096] == bytes(4096 - 144), "reserved area")
    length, chunk = int.from_bytes(data[8:16], "little"), 1 << log2
    n = max(1, -(-length // chunk))
    check(len(data) == 4096 + length + 16 * n, "file size")
    salt, commitment, context, header_mac = (data[i:i + 32] for i in (16, 48, 80, 112))

    prk = mac(salt, dek)  # HKDF-Extract (RFC 5869); one block of Expand gives 32 bytes
    k_enc, k_mac, com = (mac(prk, b"sef1 " + label + p + b"\x01") for label in (b"enc", b"mac", b"com"))
    tags = data[4096 + length:]
    check(hmac.compare_digest(com, commitment), "key commitment")
    check(hmac.compare_digest(mac(k_mac, data[:112], hashlib.sha256(tags).digest()), header_mac), "header mac")
    check(hmac.compare_digest(mac(k_mac, b"sef1 ctx", lp(scope.encode()), digest), context), "context")

    gcm, whole = AESGCM(k_enc), hashlib.sha256()
    for i in range(n):
        nonce = int(i == n - 1).to_bytes(4, "little") + i.to_bytes(8, "little")
        body = data[4096 + i * chunk:min(4096 + (i + 1) * chunk, 4096 + length)]
        plain = gcm.decrypt(nonce, body + tags[16 * i:16 * i + 16], None)
        whole.update(plain)
        sys.stdout.buffer.write(plain)
    check(whole.digest() == digest, "digest of the plaintext")


main(*sys.argv[1:])
