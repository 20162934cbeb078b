//! What can go wrong with data, and what the user should do about it.

use std::fmt;
use std::path::PathBuf;

/// A place in a data file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file, or `<stdin>`.
    pub file: String,
    /// Data row, counted from 1 (the header is not a row); 0 is the header.
    pub row: u64,
    /// Line of the file at which the row starts, counted from 1; 0 where there is no file.
    pub line: u64,
    /// The column, where one is to blame.
    pub column: Option<String>,
}

impl Location {
    /// The same place, naming a column.
    pub(crate) fn column(mut self, name: &str) -> Self {
        self.column = Some(shorten(name));
        self
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file)?;
        match self.row {
            0 => write!(f, "header")?,
            row => write!(f, "row {row}")?,
        }
        if self.line > 0 {
            write!(f, " (line {})", self.line)?;
        }
        match &self.column {
            Some(column) => write!(f, ", column `{column}`"),
            None => Ok(()),
        }
    }
}

/// Cuts a value for an error message: a hostile field may be megabytes long.
pub(crate) fn shorten(value: &str) -> String {
    const SHOWN: usize = 60;
    match value.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{}…", &value[..cut]),
        None => value.to_owned(),
    }
}

/// Joins names for an error message, at most twenty of them.
pub(crate) fn list<S: AsRef<str>>(names: &[S]) -> String {
    const SHOWN: usize = 20;
    let head: Vec<_> = names
        .iter()
        .take(SHOWN)
        .map(|n| format!("`{}`", shorten(n.as_ref())))
        .collect();
    match names.len().saturating_sub(SHOWN) {
        0 => head.join(", "),
        more => format!("{} and {more} more", head.join(", ")),
    }
}

/// The setting that names the column of the labels, as [`DataError::Columns`] has it.
pub(crate) const LABEL_COLUMN: &str = "the setting `label_column`";

