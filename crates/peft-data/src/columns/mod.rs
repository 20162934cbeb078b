//! Which columns hold the text, its pair and the label.

mod known;
#[cfg(test)]
mod tests;

use crate::error::{DataError, LABEL_COLUMN, list, shorten};
use crate::task::{TOKEN_CLASSIFICATION, Task};
use known::{LABELS, PAIRS, TEXTS, WORD_LABELS, WORDS};
use serde::{Deserialize, Serialize};

/// Columns as the user names them; what is `None` is detected.
///
/// A named text column switches the detection of a pair column off: whoever names one text means
/// one text, unless `text_pair` is named too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnMap {
    /// Column of the text (`text_column`).
    pub text: Option<String>,
    /// Column of the second text of a pair (`pair_column`).
    pub text_pair: Option<String>,
    /// Column of the label (`label_column`). For several labels a row this may name several
    /// columns, separated by commas: one a label, which says 0 or 1.
    pub label: Option<String>,
}

/// Columns as found in a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Columns {
    /// Column of the text.
    pub text: String,
    /// Column of the second text, for pairs.
    pub text_pair: Option<String>,
    /// Column of the label; `None` only where labels are not required, or in `flags`.
    pub label: Option<String>,
    /// Columns of 0 or 1, one a label.
    pub flags: Vec<String>,
}

impl Columns {
    /// The names of all columns that are used.
    pub fn used(&self) -> Vec<&str> {
        let one = [
            Some(&self.text),
            self.text_pair.as_ref(),
            self.label.as_ref(),
        ];
        let one = one.into_iter().flatten();
        one.chain(&self.flags).map(String::as_str).collect()
    }
}

impl ColumnMap {
    /// Finds the columns among `names`; the label only if `require_label`.
    ///
    /// # Errors
    /// [`DataError::Columns`] if a named column does not exist or nothing fits; it lists the columns
    /// there are and the settings that name them. [`DataError::Unsupported`] for the columns of token
    /// classification.
    pub fn resolve(
        &self,
        names: &[String],
        require_label: bool,
        file: &str,
    ) -> Result<Columns, DataError> {
        self.resolve_one(names, require_label, file)
    }

    /// As [`ColumnMap::resolve`], for a task: where rows have several labels, the label column may
    /// be several.
    ///
    /// # Errors
    /// As [`ColumnMap::resolve`].
    pub fn resolve_for(
        &self,
        task: Task,
        names: &[String],
        require_label: bool,
        file: &str,
    ) -> Result<Columns, DataError> {
        if task == Task::TokenClassify {
            return self.resolve_words(names, require_label, file);
        }
        let several = self.label.as_ref().filter(|label| {
            task == Task::MultiLabel && label.contains(',') && !names.contains(label)
        });
        let Some(several) = several else {
            return self.resolve_one(names, require_label, file);
        };
        let one = Self {
            label: None,
            ..self.clone()
        };
        let mut flags = Vec::new();
        for name in several.split(',').map(str::trim).filter(|n| !n.is_empty()) {
            if require_label && !names.iter().any(|n| n == name) {
                return Err(DataError::Columns {
                    file: file.to_owned(),
                    problem: format!("there is no column `{}`", shorten(name)),
                    found: list(names),
                    settings: LABEL_COLUMN,
                });
            }
            if !flags.iter().any(|n| n == name) {
                flags.push(name.to_owned());
            }
        }
        let free: Vec<String> = names
            .iter()
            .filter(|n| !flags.contains(n))
            .cloned()
            .collect();
        let columns = one.resolve_one(&free, false, file)?;
        Ok(match require_label {
            true => Columns { flags, ..columns },
            false => columns,
        })
    }

