//! File formats, and how to tell them apart.

use crate::error::DataError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::Path;

const CHOOSE: &str =
    "give the format: csv, tsv, jsonl, parquet, conll or text (the setting `data_format`)";

/// What Arrow's file format, which is also that of Feather, begins with.
const ARROW_FILE: &[u8; 6] = b"ARROW1";
const CONVERT_FEATHER: &str = "convert it first, for example: python -c \"import pandas as pd; \
     pd.read_feather('data.feather').to_parquet('data.parquet')\"";
const CONVERT_STREAM: &str = "it is a stream, as the library `datasets` keeps them; convert it first: \
     python -c \"from datasets import Dataset; \
     Dataset.from_file('data.arrow').to_parquet('data.parquet')\", or without that library \
     python -c \"import pyarrow as pa, pyarrow.parquet as pq; \
     pq.write_table(pa.ipc.open_stream('data.arrow').read_all(), 'data.parquet')\"";

/// How rows are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated, fields optionally in double quotes (RFC 4180).
    Csv,
    /// Tab-separated: without quotes, as GLUE's files are, or with them around fields that hold
    /// quotes, tabs or line feeds, as pandas writes them. A quote counts as one of the text unless
    /// the field is closed and all quotes in it are written twice, the row has its fields only so,
    /// or all names of the header are quoted.
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet: flat columns of texts, numbers, booleans and lists of them.
    Parquet,
    /// One text a line, in a single column called `text`.
    Text,
    /// One word a line, its label behind it, and a blank line behind every sentence, as the shared tasks of CoNLL have
    /// them: columns `tokens` and `tags`. Of more than two fields, which blanks or tabs separate, the first and the
    /// last count.
    Conll,
}

impl Format {
    /// The format of a file, by its extension.
    ///
    /// # Errors
    /// [`DataError::Format`] for an extension that is not a supported format, with what to do.
    pub fn from_path(path: &Path) -> Result<Self, DataError> {
        let extension = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or("")
            .to_lowercase();
        let fix = match extension.as_str() {
            "csv" => return Ok(Self::Csv),
            "tsv" | "tab" => return Ok(Self::Tsv),
            // Most `.json` files of this trade are JSON lines; the reader says so if one is an array.
            "jsonl" | "ndjson" | "json" => return Ok(Self::Jsonl),
            "txt" | "text" => return Ok(Self::Text),
            "conll" | "bio" | "iob" | "iob2" => return Ok(Self::Conll),
            "parquet" | "pq" => return Ok(Self::Parquet),
            "arrow" if !is_arrow_file(path) => CONVERT_STREAM,
            "arrow" | "feather" => CONVERT_FEATHER,
            "gz" | "zip" | "zst" | "xz" | "bz2" => "decompress it first",
            "xlsx" | "xls" | "ods" => "save the sheet as CSV (UTF-8) first",
            _ => CHOOSE,
        };
        let problem = match extension.as_str() {
            "" => "cannot tell the format of a file without an extension".to_owned(),
            other => format!(
                "`.{}` files are not supported",
                crate::error::shorten(other)
            ),
        };
        Err(DataError::Format {
            file: path.display().to_string(),
            problem,
            fix,
        })
    }
}

impl std::str::FromStr for Format {
    type Err = DataError;

    fn from_str(name: &str) -> Result<Self, DataError> {
        match name.to_lowercase().as_str() {
            "csv" => Ok(Self::Csv),
            "tsv" => Ok(Self::Tsv),
            "jsonl" | "json" => Ok(Self::Jsonl),
            "parquet" => Ok(Self::Parquet),
            "text" | "txt" => Ok(Self::Text),
            "conll" => Ok(Self::Conll),
            _ => Err(DataError::Format {
                file: "the setting `data_format`".to_owned(),
                problem: format!("unknown format `{}`", crate::error::shorten(name)),
                fix: CHOOSE,
            }),
        }
    }
}

/// Whether a file is Arrow's file format, which is also that of Feather, and not its stream format.
fn is_arrow_file(path: &Path) -> bool {
    let mut head = [0; ARROW_FILE.len()];
    let file = std::fs::File::open(path);
    file.is_ok_and(|mut file| file.read_exact(&mut head).is_ok()) && head == *ARROW_FILE
}

