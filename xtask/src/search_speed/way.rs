//! Ways to run the same configurations.

use serde::{Deserialize, Serialize};

/// A way to run the configurations.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// `peft train`, a process each.
    Separate,
    /// One search that shares preparation and nothing else.
    Shared,
    /// Hidden states are kept, too.
    Kept,
    /// Instead, trials are stopped early.
    Stopped,
    /// Both.
    Together,
    /// Both, of trials that another search has put into a cache.
    Known,
}

impl Way {
    pub const SEARCHES: [Self; 5] = [
        Self::Shared,
        Self::Kept,
        Self::Stopped,
        Self::Together,
        Self::Known,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Separate => "separate",
            Self::Shared => "shared",
            Self::Kept => "kept",
            Self::Stopped => "stopped",
            Self::Together => "together",
            Self::Known => "known",
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Separate => "`peft train`, a process for each",
            Self::Shared => "`peft search`, preparation shared",
            Self::Kept => "the same, hidden states kept",
            Self::Stopped => "preparation shared, trials stopped early",
            Self::Together => "hidden states kept, trials stopped early",
            Self::Known => "the same, all trials known from another search",
        }
    }

    /// Flags of the search that turn off what is not measured.
    pub fn flags(self) -> Vec<&'static str> {
        let mut flags = Vec::new();
        if matches!(self, Self::Shared | Self::Stopped) {
            flags.extend(["--hidden-states", "0"]);
        }
        if matches!(self, Self::Shared | Self::Kept) {
            flags.push("--no-pruning");
        }
        flags
    }
}
