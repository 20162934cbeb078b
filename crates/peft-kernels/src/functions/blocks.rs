use burn::tensor::{Device, Tensor};
use peft_blocks::BlockType;

/// Whether the products of this crate can multiply with a [`block_matrix`] on a device.
pub fn has_blocks(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return crate::route::on_flex(device);
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}

/// A frozen matrix whose numbers stay in quantised blocks: `[lines, width]`, every line being whole blocks.
///
/// It takes the bytes of its blocks in memory. The products of this crate ([`linear`](crate::linear) and its relatives,
/// [`head_cross_entropy`](crate::head_cross_entropy), [`embedding`](crate::embedding)) take it as a weight, also
/// transposed, and decode its blocks where they multiply, forward and backward, to the bits of a product with
/// [`decoded`] numbers. To every other operation its elements are NaN.
///
/// `None` where there is no body that multiplies with blocks (any backend but flex), where lines are not whole blocks or
/// blocks are single floats, or where the bytes are more or fewer than the matrix has.
#[must_use]
pub fn block_matrix(
    kind: BlockType,
    shape: [usize; 2],
    blocks: &[u8],
    device: &Device,
) -> Option<Tensor<2>> {
    #[cfg(feature = "flex")]
    if crate::route::on_flex(device) && !kind.is_float() {
        let matrix = crate::backends::flex::block_matrix(kind, shape, blocks)?;
        return Some(with_device(matrix, device));
    }
    let _ = (kind, shape, blocks, device);
    None
}

/// A tensor of flex, with autodiff if the device has it.
#[cfg(feature = "flex")]
fn with_device<const D: usize>(matrix: burn_flex::FlexTensor, device: &Device) -> Tensor<D> {
    let matrix = Tensor::from_primitive::<burn_flex::Flex>(matrix);
    match device.is_autodiff() {
        true => Tensor::from_inner(matrix),
        false => matrix,
    }
}

#[cfg(feature = "flex")]
fn blocks_of<const D: usize>(
    matrix: &Tensor<D>,
) -> Option<(burn_flex::FlexTensor, crate::backends::flex::Blocks)> {
    if !crate::route::is_fast(matrix) {
        return None;
    }
    let matrix = matrix.clone().without_autodiff();
    let matrix = matrix.try_into_primitive::<burn_flex::Flex>().ok()?;
    let blocks = crate::backends::flex::Blocks::of(&matrix)?;
    // With the tensor, which keeps the blocks alive.
    Some((matrix, blocks))
}

/// How the numbers of a matrix are stored, if it is one of [`block_matrix`].
#[must_use]
pub fn block_type<const D: usize>(matrix: &Tensor<D>) -> Option<BlockType> {
    #[cfg(feature = "flex")]
    if let Some((_, blocks)) = blocks_of(matrix) {
        return Some(blocks.kind());
    }
    let _ = matrix;
    None
}

/// A matrix in floats: the numbers of one of [`block_matrix`], any other tensor as it is.
#[must_use]
pub fn decoded<const D: usize>(matrix: Tensor<D>) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if let Some((_alive, blocks)) = blocks_of(&matrix) {
        let device = matrix.device();
        return with_device(crate::backends::flex::decoded(blocks), &device);
    }
    matrix
}
