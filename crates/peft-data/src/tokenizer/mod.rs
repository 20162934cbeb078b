//! Text to token ids, as Hugging Face's tokenizers do it.

mod assemble;
mod decode;
mod fast;
mod files;
mod guard;
mod sentencepiece;
mod settings;
mod spans;
mod special;
#[cfg(test)]
mod tests;
mod truncate;

use crate::error::{DataError, Location, shorten};
use crate::threads::on_all_cores;
use assemble::Assembled;
pub use decode::DecodeStream;
use fast::Fast;
pub(crate) use files::read;
use files::{Config, REDOWNLOAD, bad};
use guard::guarded;
use special::Specials;
use std::path::{Path, PathBuf};
use tokenizers::{
    Encoding, ModelWrapper, PostProcessor, PreTokenizerWrapper, Tokenizer, TruncationDirection,
};

/// Fewer texts than this are tokenized on the calling thread.
const PARALLEL_FROM: usize = 64;

/// A tokenizer that was made of older files, and the name of the file, if it is there.
type Made = Result<Option<(&'static str, Assembled)>, DataError>;

/// Token ids of one text or pair, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segments: 1 for the second text of a BERT pair, else 0; as many as `ids`.
    pub type_ids: Vec<u32>,
    /// Tokens cut off to respect the maximum length.
    pub truncated_tokens: usize,
}

/// A tokenizer read from a model folder.
///
/// Truncation and padding that the files ask for are switched off: length is the caller's, and
/// batches here have no padding.
pub struct TextTokenizer {
    inner: Tokenizer,
    /// The way around the library, where there is one.
    fast: Option<Fast>,
    direction: TruncationDirection,
    /// Special tokens added to a text, and to a pair.
    special: [usize; 2],
    pad_id: Option<u32>,
    specials: Specials,
    vocab_size: usize,
    max_length: Option<usize>,
    overruled: bool,
    source: PathBuf,
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The vocabulary would fill the screen.
        let mut out = f.debug_struct("TextTokenizer");
        out.field("source", &self.source)
            .field("vocab_size", &self.vocab_size);
        out.field("pad_id", &self.pad_id).finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// Reads `tokenizer.json`; failing that, `vocab.txt` (BERT's WordPiece); failing that,
    /// `vocab.json` with `merges.txt` (RoBERTa's byte-level BPE); failing that, a SentencePiece model of ALBERT,
    /// XLM-RoBERTa, CamemBERT, DeBERTa-v2, Llama and its kin, or Gemma (`tokenizer.model`, `spiece.model`,
    /// `sentencepiece.bpe.model`, `spm.model`). Settings come from
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, where present; they
    /// overrule `tokenizer.json` where Hugging Face's classes let them: lower case, accents and
    /// Chinese characters of BERT's, a space before the text of byte-level BPE, what stands around a
    /// text of Llama's, and added tokens.
    ///
    /// # Errors
    /// [`DataError::NoTokenizer`] if the folder holds none of these, [`DataError::Tokenizer`] for a
    /// file that cannot be used, [`DataError::Io`].
    pub fn from_dir(dir: &Path) -> Result<Self, DataError> {
        let config = Config::read(dir)?;
        let whole = dir.join("tokenizer.json");
        if let Some(text) = read(&whole)? {
            return Self::build(&whole, text.as_bytes(), &config, true);
        }
        let makers: [&dyn Fn() -> Made; 3] = [
            &|| Ok(assemble::wordpiece(dir, &config)?.map(|made| ("vocab.txt", made))),
            &|| Ok(assemble::byte_bpe(dir, &config)?.map(|made| ("vocab.json", made))),
            &|| sentencepiece::sentencepiece(dir, &config),
        ];
        for make in makers {
            let Some((file, assembled)) = make()? else {
                continue;
            };
            let path = dir.join(file);
            let built = Self::build(&path, assembled.json.to_string().as_bytes(), &config, false)?;
            for (id, token) in assembled.expected {
                let got = built.inner.token_to_id(&token);
                if got != Some(id) {
                    let token = shorten(&token);
                    let problem = format!("added token `{token}` should have id {id}, got {got:?}");
                    return Err(bad(&path, problem, REDOWNLOAD));
                }
            }
            return Ok(built);
        }
        Err(DataError::NoTokenizer {
            dir: dir.to_owned(),
        })
    }

