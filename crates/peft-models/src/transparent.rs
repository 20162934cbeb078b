//! Modules that are one of several others.

/// Makes an enum of modules a module that adds nothing to the paths of its parts.
///
/// Burn's own derive enters every variant by name, which would make a parameter's path depend on how
/// the model is held.
macro_rules! transparent {
    ($name:ident { $($variant:ident),+ $(,)? }) => {
        impl burn::module::Module for $name {
            fn collect_devices(&self, devices: burn::module::Devices) -> burn::module::Devices {
                match self { $(Self::$variant(module) => module.collect_devices(devices)),+ }
            }
            fn fork(self, device: &burn::tensor::Device) -> Self {
                match self { $(Self::$variant(module) => Self::$variant(module.fork(device))),+ }
            }
            fn to_device(self, device: &burn::tensor::Device) -> Self {
                match self { $(Self::$variant(module) => Self::$variant(module.to_device(device))),+ }
            }
            fn train(self) -> Self {
                match self { $(Self::$variant(module) => Self::$variant(module.train())),+ }
            }
            fn valid(&self) -> Self {
                match self { $(Self::$variant(module) => Self::$variant(module.valid())),+ }
            }
            fn materialize(self) -> Self {
                match self { $(Self::$variant(module) => Self::$variant(module.materialize())),+ }
            }
            fn visit<V: burn::module::ModuleVisitor>(&self, visitor: &mut V) {
                match self { $(Self::$variant(module) => module.visit(visitor)),+ }
            }
            fn map<M: burn::module::ModuleMapper>(self, mapper: &mut M) -> Self {
                match self { $(Self::$variant(module) => Self::$variant(module.map(mapper))),+ }
            }
        }
        impl burn::module::ModuleDisplayDefault for $name {
            fn content(&self, content: burn::module::Content) -> Option<burn::module::Content> {
                match self { $(Self::$variant(module) => content.add_single(module).optional()),+ }
            }
        }
        impl burn::module::ModuleDisplay for $name {}
    };
}

pub(crate) use transparent;
