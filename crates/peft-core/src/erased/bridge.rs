use std::any::Any;

use burn::{
    Tensor,
    module::{Flag, ModuleMapper, ModuleVisitor, Param},
    tensor::{Bool, Int},
};

/// The highest tensor rank that a parameter of an adapter may have.
const MAX_RANK: usize = 6;

/// What kind of tensor an erased parameter holds.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Float,
    Int,
    Bool,
}

/// A visitor that takes parameters of any rank and kind.
pub(crate) trait ErasedVisitor {
    /// `param` is a `Param<Tensor<rank, kind>>`.
    fn visit(&mut self, kind: Kind, rank: usize, param: &dyn Any);
    fn visit_flag(&mut self, flag: &Param<Flag>);
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

/// A mapper that takes and returns parameters of any rank and kind.
pub(crate) trait ErasedMapper {
    /// `param` is, and the result must be, a `Param<Tensor<rank, kind>>`.
    fn map(&mut self, kind: Kind, rank: usize, param: Box<dyn Any>) -> Box<dyn Any>;
    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag>;
    fn enter(&mut self, name: &str, container: &str);
    fn exit(&mut self, name: &str, container: &str);
}

/// Leaves the concrete adapter: erases ranks.
pub(super) struct VisitorBridge<'a>(pub &'a mut dyn ErasedVisitor);

impl ModuleVisitor for VisitorBridge<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.visit(Kind::Float, D, param);
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.0.visit(Kind::Int, D, param);
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.0.visit(Kind::Bool, D, param);
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.0.visit_flag(flag);
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.0.exit(name, container);
    }
}

/// Leaves the concrete adapter: erases ranks, and restores what comes back.
pub(super) struct MapperBridge<'a>(pub &'a mut dyn ErasedMapper);

impl MapperBridge<'_> {
    fn through<T: Any>(&mut self, kind: Kind, rank: usize, param: T) -> T {
        *self
            .0
            .map(kind, rank, Box::new(param))
            .downcast()
            .expect("a mapper keeps the rank and the kind of a parameter")
    }
}

impl ModuleMapper for MapperBridge<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.through(Kind::Float, D, param)
    }

    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        self.through(Kind::Int, D, param)
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<D, Bool>>,
    ) -> Param<Tensor<D, Bool>> {
        self.through(Kind::Bool, D, param)
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.map_flag(flag)
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.0.enter(name, container);
    }

    fn exit_module(&mut self, name: &str, container: &str) {
        self.0.exit(name, container);
    }
}

/// Dispatches a runtime rank to const-generic code.
macro_rules! with_rank {
    ($rank:expr, $d:ident => $body:expr) => {
        with_rank!(@arms $rank, $d => $body, 1 2 3 4 5 6)
    };
    (@arms $rank:expr, $d:ident => $body:expr, $($n:literal)*) => {
        match $rank {
            $($n => { const $d: usize = $n; $body })*
            other => panic!("adapter parameters have rank 1 to {MAX_RANK}, not {other}"),
        }
    };
}

fn param<T: Any>(any: &dyn Any) -> &T {
    any.downcast_ref()
        .expect("rank and kind travel with the parameter")
}

fn owned<T: Any>(any: Box<dyn Any>) -> T {
    *any.downcast()
        .expect("rank and kind travel with the parameter")
}

/// Enters the caller's visitor: restores ranks.
pub(crate) struct ToVisitor<'a, V>(pub &'a mut V);

impl<V: ModuleVisitor> ErasedVisitor for ToVisitor<'_, V> {
    fn visit(&mut self, kind: Kind, rank: usize, any: &dyn Any) {
        with_rank!(rank, D => match kind {
            Kind::Float => self.0.visit_float(param::<Param<Tensor<D>>>(any)),
            Kind::Int => self.0.visit_int(param::<Param<Tensor<D, Int>>>(any)),
            Kind::Bool => self.0.visit_bool(param::<Param<Tensor<D, Bool>>>(any)),
        })
    }

    fn visit_flag(&mut self, flag: &Param<Flag>) {
        self.0.visit_flag(flag);
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.0.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.0.exit_module(name, container);
    }
}

/// Enters the caller's mapper: restores ranks.
pub(crate) struct ToMapper<'a, M>(pub &'a mut M);

impl<M: ModuleMapper> ErasedMapper for ToMapper<'_, M> {
    fn map(&mut self, kind: Kind, rank: usize, any: Box<dyn Any>) -> Box<dyn Any> {
        with_rank!(rank, D => match kind {
            Kind::Float => Box::new(self.0.map_float(owned::<Param<Tensor<D>>>(any))),
            Kind::Int => Box::new(self.0.map_int(owned::<Param<Tensor<D, Int>>>(any))),
            Kind::Bool => Box::new(self.0.map_bool(owned::<Param<Tensor<D, Bool>>>(any))),
        })
    }

    fn map_flag(&mut self, flag: Param<Flag>) -> Param<Flag> {
        self.0.map_flag(flag)
    }

    fn enter(&mut self, name: &str, container: &str) {
        self.0.enter_module(name, container);
    }

    fn exit(&mut self, name: &str, container: &str) {
        self.0.exit_module(name, container);
    }
}
