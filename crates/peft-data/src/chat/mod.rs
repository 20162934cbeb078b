//! Chat templates: conversations to text, as Hugging Face's tokenizers do it, and which of that text
//! the assistant says.

mod clock;
mod environment;
mod generation;
mod json;
mod mask;
mod message;
mod source;
mod template;
#[cfg(test)]
mod tests;

pub use clock::{CivilTime, Clock};
pub use mask::{MaskKind, Rendered};
pub(crate) use message::Problem;
pub use message::{Conversation, Message};
pub use template::ChatTemplate;
