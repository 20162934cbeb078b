//! How a model's texts become tokens: by the files of its folder, or by the metadata of its GGUF file.

use std::path::Path;

use peft_data::{ChatTemplate, Clock, TextTokenizer};
use peft_format::gguf::{self, GgufFile, tokenizer::GgufTokenizer};

use crate::RunError;

/// The tokenizer in the metadata of a GGUF file, if the model is one.
///
/// # Errors
/// If the file is broken, or has a tokenizer that is not read.
pub(crate) fn of_gguf(model: &Path) -> Result<Option<GgufTokenizer>, RunError> {
    let Some(file) = gguf::locate(model)? else {
        return Ok(None);
    };
    Ok(Some(gguf::tokenizer::read(&GgufFile::open(&file)?)?))
}

/// The tokenizer of a model: that of its folder, or that in the metadata of a GGUF file.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn tokenizer(model: &Path) -> Result<TextTokenizer, RunError> {
    let Some(read) = of_gguf(model)? else {
        return Ok(TextTokenizer::from_dir(model)?);
    };
    let json = read.json.to_string();
    Ok(TextTokenizer::from_json(
        model,
        json.as_bytes(),
        read.settings,
    )?)
}

/// How a model turns conversations into text, if its folder, or the metadata of a GGUF file, say so.
///
/// # Errors
/// If its template is broken.
pub fn chat_template(
    model: &Path,
    tokenizer: &TextTokenizer,
) -> Result<Option<ChatTemplate>, RunError> {
    let clock = Clock::default();
    let template = match of_gguf(model)? {
        None => ChatTemplate::from_dir(model, clock)?,
        Some(mut read) => match read.settings.remove("chat_template") {
            Some(value) => Some(ChatTemplate::from_json(model, value, clock)?),
            None => None,
        },
    };
    Ok(template.map(|template| template.with_tokens_of(tokenizer)))
}
