//! Decompression of pages, to exactly the size that was announced.

use super::Problem;
use std::io::Read;

/// A page's content, `size` bytes of it.
pub(crate) fn decompress(codec: i64, input: &[u8], size: usize) -> Result<Vec<u8>, Problem> {
    let broken = |e: &dyn std::fmt::Display| Problem::from(format!("a page is damaged: {e}"));
    let output = match codec {
        0 => input.to_vec(),
        1 => {
            let announced = snap::raw::decompress_len(input).map_err(|e| broken(&e))?;
            // No three bytes of Snappy stand for more than 64: memory is not taken on a page's word.
            if announced != size || size / 32 > input.len() {
                return Err(differs(announced));
            }
            let decoded = snap::raw::Decoder::new().decompress_vec(input);
            decoded.map_err(|e| broken(&e))?
        }
        2 => exactly(flate2::read::MultiGzDecoder::new(input), size).map_err(|e| broken(&e))?,
        6 => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(input);
            exactly(decoder.map_err(|e| broken(&e))?, size).map_err(|e| broken(&e))?
        }
        other => {
            let name = match other {
                3 => "LZO",
                4 => "Brotli",
                5 | 7 => "LZ4",
                _ => "an unknown codec",
            };
            return Err(Problem {
                what: format!("expected pages in Snappy, gzip, Zstandard or plain, found {name}"),
                fix: "write the file again with Snappy (pandas: to_parquet(..., \
                      compression='snappy'))",
            });
        }
    };
    match output.len() == size {
        true => Ok(output),
        false => Err(differs(output.len())),
    }
}

/// Reads one byte more than `size` at most: enough to tell a bomb.
fn exactly(decoder: impl Read, size: usize) -> std::io::Result<Vec<u8>> {
    let mut output = Vec::new();
    decoder.take(size as u64 + 1).read_to_end(&mut output)?;
    Ok(output)
}

fn differs(found: usize) -> Problem {
    format!("a page has {found} bytes or more, not as many as announced").into()
}