/// An error from reading, tokenizing, splitting or batching data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system could not read the file.
    #[error("{path}: cannot read: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file as a whole is of a kind that cannot be read here.
    #[error("{file}: {problem}; {fix}")]
    Format {
        /// The file, or `<stdin>`.
        file: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// Something that is not done here.
    #[error("{what}; {fix}")]
    Unsupported {
        /// What was asked for, and where.
        what: String,
        /// What to do.
        fix: &'static str,
    },
    /// Rows too many for memory could not be kept in a temporary file.
    #[error(
        "{path}: cannot keep the tokenized rows there: {source}; free some space, or name a folder \
         on a larger disk in TMPDIR", path = dir.display()
    )]
    Spill {
        /// The folder for temporary files.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// One row cannot be parsed.
    #[error("{at}: {problem}; {fix}")]
    Malformed {
        /// Where.
        at: Location,
        /// What was expected and what was found.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// A field or row is larger than the reader accepts.
    #[error(
        "{at}: {what} is larger than the limit of {limit} bytes; an unclosed quote or a binary file \
         looks like this: check the file"
    )]
    TooLarge {
        /// Where.
        at: Location,
        /// Field or row.
        what: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// No column fits a role.
    #[error("{file}: {problem}; columns found: {found}; name them with {settings}")]
    Columns {
        /// The file, or `<stdin>`.
        file: String,
        /// What is missing.
        problem: String,
        /// The columns of the file.
        found: String,
        /// The settings that answer.
        settings: &'static str,
    },
    /// A column that was named and is not there.
    #[error("{file}: there is no column `{column}`; columns found: {found}; name one of these")]
    NoColumn {
        /// The file, or `<stdin>`.
        file: String,
        /// The name.
        column: String,
        /// The columns of the file.
        found: String,
    },
    /// A label that the model does not know.
    #[error(
        "{at}: unknown label `{value}`; known labels: {known} (a label may also be given by its \
         number): correct the row, or name another column with the setting `label_column`"
    )]
    UnknownLabel {
        /// Where.
        at: Location,
        /// The label found.
        value: String,
        /// The labels that exist.
        known: String,
    },
    /// A row that is meant for an adapter that is not there.
    #[error(
        "{at}: unknown adapter `{value}`; there are {known}: correct the row, give the adapter with \
         the setting `adapter` NAME=DIR, or name another column with the setting `adapter_column`"
    )]
    UnknownAdapter {
        /// Where.
        at: Location,
        /// The name found.
        value: String,
        /// The adapters that exist.
        known: String,
    },
    /// A regression target that is not a finite number.
    #[error(
        "{at}: expected a finite number, found `{value}`; correct the row, or use the setting `task` classify \
         if the values are classes"
    )]
    BadTarget {
        /// Where.
        at: Location,
        /// The value found.
        value: String,
    },
    /// The label column does not look like classes.
    #[error(
        "{file}: {distinct} distinct labels in {rows} rows (for example {examples}) do not look \
         like classes; use the setting `task` regress if they are numbers to predict, or name another column \
         with the setting `label_column`"
    )]
    TooManyLabels {
        /// The file, or `<stdin>`.
        file: String,
        /// Distinct labels seen.
        distinct: usize,
        /// Rows seen.
        rows: usize,
        /// A few of them.
        examples: String,
    },
    /// Training data with a single class.
    #[error(
        "{file}: every row has the label `{label}`, so there is nothing to learn; check the column \
         with the setting `label_column`"
    )]
    OneLabel {
        /// The file, or `<stdin>`.
        file: String,
        /// The label.
        label: String,
    },
    /// Label names that cannot form a map.
    #[error("label names: {problem}; check `id2label` in config.json")]
    LabelNames {
        /// What is wrong.
        problem: String,
    },
    /// No rows.
    #[error("{file}: no data rows; expected at least one row after the header, if any")]
    Empty {
        /// The file, or `<stdin>`.
        file: String,
    },
    /// Texts and labels of different number.
    #[error("{texts} texts but {labels} labels; give one label a text, or none")]
    LabelCount {
        /// Texts given.
        texts: usize,
        /// Labels given.
        labels: usize,
    },
    /// No tokenizer in the folder.
    #[error(
        "{path}: no tokenizer found; looked for tokenizer.json, then vocab.txt, then vocab.json with \
         merges.txt; point the setting `model` at a Hugging Face model folder that holds one of them",
        path = dir.display()
    )]
    NoTokenizer {
        /// The folder.
        dir: PathBuf,
    },
    /// A tokenizer file that cannot be used.
    #[error("{path}: {problem}; {fix}", path = path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// A chat template that cannot be used, or that cannot be used for a conversation.
    #[error("{path}: {problem}; {fix}", path = path.display())]
    Template {
        /// The file it came from.
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: &'static str,
    },
    /// The tokenizer failed on a text.
    #[error("cannot tokenize `{text}`: {problem}; check that the tokenizer files belong together")]
    Encode {
        /// The text's beginning.
        text: String,
        /// What the tokenizer said.
        problem: String,
    },
    /// A text without any token.
    #[error("{at}: no token is left of this text; remove the row, or give it some text")]
    NoTokens {
        /// Where.
        at: Location,
    },
    /// A text with a token that the model has no embedding for.
    #[error(
        "{at}: the token `{token}` has the number {id}, but the model has {known} embeddings, from 0; the \
         tokenizer has more tokens than the model: take the tokenizer that belongs to it, or \
         reword the row"
    )]
    UnknownToken {
        /// Where.
        at: Location,
        /// The token.
        token: String,
        /// Its number.
        id: u32,
        /// Embeddings there are.
        known: usize,
    },
    /// Too little room for the special tokens and one more.
    #[error(
        "the setting `max_length` {max_length} is too small: this tokenizer adds {special} special tokens, so \
         at least {least} is needed", least = special + 1
    )]
    MaxLength {
        /// The length asked for.
        max_length: usize,
        /// Special tokens added to every row.
        special: usize,
    },
    /// A split that leaves one side empty.
    #[error(
        "cannot set aside a fraction of {fraction} of {rows} rows; the fraction must lie between 0 \
         and 1, and at least 2 rows are needed, or rows apart from these in the setting `select_data`"
    )]
    Split {
        /// Rows there are.
        rows: usize,
        /// Fraction asked for.
        fraction: f64,
    },
    /// A batch size of nought.
    #[error("the setting `batch_size` must be at least 1")]
    BatchSize,
    /// A row index outside the data set.
    #[error("row {index} does not exist: the data set has {rows} rows")]
    NoSuchRow {
        /// Index asked for.
        index: usize,
        /// Rows there are.
        rows: usize,
    },
}

impl DataError {
    /// Whether it says that no column of labels was found: rows to predict have none.
    pub fn is_without_labels(&self) -> bool {
        matches!(self, Self::Columns { settings, .. } if *settings == LABEL_COLUMN)
    }
}
