//! Files of adapters of single entries: values, and the code of their places.

use burn::tensor::{Device, TensorData};
use peft_core::{AdapterError, AdapterSpec, Fields, HostTensor, Target};

use super::common::{code_info, entries_to_store, entry_cost, shape_of, stored_entries};
use crate::SparseDelta;

/// What is known of such an adapter.
pub fn spec(target: &Target, [values, indices]: [&str; 2], count: usize) -> AdapterSpec {
    AdapterSpec {
        cost: entry_cost(target, count),
        keeps_input: 2 * count > target.in_features,
        tensors: Fields::from([
            (values.to_owned(), target.values_info(&[count])),
            (indices.to_owned(), code_info(shape_of(target), count)),
        ]),
    }
}

/// One out of a file.
pub fn adapter(
    target: &Target,
    tensors: &Fields<HostTensor>,
    [values, indices]: [&str; 2],
    count: usize,
    device: &Device,
) -> Result<SparseDelta, AdapterError> {
    let values = target.values(tensors, values, &[count])?;
    let support = stored_entries(target, tensors, indices, shape_of(target), count)?;
    Ok(SparseDelta::new(support, values, target.dtype, device))
}

/// One for a file.
pub fn tensors(
    target: &Target,
    mut fields: Fields<TensorData>,
    [values, indices]: [&str; 2],
) -> Result<Fields<HostTensor>, AdapterError> {
    let stored = target.to_store(&mut fields, "values", values)?;
    let code = entries_to_store(target, &mut fields, "tiles", indices, shape_of(target))?;
    Ok(Fields::from([
        (values.to_owned(), stored),
        (indices.to_owned(), code),
    ]))
}

/// What [`Method`](peft_core::Method) says of files, for a method of single entries: the suffixes of
/// values and code, and what is made of an adapter that comes out of a file. The method has a `count` of
/// each target's entries.
macro_rules! coded_files {
    ($tensors:expr, $finish:expr) => {
        fn describe(&self, target: &Target) -> Result<AdapterSpec, AdapterError> {
            Ok($crate::method::coded::spec(
                target,
                $tensors,
                self.count(target),
            ))
        }

        fn suffixes(&self) -> &'static [&'static str] {
            &$tensors
        }

        fn restore(
            &self,
            target: &Target,
            tensors: &Fields<HostTensor>,
            device: &Device,
        ) -> Result<DynAdapter, AdapterError> {
            let count = self.count(target);
            $crate::method::coded::adapter(target, tensors, $tensors, count, device)
                .map($finish)
                .map(DynAdapter::new)
        }

        fn export(
            &self,
            target: &Target,
            fields: Fields<TensorData>,
        ) -> Result<Fields<HostTensor>, AdapterError> {
            $crate::method::coded::tensors(target, fields, $tensors)
        }
    };
}

pub(super) use coded_files;
