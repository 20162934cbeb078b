//! The map between the paths of a Burn model and the names in its checkpoint.

use std::collections::BTreeSet;

use peft_core::NameMap;

use super::{BlockDescription, Description, HeadKind, LANGUAGE_HEAD, Role};

impl Description {
    /// The two-way map between Burn paths and the checkpoint's names: of all parts, and of blocks as a
    /// whole, so that what is put into a block's slot has a name within it.
    pub fn names(&self) -> NameMap {
        let mut rules: Vec<(String, String)> = Vec::new();
        for part in self.before.iter().chain(&self.after) {
            rules.push((part.path.clone(), part.name.clone()));
        }
        rules.push((self.prompt.path.clone(), self.prompt.name.clone()));
        let mut known = BTreeSet::new();
        for block in &self.blocks {
            for part in &block.parts {
                let path = format!("{}.{}", block.path, part.path);
                let name = format!("{}.{}", block.name, part.name);
                if known.insert(path.clone()) {
                    rules.push((path, name));
                }
            }
            if known.insert(block.path.clone()) {
                rules.push((block.path.clone(), block.name.clone()));
            }
        }
        // The longest name first: `classifier` must not catch `classifier.out_proj`, nor a block its parts.
        rules.sort_by_key(|(_, name)| std::cmp::Reverse(name.split('.').count()));
        let names = NameMap::new(rules);
        let own = self.after.iter().any(|part| part.role == Role::Head);
        match (self.head, own) {
            (HeadKind::Language, false) => names.with_copy(
                &format!("{}.weight", self.embeddings),
                &format!("{LANGUAGE_HEAD}.weight"),
            ),
            _ => names,
        }
    }

    /// What the block at a depth is called; blocks that share their parameters are told apart.
    pub fn block_name(&self, depth: usize) -> String {
        let name = self.block(depth).full_name();
        match self.depth == self.blocks.len() {
            true => name,
            false => format!("{name} (pass {})", depth + 1),
        }
    }

    /// The names that a checkpoint may hold a parameter under, the likeliest first: with or without the
    /// family's prefix, and as old releases had it.
    pub(crate) fn spellings(&self, name: &str) -> Vec<String> {
        let bare = name.strip_prefix(&self.prefix);
        let mut spellings = Vec::new();
        for name in [Some(name), bare].into_iter().flatten() {
            spellings.push(name.to_owned());
            for (ending, old) in self.aliases {
                if let Some(stem) = name.strip_suffix(ending) {
                    spellings.push(format!("{stem}{old}"));
                }
            }
        }
        spellings
    }
}

impl BlockDescription {
    /// The last two components of the block's name as a regular expression, such as `layer\.\d+`.
    pub(super) fn pattern(&self) -> String {
        let parts: Vec<&str> = self.name.split('.').collect();
        let number = parts.iter().rposition(|part| *part == "{}");
        let from = number.unwrap_or(parts.len()).saturating_sub(1);
        let pattern = parts[from..].iter().map(|part| match *part {
            "{}" => r"\d+".to_owned(),
            part => part.to_owned(),
        });
        pattern.collect::<Vec<_>>().join(r"\.")
    }
}
