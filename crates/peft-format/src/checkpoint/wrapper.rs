//! Names that a wrapper put around a model left in its state dict.
//!
//! `DataParallel` and `DistributedDataParallel` hold the model as `module`, `torch.compile` as
//! `_orig_mod`, wherever in the model it was called; a state dict saved from the outside has these in
//! its names, and loads into nothing.

use indexmap::IndexMap;

/// What all names of a state dict may begin with.
const AROUND: [&str; 2] = ["module.", "_orig_mod."];
/// What stands in the middle of names, and is no module's name.
const WITHIN: &str = "._orig_mod.";

/// Names without wrappers, with those in the file; `None` if there are no wrappers, or two tensors
/// would have one name.
pub(super) fn plain_names<'a>(
    names: impl Iterator<Item = &'a str>,
) -> Option<IndexMap<String, String>> {
    let stored: Vec<&str> = names.collect();
    let mut plain = stored.clone();
    while let Some(around) = AROUND
        .iter()
        .find(|around| plain.iter().all(|name| name.starts_with(**around)) && !plain.is_empty())
    {
        for name in &mut plain {
            *name = &name[around.len()..];
        }
    }
    let within = plain.iter().any(|name| name.contains(WITHIN));
    if plain == stored && !within {
        return None;
    }
    let clean = plain.iter().map(|name| name.replace(WITHIN, "."));
    let pairs = clean.zip(stored.iter().map(|name| (*name).to_owned()));
    let names: IndexMap<String, String> = pairs.collect();
    (names.len() == stored.len() && !names.contains_key("")).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(names: &[&str]) -> Option<Vec<String>> {
        let found = plain_names(names.iter().copied())?;
        assert!(found.values().eq(names.iter()));
        Some(found.into_keys().collect())
    }

    #[test]
    fn wrappers_come_off_where_all_tensors_have_them() {
        assert_eq!(plain(&["module.a.w", "module.b"]).unwrap(), ["a.w", "b"]);
        assert_eq!(plain(&["_orig_mod.module.a"]).unwrap(), ["a"]);
        assert_eq!(
            plain(&["bert._orig_mod.layer.0.w", "head.w"]).unwrap(),
            ["bert.layer.0.w", "head.w"]
        );
        for names in [
            &["module.a", "b"][..],
            &["a", "b"],
            &[],
            &["a._orig_mod.b", "a.b"],
            &["module."],
        ] {
            assert_eq!(plain(names), None, "{names:?}");
        }
    }
}
