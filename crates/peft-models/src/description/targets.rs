//! Targets by role, in the names of a family.

use std::collections::BTreeSet;

use peft_format::{TargetModules, targets::default_targets};

use super::{BlockDescription, Description, Role};

impl Description {
    /// The targets when none are asked for: PEFT's own of the `model_type`, or by role where PEFT has none.
    pub fn default_targets(&self) -> TargetModules {
        default_targets(&self.model_type).unwrap_or_else(|| {
            let roles = Role::QUERY_VALUE.iter().chain(Role::STATE_SPACE);
            self.targets(&roles.copied().collect::<Vec<_>>())
        })
    }

    /// All norms, as PEFT writes targets: the last parts of their names.
    pub fn norms(&self) -> TargetModules {
        let mut names: Vec<String> = Vec::new();
        for (_, part) in self.parts().filter(|(_, part)| part.role == Role::Norm) {
            let leaf = part.name.rsplit('.').next().unwrap_or_default();
            if !names.iter().any(|known| known == leaf) {
                names.push(leaf.to_owned());
            }
        }
        TargetModules::List(names)
    }

    /// The linear layers of the blocks that have one of these roles, as PEFT writes targets: a list of the
    /// shortest names that mean them and nothing else, or a regular expression where no such names exist.
    pub fn targets(&self, roles: &[Role]) -> TargetModules {
        let mut wanted: Vec<(&BlockDescription, &str)> = Vec::new();
        let mut known = BTreeSet::new();
        for block in &self.blocks {
            for part in &block.parts {
                let fits = roles.contains(&part.role) && part.widths().is_some();
                if fits && known.insert((&block.name, &part.name)) {
                    wanted.push((block, &part.name));
                }
            }
        }
        let others: Vec<String> = self
            .parts()
            .filter(|(block, part)| {
                part.widths().is_some() && !(block.is_some() && roles.contains(&part.role))
            })
            .map(|(_, part)| part.name)
            .collect();
        let means_others = |ending: &str| {
            let dotted = format!(".{ending}");
            let mut others = others.iter();
            others.any(|name| name == ending || name.ends_with(&dotted))
        };
        let shortest = |name: &str| {
            let starts = name.rmatch_indices('.').map(|(dot, _)| dot + 1).chain([0]);
            let mut endings = starts.map(|start| &name[start..]);
            endings
                .find(|ending| !means_others(ending))
                .map(str::to_owned)
        };
        let names: Option<Vec<String>> = wanted.iter().map(|(_, name)| shortest(name)).collect();
        if let Some(mut names) = names {
            let mut known = BTreeSet::new();
            names.retain(|name| known.insert(name.clone()));
            return TargetModules::List(names);
        }
        let Some((block, _)) = wanted.first() else {
            return TargetModules::List(Vec::new());
        };
        let names: Vec<Vec<&str>> = wanted
            .iter()
            .map(|(_, name)| name.split('.').collect())
            .collect();
        TargetModules::Regex(format!(r".*\.{}\.{}", block.pattern(), any_of(&names)))
    }
}

/// A regular expression of any of these names, what they have in common at either end written once.
fn any_of(names: &[Vec<&str>]) -> String {
    let shortest = names.iter().map(Vec::len).min().unwrap_or(0);
    let same = |place: &dyn Fn(&Vec<&str>) -> usize| {
        names
            .iter()
            .all(|name| name[place(name)] == names[0][place(&names[0])])
    };
    if names.len() == 1 {
        return names[0].join(r"\.");
    }
    let first = (0..shortest.saturating_sub(1))
        .take_while(|i| same(&|_| *i))
        .count();
    let last = (1..shortest - first)
        .take_while(|i| same(&|name| name.len() - i))
        .count();
    let middles: Vec<String> = names
        .iter()
        .map(|name| name[first..name.len() - last].join(r"\."))
        .collect();
    let mut pieces: Vec<String> = names[0][..first]
        .iter()
        .map(|part| (*part).to_owned())
        .collect();
    pieces.push(format!("({})", middles.join("|")));
    let end = names[0].len() - last;
    pieces.extend(names[0][end..].iter().map(|part| (*part).to_owned()));
    pieces.join(r"\.")
}
