//! The kernels, for `f32`. No atomics, and every sum has one order: equal inputs give equal bits.

use burn::tensor::Shape;
use burn_cubecl::cubecl::{self, prelude::*};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

use super::ops::CoreShape;

/// Units of a cube along the outputs, and along blocks of rows.
const WIDTH: u32 = 32;
const HEIGHT: u32 = 4;
/// Rows of a block: one unit works on them together, so that it reads the table once for all.
const ROWS: usize = 4;
/// Values of a cube of [`value_grads`], and units that share the rows of each. A power of two.
const VALUES: u32 = 8;
const LANES: u32 = 32;
/// Cubes along an axis that every backend allows.
pub const MOST_CUBES: usize = 65_535;

/// `z = x Kᵀ`, a unit an output of [`ROWS`] rows.
///
/// The table is `[starts; outputs + 1] [input; entries] [2 · value + negative; entries]`.
#[cube(launch_unchecked, address_type = "dynamic")]
fn product_kernel(
    x: &[f32],
    values: &[f32],
    table: &[i32],
    z: &mut [f32],
    rows: usize,
    inputs: usize,
    outputs: usize,
    entries: usize,
    factor: f32,
) {
    let output = ABSOLUTE_POS_X as usize;
    if output >= outputs {
        terminate!();
    }
    let first = table[output] as usize;
    let end = table[output + 1] as usize;
    let listed = outputs + 1;
    let step = (CUBE_COUNT_Y * CUBE_DIM_Y) as usize * ROWS;
    let mut row = ABSOLUTE_POS_Y as usize * ROWS;
    while row < rows {
        // The last block reads its last row again where there are fewer.
        let last = rows - 1;
        let at_0 = row * inputs;
        let at_1 = (row + 1).min(last) * inputs;
        let at_2 = (row + 2).min(last) * inputs;
        let at_3 = (row + 3).min(last) * inputs;
        let mut sum_0 = 0.0f32;
        let mut sum_1 = 0.0f32;
        let mut sum_2 = 0.0f32;
        let mut sum_3 = 0.0f32;
        for entry in first..end {
            let input = table[listed + entry] as usize;
            let code = table[listed + entries + entry] as usize;
            let mut value = values[code / 2];
            if code % 2 == 1 {
                value = -value;
            }
            sum_0 += value * x[at_0 + input];
            sum_1 += value * x[at_1 + input];
            sum_2 += value * x[at_2 + input];
            sum_3 += value * x[at_3 + input];
        }
        let out = row * outputs + output;
        z[out] = factor * sum_0;
        if row + 1 < rows {
            z[out + outputs] = factor * sum_1;
        }
        if row + 2 < rows {
            z[out + 2 * outputs] = factor * sum_2;
        }
        if row + 3 < rows {
            z[out + 3 * outputs] = factor * sum_3;
        }
        row += step;
    }
}

/// `dv[k]`, [`VALUES`] of them a cube: [`LANES`] units each add up every [`LANES`]-th row of one value, and
/// halve the sums' number in shared memory.
///
/// The table is `[starts; values + 1] [output; entries] [2 · input + negative; entries]`.
#[cube(launch_unchecked, address_type = "dynamic")]
fn value_grads_kernel(
    x: &[f32],
    dz: &[f32],
    table: &[i32],
    dv: &mut [f32],
    rows: usize,
    inputs: usize,
    outputs: usize,
    values: usize,
    entries: usize,
    factor: f32,
) {
    let mut sums = Shared::<[f32]>::new_slice((VALUES * LANES) as usize);
    let value = CUBE_POS as usize * VALUES as usize + UNIT_POS_X as usize;
    let listed = values + 1;
    let mut total = 0.0f32;
    if value < values {
        let first = table[value] as usize;
        let end = table[value + 1] as usize;
        for entry in first..end {
            let output = table[listed + entry] as usize;
            let code = table[listed + entries + entry] as usize;
            let input = code / 2;
            let mut sum = 0.0f32;
            let mut row = UNIT_POS_Y as usize;
            while row < rows {
                sum += dz[row * outputs + output] * x[row * inputs + input];
                row += LANES as usize;
            }
            if code % 2 == 1 {
                total -= sum;
            } else {
                total += sum;
            }
        }
    }
    let at = (UNIT_POS_Y * VALUES + UNIT_POS_X) as usize;
    sums[at] = total;
    sync_cube();
    let mut half = CUBE_DIM_Y / 2;
    while half > 0 {
        if UNIT_POS_Y < half {
            let other = sums[at + (half * VALUES) as usize];
            sums[at] += other;
        }
        sync_cube();
        half /= 2;
    }
    if UNIT_POS_Y == 0 && value < values {
        dv[value] = factor * sums[UNIT_POS_X as usize];
    }
}

