"""A family of models on a loopback Hub, for measuring walks: merges of merges, as their cards say."""

import json
from collections.abc import Sequence
from math import ceil

from llmcourse.testing.hub import LoopbackHub

# 300 models; the root, and eight levels of ancestors.
WIDTHS = (1, 6, 18, 36, 54, 60, 60, 45, 20)
ROOT = "family/m0-0"


def seed_family(hub: LoopbackHub, widths: Sequence[int] = WIDTHS, with_recipes: bool = False) -> list[str]:
    """Put a family on the Hub and return its models' ids; the first is the root, which all others led to.

    `with_recipes` gives each merge a mergekit_config.yml beside its card.
    """
    names = [[f"family/m{level}-{index}" for index in range(width)] for level, width in enumerate(widths)]
    for level, own in enumerate(names):
        above = names[level + 1] if level + 1 < len(names) else []
        count = max(2, ceil(len(above) / len(own)))
        for index, name in enumerate(own):
            parents = (
                [above[(index * count + number) % len(above)] for number in range(count)] if above else []
            )
            parents = list(dict.fromkeys(parents))
            head = {"license": "apache-2.0"}
            relation = {"base_model": parents, "base_model_relation": "merge"} if parents else {}
            files = {
                "README.md": f"---\n{json.dumps({**head, **relation})}\n---\n# {name}\n".encode(),
                "config.json": b'{"model_type": "llama", "architectures": ["LlamaForCausalLM"]}',
            }
            if with_recipes and parents:
                models = [{"model": parent, "parameters": {"weight": 1}} for parent in parents]
                files["mergekit_config.yml"] = json.dumps(
                    {"models": models, "merge_method": "linear"}
                ).encode()
            hub.repo(name).add_files(files)
    return [name for level in names for name in level]
