//! Special tokens by role: where texts and turns begin and end.

use super::TextTokenizer;
use super::files::Config;
use tokenizers::Tokenizer;

/// Tokens that end a turn in the chat templates of the field, beside the end of the text.
const TURN_ENDS: [&str; 4] = ["<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>"];

/// Tokens with a role, such as `eos_token`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Specials {
    /// Role, text and id, in the order of the settings.
    roles: Vec<(String, String, Option<u32>)>,
    /// Ids that end a turn, the end of the text first.
    turn_ends: Vec<u32>,
}

impl Specials {
    pub(crate) fn of(config: &Config, inner: &Tokenizer) -> Self {
        let mut roles: Vec<(String, String, Option<u32>)> = Vec::new();
        for name in config.names().filter(|name| name.ends_with("_token")) {
            if roles.iter().any(|(role, ..)| role == name) {
                continue;
            }
            if let Some(token) = config.special(name) {
                let id = inner.token_to_id(&token.content);
                roles.push((name.to_owned(), token.content, id));
            }
        }
        let of_role = |name: &str| roles.iter().find(|(role, ..)| role == name)?.2;
        let mut turn_ends: Vec<u32> = of_role("eos_token").into_iter().collect();
        let named = TURN_ENDS.iter().map(|token| inner.token_to_id(token));
        for id in [of_role("eot_token")].into_iter().chain(named).flatten() {
            if !turn_ends.contains(&id) {
                turn_ends.push(id);
            }
        }
        Self { roles, turn_ends }
    }
}

impl TextTokenizer {
    /// The text of a special token by its role in `tokenizer_config.json`: `eos_token`, `bos_token`,
    /// `pad_token` and so on.
    pub fn special_token(&self, role: &str) -> Option<&str> {
        let mut roles = self.specials.roles.iter();
        roles
            .find(|(name, ..)| name == role)
            .map(|(_, token, _)| token.as_str())
    }

    /// All special tokens with a role, as `(role, text)`.
    pub fn special_tokens_by_role(&self) -> impl Iterator<Item = (&str, &str)> {
        let roles = self.specials.roles.iter();
        roles.map(|(role, token, _)| (role.as_str(), token.as_str()))
    }

    fn role_id(&self, role: &str) -> Option<u32> {
        let mut roles = self.specials.roles.iter();
        roles
            .find(|(name, ..)| name == role)
            .and_then(|(.., id)| *id)
    }

    /// Id of the token that ends a text (`eos_token`), if the tokenizer names one.
    pub fn eos_id(&self) -> Option<u32> {
        self.role_id("eos_token")
    }

    /// Id of the token that begins a text (`bos_token`), if the tokenizer names one. Whether texts
    /// get it is the tokenizer's own decision (its post-processor), see [`TextTokenizer::encode`].
    pub fn bos_id(&self) -> Option<u32> {
        self.role_id("bos_token")
    }

    /// Ids that end a turn of a conversation: the end of the text, `eot_token`, and those of `<|eot_id|>`,
    /// `<|im_end|>`, `<|end|>` and `<end_of_turn>` that the vocabulary has.
    pub fn turn_end_ids(&self) -> &[u32] {
        &self.specials.turn_ends
    }

    /// Id of a token as the vocabulary writes it.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }
}
