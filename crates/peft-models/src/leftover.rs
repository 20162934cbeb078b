//! Tensors of a checkpoint that its configuration says are not there: with them it is another model.

use crate::{ModelError, ModelFolder, Part, PartKind, Role};

impl ModelFolder {
    /// Refuse a checkpoint with blocks, or biases that are not zero, that the configuration does without: the model would
    /// compute something else than the one that was trained. What serves other tasks is no matter.
    ///
    /// # Errors
    /// [`ModelError::Config`], which names the tensor and the field.
    pub(crate) fn expect_no_leftover(&self) -> Result<(), ModelError> {
        let refuse = |problem: String, field: &str| {
            Err(ModelError::Config {
                path: self.path().to_owned(),
                problem,
                fix: format!(
                    "correct `{field}` in config.json, or take the weights that belong to it"
                ),
            })
        };
        let mut extra = self
            .checkpoint()
            .names()
            .filter(|name| self.is_beyond(name));
        if let Some(first) = extra.next() {
            let blocks = self.description().blocks.len();
            let others = match extra.count() {
                0 => String::new(),
                others => format!(", as are {others} others"),
            };
            return refuse(
                format!(
                    "the tensor `{first}` is of a block beyond the {blocks} that the configuration calls for{others}"
                ),
                match self.description().depth == blocks {
                    true => "num_hidden_layers",
                    false => "num_hidden_groups",
                },
            );
        }
        for (block, part) in self.description().parts() {
            if block.is_none() || part.bias || part.kind == PartKind::Parameter {
                continue;
            }
            let Some(name) = self.find(&format!("{}.bias", part.name)) else {
                continue;
            };
            if self
                .checkpoint()
                .to_f32(&name)?
                .iter()
                .any(|value| *value != 0.0)
            {
                return refuse(
                    format!(
                        "it has `{name}`, and the configuration says that there is no such bias"
                    ),
                    self.bias_field(&part),
                );
            }
        }
        Ok(())
    }

    /// Whether a tensor is of a block of a higher number than there are.
    fn is_beyond(&self, name: &str) -> bool {
        let description = self.description();
        let number = description.blocks.iter().find_map(|block| {
            let (start, _) = block.name.split_once("{}")?;
            let bare = start.strip_prefix(&description.prefix);
            let mut starts = [Some(start), bare.filter(|bare| !bare.is_empty())].into_iter();
            let rest = starts.find_map(|start| name.strip_prefix(start?))?;
            rest.split('.').next()?.parse::<usize>().ok()
        });
        number.is_some_and(|number| number >= description.blocks.len())
    }

    /// What the configuration calls the switch of a part's bias.
    fn bias_field(&self, part: &Part) -> &'static str {
        let hybrid = self.config().model_type() == "jamba";
        match part.role {
            Role::SsmConv if hybrid => "mamba_conv_bias",
            Role::SsmConv => "use_conv_bias",
            Role::SsmIn | Role::SsmOut if hybrid => "mamba_proj_bias",
            Role::SsmIn | Role::SsmOut => "use_bias",
            role if Role::FEED_FORWARD.contains(&role) => "mlp_bias",
            role if Role::ATTENTION.contains(&role) => "attention_bias",
            _ => "model_type",
        }
    }
}
