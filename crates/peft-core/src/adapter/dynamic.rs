use std::{any::Any, cell::RefCell};

use burn::{
    Tensor,
    module::{Devices, Module, ModuleMapper, ModuleVisitor, Reparameterization},
    tensor::{Device, Int},
};

use peft_kernels::{decoded, embedding};

use super::{
    AdapterContext, AdapterSet, BaseLinear, Cost, LowRankUpdate, ParameterAdapter, SlotAdapter,
    WeightAdapter,
};
use crate::{
    Fields, HostTensor, Passing, Target,
    erased::{ErasedParameter, ErasedSlot, ErasedWeight, ToMapper, ToVisitor},
    site::reshaped,
};

/// What traversals call the container of the copy of a weight's adapter that a bias carries.
pub(crate) const IMPLIED: &str = "ImpliedBias";
/// The name of that container's part.
pub(crate) const IMPLIED_PART: &str = "implied";

/// Any [`WeightAdapter`], [`ParameterAdapter`] or [`SlotAdapter`], as the reparameterization of the `Param`
/// that it adapts, or in the slot that it was inserted in.
///
/// A layer that knows adapters asks its weight for one and takes the factored path
/// ([`nn::Linear`](crate::nn::Linear) does); for every other layer `weight.val()` is the dense
/// effective weight. Records, devices and optimisers see the adapter's parameters under
/// `<parameter path>.adapter.<field>`.
#[derive(Debug, Clone)]
pub struct DynAdapter {
    inner: Inner,
    /// The name of the method that made it.
    method: Option<&'static str>,
    /// Factor on the learning rate of its fields.
    rate: f64,
}

#[derive(Debug, Clone)]
enum Inner {
    Weight(Box<dyn ErasedWeight>),
    Parameter(Box<dyn ErasedParameter>),
    Slot(Box<dyn ErasedSlot>),
    Set(Box<AdapterSet>),
    /// Of a bias: a copy of the adapter of the weight beside it, which implies what becomes of the bias.
    Implied(Box<dyn ErasedWeight>),
}

thread_local! {
    /// The adapters that a traversal of this thread has met, if it asked for them.
    static MET: RefCell<Option<Vec<DynAdapter>>> = const { RefCell::new(None) };
    /// What the next adapter that a mapping of this thread meets is to be replaced with.
    static NEXT: RefCell<Option<DynAdapter>> = const { RefCell::new(None) };
}

/// Carry out an expression for the adapter of each kind but a set.
macro_rules! each_kind {
    ($inner:expr, $one:ident => $body:expr, $set:ident => $of_set:expr) => {
        match $inner {
            Inner::Weight($one) | Inner::Implied($one) => $body,
            Inner::Parameter($one) => $body,
            Inner::Slot($one) => $body,
            Inner::Set($set) => $of_set,
        }
    };
}

