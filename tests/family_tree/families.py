"""Families made by hand: what the formats must draw, without a Hub."""

import random
from collections.abc import Iterable
from dataclasses import replace

from llmcourse.family_tree.graph import Edge, Finding, Graph, Node, Relation, State

LICENCES = ("apache-2.0", "mit", "cc-by-nc-4.0", "llama3", "gpl-3.0", "other", None)


def model(name: str, licence: str | None = "apache-2.0", parameters: int = 7_241_732_096) -> Node:
    url = f"https://huggingface.co/{name}"
    return Node(
        name,
        url=url,
        licence=licence,
        architecture="mistral",
        parameters=parameters,
        downloads=12_345,
        likes=67,
        created="2024-01-15T10:00:00+00:00",
    )


def merged(parent: str, child: str, weight: float | None = None, method: str = "slerp") -> Edge:
    return Edge(parent, child, Relation.MERGE, ("mergekit_config.yml",), weight, method)


def tuned(parent: str, child: str, relation: Relation = Relation.FINETUNE) -> Edge:
    return Edge(parent, child, relation, ("baseModels",))


def graph(roots: Iterable[str], nodes: Iterable[Node], edges: Iterable[Edge], **more: object) -> Graph:
    """A graph whose levels are counted here: the shortest way from a root, below zero where it leads up."""
    roots, nodes, edges = tuple(roots), tuple(nodes), tuple(edges)
    levels = dict.fromkeys(roots, 0)
    for sign in (-1, 1):
        todo = list(roots)
        while todo:
            here = todo.pop(0)
            for edge in edges:
                near, far = (edge.child, edge.parent) if sign < 0 else (edge.parent, edge.child)
                if near == here and far not in levels:
                    levels[far] = levels[here] + sign
                    todo.append(far)
    return Graph(roots, {node.id: node for node in nodes}, edges, levels, **more)  # type: ignore[arg-type]


def small() -> Graph:
    """A merge of two finetunes of one base, and its quantization."""
    names = ("demo/Merge-7B", "demo/Tuned-7B", "lab/Chat-7B", "lab/Base-7B")
    nodes = [model(name, licence) for name, licence in zip(names, LICENCES, strict=False)]
    edges = [
        merged("demo/Tuned-7B", "demo/Merge-7B", 0.6),
        merged("lab/Chat-7B", "demo/Merge-7B", 0.4),
        tuned("lab/Base-7B", "demo/Tuned-7B"),
        tuned("lab/Base-7B", "lab/Chat-7B"),
    ]
    return graph(
        names[:1], nodes, edges, shares={"lab/Base-7B": 1.0}, licence="cc-by-nc-4.0",
        findings=(Finding("licence", names[0], "lab/Chat-7B forbids commercial use."),),
    )  # fmt: skip


def merged_of_many() -> Graph:
    """A merge of three merges, which have six parents each: many words where edges come together."""
    middle = [f"demo/Middle-{number}-7B" for number in range(3)]
    parents = {name: [f"lab/{name[12]}-Parent-{number}-7B" for number in range(6)] for name in middle}
    nodes = [
        model(name) for name in ("demo/Top-7B", *middle, *(one for own in parents.values() for one in own))
    ]
    edges = [merged(name, "demo/Top-7B", 1 / 3) for name in middle]
    edges += [merged(one, name, 0.123456, "dare_ties") for name, own in parents.items() for one in own]
    return graph(("demo/Top-7B",), nodes, edges)


