//! Where a study is kept, as a user writes it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

#[cfg(feature = "postgres")]
use super::postgres::{Address, PostgresStore};
use super::{Description, FolderStore, Store, Study, described};
use crate::{Problem, SearchError};

/// A folder, or a study in a PostgreSQL database: `postgres://USER@HOST:PORT/DATABASE?study=NAME`. The database needs
/// the feature `postgres`.
///
/// Written out ([`Display`](fmt::Display)), it has no password.
#[derive(Debug, Clone)]
pub struct Place(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Folder(PathBuf),
    #[cfg(feature = "postgres")]
    Database(Box<Address>),
}

impl Place {
    /// The folder, where it is one.
    pub fn folder(&self) -> Option<&Path> {
        match &self.0 {
            Kind::Folder(folder) => Some(folder),
            #[cfg(feature = "postgres")]
            Kind::Database(_) => None,
        }
    }

    /// Whether a text is the URL of a database, whatever else may be wrong with it.
    pub fn is_database(text: &str) -> bool {
        ["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }

    /// As [`Study::begin`], here.
    ///
    /// # Errors
    ///
    /// Those of [`Study::begin_in`].
    pub fn begin(&self, description: Description, problem: Problem) -> Result<Study, SearchError> {
        Study::begin_in(self.store()?, description, problem)
    }

    /// As [`Study::open`], here.
    ///
    /// # Errors
    ///
    /// Those of [`Study::open_in`].
    pub fn open(&self, problem: Problem) -> Result<Study, SearchError> {
        match self.folder() {
            Some(folder) => Study::open(folder, problem),
            None => Study::open_in(self.store()?, problem),
        }
    }

    /// As [`Study::look`], here.
    ///
    /// # Errors
    ///
    /// Those of [`Study::look_in`].
    pub fn look(&self) -> Result<Study, SearchError> {
        match self.folder() {
            Some(folder) => Study::look(folder),
            None => Study::look_in(self.store()?),
        }
    }

    /// What the study here was begun with.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] where there is none.
    pub fn description(&self) -> Result<Description, SearchError> {
        match self.folder() {
            Some(folder) => Description::read(folder),
            None => described(&mut *self.store()?),
        }
    }

    /// Opens it, for one owner. A folder is made where it is not there; a database must be there.
    ///
    /// # Errors
    ///
    /// [`SearchError::File`] where the folder cannot be made, [`SearchError::Database`] where the database cannot be
    /// reached.
    pub fn store(&self) -> Result<Box<dyn Store>, SearchError> {
        Ok(match &self.0 {
            Kind::Folder(folder) => Box::new(FolderStore::new(folder)?),
            #[cfg(feature = "postgres")]
            Kind::Database(address) => Box::new(PostgresStore::connect(address)?),
        })
    }
}

impl From<&Path> for Place {
    fn from(folder: &Path) -> Self {
        Self(Kind::Folder(folder.to_owned()))
    }
}

impl FromStr for Place {
    type Err = SearchError;

    /// A URL where the text begins like one, else a folder.
    ///
    /// # Errors
    ///
    /// [`SearchError::Study`] of a URL that is none of a study, or where this build has no databases.
    fn from_str(text: &str) -> Result<Self, SearchError> {
        match Self::is_database(text) {
            true => database(text).map(Self),
            false if text.contains("://") => Err(SearchError::Study {
                reason: "of URLs only postgres://USER@HOST/DATABASE?study=NAME is known: correct it, or give a folder".into(),
            }),
            false => Ok(Self::from(Path::new(text))),
        }
    }
}

#[cfg(feature = "postgres")]
fn database(url: &str) -> Result<Kind, SearchError> {
    Ok(Kind::Database(Box::new(url.parse()?)))
}

#[cfg(not(feature = "postgres"))]
fn database(_: &str) -> Result<Kind, SearchError> {
    Err(SearchError::Study {
        reason: "a postgres:// URL needs a build with the feature `postgres`: build with `--features postgres`, or give a \
                 folder"
            .into(),
    })
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Folder(folder) => folder.display().fmt(f),
            #[cfg(feature = "postgres")]
            Kind::Database(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_a_folder_or_a_database() {
        let place: Place = "runs/postgres".parse().unwrap();
        assert_eq!(place.folder(), Some(Path::new("runs/postgres")));
        let url = "postgresql://me:secret@host/base?study=one";
        let place = url.parse::<Place>();
        #[cfg(feature = "postgres")]
        {
            let place = place.unwrap();
            assert_eq!(place.folder(), None);
            assert!(!format!("{place} {place:?}").contains("secret"));
        }
        #[cfg(not(feature = "postgres"))]
        {
            let error = place.unwrap_err().to_string();
            assert!(error.contains("--features postgres"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
