//! From a choice of targets to the modules of one model.

use indexmap::IndexMap;

use super::matcher::ends_in;
use super::{
    ModuleInfo, ModuleKind, NearMisses, TargetError, TargetMatcher, TargetModules, TargetSpec,
};
use crate::error::shorten;
use crate::near;

/// What the model and the method add to the choice.
#[derive(Debug, Clone, Copy)]
pub struct ResolveOptions<'a> {
    /// Paths of task heads and output layers: `all-linear` leaves them and all below them out.
    pub heads: &'a [&'a str],
    /// The kinds that the method can adapt; another matched kind is an error.
    pub supported: &'a [ModuleKind],
}

impl Default for ResolveOptions<'_> {
    fn default() -> Self {
        Self {
            heads: &[],
            supported: &[ModuleKind::Linear],
        }
    }
}

/// The modules that were chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// Their paths, in model order.
    pub matched: Vec<String>,
    /// Entries of a list that no module answers to. PEFT says nothing about them; a caller should
    /// fail, for they are mostly typing errors.
    pub unmatched: Vec<String>,
    /// What the unmatched entries may have meant; `None` if there are none.
    pub near: Option<NearMisses>,
}

impl TargetSpec {
    /// [`resolve`](Self::resolve) among linear layers, of which `heads` are the task's.
    ///
    /// # Errors
    /// As for [`resolve`](Self::resolve).
    pub fn resolve_linears(
        &self,
        paths: impl IntoIterator<Item = String>,
        heads: &[&str],
    ) -> Result<Resolved, TargetError> {
        let linear = |path| ModuleInfo::new(path, ModuleKind::Linear);
        let modules: Vec<ModuleInfo> = paths.into_iter().map(linear).collect();
        let options = ResolveOptions {
            heads,
            ..ResolveOptions::default()
        };
        self.resolve(&modules, options)
    }

    /// The modules of a model that this chooses.
    ///
    /// `modules` should hold every module that has a path, containers included: PEFT refuses a
    /// target that is a container, and so does this.
    ///
    /// # Errors
    /// [`TargetError::NoMatch`] with near misses; [`TargetError::UnsupportedKind`];
    /// [`TargetError::Pattern`] and [`TargetError::Setting`] from compiling.
    pub fn resolve(
        &self,
        modules: &[ModuleInfo],
        options: ResolveOptions<'_>,
    ) -> Result<Resolved, TargetError> {
        let matcher = self.compile()?;
        // An entry that is left out as a whole is no typing error.
        let unrestricted = match &self.exclude {
            None => None,
            Some(_) => {
                let all = Self {
                    exclude: None,
                    ..self.clone()
                };
                Some(all.compile()?)
            }
        };
        let mut excluded = Vec::new();
        // A parameter answers to the name of its module, too, where that is no target by itself: a norm's do.
        let answers = |matcher: &TargetMatcher, module: &ModuleInfo| {
            let Some(holder) = &module.holder else {
                return matcher.matches(&module.path);
            };
            if matcher.excludes(&module.path)? || matcher.excludes(holder)? {
                return Ok(false);
            }
            Ok(matcher.matches(&module.path)? || matcher.matches(holder)?)
        };
        let all_linear = self.modules == TargetModules::AllLinear;
        let mut matched = Vec::new();
        for module in modules.iter().filter(|m| !m.path.is_empty()) {
            if all_linear && (!module.kind.is_linear() || under_any(&module.path, options.heads)) {
                continue;
            }
            if !answers(&matcher, module)? {
                if let Some(unrestricted) = &unrestricted
                    && answers(unrestricted, module)?
                {
                    excluded.push(module.path.clone());
                }
                continue;
            }
            if !options.supported.contains(&module.kind) {
                return Err(TargetError::UnsupportedKind {
                    path: shorten(&module.path),
                    kind: module.kind,
                    supported: options.supported.to_vec(),
                });
            }
            matched.push(module.path.clone());
        }
        let mut answering = matched.clone();
        answering.extend(excluded);
        let mut holders: Vec<String> = (modules.iter())
            .filter(|module| answering.contains(&module.path))
            .filter_map(|module| module.holder.clone())
            .collect();
        answering.append(&mut holders);
        let unmatched = self.idle_entries(&answering);
        let near = || NearMisses::of(&unmatched, modules);
        if matched.is_empty() {
            return Err(TargetError::NoMatch {
                targets: self.modules.to_string(),
                near: near(),
            });
        }
        let near = (!unmatched.is_empty()).then(near);
        Ok(Resolved {
            matched,
            unmatched,
            near,
        })
    }

    /// The list entries that chose none of these paths.
    fn idle_entries(&self, matched: &[String]) -> Vec<String> {
        let TargetModules::List(names) = &self.modules else {
            return Vec::new();
        };
        let idle = |name: &&String| !matched.iter().any(|p| p == *name || ends_in(p, name));
        names.iter().filter(idle).cloned().collect()
    }
}

impl NearMisses {
    fn of(entries: &[String], modules: &[ModuleInfo]) -> Self {
        let count = |linear: bool| {
            let mut leaves: IndexMap<&str, usize> = IndexMap::new();
            for module in modules.iter().filter(|m| m.kind.is_linear() == linear) {
                *leaves.entry(called(module)).or_default() += 1;
            }
            leaves
        };
        let (linear, other) = (count(true), count(false));
        let leaves = match linear.is_empty() {
            true => &other,
            false => &linear,
        };
        let suggest = |entry: &String| {
            // An entry such as `attention.self.qery` is compared by its last component, too.
            let mut found = near::nearest(leaf(entry), leaves.keys().copied(), 3);
            if entry.contains('.') {
                found.extend(near::nearest(
                    entry,
                    modules.iter().map(|m| m.path.as_str()),
                    2,
                ));
            }
            (
                entry.clone(),
                found.into_iter().map(str::to_owned).collect(),
            )
        };
        let suggestions = entries.iter().map(suggest).collect();
        let named = |leaves: &IndexMap<&str, usize>| {
            let leaves = leaves.iter();
            leaves.map(|(name, n)| (name.to_string(), *n)).collect()
        };
        Self {
            suggestions,
            linear_leaves: named(&linear),
            other_leaves: named(&other),
        }
    }
}

/// The end of a module's path by which it is told from others: `bias` alone says nothing of a parameter.
fn called(module: &ModuleInfo) -> &str {
    let end = leaf(&module.path);
    let before = &module.path[..module.path.len() - end.len()];
    let holder = leaf(before.trim_end_matches('.'));
    match module.kind == ModuleKind::Parameter && ["bias", "weight"].contains(&end) {
        true => &module.path[before.len() - before.len().min(holder.len() + 1)..],
        false => end,
    }
}

fn leaf(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

fn under_any(path: &str, heads: &[&str]) -> bool {
    heads.iter().any(|head| {
        path.strip_prefix(head)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}
