"""Verifies a copied Strongroom log from the public specifications alone (RFC 9162, C2SP tlog-tiles,
tlog-checkpoint, signed-note). It shares no code with Strongroom.

    python3 verify_log.py DIRECTORY [VKEY]      exit 0: intact, 3: not
"""
import base64, hashlib, json, os, struct, sys
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

def fail(text):
    print("NOT VERIFIED:", text)
    sys.exit(3)

def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()

def root(leaves):                               # RFC 9162 section 2.1.1, by the definition
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha(b"\x01", root(leaves[:k]), root(leaves[k:]))

def number(n):
    text = "%03d" % (n % 1000)
    while n >= 1000:
        n //= 1000
        text = "x%03d/%s" % (n % 1000, text)
    return text

def load(directory, kind, n, width):
    base = os.path.join(directory, "tile", kind, number(n))
    path = base if width == 256 else "%s.p/%d" % (base, width)
    with open(path, "rb") as file:
        return file.read()

def open_note(note, vkey):                      # C2SP signed-note
    name, key_id, key = vkey.strip().split("+", 2)
    key = base64.b64decode(key)
    if key[0] != 1 or hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] != key_id:
        fail("verifier key")
    text, lines = note.rsplit("\n\n", 1)
    for line in lines.splitlines():
        dash, who, signature = line.split(" ")
        signature = base64.b64decode(signature)
        if dash == "\u2014" and who == name and signature[:4].hex() == key_id:
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(signature[4:], (text + "\n").encode())
            except Exception:
                fail("signature of the checkpoint")
            return name, text.split("\n")
    fail("no signature by the key")

def main():
    directory = sys.argv[1]
    read = lambda name: open(os.path.join(directory, name), encoding="utf-8").read()
    name, (origin, size, signed_root) = open_note(read("checkpoint"), sys.argv[2] if len(sys.argv) > 2 else read("vkey"))
    if origin != name:
        fail("origin")
    size, leaves, chains = int(size), [], {}
    for n in range((size + 255) // 256):
        width = min(256, size - 256 * n)
        bundle, hashes, at = load(directory, "entries", n, width), load(directory, "0", n, width), 0
        for i in range(width):
            (length,) = struct.unpack_from(">H", bundle, at)
            entry = bundle[at + 2 : at + 2 + length]
            at += 2 + length
            leaf = sha(b"\x00", entry)
            if leaf != hashes[32 * i : 32 * i + 32]:
                fail("entry %d" % len(leaves))
            event = json.loads(entry)
            if json.dumps(event, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() != entry:
                fail("entry %d is not canonical" % len(leaves))
            chain, sequence = event["metadata"]["log_name"], event["metadata"]["sequence"]
            if sequence != chains.get(chain, 0) or event["unmapped"]["strongroom"]["index"] != len(leaves):
                fail("number of entry %d" % len(leaves))
            chains[chain] = sequence + 1
            leaves.append(leaf)
        if at != len(bundle):
            fail("bundle %d is too long" % n)
    if root(leaves) != base64.b64decode(signed_root):
        fail("root")
    print("verified: %d entries of %s" % (size, origin))

main()