    /// Columns of words and of their labels. Texts that are to be labelled may be whole.
    fn resolve_words(
        &self,
        names: &[String],
        require_label: bool,
        file: &str,
    ) -> Result<Columns, DataError> {
        let error = |problem: String, settings| DataError::Columns {
            file: file.to_owned(),
            problem,
            found: list(names),
            settings,
        };
        let find = |wanted: &[&str], taken: Option<&String>| {
            let fits = |wanted: &str| {
                let mut names = names.iter().filter(|name| Some(*name) != taken);
                names.find(|name| name.to_lowercase() == wanted).cloned()
            };
            wanted.iter().find_map(|wanted| fits(wanted))
        };
        let known = |name: &Option<String>, settings| match name {
            Some(name) if !names.contains(name) => Err(error(
                format!("there is no column `{}`", shorten(name)),
                settings,
            )),
            name => Ok(name.clone()),
        };
        const WORDS_COLUMN: &str = "the setting `text_column`";
        if let Some(pair) = &self.text_pair {
            return Err(error(
                format!("a second text, `{}`, has no labelled words", shorten(pair)),
                WORDS_COLUMN,
            ));
        }
        let label = match require_label {
            true => known(&self.label, LABEL_COLUMN)?,
            false => None,
        };
        let text = known(&self.text, WORDS_COLUMN)?.or_else(|| find(WORDS, label.as_ref()));
        let whole = || find(TEXTS, label.as_ref()).filter(|_| !require_label);
        let text = text.or_else(whole).ok_or_else(|| {
            error(
                "no column looks like lists of words".to_owned(),
                WORDS_COLUMN,
            )
        })?;
        let label = match require_label {
            false => None,
            true => Some(
                label
                    .or_else(|| find(WORD_LABELS, Some(&text)))
                    .ok_or_else(|| {
                        error(
                            "no column looks like labels of words".to_owned(),
                            LABEL_COLUMN,
                        )
                    })?,
            ),
        };
        if label.as_ref() == Some(&text) {
            return Err(error(
                format!("column `{}` has two roles", shorten(&text)),
                LABEL_COLUMN,
            ));
        }
        Ok(Columns {
            text,
            text_pair: None,
            label,
            flags: Vec::new(),
        })
    }

    fn resolve_one(
        &self,
        names: &[String],
        require_label: bool,
        file: &str,
    ) -> Result<Columns, DataError> {
        let find = |wanted: &str| names.iter().find(|n| n.to_lowercase() == wanted).cloned();
        let first = |wanted: &[&str]| wanted.iter().find_map(|w| find(w));
        let error = |problem: String, settings| DataError::Columns {
            file: file.to_owned(),
            problem,
            found: list(names),
            settings,
        };
        let named = |name: &Option<String>, flag| match name {
            Some(name) if !names.contains(name) => Err(error(
                format!("there is no column `{}`", shorten(name)),
                flag,
            )),
            name => Ok(name.clone()),
        };
        let (mut text, mut text_pair) = (
            named(&self.text, "the setting `text_column`")?,
            named(&self.text_pair, "the setting `pair_column`")?,
        );
        // Without need for labels (prediction) the named column may be absent.
        let label = match require_label {
            true => named(&self.label, LABEL_COLUMN)?,
            false => self.label.clone(),
        };
        let taken = |name: &String| Some(name) == label.as_ref();
        if text.is_none() && text_pair.is_none() {
            let pair = PAIRS.iter().find_map(|(a, b)| Some((find(a)?, find(b)?)));
            if let Some((a, b)) = pair.filter(|(a, b)| !taken(a) && !taken(b)) {
                (text, text_pair) = (Some(a), Some(b));
            }
        }
        let text = text.or_else(|| {
            let free = |n: &String| !taken(n) && Some(n) != text_pair.as_ref();
            TEXTS.iter().find_map(|w| find(w).filter(free))
        });
        let has = |wanted: &[&str]| first(wanted).is_some();
        if text.is_none() && has(WORDS) && has(WORD_LABELS) {
            return Err(DataError::Unsupported {
                what: format!(
                    "{file}: the columns {} are those of token classification; \
                     {TOKEN_CLASSIFICATION}",
                    list(names)
                ),
                fix: "use that task, or name a column of whole texts with the setting `text_column`",
            });
        }
        let text = text.ok_or_else(|| {
            let settings = "the setting `text_column`, the setting `pair_column` and the setting `label_column`";
            error("no column looks like the text".to_owned(), settings)
        })?;
        let label =
            match require_label {
                false => None,
                true => Some(label.or_else(|| first(LABELS)).ok_or_else(|| {
                    error("no column looks like the label".to_owned(), LABEL_COLUMN)
                })?),
            };
        let used = [Some(&text), text_pair.as_ref(), label.as_ref()];
        let twice = used
            .iter()
            .enumerate()
            .find(|(i, u)| u.is_some() && used[..*i].contains(u));
        if let Some((_, Some(name))) = twice {
            let settings = "the setting `text_column`, the setting `pair_column` and the setting `label_column`";
            return Err(error(
                format!("column `{}` has two roles", shorten(name)),
                settings,
            ));
        }
        Ok(Columns {
            text,
            text_pair,
            label,
            flags: Vec::new(),
        })
    }
}
