//! How PEFT names adapter tensors: `base_model.model.` + module path + `.` + suffix.

/// What PEFT puts before the module path.
pub const PREFIX: &str = "base_model.model.";

/// An adapter key taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdapterKey<'a> {
    /// Module path in the Hugging Face model.
    pub module: &'a str,
    /// The method's name of the tensor, such as `lora_A.weight`.
    pub suffix: &'a str,
}

/// The key without `base_model.model.`; `None` if it does not start so (prompt methods).
pub fn strip_prefix(key: &str) -> Option<&str> {
    key.strip_prefix(PREFIX)
}

/// Takes a key apart by the suffixes of the method, the longest that fits winning.
///
/// `None` without the prefix, without a fitting suffix, or with an empty module path. What is left
/// over in an adapter file are the tensors of `modules_to_save`.
pub fn split_key<'a>(key: &'a str, suffixes: &[&str]) -> Option<AdapterKey<'a>> {
    let rest = strip_prefix(key)?;
    let fits = |suffix: &&&str| {
        rest.strip_suffix(**suffix)
            .is_some_and(|m| m.len() > 1 && m.ends_with('.'))
    };
    let length = suffixes.iter().filter(fits).map(|s| s.len()).max()?;
    let (module, suffix) = rest.split_at(rest.len() - length);
    Some(AdapterKey {
        module: module.strip_suffix('.')?,
        suffix,
    })
}

/// A key that still has the adapter's name in it, taken apart: `lora_A.default.weight` for
/// `lora_A.weight`, as `state_dict()` of a model with adapters gives it. The name is the second part.
///
/// PEFT takes the name out when it saves an adapter; programs that save the state dict themselves
/// leave it. `None` for any other key.
pub fn split_named_key<'a>(
    key: &'a str,
    suffixes: &[&'a str],
) -> Option<(AdapterKey<'a>, &'a str)> {
    let rest = strip_prefix(key).unwrap_or(key);
    let found = suffixes.iter().filter_map(|suffix| {
        let (holder, leaf) = match suffix.rsplit_once('.') {
            Some((holder, leaf)) => (holder, Some(leaf)),
            None => (*suffix, None),
        };
        // The names of PEFT's dictionaries of adapters all have one; a plain word may be a module.
        if !holder.contains('_') {
            return None;
        }
        let before = match leaf {
            Some(leaf) => rest.strip_suffix(leaf)?.strip_suffix('.')?,
            None => rest,
        };
        let (path, name) = before.rsplit_once('.')?;
        let module = path.strip_suffix(holder)?.strip_suffix('.')?;
        (!module.is_empty() && !name.is_empty()).then_some((AdapterKey { module, suffix }, name))
    });
    found.max_by_key(|(key, _)| key.suffix.len())
}

/// What PEFT calls the copies of a module of `modules_to_save`, and the module itself beside them.
const COPIES: &str = ".modules_to_save.";
const ORIGINAL: &str = ".original_module.";

/// The name of a parameter saved in full without what PEFT's wrapper of its module puts into it:
/// `classifier.weight` for `classifier.modules_to_save.default.weight`. `None` for the module that
/// the copy stands for, which is the base's own.
pub fn saved_name(name: &str) -> Option<String> {
    if name.contains(ORIGINAL) {
        return None;
    }
    let Some((module, rest)) = name.split_once(COPIES) else {
        return Some(name.to_owned());
    };
    let leaf = rest.split_once('.').map_or(rest, |(_, leaf)| leaf);
    Some(format!("{module}.{leaf}"))
}

/// The key of a tensor: the inverse of [`split_key`].
pub fn join_key(module: &str, suffix: &str) -> String {
    format!("{PREFIX}{module}.{suffix}")
}
