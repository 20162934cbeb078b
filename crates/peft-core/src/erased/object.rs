use std::{any::Any, fmt::Debug};

use burn::{
    Tensor,
    module::{Devices, Module},
    tensor::Device,
};

use super::bridge::{ErasedMapper, ErasedVisitor, MapperBridge, VisitorBridge};
use crate::{
    Fields, HostTensor,
    adapter::{AdapterContext, BaseLinear, Cost, WeightAdapter},
};

/// The object-safe face of a [`WeightAdapter`].
pub(crate) trait ErasedAdapter: Debug + Send + Sync {
    fn forward_erased(&self, x: Tensor<2>, base: &BaseLinear, c: &AdapterContext) -> Tensor<2>;
    fn effective_erased(&self, weight: Tensor<2>) -> Tensor<2>;
    fn cost_erased(&self, in_features: usize, out_features: usize) -> Cost;
    fn learning_rate_factor_erased(&self, field: &str) -> f64;
    fn penalty_erased(&self) -> Option<Tensor<1>>;
    fn low_rank_erased(&self) -> Option<[Tensor<2>; 2]>;
    fn is_additive_erased(&self) -> bool;
    fn tie_erased(&self, field: &str) -> Option<String>;
    fn shared_erased(&self) -> Fields<HostTensor>;
    fn visit_erased(&self, visitor: &mut dyn ErasedVisitor);
    fn map_erased(self: Box<Self>, mapper: &mut dyn ErasedMapper) -> Box<dyn ErasedAdapter>;
    fn collect_devices_erased(&self, devices: Devices) -> Devices;
    fn fork_erased(self: Box<Self>, device: &Device) -> Box<dyn ErasedAdapter>;
    fn to_device_erased(self: Box<Self>, device: &Device) -> Box<dyn ErasedAdapter>;
    fn train_erased(self: Box<Self>) -> Box<dyn ErasedAdapter>;
    fn valid_erased(&self) -> Box<dyn ErasedAdapter>;
    fn clone_erased(&self) -> Box<dyn ErasedAdapter>;
    fn as_any(&self) -> &dyn Any;
}

impl Clone for Box<dyn ErasedAdapter> {
    fn clone(&self) -> Self {
        self.clone_erased()
    }
}

impl<A: WeightAdapter> ErasedAdapter for A {
    fn forward_erased(&self, x: Tensor<2>, base: &BaseLinear, c: &AdapterContext) -> Tensor<2> {
        self.forward(x, base, c)
    }

    fn effective_erased(&self, weight: Tensor<2>) -> Tensor<2> {
        self.effective(weight)
    }

    fn cost_erased(&self, in_features: usize, out_features: usize) -> Cost {
        self.cost(in_features, out_features)
    }

    fn learning_rate_factor_erased(&self, field: &str) -> f64 {
        self.learning_rate_factor(field)
    }

    fn penalty_erased(&self) -> Option<Tensor<1>> {
        self.penalty()
    }

    fn low_rank_erased(&self) -> Option<[Tensor<2>; 2]> {
        self.low_rank()
    }

    fn is_additive_erased(&self) -> bool {
        self.is_additive()
    }

    fn tie_erased(&self, field: &str) -> Option<String> {
        self.tie(field)
    }

    fn shared_erased(&self) -> Fields<HostTensor> {
        self.shared()
    }

    fn visit_erased(&self, visitor: &mut dyn ErasedVisitor) {
        self.visit(&mut VisitorBridge(visitor));
    }

    fn map_erased(self: Box<Self>, mapper: &mut dyn ErasedMapper) -> Box<dyn ErasedAdapter> {
        Box::new(self.map(&mut MapperBridge(mapper)))
    }

    fn collect_devices_erased(&self, devices: Devices) -> Devices {
        self.collect_devices(devices)
    }

    fn fork_erased(self: Box<Self>, device: &Device) -> Box<dyn ErasedAdapter> {
        Box::new(self.fork(device))
    }

    fn to_device_erased(self: Box<Self>, device: &Device) -> Box<dyn ErasedAdapter> {
        Box::new(self.to_device(device))
    }

    fn train_erased(self: Box<Self>) -> Box<dyn ErasedAdapter> {
        Box::new(Module::train(*self))
    }

    fn valid_erased(&self) -> Box<dyn ErasedAdapter> {
        Box::new(self.valid())
    }

    fn clone_erased(&self) -> Box<dyn ErasedAdapter> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