/// Change the adapter into one of the same kind.
macro_rules! same_kind {
    ($inner:expr, $one:ident => $body:expr, $set:ident => $of_set:expr) => {
        match $inner {
            Inner::Weight($one) => Inner::Weight($body),
            Inner::Implied($one) => Inner::Implied($body),
            Inner::Parameter($one) => Inner::Parameter($body),
            Inner::Slot($one) => Inner::Slot($body),
            Inner::Set($set) => Inner::Set(Box::new($of_set)),
        }
    };
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

    fn of(inner: Inner) -> Self {
        Self {
            inner,
            method: None,
            rate: 1.0,
        }
    }

    /// An adapter of a weight, its type erased.
    pub fn new<A: WeightAdapter>(adapter: A) -> Self {
        Self::of(Inner::Weight(Box::new(adapter)))
    }

    /// An adapter of a parameter of any shape, its type erased.
    pub fn of_parameter<A: ParameterAdapter>(adapter: A) -> Self {
        Self::of(Inner::Parameter(Box::new(adapter)))
    }

    /// A module for a slot, its type erased.
    pub fn of_slot<A: SlotAdapter>(adapter: A) -> Self {
        Self::of(Inner::Slot(Box::new(adapter)))
    }

    pub(crate) fn of_set(set: AdapterSet) -> Self {
        Self::of(Inner::Set(Box::new(set)))
    }

    /// What the bias beside an adapted weight carries: a copy of the weight's adapter, if that implies
    /// anything for a bias.
    pub(crate) fn implied_bias(&self) -> Option<Self> {
        match &self.inner {
            Inner::Weight(adapter) if adapter.implies_bias_erased() => Some(Self {
                inner: Inner::Implied(adapter.clone()),
                method: self.method,
                rate: self.rate,
            }),
            _ => None,
        }
    }

    /// Whether this is the copy of a weight's adapter that the bias beside it carries.
    pub(crate) fn is_implied(&self) -> bool {
        matches!(self.inner, Inner::Implied(_))
    }

    /// The name of the method that made it, where [`attach`](crate::attach()) was told.
    pub fn method(&self) -> Option<&'static str> {
        self.method
    }

    /// The adapter as a part of several, by the name of the part, with a factor on the learning rate of all of its
    /// fields.
    #[must_use]
    pub fn of_part(self, name: &'static str, rate: f64) -> Self {
        Self {
            method: Some(name),
            rate,
            ..self
        }
    }

    /// Of a part it is known already.
    #[must_use]
    pub(crate) fn made_by(self, method: Option<&'static str>) -> Self {
        let method = self.method.or(method);
        Self { method, ..self }
    }

    /// The adapter as its own type, if it is an `A`.
    pub fn downcast_ref<A: 'static>(&self) -> Option<&A> {
        // Of the boxed adapter, and not of the box.
        each_kind!(&self.inner, one => one.as_ref().as_any(), _set => return None).downcast_ref()
    }

    /// The adapters by name, where there are several or may be.
    pub fn as_set(&self) -> Option<&AdapterSet> {
        match &self.inner {
            Inner::Set(set) => Some(set),
            _ => None,
        }
    }

    /// What passes through the slots that it is for; `None` if it is for none.
    pub fn passing(&self) -> Option<&'static str> {
        match &self.inner {
            Inner::Slot(adapter) => Some(adapter.passing_erased()),
            _ => None,
        }
    }

    /// Whether it adapts parameters of any shape, and not matrices only.
    pub(crate) fn takes_any_shape(&self) -> bool {
        !matches!(self.inner, Inner::Weight(_))
    }

    /// Whether it is for weights and parameters: then its effect can be merged into them.
    pub fn folds(&self) -> bool {
        match &self.inner {
            Inner::Slot(_) => false,
            Inner::Set(set) => set.members().all(|(_, one)| one.folds()),
            _ => true,
        }
    }

    /// Whether rows of one batch may pass through it while others do not.
    pub(crate) fn by_rows(&self, linear: bool) -> bool {
        match &self.inner {
            Inner::Slot(adapter) => adapter.by_rows_erased(),
            Inner::Set(set) => set.members().all(|(_, one)| one.by_rows(linear)),
            _ => linear,
        }
    }

    pub(crate) fn reads_norm(&self) -> bool {
        match &self.inner {
            Inner::Slot(adapter) => adapter.reads_norm_erased(),
            Inner::Set(set) => set.members().any(|(_, one)| one.reads_norm()),
            _ => false,
        }
    }

    /// See [`SlotAdapter::rows_before`]. Of a set, that of the member that is chosen for all rows.
    pub(crate) fn rows_before(&self, context: &AdapterContext) -> usize {
        match &self.inner {
            Inner::Slot(adapter) => adapter.rows_before_erased(),
            Inner::Set(set) => match set.chosen_in(context).first() {
                Some(one) => one.rows_before(context),
                None => 0,
            },
            _ => 0,
        }
    }

    /// See [`SlotAdapter::positions_before`]. Of a set, that of the member that is chosen for all rows.
    pub(crate) fn positions_before(&self, context: &AdapterContext) -> usize {
        match &self.inner {
            Inner::Slot(adapter) => adapter.positions_before_erased(),
            Inner::Set(set) => match set.chosen_in(context).first() {
                Some(one) => one.positions_before(context),
                None => 0,
            },
            _ => 0,
        }
    }

    /// What comes out of a slot that holds it.
    pub(crate) fn pass<P: Passing>(&self, passing: P, context: &AdapterContext) -> P::Out {
        match &self.inner {
            Inner::Slot(adapter) => {
                let out = adapter.pass_erased(Box::new(passing) as Box<dyn Any>, context);
                *out.downcast()
                    .expect("what comes out is of the type that belongs to what passes")
            }
            Inner::Set(set) => set.pass(passing, context),
            _ => passing.unchanged(),
        }
    }

    /// The adapted parameter in a pass, as layers read it that know adapters: a weight, a vector such as a
    /// bias, or any other. What a weight's adapter implies for a bias is left to that adapter's product.
    pub(crate) fn parameter<const D: usize>(
        &self,
        base: Tensor<D>,
        context: &AdapterContext,
    ) -> Tensor<D> {
        match &self.inner {
            Inner::Implied(_) => base,
            Inner::Set(set) => set.parameter_in(base, context),
            _ => self.apply(base),
        }
    }

    /// The same of a bias that no product adds: with what a weight's adapter implies for it.
    pub(crate) fn parameter_alone<const D: usize>(
        &self,
        base: Tensor<D>,
        context: &AdapterContext,
    ) -> Tensor<D> {
        match &self.inner {
            Inner::Set(set) => {
                let chosen = set.chosen_in(context).into_iter();
                chosen.fold(base, |value, adapter| adapter.apply(value))
            }
            _ => self.apply(base),
        }
    }

    /// See [`WeightAdapter::forward`]. Of a set, the members that are chosen.
    ///
    /// # Panics
    /// If it is no adapter of a weight.
    pub fn forward(&self, x: Tensor<2>, base: &BaseLinear, context: &AdapterContext) -> Tensor<2> {
        match &self.inner {
            Inner::Weight(adapter) => adapter.forward_erased(x, base, context),
            Inner::Set(set) => set.forward(x, base, context),
            // An adapter of values knows the dense weight only.
            Inner::Parameter(_) => {
                let weight = self.apply(base.weight());
                BaseLinear::new(weight, base.bias()).forward(x)
            }
            Inner::Slot(_) | Inner::Implied(_) => panic!("{self:?} is no adapter of a weight"),
        }
    }

    /// See [`WeightAdapter::lookup`]. Of a set, the members that are chosen for all rows.
    pub(crate) fn lookup(
        &self,
        ids: Tensor<1, Int>,
        table: Tensor<2>,
        context: &AdapterContext,
    ) -> Tensor<2> {
        match &self.inner {
            Inner::Weight(adapter) => adapter.lookup_erased(ids, table, context),
            Inner::Set(set) => match set.chosen_in(context).as_slice() {
                [] => embedding(table, ids),
                [one] => one.lookup(ids, table, context),
                _ => embedding(self.parameter(decoded(table), context), ids),
            },
            _ => embedding(self.parameter(decoded(table), context), ids),
        }
    }

    /// See [`WeightAdapter::forward_transposed`].
    pub(crate) fn forward_transposed(
        &self,
        x: Tensor<2>,
        base: &BaseLinear,
        context: &AdapterContext,
    ) -> Tensor<2> {
        match &self.inner {
            Inner::Weight(adapter) => adapter.transposed_erased(x, base, context),
            _ => {
                let weight = self.parameter(base.weight().transpose(), context);
                BaseLinear::new(weight.transpose(), base.bias()).forward(x)
            }
        }
    }

    /// The adapted weight, `[in, out] -> [in, out]`: see [`WeightAdapter::effective`].
    pub fn effective(&self, weight: Tensor<2>) -> Tensor<2> {
        self.apply(weight)
    }

    /// The adapted values of a parameter of any shape, flattened in row-major order, `[n] -> [n]`.
    pub fn effective_values(&self, values: Tensor<1>, shape: &[usize]) -> Tensor<1> {
        match &self.inner {
            Inner::Parameter(adapter) => adapter.effective_values_erased(values, shape),
            _ => self.apply(values),
        }
    }

    /// Whether the adapted layer has another bias: see [`WeightAdapter::implies_bias`].
    pub fn implies_bias(&self) -> bool {
        matches!(&self.inner, Inner::Weight(adapter) if adapter.implies_bias_erased())
    }

    /// The bias of the adapted layer, `[out] -> [out]`: see [`WeightAdapter::effective_bias`].
    pub fn effective_bias(&self, bias: Tensor<1>) -> Tensor<1> {
        match &self.inner {
            Inner::Weight(adapter) | Inner::Implied(adapter) => adapter.effective_bias_erased(bias),
            _ => bias,
        }
    }

    /// What it costs at a target.
    pub fn cost(&self, target: &Target) -> Cost {
        match &self.inner {
            Inner::Weight(adapter) => adapter.cost_erased(target.in_features, target.out_features),
            Inner::Parameter(adapter) => adapter.values_cost_erased(&target.shape),
            Inner::Slot(adapter) => adapter.slot_cost_erased(&target.shape),
            Inner::Set(set) => set.cost(target),
            Inner::Implied(_) => Cost::default(),
        }
    }

    /// Factor on the learning rate of one of its fields.
    pub fn learning_rate_factor(&self, field: &str) -> f64 {
        self.rate
            * each_kind!(&self.inner, one => one.learning_rate_factor_erased(field), _set => 1.0)
    }

    /// A penalty on its own parameters, `[1]`; the members of a set speak for themselves.
    pub fn penalty(&self) -> Option<Tensor<1>> {
        match &self.inner {
            Inner::Implied(_) => None,
            inner => each_kind!(inner, one => one.penalty_erased(), _set => None),
        }
    }

    /// See [`WeightAdapter::low_rank`].
    pub fn low_rank(&self) -> Option<LowRankUpdate> {
        match &self.inner {
            Inner::Weight(adapter) => adapter.low_rank_erased(),
            _ => None,
        }
    }

    /// Whether what it adds is the same whatever the base, so that it may be summed with others.
    pub fn is_additive(&self) -> bool {
        match &self.inner {
            Inner::Weight(adapter) | Inner::Implied(adapter) => adapter.is_additive_erased(),
            Inner::Parameter(adapter) => adapter.values_additive_erased(),
            Inner::Slot(_) | Inner::Set(_) => false,
        }
    }

    /// The name of the parameter that a field is a copy of, where adapters share one.
    pub fn tie(&self, field: &str) -> Option<String> {
        each_kind!(&self.inner, one => one.tie_erased(field), _set => None)
    }

    /// Tensors that a file holds once for all adapters of a model, by name.
    pub fn shared(&self) -> Fields<HostTensor> {
        each_kind!(&self.inner, one => one.shared_erased(), _set => Fields::new())
    }

    fn with(self, change: impl FnOnce(Inner) -> Inner) -> Self {
        Self {
            inner: change(self.inner),
            method: self.method,
            rate: self.rate,
        }
    }
}

