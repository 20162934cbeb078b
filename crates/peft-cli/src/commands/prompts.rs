//! The texts of `peft generate`.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use peft_run::data::{Conversation, Format, Message, ReadOptions, Row, RowReader};

use crate::args::GenerateArgs;

/// A text to go on with.
pub struct Text {
    pub text: String,
    /// The conversation that it ends, where a row holds one.
    pub conversation: Option<Conversation>,
    /// The adapter that it names.
    pub adapter: Option<String>,
}

/// The texts that are asked for, in their order.
pub fn texts(args: &GenerateArgs) -> Result<Vec<Text>> {
    let Some(data) = &args.data else {
        let texts = args.prompt.iter().map(|text| Text {
            text: text.clone(),
            conversation: None,
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
    let mut reader = RowReader::open(data, &options)?;
    reader.keep_nested();
    let file = reader.file().to_owned();
    for row in reader {
        let row = row?;
        let adapter = args.adapters.adapter_column.as_deref();
        let talk = match &args.text_column {
            Some(column) => Conversation::is_in(&row, column).then_some(column.as_str()),
            None => Conversation::column_of(&row),
        };
        let talk = talk
            .map(|column| Conversation::to_go_on(&row, column, &file))
            .transpose()?;
        let text = match &talk {
            Some(talk) => {
                ensure!(
                    args.chat,
                    "{}: it is a conversation, which a model answers by its chat template: add --chat",
                    row.location(&file)
                );
                let said = talk.messages.last().and_then(Message::content);
                said.unwrap_or_default().to_owned()
            }
            None => {
                let column = match &args.text_column {
                    Some(column) => column.as_str(),
                    None => column(&row, &file, adapter)?,
                };
                row.text(column, &file)?.to_owned()
            }
        };
        texts.push(Text {
            text,
            conversation: talk,
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
            "{}: there is no column `prompt` or `text` among `{}`; name the one to continue: --text-column",
            row.location(file),
            names.join("`, `")
        ),
    }
}
