#!/usr/bin/env python3
"""Makes `recognised/`: small data files by the programs that make them in practice, and what each holds.

Needs pyarrow, pandas, duckdb, Pillow and NumPy. The name of a file says what is expected of it:
`FORMAT-RECORDS-COLUMNS-WHAT.EXT`, with `x` for what is not told, and
`gzip_csv` for `gzip(csv)`.
"""

import os
import sys

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from PIL import Image

os.chdir(sys.argv[1])
frame = pd.DataFrame({"a": range(50), "b": [f"x{i}" for i in range(50)], "c": [i / 3 for i in range(50)]})
table = pa.Table.from_pandas(frame)
nested = pa.table({"n": [{"x": [1, 2], "y": "q"}] * 7, "m": pa.array([[("k", 1)]] * 7, type=pa.map_(pa.string(), pa.int32()))})
pq.write_table(table, "parquet-50-3-groups.parquet", row_group_size=20)
pq.write_table(nested, "parquet-7-4-nested.parquet", version="2.6", data_page_version="2.0", compression="zstd")
pq.write_table(table.slice(0, 0), "parquet-0-3-empty.parquet")
duckdb.sql("copy (select range as i, 'v' || range as s from range(3000)) to 'parquet-3000-2-duckdb.parquet' (format parquet, row_group_size 2048)")
with ipc.new_file("arrow-50-3-file.arrow", table.schema) as out:
    for batch in table.to_batches(max_chunksize=20):
        out.write_batch(batch)
with ipc.new_stream("arrow-50-3-stream.arrow", table.schema) as out:
    for batch in table.to_batches(max_chunksize=20):
        out.write_batch(batch)
feather.write_feather(frame, "arrow-50-3-feather.feather")
image = Image.fromarray(np.arange(8 * 6 * 3, dtype="uint8").reshape(6, 8, 3))
for ending, name in [("png", "png"), ("jpg", "jpeg"), ("gif", "gif"), ("webp", "webp"), ("bmp", "bmp"), ("tiff", "tiff")]:
    image.save(f"{name}-1-x-plain.{ending}")
image.save("webp-1-x-lossless.webp", lossless=True)
image.save("webp-1-x-extended.webp", exif=b"Exif\0\0abc")
image.save("jpeg-1-x-progressive.jpg", progressive=True)
np.save("npy-12-x-numbers.npy", np.zeros((12, 3, 4), dtype="u1"))
np.savez_compressed("npz-9-x-deflated.npz", x=np.zeros((9, 2)), y=np.arange(9))
frame.to_csv("csv-51-3-pandas.csv", index=False)
frame.to_csv("gzip_csv-51-3-pandas.csv.gz", index=False)
frame.to_csv("bzip2_csv-51-3-pandas.csv.bz2", index=False)
frame.to_csv("xz_csv-51-3-pandas.csv.xz", index=False)
frame.to_csv("tsv-51-3-pandas.tsv", sep="\t", index=False)
frame.to_json("jsonl-50-x-pandas.jsonl", orient="records", lines=True)
frame.to_json("json-50-x-pandas.json", orient="records", indent=2)
