use std::cell::RefCell;

use burn::{
    Tensor,
    module::{Devices, Module, ModuleMapper, ModuleVisitor, Reparameterization},
    tensor::Device,
};

use super::{AdapterContext, BaseLinear, Cost, WeightAdapter};
use crate::{
    Fields, HostTensor,
    erased::{self, ErasedAdapter},
};

/// Any [`WeightAdapter`], as the reparameterization of the weight `Param` that it adapts.
///
/// A layer that knows adapters asks its weight for one and takes the factored path
/// ([`nn::Linear`](crate::nn::Linear) does); for every other layer `weight.val()` is the dense
/// effective weight. Records, devices and optimisers see the adapter's parameters under
/// `<weight path>.adapter.<field>`.
#[derive(Debug, Clone)]
pub struct DynAdapter {
    inner: Box<dyn ErasedAdapter>,
}

thread_local! {
    /// The adapters that a traversal of this thread has met, if it asked for them.
    static MET: RefCell<Option<Vec<DynAdapter>>> = const { RefCell::new(None) };
}

impl DynAdapter {
    /// The adapters that a traversal meets, in its order. Burn's visitors are shown the parameters of
    /// an adapter, but never the adapter: it must step forward by itself.
    pub(crate) fn met(traverse: impl FnOnce()) -> Vec<Self> {
        let outer = MET.replace(Some(Vec::new()));
        traverse();
        MET.replace(outer).unwrap_or_default()
    }

    /// Erase the type of `adapter`.
    pub fn new<A: WeightAdapter>(adapter: A) -> Self {
        Self {
            inner: Box::new(adapter),
        }
    }

    /// The adapter as its own type, if it is an `A`.
    pub fn downcast_ref<A: WeightAdapter>(&self) -> Option<&A> {
        self.inner.as_any().downcast_ref()
    }

    /// See [`WeightAdapter::forward`].
    pub fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        self.inner.forward_erased(x, base, context)
    }

    /// See [`WeightAdapter::effective`].
    pub fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        self.inner.effective_erased(weight)
    }

    /// See [`WeightAdapter::cost`].
    pub fn cost(&self, in_features: usize, out_features: usize) -> Cost {
        self.inner.cost_erased(in_features, out_features)
    }

    /// See [`WeightAdapter::learning_rate_factor`].
    pub fn learning_rate_factor(&self, field: &str) -> f64 {
        self.inner.learning_rate_factor_erased(field)
    }

    /// See [`WeightAdapter::penalty`].
    pub fn penalty(&self) -> Option<Tensor<1>> {
        self.inner.penalty_erased()
    }

    /// See [`WeightAdapter::low_rank`].
    pub fn low_rank(&self) -> Option<[Tensor<2>; 2]> {
        self.inner.low_rank_erased()
    }

    /// See [`WeightAdapter::tie`].
    pub fn tie(&self, field: &str) -> Option<String> {
        self.inner.tie_erased(field)
    }

    /// See [`WeightAdapter::shared`].
    pub fn shared(&self) -> Fields<HostTensor> {
        self.inner.shared_erased()
    }
}

impl Reparameterization for DynAdapter {
    const NAME: &'static str = "adapter";

    /// # Panics
    /// On a weight that is not a matrix; [`attach`](crate::attach()) only adapts matrices.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let shape = base.shape();
        assert_eq!(
            D, 2,
            "a weight adapter adapts matrices, not a tensor of shape {shape:?}"
        );
        let [rows, columns] = [shape[0], shape[1]];
        self.effective(base.reshape([rows, columns])).reshape(shape)
    }
}

impl Module for DynAdapter {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        MET.with_borrow_mut(|met| {
            if let Some(met) = met {
                met.push(self.clone());
            }
        });
        erased::visit(self.inner.as_ref(), visitor);
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        Self {
            inner: erased::map(self.inner, mapper),
        }
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        self.inner.collect_devices_erased(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self {
            inner: self.inner.fork_erased(device),
        }
    }

    fn to_device(self, device: &Device) -> Self {
        Self {
            inner: self.inner.to_device_erased(device),
        }
    }

    fn train(self) -> Self {
        Self {
            inner: self.inner.train_erased(),
        }
    }

    fn valid(&self) -> Self {
        Self {
            inner: self.inner.valid_erased(),
        }
    }

    fn materialize(self) -> Self {
        self
    }
}
