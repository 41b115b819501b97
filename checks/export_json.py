"""What is in a torch.export archive's JSON that torch.export.load would evaluate as Python.

In torch 2.13 the loader hands symbolic expressions to sympy's `sympify` (an `eval`), compiles the guards with `exec`,
resolves operator names by attribute access from `torch` downwards, and imports the module that a default dictionary
in the input structure names. None of that is needed for an image classifier beyond what is let through here.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Final

from .text import shown, words

_FREE_TEXT: Final = frozenset(
    {"stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "metadata", "torch_version"}
)
_TARGET: Final = re.compile(
    r"torch\.ops\.(?:aten|prims|prim)\.(?!__)\w+(?:\.(?!__)\w+)?"
    r"|torch\.ops\.aten\.__i?(?:and|or|xor|lshift|rshift)__\.\w+"
    r"|torch\.ops\.higher_order\.(?!__)\w+|torch\.sym_\w+|torch\._check\w*"
    r"|torch\._C\._set_grad_enabled"
    r"|_operator\.(?:add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_|getitem)"
    r"|math\.(?:trunc|ceil|floor|sqrt|log2)"
)
_FORBIDDEN_TARGETS: Final = ("torch.ops.aten.from_file", "torch.ops.aten.save")
# Names end up in generated source text, as annotations for one: nothing that could call or assign gets through.
_PLAIN: Final = re.compile(r"[\w.,:<>\[\]/\- ]*")
_IDENTIFIER_KEYS: Final = frozenset({"name", "forward_arg_names", "graph_name"})
_DOTTED: Final = re.compile(r"[\w.]*")
_NAME: Final = re.compile(r"[A-Za-z]\w*")
_FUNCTIONS: Final = words(
    "Symbol Integer Rational Float Add Mul Pow Max Min Mod PythonMod FloorDiv CleanDiv CeilDiv ModularIndexing "
    "Where CeilToInt FloorToInt TruncToInt TruncToFloat RoundToInt RoundDecimal ToFloat Identity LShift RShift "
    "PowByNatural FloatPow FloatTrueDiv IntTrueDiv Equality Unequality Eq Ne Ge Gt Le Lt GreaterThan LessThan "
    "StrictGreaterThan StrictLessThan And Or Not floor ceiling Piecewise ExprCondPair"
)
_NODES: Final = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.Load,
    ast.Tuple,
    ast.keyword,
)
_SPEC_TYPES: Final = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")


def _is_arithmetic(text: str, *, guard: bool) -> bool:
    """True for arithmetic over symbols (or, in a guard, over the sizes of inputs `L[...]`) and nothing else."""
    if len(text) > 10_000 or "\\" in text or '"' in text or "\n" in text:
        return False
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in nodes:
        if isinstance(node, ast.Call):
            method = guard and isinstance(node.func, ast.Attribute)
            fine = method or (isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS)
        elif isinstance(node, ast.Attribute):
            fine = guard and node.attr in ("size", "stride", "storage_offset")
        elif isinstance(node, ast.Subscript):
            fine = guard
        elif isinstance(node, ast.Name):
            fine = (
                node.id in _FUNCTIONS
                or node.id in ("L", "true", "false", "oo", "int_oo")
                or bool(re.fullmatch(r"z?[suf]\d+", node.id))
            )
        elif isinstance(node, ast.Constant):
            fine = _NAME.fullmatch(node.value) is not None if isinstance(node.value, str) else True
        else:
            fine = isinstance(node, _NODES)
        if not fine:
            return False
    return True


def _spec_problem(text: object) -> str | None:
    """The input and output structure: a JSON text of its own."""
    if not isinstance(text, str) or not text:
        return None
    try:
        specs = [json.loads(text)[1]]
        while specs:
            spec = specs.pop()
            if spec["type"] not in _SPEC_TYPES:
                return f"its inputs or outputs hold a {shown(str(spec['type']))}"
            context = json.loads(spec["context"]) if spec["context"] is not None else None
            if context is not None and not (
                isinstance(context, list) and all(isinstance(key, str) and _NAME.fullmatch(key) for key in context)
            ):
                return "its inputs or outputs have odd names"
            specs += spec["children_spec"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return "its inputs or outputs are described in a way that torch does not write"
    return None


def _walk(value: object, key: str) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            if not _PLAIN.fullmatch(name):
                yield f"it has the odd name {shown(name)}"
            if name not in _FREE_TEXT:
                yield from _walk(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner, key)
    elif key == "use_pickle" and value:
        yield "it stores a weight as a pickle"
    elif not isinstance(value, str):
        return
    elif key == "target":
        if not _TARGET.fullmatch(value) or value.startswith(_FORBIDDEN_TARGETS):
            yield f"it calls {shown(value)}"
    elif key == "expr_str":
        if not _is_arithmetic(value, guard=False):
            yield f"it evaluates {shown(value)}"
    elif key == "guards_code":
        if not _is_arithmetic(value, guard=True):
            yield f"it runs the guard {shown(value)}"
    elif key in ("in_spec", "out_spec"):
        problem = _spec_problem(value)
        if problem:
            yield problem
    elif key == "path_name" and value.startswith(("custom_obj_", "opaque_obj_")):
        yield f"it holds the pickled object {shown(value)}"
    elif not (_DOTTED if key in _IDENTIFIER_KEYS else _PLAIN).fullmatch(value):
        yield f"it has the odd text {shown(value)}"


def json_problems(data: bytes) -> list[str]:
    """What torch.export.load would run out of this JSON; empty where nothing."""
    try:
        document = json.loads(data.decode("utf-8"))
        return list(_walk(document, ""))
    except (ValueError, RecursionError):
        return ["it is not valid JSON"]
