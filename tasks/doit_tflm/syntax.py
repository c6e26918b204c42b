"""What can be read off Python source: its meaning as text, and the names that it uses."""

from __future__ import annotations

import ast
import dis
import linecache
import os
import types

__all__ = ["Uses", "dump", "function_nodes", "global_names", "is_filled", "source_file"]


class Uses(ast.NodeVisitor):
    """The names that a piece of code uses, with the attributes taken of them ("" where it is used as it is)."""

    def __init__(self) -> None:
        self.names: dict[str, set[str]] = {}
        self.attributes: set[str] = set()
        self.imports: set[tuple[str, str]] = set()
        self.imported: set[str] = set()

    def visit_Name(self, node: ast.Name) -> None:
        """Note a name."""
        self.names.setdefault(node.id, set()).add("")

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note an attribute, with the name that it is taken of."""
        self.attributes.add(node.attr)
        if isinstance(node.value, ast.Name):
            self.names.setdefault(node.value.id, set()).add(node.attr)
        else:
            self.visit(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        """Note ``import a.b``."""
        for alias in node.names:
            self.imports.add((alias.name, ""))
            self.imported.add(alias.asname or alias.name.split(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Note ``from a import b``."""
        for alias in node.names:
            module = "." * node.level + (node.module or "")
            self.imports.add((module, "" if alias.name == "*" else alias.name))
            self.imported.add(alias.asname or alias.name)


def dump(node: ast.AST) -> str:
    """Return code as text without what does not count: positions and docstrings."""
    tree = ast.parse(ast.unparse(node))
    for inner in ast.walk(tree):
        if isinstance(inner, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and ast.get_docstring(inner):
            inner.body = inner.body[1:] or [ast.Pass()]
    return repr(ast.unparse(tree))


def global_names(code: types.CodeType) -> set[str]:
    """Return the names that a function, and the functions in it, look up among the globals."""
    names = {step.argval for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            names |= global_names(inner)
    return names


def source_file(code: types.CodeType) -> str:
    """Return the absolute path of the file that code was compiled from."""
    return os.path.abspath(code.co_filename)


def function_nodes(code: types.CodeType) -> list[ast.AST]:
    """Return a function's syntax trees: for a lambda, those of all lambdas on its line; none without a source."""
    source = "".join(linecache.getlines(source_file(code)))
    want = (ast.Lambda,) if code.co_name == "<lambda>" else (ast.FunctionDef, ast.AsyncFunctionDef)
    found: list[ast.AST] = []
    for node in ast.walk(ast.parse(source)) if source else ():
        if isinstance(node, want):
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
            if first == code.co_firstlineno:
                found.append(node)
    return found


def is_filled(cell: types.CellType) -> bool:
    """Tell whether a closure's variable has a value yet."""
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
