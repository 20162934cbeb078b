//! The texts of `peft generate`.

use std::path::Path;

use anyhow::{Result, bail};
use peft_run::data::{Format, ReadOptions, Row, RowReader};

use crate::args::GenerateArgs;

/// A text to go on with.
pub struct Text {
    pub text: String,
    /// The adapter that it names.
    pub adapter: Option<String>,
}

/// The texts that are asked for, in their order.
pub fn texts(args: &GenerateArgs) -> Result<Vec<Text>> {
    let Some(data) = &args.data else {
        let texts = args.prompt.iter().map(|text| Text {
            text: text.clone(),
            adapter: None,
        });
        return Ok(texts.collect());
    };
    let mut options = ReadOptions {
        format: args.data_format,
        ..ReadOptions::default()
    };
    if data == Path::new("-") {
        options.format.get_or_insert(Format::Jsonl);
    }
    let mut texts = Vec::new();
    let reader = RowReader::open(data, &options)?;
    let file = reader.file().to_owned();
    for row in reader {
        let row = row?;
        let column = match &args.text_column {
            Some(column) => column.as_str(),
            None => column(&row, &file, args.adapters.adapter_column.as_deref())?,
        };
        let adapter = args.adapters.adapter_column.as_deref();
        texts.push(Text {
            text: row.text(column, &file)?.to_owned(),
            adapter: adapter
                .map(|column| row.text(column, &file).map(str::to_owned))
                .transpose()?,
        });
    }
    Ok(texts)
}

/// The column of a row's text.
fn column<'a>(row: &'a Row, file: &str, adapter: Option<&str>) -> Result<&'a str> {
    let names = row.names();
    if let Some(name) = ["prompt", "text"]
        .iter()
        .find(|name| names.iter().any(|n| n == *name))
    {
        return Ok(name);
    }
    let others: Vec<&String> = names
        .iter()
        .filter(|name| Some(name.as_str()) != adapter)
        .collect();
    match others.as_slice() {
        [one] => Ok(one),
        _ => bail!(
            "{}: there is no column `prompt` or `text` among `{}`; name the one to go on with: --text-column",
            row.location(file),
            names.join("`, `")
        ),
    }
}