def everything() -> Graph:
    """Every state, every relation and kind of licence, a cycle, a disagreement, a model of two sides."""
    root = "demo/Family-7B"
    nodes = [
        model(root),
        model("demo/Left-7B", "llama3"),
        model("demo/Right-7B", "cc-by-nc-4.0"),
        model("demo/Adapter", None, 12_000_000),
        model("lab/Base-7B", "gpl-3.0"),
        model("lab/Terms-7B", "other"),
        Node("lab/Gated-7B", State.GATED, "https://huggingface.co/lab/Gated-7B", "llama3", is_gated=True,
             reason="Its files need an accepted licence."),
        Node("gone/Deleted-7B", State.MISSING, reason="It does not exist, or it is private."),
        Node("lab/Disabled-7B", State.DISABLED, "https://huggingface.co/lab/Disabled-7B",
             reason="The Hub has disabled it."),
        Node("lab/Silent-7B", State.FAILED, reason="The Hub did not answer (503)."),
        Node("./my-model", State.LOCAL, licence="mit", parameters=7_241_732_096),
        Node("lab/Further-7B", State.BEYOND, "https://huggingface.co/lab/Further-7B"),
        model("quants/Family-7B-GGUF"),
        Node("private/Tune-7B", licence="mit", is_private=True, names=("Private/tune-7b",)),
        Node("demo/Family-7B#quantized", State.REST, hidden=312, reason="Of 313, by downloads."),
    ]  # fmt: skip
    edges = [
        merged("demo/Left-7B", root, 0.5),
        merged("demo/Right-7B", root, 0.5),
        tuned("lab/Base-7B", "demo/Left-7B"),
        tuned("lab/Terms-7B", "demo/Left-7B", Relation.UNKNOWN),
        tuned("lab/Gated-7B", "demo/Right-7B"),
        tuned("demo/Adapter", "demo/Right-7B", Relation.ADAPTER),
        merged("gone/Deleted-7B", "demo/Left-7B", 0.25, "ties"),
        tuned("lab/Disabled-7B", "demo/Adapter"),
        tuned("lab/Silent-7B", "demo/Adapter"),
        tuned("./my-model", "demo/Right-7B"),
        tuned("lab/Further-7B", "lab/Base-7B"),
        Edge(root, "quants/Family-7B-GGUF", Relation.QUANTIZED, ("baseModels", "gguf")),
        Edge(root, "private/Tune-7B", Relation.FINETUNE, ("card",), note="The card says adapter."),
        tuned(root, "demo/Family-7B#quantized", Relation.QUANTIZED),
        Edge("demo/Left-7B", "lab/Base-7B", Relation.FINETUNE, ("card",), closes_cycle=True),
    ]  # fmt: skip
    return graph(
        [root], nodes, edges,
        findings=(
            Finding("unreadable", "gone/Deleted-7B", "gone/Deleted-7B does not exist, or it is private."),
            Finding("cycle", "lab/Base-7B", "lab/Base-7B and demo/Left-7B name each other as parents."),
        ),
        shares={"lab/Base-7B": 0.5, "lab/Gated-7B": 0.375, "lab/Terms-7B": 0.125},
        licence="other",
    )  # fmt: skip


def hostile(text: str) -> Graph:
    """Names, licences, reasons and notes that are `text`: all of it comes from strangers."""
    nodes = [
        Node(
            "demo/Root", licence=text, architecture=text, reason=text, names=(text,), url=f"https://x/{text}"
        ),
        Node(text, State.FAILED, licence=text, reason=text, url="javascript:alert(1)"),
    ]
    edges = [Edge(text, "demo/Root", Relation.MERGE, (text,), 0.5, text, note=text)]
    return graph(["demo/Root"], nodes, edges, findings=(Finding("name", text, text),))


def large(count: int, seed: int = 0) -> Graph:
    """`count` models below one base: up to 50 children each, one in eight a merge."""
    shuffled = random.Random(seed)
    names = [f"user{index % 97}/Model-{index}-7B-Instruct-v0.{index % 9}" for index in range(count)]
    nodes = [model(name, LICENCES[index % len(LICENCES)]) for index, name in enumerate(names)]
    edges: list[Edge] = []
    levels = {names[0]: 0}
    open_parents = [0]
    for index in range(1, count):
        parent = shuffled.choice(open_parents[-40:])
        levels[names[index]] = levels[names[parent]] + 1
        others = [other for other in open_parents if other != parent
                  and levels[names[other]] == levels[names[parent]]]  # fmt: skip
        if others and shuffled.random() < 0.125:
            edges += [merged(names[parent], names[index], 0.5), merged(names[others[-1]], names[index], 0.5)]
        else:
            relation = shuffled.choice([Relation.FINETUNE, Relation.ADAPTER, Relation.QUANTIZED])
            edges.append(tuned(names[parent], names[index], relation))
        if shuffled.random() < 0.12 and levels[names[index]] < 8:
            open_parents.append(index)
    return Graph((names[0],), {node.id: node for node in nodes}, tuple(edges), levels)


