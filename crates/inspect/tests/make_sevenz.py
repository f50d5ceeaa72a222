"""Writes the 7z archives of tests/it/data, one for each coder: `pip install py7zr`, then make_sevenz.py DIRECTORY."""
import pathlib
import sys

import py7zr

out = pathlib.Path(sys.argv[1])
FILES = {"config.json": b'{"a": 1}', "sub/vocab.txt": b"the\nquick\n" * 20, "empty.txt": b"",
         "w.safetensors": (2).to_bytes(8, "little") + b"{}"}
FILTERS = {
    "lzma2": [{"id": py7zr.FILTER_LZMA2, "preset": 6}], "lzma": [{"id": py7zr.FILTER_LZMA}],
    "copy": [{"id": py7zr.FILTER_COPY}], "bzip2": [{"id": py7zr.FILTER_BZIP2}],
    "deflate": [{"id": py7zr.FILTER_DEFLATE}], "ppmd": [{"id": py7zr.FILTER_PPMD, "order": 6, "mem": 20}],
    "bcj": [{"id": py7zr.FILTER_X86}, {"id": py7zr.FILTER_LZMA2}],
    "delta": [{"id": py7zr.FILTER_DELTA}, {"id": py7zr.FILTER_LZMA2}],
}
for name, filters in FILTERS.items():
    with py7zr.SevenZipFile(out / f"{name}.7z", "w", filters=filters) as archive:
        for member, data in FILES.items():
            archive.writestr(data, member)
for name, hidden in (("encrypted", False), ("hidden", True)):
    with py7zr.SevenZipFile(out / f"{name}.7z", "w", password="x", header_encryption=hidden) as archive:
        archive.writestr(b"{}", "config.json")
