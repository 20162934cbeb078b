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

/// The key of a tensor: the inverse of [`split_key`].
pub fn join_key(module: &str, suffix: &str) -> String {
    format!("{PREFIX}{module}.{suffix}")
}