    /// A tokenizer in `tokenizer.json`'s schema, for example one made from a GGUF file's metadata.
    /// `config` are settings as in `tokenizer_config.json` (`eos_token`, `bos_token` and so on);
    /// `source` is for messages.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] for a text that is no tokenizer.
    pub fn from_json(
        source: &Path,
        json: &[u8],
        config: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Self, DataError> {
        Self::build(source, json, &Config::of(source, config)?, false)
    }

    /// `overrule` says that the settings may stand against what the text says.
    fn build(path: &Path, json: &[u8], config: &Config, overrule: bool) -> Result<Self, DataError> {
        guard::check(path, json)?;
        let invalid = |e| bad(path, format!("not a valid tokenizer: {e}"), REDOWNLOAD);
        let mut inner = guarded(|| Tokenizer::from_bytes(json)).map_err(invalid)?;
        let mut overruled = false;
        if overrule {
            let problem = |e| bad(&config.path, format!("cannot be applied: {e}"), REDOWNLOAD);
            overruled = settings::apply(&mut inner, config).map_err(problem)?;
        }
        let padding = inner.get_padding().map(|p| p.pad_token.clone());
        inner.with_padding(None);
        guarded(|| inner.with_truncation(None).map(|_| ())).map_err(invalid)?;
        // Dropout would make equal texts differ from run to run.
        if let ModelWrapper::BPE(bpe) = inner.get_model()
            && bpe.dropout.is_some()
        {
            let mut bpe = bpe.clone();
            bpe.dropout = None;
            inner.with_model(bpe);
        }
        let named = config.special("pad_token").map(|t| t.content);
        let usual = ["[PAD]", "<pad>"].map(str::to_owned);
        let names = named.into_iter().chain(padding).chain(usual);
        let pad_id = names.into_iter().find_map(|name| inner.token_to_id(&name));
        let specials = Specials::of(config, &inner);
        let vocab_size = inner
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |&id| id as usize + 1);
        let added = |pair| {
            inner
                .get_post_processor()
                .map_or(0, |p| p.added_tokens(pair))
        };
        let special = guarded(|| Ok([added(false), added(true)])).map_err(invalid)?;
        let direction = match config.text("truncation_side") {
            Some("left") => TruncationDirection::Left,
            _ => TruncationDirection::Right,
        };
        Ok(Self {
            fast: Fast::of(&inner),
            inner,
            direction,
            special,
            pad_id,
            specials,
            vocab_size,
            max_length: config.max_length(),
            overruled,
            source: path.to_owned(),
        })
    }

    /// Tokenizes a text, or a text and its pair, to at most `max_length` tokens. What is too long is
    /// cut as Hugging Face's `longest_first` does; special tokens stay.
    ///
    /// # Errors
    /// [`DataError::MaxLength`] if there is no room for a token besides the special ones,
    /// [`DataError::Encode`] if the tokenizer fails.
    pub fn encode(
        &self,
        text: &str,
        pair: Option<&str>,
        max_length: usize,
    ) -> Result<Encoded, DataError> {
        let special = self.special_tokens(pair.is_some());
        if max_length <= special {
            return Err(DataError::MaxLength {
                max_length,
                special,
            });
        }
        let mut first = self.encode_part(text)?;
        let mut second = pair.map(|p| self.encode_part(p)).transpose()?;
        let whole = first.len() + second.as_ref().map_or(0, Encoding::len);
        let room = max_length - special;
        let keep = truncate::longest_first(first.len(), second.as_ref().map(Encoding::len), room);
        self.cut(&mut first, keep.0);
        if let Some(second) = &mut second {
            self.cut(second, keep.1);
            // Only a post-processor may overrule the segments of a pair.
            second.set_type_ids(vec![1; second.len()]);
        }
        let done = guarded(|| self.inner.post_process(first, second, true));
        let done = done.map_err(|problem| DataError::Encode {
            text: shorten(text),
            problem,
        })?;
        Ok(Encoded {
            ids: done.get_ids().to_vec(),
            type_ids: done.get_type_ids().to_vec(),
            truncated_tokens: whole - (keep.0 + keep.1),
        })
    }

    /// Token ids of words that are separated already, and of each token which word begins with it:
    /// [`Labels::IGNORED`](crate::Labels::IGNORED) for special tokens and those within a word. A word that is nothing to the
    /// tokenizer begins nowhere.
    ///
    /// Byte-level vocabularies tell words by the blank before them: every word has one here, the first, too, as with Hugging
    /// Face's `add_prefix_space`.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`].
    pub fn encode_words(
        &self,
        rows: &[Vec<String>],
        max_length: usize,
    ) -> Result<Vec<(Encoded, Vec<u32>)>, DataError> {
        let special = self.special_tokens(false);
        if max_length <= special {
            return Err(DataError::MaxLength {
                max_length,
                special,
            });
        }
        let blanks = match self.inner.get_pre_tokenizer() {
            Some(pre_tokenizer) => lacks_blanks(pre_tokenizer),
            None => false,
        };
        on_all_cores(rows, PARALLEL_FROM, |words| {
            self.encode_row(words, blanks, max_length - special)
        })
    }

