//! The scan in Burn's queue of operations to be fused: it waits for its turn, and is not fused with others.

use std::marker::PhantomData;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::Shape;
use burn_fusion::custom::{
    CustomOpIr, HandleContainer, Operation, OperationIr, ScalarIr, StreamId, TensorIr,
};
use burn_fusion::{ExecutionError, Fusion, FusionBackend, FusionRuntime};

use super::Sizes;
use crate::backends::selective::{Inputs, Saving, ScanGrads, ScanOps, ScanPlan};

/// Inputs of a scan, the table among them.
const INPUTS: usize = 10;

#[derive(Debug, Clone, Copy)]
enum Pass {
    Forward {
        saving: bool,
    },
    Backward {
        /// Whether the last states have a gradient.
        last: bool,
        wanted: [bool; 9],
    },
}

impl Pass {
    fn name(self) -> &'static str {
        match self {
            Self::Forward { saving: false } => "peft::selective_scan",
            Self::Forward { saving: true } => "peft::selective_scan_saving",
            Self::Backward { .. } => "peft::selective_scan_grads",
        }
    }

    /// What tells it from others of its name, as bits.
    fn bits(self) -> u64 {
        match self {
            Self::Forward { .. } => 0,
            Self::Backward { last, wanted } => {
                let flags = wanted.iter().chain([&last]);
                flags.fold(0, |bits, &flag| 2 * bits + u64::from(flag))
            }
        }
    }
}

/// A scan that waits: its inputs and the table, and behind them, of a backward pass, what was kept and the gradients.
#[derive(Debug)]
struct Waiting<B> {
    pass: Pass,
    plan: ScanPlan,
    described: CustomOpIr,
    backend: PhantomData<B>,
}

impl<B: FusionBackend + ScanGrads> Operation<B::FusionRuntime> for Waiting<B> {
    fn execute(
        &self,
        handles: &mut HandleContainer<<B::FusionRuntime as FusionRuntime>::FusionHandle>,
    ) -> Result<(), ExecutionError> {
        let mut floats: Vec<FloatTensor<B>> = Vec::new();
        let described = &self.described.inputs;
        for input in described[..INPUTS - 1].iter().chain(&described[INPUTS..]) {
            floats.push(handles.get_float_tensor::<B>(input));
        }
        let table = handles.get_int_tensor::<B>(&described[INPUTS - 1]);
        let mut floats = floats.into_iter();
        let mut next = || floats.next().expect("as many as were queued");
        let inputs: Inputs<B> = core::array::from_fn(|_| next());
        let found: Vec<FloatTensor<B>> = match self.pass {
            Pass::Forward { saving: false } => {
                let [u, delta, a_log, b, c, skip, gate, bias, initial] = inputs;
                let plan = self.plan.clone();
                let (y, last) = B::selective_scan(
                    u, delta, a_log, b, c, skip, gate, bias, initial, table, plan,
                );
                vec![y, last]
            }
            Pass::Forward { saving: true } => {
                let (y, last, saved) = B::selective_scan_saving(inputs, table, &self.plan);
                vec![y, last, saved]
            }
            Pass::Backward { last, wanted } => {
                let (saved, grad) = (next(), next());
                let last = last.then(next);
                let found =
                    B::selective_scan_grads(inputs, saved, grad, last, table, &self.plan, wanted);
                found.into_iter().flatten().collect()
            }
        };
        for (out, found) in self.described.outputs.iter().zip(found) {
            handles.register_float_tensor::<B>(&out.id, found);
        }
        Ok(())
    }
}

fn queue<B: FusionBackend + ScanGrads>(
    pass: Pass,
    inputs: Inputs<Fusion<B>>,
    table: IntTensor<Fusion<B>>,
    more: Vec<FloatTensor<Fusion<B>>>,
    outputs: Vec<Shape>,
    plan: ScanPlan,
) -> Vec<FloatTensor<Fusion<B>>> {
    let (client, dtype) = (inputs[0].client.clone(), inputs[0].dtype);
    let outputs: Vec<TensorIr> = outputs
        .into_iter()
        .map(|shape| TensorIr::uninit(client.create_empty_handle(), shape, dtype))
        .collect();
    let mut all: Vec<TensorIr> = inputs.into_iter().map(|x| x.into_ir()).collect();
    all.push(table.into_ir());
    all.extend(more.into_iter().map(|x| x.into_ir()));
    // Queues are told apart by what is in them, these included.
    let scalars = vec![
        ScalarIr::UInt(pass.bits()),
        ScalarIr::UInt(plan.rows.len() as u64),
    ];
    let described = CustomOpIr::with_scalars(pass.name(), &all, &outputs, scalars);
    let waiting = Waiting::<B> {
        pass,
        plan,
        described: described.clone(),
        backend: PhantomData,
    };
    client.register(StreamId::current(), OperationIr::Custom(described), waiting)
}

impl<B: FusionBackend + ScanGrads> ScanOps for Fusion<B> {
    fn selective_scan(
        u: FloatTensor<Self>,
        delta: FloatTensor<Self>,
        a_log: FloatTensor<Self>,
        b: FloatTensor<Self>,
        c: FloatTensor<Self>,
        skip: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        initial: FloatTensor<Self>,
        table: IntTensor<Self>,
        plan: ScanPlan,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [y, last, _] = Sizes::new(&u.shape, &a_log.shape, &plan).outputs();
        let inputs = [u, delta, a_log, b, c, skip, gate, bias, initial];
        let pass = Pass::Forward { saving: false };
        let mut found = queue::<B>(pass, inputs, table, vec![], vec![y, last], plan).into_iter();
        let mut next = || found.next().expect("as many as were asked for");
        (next(), next())
    }
}

impl<B: FusionBackend + ScanGrads> ScanGrads for Fusion<B> {
    fn selective_scan_saving(
        inputs: Inputs<Self>,
        table: IntTensor<Self>,
        plan: &ScanPlan,
    ) -> Saving<Self> {
        let outputs = Sizes::new(&inputs[0].shape, &inputs[2].shape, plan).outputs();
        let pass = Pass::Forward { saving: true };
        let mut found = queue::<B>(pass, inputs, table, vec![], outputs.into(), plan.clone());
        let mut next = || found.remove(0);
        (next(), next(), next())
    }

    fn selective_scan_grads(
        inputs: Inputs<Self>,
        saved: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        last: Option<FloatTensor<Self>>,
        table: IntTensor<Self>,
        plan: &ScanPlan,
        wanted: [bool; 9],
    ) -> [Option<FloatTensor<Self>>; 9] {
        let shapes = inputs.each_ref().map(|x| x.shape.clone());
        let wanted: [bool; 9] =
            core::array::from_fn(|at| wanted[at] && shapes[at].num_elements() > 0);
        let outputs = shapes.into_iter().zip(wanted);
        let outputs = outputs.filter_map(|(shape, there)| there.then_some(shape));
        let outputs = outputs.collect();
        let pass = Pass::Backward {
            last: last.is_some(),
            wanted,
        };
        let mut more = vec![saved, grad];
        more.extend(last);
        let mut found = queue::<B>(pass, inputs, table, more, outputs, plan.clone()).into_iter();
        wanted.map(|there| there.then(|| found.next().expect("as many as were asked for")))
    }
}
