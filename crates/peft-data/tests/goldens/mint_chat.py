"""Writes rendered.json: what transformers makes of the templates in templates/.

    cargo xtask python -- crates/peft-data/tests/goldens/mint_chat.py

Needs transformers 5.24.0 and jinja2. `mask` are the character ranges that transformers takes for the
assistant's, of templates that mark them; null of others.
"""

import datetime
import json
import pathlib

import transformers
from transformers.utils import chat_template_utils as utils

HERE = pathlib.Path(__file__).parent
assert transformers.__version__ == "5.24.0", transformers.__version__


class Clock(datetime.datetime):
    """26 July 2024, as in the templates of Llama 3.1."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 12, 3, 4)


utils.datetime = Clock

USER = {"role": "user", "content": "2+2?"}
TOOLS = [{"type": "function", "function": {"name": "add", "description": "a < b & \"c\" é", "parameters": {
    "type": "object", "properties": {"x": {"type": "number", "default": 1.0}}, "required": ["x"]}}}]
CALL = {"role": "assistant", "content": "", "tool_calls": [
    {"type": "function", "function": {"name": "add", "arguments": {"x": 1e-05, "y": "<é>"}}}]}
CONVERSATIONS = {
    "c": [{"role": "system", "content": " Be brief. "}, USER, {"role": "assistant", "content": " 4\n"},
          {"role": "user", "content": "é <b>&\"q\"</b>"}],
    "plain": [USER, {"role": "assistant", "content": "4"}],
    "twice": [USER, {"role": "assistant", "content": "4"}, USER, {"role": "assistant", "content": "4"}],
    "space": [{"role": "user", "content": "  \n x"}, {"role": "assistant", "content": "\n  a\n\n b  \n"}],
    "think": [USER, {"role": "assistant", "content": "<think>\nhm\n</think>\n\n4"}, USER,
              {"role": "assistant", "content": "<think>\nso\n</think>\n\n5"}],
    "tools": [USER, CALL, {"role": "tool", "content": "4"}, {"role": "assistant", "content": "four"}],
    "odd": [{"role": "assistant", "content": "I begin"}, {"role": "assistant", "content": "twice"}],
}

cases = []
for path in sorted(HERE.glob("templates/*.jinja")):
    source = path.read_bytes().decode()
    marks = "{%- generation" in source or "{% generation" in source
    for name, messages in CONVERSATIONS.items():
        for prompt in [False, True]:
            case = {"template": path.stem, "conversation": name, "generation_prompt": prompt, "mask": None}
            try:
                texts, masks = utils.render_jinja_template(
                    conversations=[messages], chat_template=source, add_generation_prompt=prompt,
                    tools=TOOLS if name == "tools" else None,
                    return_assistant_tokens_mask=marks, bos_token="<s>", eos_token="</s>")
                case["text"] = texts[0]
                if marks:
                    case["mask"] = [list(span) for span in masks[0]]
            except Exception as error:  # a template that refuses
                case["text"], case["error"] = None, str(error)
            cases.append(case)

out = {"transformers": transformers.__version__, "tools": TOOLS, "conversations": CONVERSATIONS, "cases": cases}
(HERE / "rendered.json").write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n")
print(len(cases), "renderings")