impl Reparameterization for DynAdapter {
    const NAME: &'static str = "adapter";

    /// # Panics
    /// Of an adapter of weights, on a parameter of more than two dimensions; [`attach`](crate::attach())
    /// puts none there.
    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let base = decoded(base);
        match &self.inner {
            Inner::Weight(adapter) => as_matrix(base, |base| adapter.effective_erased(base)),
            Inner::Parameter(adapter) => as_values(base, |values, shape| {
                adapter.effective_values_erased(values, shape)
            }),
            Inner::Implied(adapter) => {
                as_values(base, |bias, _| adapter.effective_bias_erased(bias))
            }
            Inner::Set(set) => set.active_parameter(base),
            Inner::Slot(_) => base,
        }
    }
}

/// Change a parameter that is seen as a matrix: a vector is one row.
fn as_matrix<const D: usize>(
    base: Tensor<D>,
    change: impl FnOnce(Tensor<2>) -> Tensor<2>,
) -> Tensor<D> {
    let shape = base.dims();
    let [rows, columns] = match *shape.as_slice() {
        [length] => [1, length],
        [rows, columns] => [rows, columns],
        _ => panic!("adapters of weights are for matrices and vectors, not for shape {shape:?}"),
    };
    reshaped(change(reshaped(base, [rows, columns])), shape)
}

