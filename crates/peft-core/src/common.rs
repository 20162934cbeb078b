//! What all targets of an adapter have in common.

use peft_format::adapter::PREFIX;

use crate::{Fields, HostTensor, Site};

/// What PEFT puts before the name of a tensor that all modules share.
pub(crate) const MODEL: &str = "base_model.";

/// What all targets of an adapter share: sizes, and the tensors that a file holds once.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    /// The largest widths of the targets: of an input, and of an output.
    pub widest: [usize; 2],
    /// The file's shared tensors, by name.
    pub tensors: &'a Fields<HostTensor>,
}

/// The largest width of an input, and of an output, of sites seen as [matrices](crate::matrix_shape).
pub fn widest<'a>(sites: impl IntoIterator<Item = &'a Site>) -> [usize; 2] {
    sites.into_iter().fold([0, 0], |[inputs, outputs], site| {
        let [own_inputs, own_outputs] = site.matrix();
        [inputs.max(own_inputs), outputs.max(own_outputs)]
    })
}

/// The key of a shared tensor in a file, such as `base_model.vera_A`.
pub fn shared_key(name: &str) -> String {
    format!("{MODEL}{name}")
}

/// The key of a parameter saved in full in a file whose adapter is a tensor of the model as a whole, such as
/// `base_model.classifier.weight`.
pub fn saved_beside_whole(module: &str, leaf: &str) -> String {
    format!("{MODEL}{module}.{leaf}")
}

/// The inverse of [`shared_key`], for the names of a method.
pub(crate) fn shared_name<'a>(key: &'a str, names: &[&str]) -> Option<&'a str> {
    if key.starts_with(PREFIX) {
        return None;
    }
    key.strip_prefix(MODEL).filter(|name| names.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_of_the_method_are_shared() {
        let names = ["vera_A", "vera_B"];
        assert_eq!(shared_name(&shared_key("vera_A"), &names), Some("vera_A"));
        for key in [
            "base_model.model.vera_A",
            "base_model.vera_C",
            "vera_A",
            "base_model.x.vera_A",
        ] {
            assert_eq!(shared_name(key, &names), None, "{key}");
        }
    }
}
