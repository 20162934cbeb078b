use std::path::Path;

use peft_run::RunError;
use thiserror::Error;

use crate::SearchError;

/// Why a search of runs stopped.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RunsError {
    /// A run, its base or its data.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The search.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// A file of a space.
    #[error(transparent)]
    Space(#[from] peft_config::Problems),
    /// Something that is searched.
    #[error("{what}: {problem}; {fix}")]
    Setting {
        /// What it is.
        what: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
}

impl RunsError {
    pub(crate) fn setting(
        what: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self::Setting {
            what: what.into(),
            problem: problem.into(),
            fix: fix.into(),
        }
    }

    /// The same error of a file of a space, which it names.
    #[must_use]
    pub fn of_file(self, path: &Path) -> Self {
        let path = path.display();
        match self {
            Self::Setting { what, problem, fix } => {
                Self::setting(format!("{path}: {what}"), problem, fix)
            }
            Self::Search(SearchError::Parameter { parameter, reason }) => {
                let what = match parameter.as_str() {
                    "" => format!("{path}: the space"),
                    name => format!("{path}: parameter {name} of the space"),
                };
                let fix = "correct it; see the guide's page on searches";
                Self::setting(what, reason, fix)
            }
            other => other,
        }
    }
}

impl From<peft_config::Problem> for RunsError {
    fn from(problem: peft_config::Problem) -> Self {
        Self::Space(problem.into())
    }
}