/// The widest addresses that one of the tensors needs.
pub fn widest(tensors: [&CubeTensor; 4]) -> AddressType {
    let widths = tensors.map(CubeTensor::required_address_type);
    widths.into_iter().fold(AddressType::default(), Ord::max)
}

/// Entries of a table of `lists` lists.
fn entries_of(table: &CubeTensor, lists: usize) -> usize {
    (table.meta.shape()[0] - lists - 1) / 2
}

/// A tensor of unset numbers on the device of another.
pub fn empty(like: &CubeTensor, shape: Shape) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape, like.dtype)
}

/// `z = x Kᵀ` for the table of `K` by output; for `dx = dz K` that by input, and the shape of `Kᵀ`.
pub fn product(
    x: CubeTensor,
    values: CubeTensor,
    table: CubeTensor,
    shape: CoreShape,
) -> CubeTensor {
    let [x, values, table] = [x, values, table].map(into_contiguous);
    let rows = x.meta.shape()[0];
    let z = empty(&x, Shape::new([rows, shape.outputs]));
    if rows == 0 {
        return z;
    }
    let entries = entries_of(&table, shape.outputs);
    let blocks = rows.div_ceil(ROWS * HEIGHT as usize).min(MOST_CUBES);
    let count = CubeCount::Static((shape.outputs as u32).div_ceil(WIDTH), blocks as u32, 1);
    let client = x.client.clone();
    let addresses = widest([&x, &values, &table, &z]);
    // SAFETY: `x` is [rows, inputs] and `z` [rows, outputs], contiguous; a `SparseCore`'s table names
    // only inputs, outputs and values that there are.
    unsafe {
        product_kernel::launch_unchecked(
            &client,
            count,
            CubeDim::new_2d(WIDTH, HEIGHT),
            addresses,
            x.into_buffer_arg(),
            values.into_buffer_arg(),
            table.into_buffer_arg(),
            z.clone().into_buffer_arg(),
            rows,
            shape.inputs,
            shape.outputs,
            entries,
            shape.factor as f32,
        );
    }
    z
}

/// The gradient of the values from `x` and the gradient of `z`.
pub fn value_grads(
    x: CubeTensor,
    dz: CubeTensor,
    table: CubeTensor,
    shape: CoreShape,
) -> CubeTensor {
    let [x, dz, table] = [x, dz, table].map(into_contiguous);
    let rows = x.meta.shape()[0];
    let dv = empty(&x, Shape::new([shape.values]));
    let entries = entries_of(&table, shape.values);
    let client = x.client.clone();
    let size = CubeDim::new_2d(VALUES, LANES);
    let count = cubecl::calculate_cube_count_elemwise(&client, shape.values * LANES as usize, size);
    let addresses = widest([&x, &dz, &table, &dv]);
    // SAFETY: `x` is [rows, inputs] and `dz` [rows, outputs], contiguous; a `SparseCore`'s table names
    // only inputs, outputs and values that there are.
    unsafe {
        value_grads_kernel::launch_unchecked(
            &client,
            count,
            size,
            addresses,
            x.into_buffer_arg(),
            dz.into_buffer_arg(),
            table.into_buffer_arg(),
            dv.clone().into_buffer_arg(),
            rows,
            shape.inputs,
            shape.outputs,
            shape.values,
            entries,
            shape.factor as f32,
        );
    }
    dv
}
