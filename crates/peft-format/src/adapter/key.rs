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
        // `<module>.<suffix>.<name>`, or `<name>` in the suffix's middle.
        let (path, name) = rest.rsplit_once('.')?;
        let last = suffix.rsplit('.').next().unwrap_or(suffix);
        if last.contains('_')
            && let Some(module) = path.strip_suffix(suffix)
            && let Some(module) = module.strip_suffix('.')
            && !(module.is_empty() || name.is_empty())
        {
            return Some((AdapterKey { module, suffix }, name));
        }
        let (holder, leaf) = match suffix.rsplit_once('.') {
            Some((holder, leaf)) => (holder, Some(leaf)),
            None => (*suffix, None),
        };
        // The names of PEFT's dictionaries of adapters all have one; a plain word may be a module.
        if !holder.contains('_') {
            return None;
        }
        let before = rest.strip_suffix(leaf?)?.strip_suffix('.')?;
        let (path, name) = before.rsplit_once('.')?;
        let module = path.strip_suffix(holder)?.strip_suffix('.')?;
        (!module.is_empty() && !name.is_empty()).then_some((AdapterKey { module, suffix }, name))
    });
    found.max_by_key(|(key, _)| key.suffix.len())
}

/// What PEFT calls the copies of a module of `modules_to_save`, and the module itself beside them.
const COPIES: &str = ".modules_to_save.";
const ORIGINAL: &str = ".original_module.";

/// What PEFT calls the module itself in the one that it puts in its place.
const INNER: [&str; 2] = [".token_adapter.base_layer.", ".base_layer."];

/// The name of a weight of the base that PEFT puts into a file beside the adapter of that weight:
/// `model.embed_tokens.weight` for `model.embed_tokens.base_layer.weight`. It does so for tables of tokens and
/// the heads that read them. `None` for any other tensor.
pub fn copied_name(name: &str) -> Option<String> {
    let plain = outer(name);
    (plain != name && plain.ends_with(".weight")).then_some(plain)
}

/// A name without PEFT's own module around the adapted one.
fn outer(name: &str) -> String {
    let name = name.to_owned();
    INNER
        .iter()
        .fold(name, |name, inner| name.replace(inner, "."))
}

/// Whether the tensor of a suffix holds rows of single tokens.
pub fn is_token_rows(suffix: &str) -> bool {
    suffix.starts_with("token_adapter.")
}

/// The key of a bias of the base that is trained beside the adapter of its module.
pub fn bias_key(module: &str) -> String {
    format!("{PREFIX}{module}.base_layer.bias")
}

/// The name of a parameter saved in full without what PEFT's wrapper of its module puts into it:
/// `classifier.weight` for `classifier.modules_to_save.default.weight`. `None` for the module that
/// the copy stands for, which is the base's own. A bias of an adapted module is in the module that PEFT has
/// put its own around: `query.base_layer.bias` is `query.bias`.
pub fn saved_name(name: &str) -> Option<String> {
    if name.contains(ORIGINAL) {
        return None;
    }
    let Some((module, rest)) = name.split_once(COPIES) else {
        return Some(outer(name));
    };
    let leaf = rest.split_once('.').map_or(rest, |(_, leaf)| leaf);
    Some(format!("{module}.{leaf}"))
}

/// The key of a tensor: the inverse of [`split_key`].
pub fn join_key(module: &str, suffix: &str) -> String {
    format!("{PREFIX}{module}.{suffix}")
}
