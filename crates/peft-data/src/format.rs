//! File formats, and how to tell them apart.

use crate::error::DataError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

const CHOOSE: &str = "give the format: csv, tsv, jsonl, parquet or text (--data-format)";

/// How rows are written in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Comma-separated, fields optionally in double quotes (RFC 4180).
    Csv,
    /// Tab-separated without any quoting, as GLUE's files are.
    Tsv,
    /// One JSON object a line.
    Jsonl,
    /// Apache Parquet: flat columns of texts, numbers, booleans and lists of them.
    Parquet,
    /// One text a line, in a single column called `text`.
    Text,
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
            "parquet" | "pq" => return Ok(Self::Parquet),
            "arrow" | "feather" => {
                "convert it first, for example: python -c \"import pandas as pd; \
                 pd.read_feather('data.arrow').to_parquet('data.parquet')\""
            }
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
            _ => Err(DataError::Format {
                file: "--data-format".to_owned(),
                problem: format!("unknown format `{}`", crate::error::shorten(name)),
                fix: CHOOSE,
            }),
        }
    }
}

/// Rejects well-known binary files by their first bytes.
pub(crate) fn check_magic(head: &[u8], file: &str) -> Result<(), DataError> {
    let (problem, fix) = if head.starts_with(b"PAR1") {
        (
            "this is a Parquet file",
            "say so with --data-format parquet, or let its name end in .parquet",
        )
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
        assert!(arrow.contains("read_feather"), "{arrow}");
        let none = Format::from_path(Path::new("data"))
            .unwrap_err()
            .to_string();
        assert!(none.contains("--data-format"), "{none}");
        assert!("yaml".parse::<Format>().is_err());
        assert!(check_magic(b"PAR1", "f").is_err());
        assert!(check_magic(b"text", "f").is_ok());
    }
}