/// Change a parameter that is seen as a list of values.
fn as_values<const D: usize>(
    base: Tensor<D>,
    change: impl FnOnce(Tensor<1>, &[usize]) -> Tensor<1>,
) -> Tensor<D> {
    let shape = base.dims();
    let length = shape.iter().product::<usize>();
    change(base.reshape([length]), &shape).reshape(shape)
}

impl Module for DynAdapter {
    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        MET.with_borrow_mut(|met| {
            if let Some(met) = met {
                met.push(self.clone());
            }
        });
        match &self.inner {
            Inner::Set(set) => set.visit(visitor),
            Inner::Implied(adapter) => {
                visitor.enter_module(IMPLIED_PART, IMPLIED);
                adapter.visit_erased(&mut ToVisitor(visitor));
                visitor.exit_module(IMPLIED_PART, IMPLIED);
            }
            Inner::Weight(adapter) => adapter.visit_erased(&mut ToVisitor(visitor)),
            Inner::Parameter(adapter) => adapter.visit_erased(&mut ToVisitor(visitor)),
            Inner::Slot(adapter) => adapter.visit_erased(&mut ToVisitor(visitor)),
        }
    }

    fn map<M: ModuleMapper>(self, mapper: &mut M) -> Self {
        if let Some(other) = NEXT.take() {
            return other;
        }
        self.with(|inner| match inner {
            Inner::Set(set) => Inner::Set(Box::new(set.map(mapper))),
            Inner::Implied(adapter) => {
                mapper.enter_module(IMPLIED_PART, IMPLIED);
                let adapter = adapter.map_erased(&mut ToMapper(mapper));
                mapper.exit_module(IMPLIED_PART, IMPLIED);
                Inner::Implied(adapter)
            }
            Inner::Weight(adapter) => Inner::Weight(adapter.map_erased(&mut ToMapper(mapper))),
            Inner::Parameter(adapter) => {
                Inner::Parameter(adapter.map_erased(&mut ToMapper(mapper)))
            }
            Inner::Slot(adapter) => Inner::Slot(adapter.map_erased(&mut ToMapper(mapper))),
        })
    }

    fn collect_devices(&self, devices: Devices) -> Devices {
        each_kind!(
            &self.inner,
            one => one.collect_devices_erased(devices),
            set => set.collect_devices(devices)
        )
    }

    fn fork(self, device: &Device) -> Self {
        self.with(
            |inner| same_kind!(inner, one => one.fork_erased(device), set => set.fork(device)),
        )
    }

    fn to_device(self, device: &Device) -> Self {
        self.with(|inner| {
            same_kind!(inner, one => one.to_device_erased(device), set => set.to_device(device))
        })
    }

    fn train(self) -> Self {
        self.with(|inner| same_kind!(inner, one => one.train_erased(), set => Module::train(*set)))
    }

    fn valid(&self) -> Self {
        let inner = same_kind!(&self.inner, one => one.as_ref().valid_erased(), set => set.valid());
        Self {
            inner,
            method: self.method,
            rate: self.rate,
        }
    }

    fn materialize(self) -> Self {
        self
    }
}
