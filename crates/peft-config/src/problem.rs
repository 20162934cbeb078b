//! What is wrong with settings, and where it was written.

use std::{fmt, path::PathBuf};

use peft_format::shorten;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is a default, or missing.
    Default,
    /// In a line of a file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// In a flag, such as `--batch-size`.
    Flag(String),
    /// In an argument such as `batch_size=8`.
    Argument(String),
}

/// One thing that is wrong with the settings; displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub origin: Origin,
    /// The setting, with its table: `method_config.r`; empty for the file as a whole.
    pub key: String,
    /// What was expected, what was found, and what to do.
    pub text: String,
}

impl Problem {
    /// A problem with a setting.
    pub fn new(origin: Origin, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            origin,
            key: key.into(),
            text: text.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = shorten(&self.key);
        match &self.origin {
            Origin::File { path, line } => {
                write!(f, "{}, line {line}", path.display())?;
                if !key.is_empty() {
                    write!(f, ", `{key}`")?;
                }
            }
            Origin::Flag(flag) => f.write_str(flag)?,
            Origin::Argument(argument) => write!(f, "`{}`", shorten(argument))?,
            Origin::Default => write!(f, "`{key}`")?,
        }
        write!(f, ": {}", self.text)
    }
}

/// Everything that is wrong with the settings, at least one thing; displayed as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok` if nothing is wrong.
    ///
    /// # Errors
    /// The problems, if there are any.
    pub fn check(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self(problems))
        }
    }

    /// One by one, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [] => Ok(()),
            [only] => only.fmt(f),
            [first, rest @ ..] => write!(
                f,
                "{first} (and {} more: `peft config validate` lists them)",
                rest.len()
            ),
        }
    }
}

impl std::error::Error for Problems {}