    fn encode_row(
        &self,
        words: &[String],
        blanks: bool,
        room: usize,
    ) -> Result<(Encoded, Vec<u32>), DataError> {
        let words: Vec<String> = match blanks {
            true => words.iter().map(|word| format!(" {word}")).collect(),
            false => words.to_vec(),
        };
        let failed = |problem| DataError::Encode {
            text: shorten(&words.join(" ")),
            problem,
        };
        let encoded = guarded(|| self.inner.encode(words.clone(), false));
        let mut encoded = encoded.map_err(failed)?;
        let whole = encoded.len();
        let keep = whole.min(room);
        self.cut(&mut encoded, keep);
        let done = guarded(|| self.inner.post_process(encoded, None, true)).map_err(failed)?;
        let mut last = None;
        let starts = done.get_word_ids().iter().map(|word| {
            let begins = word.is_some() && *word != last;
            last = *word;
            word.filter(|_| begins).unwrap_or(crate::Labels::IGNORED)
        });
        let starts = starts.collect();
        let encoded = Encoded {
            ids: done.get_ids().to_vec(),
            type_ids: done.get_type_ids().to_vec(),
            truncated_tokens: whole - keep,
        };
        Ok((encoded, starts))
    }

    /// As [`TextTokenizer::encode`] for many, on all cores; the result does not depend on how many.
    ///
    /// # Errors
    /// As [`TextTokenizer::encode`], of the first text that fails.
    pub fn encode_many(
        &self,
        texts: &[(String, Option<String>)],
        max_length: usize,
    ) -> Result<Vec<Encoded>, DataError> {
        on_all_cores(texts, PARALLEL_FROM, |(a, b)| {
            self.encode(a, b.as_deref(), max_length)
        })
    }

    /// Special tokens added to a text, or to a pair.
    pub fn special_tokens(&self, pair: bool) -> usize {
        self.special[usize::from(pair)]
    }

    /// A token as the vocabulary writes it; empty for an id that it does not have.
    pub fn token(&self, id: u32) -> String {
        self.inner.id_to_token(id).unwrap_or_default()
    }

    /// Refuses a row with a token beyond the embeddings that a model has; without a number none is.
    pub(crate) fn expect_known(
        &self,
        ids: &[u32],
        known: Option<usize>,
        at: impl Fn() -> Location,
    ) -> Result<(), DataError> {
        let Some(known) = known else { return Ok(()) };
        match ids.iter().find(|id| **id as usize >= known) {
            None => Ok(()),
            Some(&id) => Err(DataError::UnknownToken {
                at: at(),
                token: shorten(&self.token(id)),
                id,
                known,
            }),
        }
    }

    /// Id of the padding token, if the tokenizer has one. Batches here never need it.
    pub fn pad_id(&self) -> Option<u32> {
        self.pad_id
    }

    /// The greatest token id plus one: how many embeddings the model must have at least.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// The longest text in tokens that the tokenizer's files say the model takes
    /// (`model_max_length`), if they do.
    pub fn max_length(&self) -> Option<usize> {
        self.max_length
    }

    /// Whether the files beside `tokenizer.json` overrule something in it.
    pub fn is_overruled(&self) -> bool {
        self.overruled
    }

    /// The file the vocabulary came from.
    pub fn source(&self) -> &Path {
        &self.source
    }

    fn encode_part(&self, text: &str) -> Result<Encoding, DataError> {
        let encoded = guarded(|| match self.fast_ids(text) {
            Some(ids) => self.inner.post_process(placeless(ids), None, false),
            None => self.inner.encode_fast(text, false),
        });
        encoded.map_err(|problem| DataError::Encode {
            text: shorten(text),
            problem,
        })
    }

    /// Ids before post-processing; `None` for what only the library can do.
    fn fast_ids(&self, text: &str) -> Option<Vec<u32>> {
        self.fast.as_ref()?.ids(&self.inner, text)
    }

    fn cut(&self, encoding: &mut Encoding, keep: usize) {
        encoding.truncate(keep, 0, self.direction);
        // The cut-off parts would go through post-processing as well.
        encoding.take_overflowing();
    }
}

/// What the library's `encode_fast` makes of ids.
fn placeless(ids: Vec<u32>) -> Encoding {
    let tokens = ids
        .into_iter()
        .map(|id| (id, String::new(), (0, 0), None, 0));
    tokens.collect()
}

/// Whether words come without the blanks by which byte-level vocabularies tell them.
fn lacks_blanks(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(bytes) => !bytes.add_prefix_space,
        PreTokenizerWrapper::Sequence(all) => all.as_ref().iter().any(lacks_blanks),
        _ => false,
    }
}