/// Refuses a folder, and says what to do with those that `datasets` writes.
pub(crate) fn check_folder(path: &Path) -> Result<(), DataError> {
    if !path.is_dir() {
        return Ok(());
    }
    let holds = |name: &str| path.join(name).is_file();
    let (problem, fix) = if holds("dataset_dict.json") {
        (
            "this is a folder of several sets, written by `datasets` with save_to_disk",
            "write the one you mean to a file: python -c \"from datasets import load_from_disk; \
             load_from_disk('DIR')['train'].to_parquet('train.parquet')\"",
        )
    } else if holds("state.json") || holds("dataset_info.json") {
        (
            "this is a folder, written by `datasets` with save_to_disk",
            "write it to a file: python -c \"from datasets import load_from_disk; \
             load_from_disk('DIR').to_parquet('data.parquet')\"",
        )
    } else {
        ("this is a folder", "name one file in it")
    };
    Err(DataError::Format {
        file: path.display().to_string(),
        problem: problem.to_owned(),
        fix,
    })
}

/// What stands at the beginning of the small file that Git LFS leaves where the real one is missing.
const LFS: &[u8] = b"version https://git-lfs";
pub(crate) const LFS_PROBLEM: &str =
    "this is a Git LFS pointer, which only says where the real file is";
pub(crate) const LFS_FIX: &str =
    "fetch the file itself: git lfs pull in its repository, or download it";

/// Whether a file is a Git LFS pointer, by its first bytes.
pub(crate) fn is_lfs_pointer(head: &[u8]) -> bool {
    head.starts_with(LFS)
}

/// Rejects well-known files of other formats by their first bytes.
pub(crate) fn check_magic(head: &[u8], file: &str, format: Format) -> Result<(), DataError> {
    let (problem, fix) = if is_lfs_pointer(head) {
        (LFS_PROBLEM, LFS_FIX)
    } else if format == Format::Parquet {
        // Its own reader says what is wrong with it.
        return Ok(());
    } else if head.starts_with(b"PAR1") {
        (
            "this is a Parquet file",
            "say so with the setting `data_format` parquet, or let its name end in .parquet",
        )
    } else if head.starts_with(ARROW_FILE) {
        ("this is an Arrow or Feather file", CONVERT_FEATHER)
    } else if head.starts_with(&[0xFF; 4]) {
        ("this is an Arrow stream", CONVERT_STREAM)
    } else if head.starts_with(&[0x1F, 0x8B]) {
        ("this is a gzip file", "decompress it first (gunzip)")
    } else if head.starts_with(b"PK\x03\x04") {
        (
            "this is a zip archive or a spreadsheet",
            "unpack it, or save the sheet as CSV (UTF-8)",
        )
    } else if head.starts_with(&[0xFF, 0xFE]) || head.starts_with(&[0xFE, 0xFF]) {
        (
            "this file is UTF-16",
            "convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
        )
    } else {
        return Ok(());
    };
    Err(DataError::Format {
        file: file.to_owned(),
        problem: problem.to_owned(),
        fix,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extension_decides_and_the_rest_is_explained() {
        assert_eq!(
            Format::from_path(Path::new("a/b.CSV")).unwrap(),
            Format::Csv
        );
        assert_eq!(
            Format::from_path(Path::new("b.json")).unwrap(),
            Format::Jsonl
        );
        assert_eq!(
            Format::from_path(Path::new("b.parquet")).unwrap(),
            Format::Parquet
        );
        let arrow = Format::from_path(Path::new("b.arrow"))
            .unwrap_err()
            .to_string();
        assert!(arrow.contains("open_stream"), "{arrow}");
        let none = Format::from_path(Path::new("data"))
            .unwrap_err()
            .to_string();
        assert!(none.contains("the setting `data_format`"), "{none}");
        assert!("yaml".parse::<Format>().is_err());
        assert!(check_magic(b"PAR1", "f", Format::Csv).is_err());
        assert!(check_magic(b"PAR1", "f", Format::Parquet).is_ok());
        assert!(check_magic(b"text", "f", Format::Csv).is_ok());
        let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0";
        for format in [Format::Csv, Format::Jsonl, Format::Parquet, Format::Text] {
            let error = check_magic(pointer, "f", format).unwrap_err().to_string();
            assert!(error.contains("Git LFS"), "{error}");
        }
    }
}
