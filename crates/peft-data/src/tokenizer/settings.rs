//! What the files beside `tokenizer.json` overrule in it, as Hugging Face's classes do.

use super::assemble::BERT;
use super::files::{AddedToken, Config};
use super::guard::guarded;
use serde_json::{Value, json};
use tokenizers::{
    AddedToken as Token, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, Tokenizer,
};

/// Further classes that set their normalizer by `do_lower_case`, `strip_accents` and
/// `tokenize_chinese_chars`, as BERT's do.
const LIKE_BERT: [&str; 2] = ["LayoutLMTokenizer", "FunnelTokenizer"];
/// Classes that make their post-processor of `add_bos_token` and `add_eos_token`.
const LLAMA: [&str; 3] = ["LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer"];

/// Applies the settings to a tokenizer that was read from `tokenizer.json`; tells whether that changed
/// anything.
pub(super) fn apply(inner: &mut Tokenizer, config: &Config) -> Result<bool, String> {
    guarded(|| {
        let normalizer = normalizer(inner, config)?;
        let prefix = pre_tokenizer(inner, config);
        let tokens = added_tokens(inner, config)?;
        let around = post_processor(inner, config)?;
        Ok(normalizer || prefix || tokens || around)
    })
}

/// The tokenizer's class without the ending that tells the fast ones.
fn class(config: &Config) -> Option<&str> {
    let class = config.text("tokenizer_class")?;
    Some(class.trim_end_matches("Fast"))
}

/// Of the classes of BERT the settings count, and their defaults where the file names the class; without
/// a class only what is written counts.
fn normalizer(inner: &mut Tokenizer, config: &Config) -> tokenizers::Result<bool> {
    let class = class(config);
    let bert = |class| BERT.contains(&class) || LIKE_BERT.contains(&class);
    if class.is_some_and(|class| !bert(class)) {
        return Ok(false);
    }
    let Some(NormalizerWrapper::BertNormalizer(mut bert)) = inner.get_normalizer().cloned() else {
        return Ok(false);
    };
    let named = class.is_some();
    let before = bert;
    if let Some(lowercase) = config.flag("do_lower_case").or(named.then_some(true)) {
        bert.lowercase = lowercase;
    }
    let chinese = config.flag("tokenize_chinese_chars");
    if let Some(chinese) = chinese.or(named.then_some(true)) {
        bert.handle_chinese_chars = chinese;
    }
    if named || config.has("strip_accents") {
        bert.strip_accents = config.flag("strip_accents");
    }
    let settings = |b: &tokenizers::normalizers::BertNormalizer| {
        (b.lowercase, b.handle_chinese_chars, b.strip_accents)
    };
    let changed = settings(&before) != settings(&bert);
    if changed {
        inner.with_normalizer(Some(bert))?;
    }
    Ok(changed)
}

/// Whether a space is put before the text, of byte-level BPE.
fn pre_tokenizer(inner: &mut Tokenizer, config: &Config) -> bool {
    let Some(prefix) = config.flag("add_prefix_space") else {
        return false;
    };
    let bytes = match inner.get_pre_tokenizer() {
        Some(PreTokenizerWrapper::ByteLevel(bytes)) if bytes.add_prefix_space != prefix => {
            bytes.add_prefix_space(prefix)
        }
        _ => return false,
    };
    inner.with_pre_tokenizer(Some(bytes));
    true
}

/// Tokens that the files list and `tokenizer.json` lacks, and special tokens that it has as ordinary
/// ones: they are found in a text before it is taken apart.
fn added_tokens(inner: &mut Tokenizer, config: &Config) -> tokenizers::Result<bool> {
    let known = inner.get_added_vocabulary().get_vocab().clone();
    let before = inner.get_added_tokens_decoder();
    let listed = config.added.iter().map(|(_, token)| token.clone());
    // The flags of `added_tokens_decoder` overrule; the older list has none.
    let new = |token: &AddedToken| !token.flags.is_empty() || !known.contains_key(&token.content);
    let mut all: Vec<Token> = listed
        .filter(new)
        .map(|token| made(&token, false))
        .collect();
    for token in config.all_specials() {
        let there = inner.token_to_id(&token.content).is_some();
        let twice = all.iter().any(|one| one.content == token.content);
        if there && !twice && !known.contains_key(&token.content) {
            all.push(made(&token, true));
        }
    }
    if !all.is_empty() {
        inner.add_tokens(all)?;
    }
    Ok(before != inner.get_added_tokens_decoder())
}

fn made(token: &AddedToken, special: bool) -> Token {
    let flag = |name: &str| token.flags.get(name).and_then(Value::as_bool);
    let special = flag("special").unwrap_or(special);
    Token::from(token.content.clone(), special)
        .single_word(flag("single_word").unwrap_or(false))
        .lstrip(flag("lstrip").unwrap_or(false))
        .rstrip(flag("rstrip").unwrap_or(false))
        .normalized(flag("normalized").unwrap_or(!special))
}

/// The tokens that stand around a text, of Llama's classes: where the settings say whether they do.
fn post_processor(inner: &mut Tokenizer, config: &Config) -> tokenizers::Result<bool> {
    let (begins, ends) = (config.flag("add_bos_token"), config.flag("add_eos_token"));
    let ours = class(config).is_some_and(|class| LLAMA.contains(&class));
    if !ours || begins.or(ends).is_none() {
        return Ok(false);
    }
    let token = |role: &str, wanted: bool| {
        let token = config.special(role).filter(|_| wanted)?.content;
        Some((inner.token_to_id(&token)?, token))
    };
    let bos = token("bos_token", begins.unwrap_or(true));
    let eos = token("eos_token", ends.unwrap_or(false));
    let special = |token: &Option<(u32, String)>, segment: u32| {
        let (_, token) = token.as_ref()?;
        Some(json!({ "SpecialToken": { "id": token, "type_id": segment } }))
    };
    let around = |text: &str, segment: u32| {
        let text = json!({ "Sequence": { "id": text, "type_id": segment } });
        let all = [special(&bos, segment), Some(text), special(&eos, segment)];
        all.into_iter().flatten().collect::<Vec<Value>>()
    };
    let (single, mut pair) = (around("A", 0), around("A", 0));
    pair.extend(around("B", 1));
    let tokens: serde_json::Map<String, Value> = [&bos, &eos]
        .into_iter()
        .flatten()
        .map(|(id, token)| {
            let told = json!({ "id": token, "ids": [id], "tokens": [token] });
            (token.clone(), told)
        })
        .collect();
    let template = json!({
        "type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": tokens,
    });
    let template: PostProcessorWrapper = serde_json::from_value(template)?;
    let changed = inner.get_post_processor() != Some(&template);
    inner.with_post_processor(Some(template));
    Ok(changed)
}
