use std::io;
use std::path::{Path, PathBuf};

use peft_format::FormatError;

/// Why something could not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// No variable says where the cache is.
    #[error("no place for the cache: set PEFT_CACHE to a folder outside the project")]
    NoCache,
    /// The operating system refused.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was being done, as a verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be written.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An archive is not what its name says.
    #[error("`{archive}`: {problem}; delete it and fetch it again")]
    Archive {
        /// The archive.
        archive: String,
        /// What is wrong.
        problem: String,
    },
    /// Bytes differ from those that were expected.
    #[error("`{}` has sha256 {found}, expected {expected}: another file was served, delete it and look why", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Its sha256.
        found: String,
        /// The sha256 it should have.
        expected: String,
    },
    /// The network is needed and forbidden.
    #[error("{what} is not in {}, and --offline forbids a download: {fix}", cache.display())]
    Offline {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        cache: PathBuf,
        /// What to do.
        fix: String,
    },
    /// A download is asked of a build that cannot.
    #[error(
        "`{model}` is no folder, and this binary downloads no models: build it with `--features hub`, \
         or download the model by hand and give its folder"
    )]
    NotCompiled {
        /// The model.
        model: String,
    },
    /// A well-known model is named without the organisation that it belongs to.
    #[error(
        "there is no folder `{model}`, and models of the hub have an organisation in front of their names: did you mean `{whole}`?"
    )]
    NoOrganisation {
        /// The name as it was given.
        model: String,
        /// The whole name.
        whole: &'static str,
    },
    /// A server does not give what it is asked for.
    #[error("{url}: {problem}; {fix}")]
    Remote {
        /// The address, without what may be secret in it.
        url: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
    /// The system's pip failed.
    #[error("pip could not fetch {package}: {problem}; {fix}")]
    Pip {
        /// Name and version.
        package: String,
        /// What is wrong.
        problem: String,
        /// What to do.
        fix: String,
    },
}

impl HubError {
    /// For `map_err`: the operating system's reason with what was being done.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
