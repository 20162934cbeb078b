use peft_format::{AdapterConfig, FormatError, TargetSpec};

use crate::Method;

/// The configuration of adapters of a method.
pub trait AdapterConfigExt: Sized {
    /// What `adapter_config.json` says of adapters of `method` on these targets: the method's own keys, the fewest that
    /// reproduce it, with the targets, exclusions, layers and `modules_to_save`.
    ///
    /// Keys that only a model or a run tells are not among them: see
    /// [`Method::config_of_model`] and [`Method::config_of_run`].
    ///
    /// # Errors
    /// [`FormatError`] for targets that do not compile.
    fn of(method: &dyn Method, targets: &TargetSpec) -> Result<Self, FormatError>;
}

impl AdapterConfigExt for AdapterConfig {
    fn of(method: &dyn Method, targets: &TargetSpec) -> Result<Self, FormatError> {
        let builder = Self::builder(method.peft_type()).target(targets);
        let keys = method.config().into_iter();
        keys.fold(builder, |builder, (key, value)| builder.field(&key, value))
            .build()
    }
}
