use std::{any::Any, fmt::Debug};

use burn::{
    Tensor,
    module::{Devices, Module},
    tensor::{Device, Int},
};

use super::bridge::{ErasedMapper, ErasedVisitor, MapperBridge, VisitorBridge};
use crate::{
    Fields, HostTensor, Passing,
    adapter::{
        AdapterContext, BaseLinear, Cost, LowRankUpdate, ParameterAdapter, SlotAdapter,
        WeightAdapter,
    },
};

/// The face that the three kinds of adapter share, free of types.
///
/// `clone`, `map` and the like give back the same kind of adapter: each kind's own trait restores it.
pub(crate) trait ErasedModule: Debug + Send + Sync {
    fn visit_erased(&self, visitor: &mut dyn ErasedVisitor);
    fn collect_devices_erased(&self, devices: Devices) -> Devices;
    fn as_any(&self) -> &dyn Any;
}

impl<A: Module + Sync + 'static> ErasedModule for A {
    fn visit_erased(&self, visitor: &mut dyn ErasedVisitor) {
        self.visit(&mut VisitorBridge(visitor));
    }

    fn collect_devices_erased(&self, devices: Devices) -> Devices {
        self.collect_devices(devices)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The object-safe face of one kind of adapter: what all kinds are asked, what this one is asked
/// besides, and how Burn's operations on modules give back a box of the same kind.
macro_rules! erased {
    (
        $(#[$about:meta])*
        $erased:ident of $kind:ident;
        $(fn $name:ident(&$self:ident $(, $argument:ident: $type:ty)*) -> $out:ty $body:block)*
    ) => {
        $(#[$about])*
        pub(crate) trait $erased: ErasedModule {
            $(fn $name(&$self $(, $argument: $type)*) -> $out;)*
            fn learning_rate_factor_erased(&self, field: &str) -> f64;
            fn penalty_erased(&self) -> Option<Tensor<1>>;
            fn tie_erased(&self, field: &str) -> Option<String>;
            fn shared_erased(&self) -> Fields<HostTensor>;
            fn map_erased(self: Box<Self>, mapper: &mut dyn ErasedMapper) -> Box<dyn $erased>;
            fn fork_erased(self: Box<Self>, device: &Device) -> Box<dyn $erased>;
            fn to_device_erased(self: Box<Self>, device: &Device) -> Box<dyn $erased>;
            fn train_erased(self: Box<Self>) -> Box<dyn $erased>;
            fn valid_erased(&self) -> Box<dyn $erased>;
            fn clone_erased(&self) -> Box<dyn $erased>;
        }

        impl Clone for Box<dyn $erased> {
            fn clone(&self) -> Self {
                self.as_ref().clone_erased()
            }
        }

        impl<A: $kind> $erased for A {
            $(fn $name(&$self $(, $argument: $type)*) -> $out $body)*

            fn learning_rate_factor_erased(&self, field: &str) -> f64 {
                self.learning_rate_factor(field)
            }

            fn penalty_erased(&self) -> Option<Tensor<1>> {
                self.penalty()
            }

            fn tie_erased(&self, field: &str) -> Option<String> {
                self.tie(field)
            }

            fn shared_erased(&self) -> Fields<HostTensor> {
                self.shared()
            }

            fn map_erased(self: Box<Self>, mapper: &mut dyn ErasedMapper) -> Box<dyn $erased> {
                Box::new(self.map(&mut MapperBridge(mapper)))
            }

            fn fork_erased(self: Box<Self>, device: &Device) -> Box<dyn $erased> {
                Box::new(self.fork(device))
            }

            fn to_device_erased(self: Box<Self>, device: &Device) -> Box<dyn $erased> {
                Box::new(self.to_device(device))
            }

            fn train_erased(self: Box<Self>) -> Box<dyn $erased> {
                Box::new(Module::train(*self))
            }

            fn valid_erased(&self) -> Box<dyn $erased> {
                Box::new(self.valid())
            }

            fn clone_erased(&self) -> Box<dyn $erased> {
                Box::new(self.clone())
            }
        }
    };
}

erased! {
    /// A [`WeightAdapter`] without its type.
    ErasedWeight of WeightAdapter;

    fn forward_erased(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        self.forward(x, base, context)
    }

    fn effective_erased(&self, weight: Tensor<2>) -> Tensor<2> {
        self.effective(weight)
    }

    fn lookup_erased(&self, ids: Tensor<1, Int>, table: Tensor<2>, context: &AdapterContext) -> Tensor<2> {
        self.lookup(ids, table, context)
    }

    fn transposed_erased(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        self.forward_transposed(x, base, context)
    }

    fn implies_bias_erased(&self) -> bool {
        self.implies_bias()
    }

    fn effective_bias_erased(&self, bias: Tensor<1>) -> Tensor<1> {
        self.effective_bias(bias)
    }

    fn cost_erased(&self, in_features: usize, out_features: usize) -> Cost {
        self.cost(in_features, out_features)
    }

    fn low_rank_erased(&self) -> Option<LowRankUpdate> {
        self.low_rank()
    }

    fn is_additive_erased(&self) -> bool {
        self.is_additive()
    }
}

erased! {
    /// A [`ParameterAdapter`] without its type.
    ErasedParameter of ParameterAdapter;

    fn effective_values_erased(&self, values: Tensor<1>, shape: &[usize]) -> Tensor<1> {
        self.effective(values, shape)
    }

    fn values_cost_erased(&self, shape: &[usize]) -> Cost {
        self.cost(shape)
    }

    fn values_additive_erased(&self) -> bool {
        self.is_additive()
    }
}

erased! {
    /// A [`SlotAdapter`] without its type.
    ErasedSlot of SlotAdapter;

    fn pass_erased(&self, passing: Box<dyn Any>, context: &AdapterContext) -> Box<dyn Any> {
        let passing = passing.downcast::<A::Passing>();
        // `attach` refuses a slot of another type.
        let passing = passing.unwrap_or_else(|_| {
            panic!("this adapter is for slots of {}", <A::Passing as Passing>::NAME)
        });
        Box::new(self.forward(*passing, context))
    }

    fn passing_erased(&self) -> &'static str {
        <A::Passing as Passing>::NAME
    }

    fn by_rows_erased(&self) -> bool {
        <A::Passing as Passing>::BY_ROWS
    }

    fn reads_norm_erased(&self) -> bool {
        self.reads_norm()
    }

    fn rows_before_erased(&self) -> usize {
        self.rows_before()
    }

    fn positions_before_erased(&self) -> usize {
        self.positions_before()
    }

    fn slot_cost_erased(&self, widths: &[usize]) -> Cost {
        self.cost(widths)
    }
}
