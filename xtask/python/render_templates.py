#!/usr/bin/env python3
"""Renders chat templates with transformers, for `cargo xtask templates`.

    render_templates.py FOLDER   (templates as *.jinja)

Writes a JSON object to stdout: "conversations" by name, and "cases", one for every template, conversation and generation prompt (off,
on): "template", "conversation", "generation_prompt", "text" (null and "error" where the template refuses), and "mask", the
character ranges inside of generation blocks, of templates that have some. It is 26 July 2024, 12:03:04.
"""

import datetime
import json
import sys
from pathlib import Path

import versions

versions.check()

from transformers.utils import chat_template_utils as utils


class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26, 12, 3, 4)


utils.datetime = Clock

USER = {"role": "user", "content": "2+2?"}
answer = lambda text: {"role": "assistant", "content": text}
CONVERSATIONS = {
    "system": [{"role": "system", "content": " Be brief. "}, USER, answer(" 4\n"), {"role": "user", "content": "é <b>&\"q\"</b>"}],
    "plain": [USER, answer("4")],
    "twice": [USER, answer("4"), USER, answer("4")],
    "space": [{"role": "user", "content": "  \n x"}, answer("\n  a\n\n b  \n")],
    "think": [USER, answer("<think>\nhm\n</think>\n\n4"), USER, answer("<think>\nso\n</think>\n\n5")],
}


def main():
    cases = []
    for path in sorted(Path(sys.argv[1]).glob("*.jinja")):
        source = path.read_bytes().decode()
        marks = "{%- generation" in source or "{% generation" in source
        for name, messages in CONVERSATIONS.items():
            for prompt in [False, True]:
                case = {"template": path.stem, "conversation": name, "generation_prompt": prompt, "mask": None}
                try:
                    texts, masks = utils.render_jinja_template(
                        conversations=[messages], chat_template=source, add_generation_prompt=prompt,
                        return_assistant_tokens_mask=marks, bos_token="<s>", eos_token="</s>")
                    case["text"] = texts[0]
                    if marks:
                        case["mask"] = [list(span) for span in masks[0]]
                except Exception as error:  # a template that refuses
                    case["text"], case["error"] = None, str(error)
                cases.append(case)
    json.dump({"conversations": CONVERSATIONS, "cases": cases}, sys.stdout, ensure_ascii=False)


if __name__ == "__main__":
    main()