def chain(length: int) -> Graph:
    """Each finetuned from the next: deeper than Python's recursion goes."""
    nodes = [model(f"demo/Step-{index}") for index in range(length)]
    edges = [tuned(nodes[index + 1].id, nodes[index].id) for index in range(length - 1)]
    levels = {node.id: -index for index, node in enumerate(nodes)}
    return Graph((nodes[0].id,), {node.id: node for node in nodes}, tuple(edges), levels)


def shown() -> Graph:
    """The invented family of the documentation's pictures: a merge of merges and what came of it."""
    models = {
        "demo/Nightjar-7B": ("cc-by-nc-4.0", 7_241_732_096),
        "demo/Swift-7B-slerp": ("apache-2.0", 7_241_732_096),
        "heron/Heron-7B-ties": ("cc-by-nc-4.0", 7_241_732_096),
        "wren/Wren-7B-chat": ("apache-2.0", 7_241_732_096),
        "lark/Lark-7B-dpo": ("mit", 7_241_732_096),
        "lark/Lark-7B-sft": ("apache-2.0", 7_241_732_096),
        "owl/Owl-7B-math": ("cc-by-nc-4.0", 7_241_732_096),
        "owl/Owl-7B-code": (None, 7_241_732_096),
        "aviary/Base-7B": ("apache-2.0", 7_241_732_096),
        "quants/Nightjar-7B-GGUF": ("cc-by-nc-4.0", 7_241_732_096),
        "quants/Nightjar-7B-GPTQ": ("cc-by-nc-4.0", 7_241_732_096),
        "finch/Nightjar-7B-story": ("cc-by-nc-4.0", 7_241_732_096),
        "finch/Nightjar-lora": ("other", 41_943_040),
    }
    nodes = [model(name, licence, parameters or 0) for name, (licence, parameters) in models.items()]
    nodes += [
        replace(model("aviary/Base-7B-instruct", "llama3"), state=State.GATED, is_gated=True,
                reason="Its files need an accepted licence."),
        Node("gone/Kiwi-7B", State.MISSING, reason="It does not exist, or it is private."),
        Node("demo/Nightjar-7B#quantized", State.REST, hidden=312, reason="and 312 more quantized models"),
    ]  # fmt: skip
    root = "demo/Nightjar-7B"
    edges = [
        merged("demo/Swift-7B-slerp", root, 0.6, "dare_ties"),
        merged("heron/Heron-7B-ties", root, 0.4, "dare_ties"),
        merged("wren/Wren-7B-chat", "demo/Swift-7B-slerp", 0.5),
        merged("lark/Lark-7B-dpo", "demo/Swift-7B-slerp", 0.5),
        merged("lark/Lark-7B-dpo", "heron/Heron-7B-ties", 0.3, "ties"),
        merged("owl/Owl-7B-math", "heron/Heron-7B-ties", 0.5, "ties"),
        merged("owl/Owl-7B-code", "heron/Heron-7B-ties", 0.2, "ties"),
        tuned("aviary/Base-7B-instruct", "wren/Wren-7B-chat"),
        tuned("lark/Lark-7B-sft", "lark/Lark-7B-dpo"),
        tuned("aviary/Base-7B", "lark/Lark-7B-sft"),
        tuned("aviary/Base-7B", "owl/Owl-7B-math"),
        tuned("gone/Kiwi-7B", "owl/Owl-7B-code", Relation.UNKNOWN),
        tuned("aviary/Base-7B", "aviary/Base-7B-instruct"),
        tuned(root, "quants/Nightjar-7B-GGUF", Relation.QUANTIZED),
        tuned(root, "quants/Nightjar-7B-GPTQ", Relation.QUANTIZED),
        tuned(root, "finch/Nightjar-7B-story"),
        tuned(root, "finch/Nightjar-lora", Relation.ADAPTER),
        tuned(root, "demo/Nightjar-7B#quantized", Relation.QUANTIZED),
    ]
    return graph(
        [root], nodes, edges,
        findings=(
            Finding("unreadable", "gone/Kiwi-7B", "gone/Kiwi-7B does not exist, or it is private."),
            Finding("unreadable", "aviary/Base-7B-instruct", "aviary/Base-7B-instruct is gated."),
            Finding("licence", "owl/Owl-7B-math", "owl/Owl-7B-math forbids commercial use."),
        ),
        shares={"aviary/Base-7B": 0.92, "gone/Kiwi-7B": 0.08}, licence="other",
    )  # fmt: skip
