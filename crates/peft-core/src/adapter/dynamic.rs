use std::cell::RefCell;

use burn::{
    Tensor,
    module::{Devices, Module, ModuleMapper, ModuleVisitor, Reparameterization},
    tensor::Device,
};

use super::{AdapterContext, AdapterSet, BaseLinear, Cost, WeightAdapter};
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
    /// What the next adapter that a mapping of this thread meets is to be replaced with.
    static NEXT: RefCell<Option<DynAdapter>> = const { RefCell::new(None) };
}

impl DynAdapter {
    /// The adapters that a traversal meets, in its order. Burn's visitors are shown the parameters of
    /// an adapter, but never the adapter: it must step forward by itself.
    pub(crate) fn met(traverse: impl FnOnce()) -> Vec<Self> {
        let outer = MET.replace(Some(Vec::new()));
        traverse();
        MET.replace(outer).unwrap_or_default()
    }

    /// Let this adapter take the place of the next one that a mapping meets. Burn's mappers are given the
    /// parameters of an adapter, but never the adapter, and what they attach to an adapted weight is
    /// dropped for the adapter that is there.
    pub(crate) fn replace_next(self) {
        NEXT.set(Some(self));
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

    /// The adapters by name, where there are several or may be.
    pub fn as_set(&self) -> Option<&AdapterSet> {
        self.downcast_ref()
    }

    /// The adapted parameter in a pass: a weight, or a vector such as a bias.
    pub(crate) fn parameter<const D: usize>(
        &self,
        base: Tensor<D>,
        context: &AdapterContext,
    ) -> Tensor<D> {
        as_matrix(base, |base| match self.as_set() {
            Some(set) => set.parameter_in(base, context),
            None => self.effective(base),
        })
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

    /// See [`WeightAdapter::is_additive`].
    pub fn is_additive(&self) -> bool {
        self.inner.is_additive_erased()
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
    /// On a parameter of more than two dimensions; [`attach`](crate::attach()) adapts none.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        as_matrix(base, |base| self.effective(base))
    }
}

/// Change a parameter that is seen as a matrix: a vector is one row.
fn as_matrix<const D: usize>(
    base: Tensor<D>,
    change: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<D> {
    let shape = base.shape();
    let [rows, columns] = match *shape {
        [length] => [1, length],
        [rows, columns] => [rows, columns],
        _ => panic!("adapters are of matrices and vectors, not of a tensor of shape {shape:?}"),
    };
    change(base.reshape([rows, columns])).reshape(shape)
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
        if let Some(other) = NEXT.take() {
            return other;
        }
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
