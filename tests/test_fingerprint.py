"""A callable's fingerprint: it changes with all that can change what the callable does, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from doit_tflm import trace
from doit_tflm.errors import UserError
from doit_tflm.fingerprint import Fingerprint, fingerprint
from doit_tflm.script import loaded

SPEC = "from doit_tflm import ModelSpec\nspec = ModelSpec(classes=['no', 'yes'], epochs=3)\n"

Take = Callable[..., Fingerprint]


def fingerprint_here(source: str, **modules: str) -> Fingerprint:
    """Return the fingerprint of `load` in a script of the current directory, with modules beside the models."""
    Path("models").mkdir(exist_ok=True)
    for name, text in modules.items():
        path = Path(name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    Path("models/a.py").write_text(SPEC + source)
    with loaded("models/a.py") as script:
        return fingerprint(script.module.load, os.getcwd(), "models/a.py")


@pytest.fixture
def take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Take:
    """Return `fingerprint_here` in an empty project."""
    monkeypatch.chdir(tmp_path)
    return fingerprint_here


LOAD = """\
def load(subset):
    if subset == "training":
        return 1
    return 2
"""

SAME = {
    "a comment": LOAD.replace("return 1", "return 1  # one"),
    "a docstring": LOAD.replace("):\n", '):\n    """Return the data."""\n', 1),
    "blank lines": LOAD.replace("    return 2", "\n\n    return 2"),
    "other line numbers": "\n" * 40 + "X = 5\n" + LOAD,
    "other quotes": LOAD.replace('"', "'"),
    "brackets": LOAD.replace("return 1", "return (\n            1\n        )"),
    "a global that is not used": "UNUSED = 3\nimport json, threading\nLOCK = threading.Lock()\n" + LOAD,
    "another function": LOAD + "\n\ndef other():\n    return 4\n",
}


@pytest.mark.parametrize("edit", SAME)
def test_what_python_does_not_run_does_not_count(take: Take, edit: str) -> None:
    assert take(SAME[edit]).digest == take(LOAD).digest


def test_docstrings_do_not_count_in_whatever_is_followed(take: Take) -> None:
    plain = "class A:\n    def f(self):\n        return 1\n"
    plain += "def load(s):\n    def inner():\n        pass\n    return A()\n"
    told = (
        'class A:\n    """A class."""\n    def f(self):\n        """Return 1."""\n        return 1\n'
        'def load(s):\n    def inner():\n        """Do nothing."""\n    return A()\n'
    )
    assert take(plain).digest == take(told).digest


ONE_AND_TWO = {
    "code": "def load(s): return §",
    "a default": "def load(s, n=§): return n",
    "a default's value": "N = §\ndef load(s, n=N): return n",
    "a keyword's default": "N = §\ndef load(s, *, n=N): return n",
    "a closure": ("def make(n):\n    return lambda s: n\nload = make(§)"),
    "a global": "N = §\ndef load(s): return N",
    "a global of a nested function": ("N = §\ndef load(s):\n    return [(lambda: N) for _ in range(2)]"),
    "a value of a dict": "N = {'a': §}\ndef load(s): return N",
    "a helper": "def f(): return §\ndef load(s): return f()",
    "a helper's helper": ("def g(): return §\ndef f(): return g()\ndef load(s): return f()"),
    "a helper in a table": ("def f(): return §\nT = {'f': f}\ndef load(s): return T[s]()"),
    "a lambda": "load = lambda s: §",
    "a lambda with another on its line": "x, load = lambda: 0, lambda s: §",
    "a lambda on several lines": ("load = (\n    lambda s:\n    §\n)"),
    "a lambda with another's name": (
        "import functools\ndef f(s): return 0\nload = functools.wraps(f)(lambda s: §)"
    ),
    "a partial's argument": ("import functools\ndef f(n, s): return n\nload = functools.partial(f, §)"),
    "a partial's keyword": ("import functools\ndef f(s, n): return n\nload = functools.partial(f, n=§)"),
    "a class": ("class A:\n    def f(self): return §\ndef load(s): return A().f()"),
    "a base class": ("class B:\n    x = §\nclass A(B): pass\ndef load(s): return A().x"),
    "what a class's method uses": ("N = §\nclass A:\n    def f(self): return N\ndef load(s): return A().f()"),
    "an attribute set on a class": ("class A:\n    x = 0\nA.x = §\ndef load(s): return A.x"),
    "what a class was made with": (
        "def m(n):\n"
        "    class A:\n"
        "        def f(self): return n\n"
        "    return A\n"
        "A = m(§)\n"
        "def load(s): return A().f()"
    ),
    "an object's state": ("class A:\n    def __init__(self, n): self.n = n\na = A(§)\ndef load(s): return a.n"),
    "an object's class": ("class A:\n    def f(self): return §\na = A()\ndef load(s): return a.f()"),
    "a method's object": (
        "class A:\n    def __init__(self, n): self.n = n\n    def f(self, s): return self.n\nload = A(§).f"
    ),
    "a class method": ("class A:\n    @classmethod\n    def f(cls, s): return §\nload = A.f"),
    "a static method": ("class A:\n    @staticmethod\n    def f(s): return §\nload = A.f"),
    "a callable object": ("class A:\n    def __call__(self, s): return §\nload = A()"),
    "an enum's value": ("import enum\nclass E(enum.Enum):\n    A = §\nN = E.A\ndef load(s): return N"),
    "a named tuple's method": (
        "from typing import NamedTuple\n"
        "class P(NamedTuple):\n"
        "    x: int\n"
        "    def f(self): return §\n"
        "p = P(1)\n"
        "def load(s): return p.f()"
    ),
    "a dict with methods": (
        "class D(dict):\n    def __missing__(self, k): return §\nd = D()\ndef load(s): return d[s]"
    ),
    "a number with methods": ("class I(int):\n    def f(self): return §\nN = I(3)\ndef load(s): return N.f()"),
    "a dataclass's field": (
        "import dataclasses\n@dataclasses.dataclass\nclass C:\n    n: int = §\ndef load(s): return C()"
    ),
    "a dataclass's value": (
        "from dataclasses import dataclass as d\n"
        "@d(frozen=True)\n"
        "class C:\n"
        "    n: int\n"
        "c = C(§)\n"
        "def load(s): return c"
    ),
    "a decorated function": ("import functools\n@functools.lru_cache\ndef load(s): return §"),
    "a helper decorated by a package": (
        "import contextlib as c\n"
        "@c.contextmanager\n"
        "def f():\n"
        "    yield §\n"
        "def load(s):\n"
        "    with f() as n: return n"
    ),
    "a decorator": ("def d(f):\n    def g(s): return f(s) + §\n    return g\n@d\ndef load(s): return 1"),
    "a decorated function's code": (
        "def d(f):\n    def g(s): return f(s)\n    return g\n@d\ndef load(s): return §"
    ),
    "a decorator's argument": (
        "def d(n):\n"
        "    def w(f):\n"
        "        return lambda s: f(s) * n\n"
        "    return w\n"
        "N = §\n"
        "@d(N)\n"
        "def load(s): pass"
    ),
    "a decorator that is a class": (
        "import functools\n"
        "class D:\n"
        "    def __init__(self, f): functools.update_wrapper(self, f)\n"
        "    def __call__(self, s): return §\n"
        "@D\n"
        "def load(s): return 0"
    ),
    "a method of a builtin object": ("d = {'a': §}\nget = d.get\ndef load(s): return get(s)"),
    "a number of numpy's": ("import numpy as np\nN = np.float32(§)\ndef load(s): return N"),
}
"""Code that does something else when § is 2 than when it is 1."""

BEFORE_AND_AFTER = {
    "an operator": (
        "def load(s): return 3 - 1",
        "def load(s): return 3 + 1",
    ),
    "the type of a constant": (
        "def load(s): return 1",
        "def load(s): return 1.0",
    ),
    "a boolean": (
        "def load(s): return 1",
        "def load(s): return True",
    ),
    "an item of a list": (
        "N = [1, [2]]\ndef load(s): return N",
        "N = [1, [3]]\ndef load(s): return N",
    ),
    "the order of a list": (
        "N = [1, 2]\ndef load(s): return N",
        "N = [2, 1]\ndef load(s): return N",
    ),
    "list or tuple": (
        "N = [1, 2]\ndef load(s): return N",
        "N = (1, 2)\ndef load(s): return N",
    ),
    "a key of a dict": (
        "N = {'a': 1}\ndef load(s): return N",
        "N = {'b': 1}\ndef load(s): return N",
    ),
    "the order of a dict, which code can see": (
        "N = {'a': 1, 'b': 2}\ndef load(s): return N",
        "N = {'b': 2, 'a': 1}\ndef load(s): return N",
    ),
    "an item of a set": (
        "N = {1, 2}\ndef load(s): return N",
        "N = {1, 3}\ndef load(s): return N",
    ),
    "bytes": (
        "N = b'a'\ndef load(s): return N",
        "N = b'b'\ndef load(s): return N",
    ),
    "a path": (
        ("from pathlib import Path\nN = Path('a')\ndef load(s): return N"),
        ("from pathlib import Path\nN = Path('b')\ndef load(s): return N"),
    ),
    "a partial's function": (
        ("import functools\ndef f(n, s): return n\nload = functools.partial(f, 1)"),
        ("import functools\ndef f(n, s): return -n\nload = functools.partial(f, 1)"),
    ),
    "an array": (
        ("import numpy as np\nN = np.array([1, 2])\ndef load(s): return N"),
        ("import numpy as np\nN = np.array([1, 3])\ndef load(s): return N"),
    ),
    "an array's type": (
        ("import numpy as np\nN = np.zeros(2, 'int32')\ndef load(s): return N"),
        ("import numpy as np\nN = np.zeros(2, 'float32')\ndef load(s): return N"),
    ),
    "an array's shape": (
        ("import numpy as np\nN = np.zeros((2, 3))\ndef load(s): return N"),
        ("import numpy as np\nN = np.zeros((3, 2))\ndef load(s): return N"),
    ),
    "an array of objects": (
        ("import numpy as np\nN = np.array(['a', None])\ndef load(s): return N"),
        ("import numpy as np\nN = np.array(['b', None])\ndef load(s): return N"),
    ),
    "a dtype": (
        ("import numpy as np\nN = np.dtype('int8')\ndef load(s): return N"),
        ("import numpy as np\nN = np.dtype('uint8')\ndef load(s): return N"),
    ),
    "a dtype's fields": (
        ("import numpy as np\nN = np.dtype([('a', 'i4')])\ndef load(s): return N"),
        ("import numpy as np\nN = np.dtype([('b', 'i4')])\ndef load(s): return N"),
    ),
    "a ufunc": (
        "from numpy import sin as f\ndef load(s): return f(1)",
        "from numpy import cos as f\ndef load(s): return f(1)",
    ),
    "a function of a package": (
        "from numpy import mean as f\ndef load(s): return f(1)",
        "from numpy import median as f\ndef load(s): return f(1)",
    ),
    "a builtin": (
        "f = min\ndef load(s): return f(1, 2)",
        "f = max\ndef load(s): return f(1, 2)",
    ),
    "an import": (
        ("def load(s):\n    import math as m\n    return m.e"),
        ("def load(s):\n    import cmath as m\n    return m.e"),
    ),
    **{edit: (code.replace("§", "1"), code.replace("§", "2")) for edit, code in ONE_AND_TWO.items()},
}


@pytest.mark.parametrize("edit", BEFORE_AND_AFTER)
def test_what_a_function_does_counts(take: Take, edit: str) -> None:
    before, after = BEFORE_AND_AFTER[edit]
    first = take(before).digest
    assert take(after).digest != first
    assert take("\n# moved down\n" + before).digest == first


MODULES = {
    "imported": "import helpers\ndef load(s): return helpers.f()",
    "imported under another name": "import helpers as h\ndef load(s): return h.f()",
    "its function imported": "from helpers import f\ndef load(s): return f()",
    "imported in the function": "def load(s):\n    import helpers\n    return helpers.f()",
    "its function imported in the function": "def load(s):\n    from helpers import f\n    return f()",
    "all of it imported": "from helpers import *\ndef load(s): return f()",
    "handed on as a whole": "import helpers\ndef load(s): return getattr(helpers, 'f')()",
}


@pytest.mark.parametrize("use", MODULES)
def test_a_module_of_the_user_s_is_followed(take: Take, use: str) -> None:
    before = "N = 1\ndef f():\n    return N\n"
    first = take(MODULES[use], helpers=before).digest
    assert take(MODULES[use], helpers=before.replace("N = 1", "N = 2")).digest != first
    assert take(MODULES[use], helpers=before.replace("return N", "return -N")).digest != first
    assert take(MODULES[use], helpers=f"# a comment\n{before}").digest == first


def test_what_is_not_used_of_a_module_does_not_count(take: Take) -> None:
    source = "import helpers\ndef load(s): return helpers.f() + helpers.N"
    first = take(source, helpers="N = 1\nM = 1\ndef f(): return 1\ndef g(): return 1\n").digest
    assert take(source, helpers="N = 1\nM = 2\ndef f(): return 1\ndef g(): return 2\n").digest == first
    assert take(source, helpers="N = 2\nM = 1\ndef f(): return 1\ndef g(): return 1\n").digest != first


PACKAGES = {
    "a module of a package": "import pkg.inner\ndef load(s): return pkg.inner.f()",
    "from a package": "from pkg import inner\ndef load(s): return inner.f()",
    "from a module of a package": "from pkg.inner import f\ndef load(s): return f()",
    "a package in the function": "def load(s):\n    import pkg.inner\n    return pkg.inner.f()",
    "from a package in the function": "def load(s):\n    from pkg import inner\n    return inner.f()",
    "from its module in the function": "def load(s):\n    from pkg.inner import f\n    return f()",
    "a neighbour in the function": "from pkg.outer import g\ndef load(s): return g()",
}


@pytest.mark.parametrize("with_init", [True, False], ids=["regular", "namespace"])
@pytest.mark.parametrize("use", PACKAGES)
def test_a_package_of_the_user_s_is_followed(take: Take, use: str, with_init: bool) -> None:
    files = {"pkg__outer": "def g():\n    from .inner import f\n    return f()\n"}
    if with_init:
        Path("pkg").mkdir()
        Path("pkg/__init__.py").touch()
    first = take(PACKAGES[use], pkg__inner="def f(): return 1\n", **files).digest
    assert take(PACKAGES[use], pkg__inner="def f(): return 2\n", **files).digest != first
    assert take(PACKAGES[use], pkg__inner="def f(): return 1  # one\n", **files).digest == first


def test_an_attribute_of_the_spec_counts_where_the_code_mentions_it(take: Take) -> None:
    uses = "def load(s): return len(spec.classes)\n"
    first = take(uses).digest
    assert take("spec.classes.append('maybe')\n" + uses).digest != first
    assert take("spec.epochs = 5\nspec.description = 'other'\nspec.version = 2\n" + uses).digest == first


def test_an_attribute_that_a_helper_of_the_spec_mentions_counts(take: Take) -> None:
    uses = "def rate(which): return which.model_parameters['rate']\ndef load(s): return rate(spec)\n"
    assert take("spec.model_parameters['rate'] = 1\n" + uses).digest != (
        take("spec.model_parameters['rate'] = 2\n" + uses).digest
    )


def test_the_spellings_of_a_setting_are_one(take: Take) -> None:
    uses = "import numpy as np\nspec.tflite_converter['inference_input_type'] = {}\n"
    uses += "def load(s): return spec.tflite_converter['inference_input_type']\n"
    assert take(uses.format("'int8'")).digest == take(uses.format("np.int8")).digest
    assert take(uses.format("'int8'")).digest != take(uses.format("'uint8'")).digest


def test_every_attribute_counts_where_code_may_read_any(take: Take) -> None:
    uses = "def load(s): return getattr(spec, 'ep' + 'ochs')\n"
    assert take(uses).digest != take("spec.epochs = 5\n" + uses).digest


def test_the_spec_s_other_functions_do_not_count(take: Take) -> None:
    uses = (
        "def load(s): return getattr(spec, s)\nspec.dataset = load\nspec.build_model_function = lambda spec: {}\n"
    )
    assert take(uses.format(1)).digest == take(uses.format(2)).digest


# What must not matter

STABLE = """
import dataclasses, enum, functools, contextlib
from pathlib import Path
from typing import NamedTuple, Optional
import numpy as np
import helpers, pkg.inner

HERE = Path(__file__).parent
DATA = str(HERE / "data.csv")
TABLE = {DATA: [DATA], HERE: 1, (1, frozenset("abc")): 2}
WORDS = {"yes", "no", "go", "stop", "up", "down"}
NESTED = {frozenset("abc"), frozenset("bcd"), frozenset("cde"), frozenset("ab"), (1, frozenset("xyz"))}
OBJECTS = np.array(["a", None, 3.5, ("b", "c")], dtype=object)

class Mode(enum.Enum):
    FAST = 1
    SLOW = 2

class Point(NamedTuple):
    x: int = 0

@dataclasses.dataclass(frozen=True)
class Config:
    rate: int = 16000
    modes: Optional[dict[str, Mode]] = None
    words: "frozenset[str] | None" = frozenset("abcdef")

MODES = {Mode.FAST, Mode.SLOW}
CONFIGS = {Config(1): Config(2, {"a": Mode.FAST})}
POINTS = {Point(n) for n in range(5)}
FUNCTIONS = {helpers.f, len, np.mean, np.sin, Config}
HANDLERS = {helpers.f: 1, Config: 2}

@contextlib.contextmanager
def opened():
    yield WORDS

@functools.lru_cache
def cached(n):
    return n, Point, NESTED

def load(subset, words=frozenset(WORDS)):
    with opened() as found:
        return found, cached(1), DATA, TABLE, OBJECTS, MODES, CONFIGS, POINTS, FUNCTIONS, HANDLERS, spec.classes, (
            pkg.inner.VALUE, helpers.f(), functools.reduce, np.float32
        )
"""


def test_neither_the_hash_seed_nor_the_project_s_place_matters(tmp_path: Path) -> None:
    digests = []
    for number, name in enumerate(("a", "b", "somewhere/else/a b")):
        root = tmp_path / name
        for path, text in {
            "models/a.py": SPEC + STABLE,
            "helpers.py": "SET = {'a', 'b', 'c'}\ndef f(): return SET, __file__\n",
            "pkg/inner.py": "VALUE = {('a', 'b'): {'c', 'd', 'e'}}\n",
        }.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text)
        code = (
            "import os\nfrom doit_tflm.script import loaded\nfrom doit_tflm.fingerprint import fingerprint\n"
            "with loaded('models/a.py') as script:\n"
            "    found = fingerprint(script.module.load, os.getcwd(), 'models/a.py')\n"
            "    print(found.digest, *found.lines, sep='\\n')\n"
        )
        environment = {**os.environ, "PYTHONHASHSEED": str(number)}
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert str(root) not in done.stdout
        digests.append(done.stdout)
    assert digests[0] == digests[1] == digests[2]


def test_the_fingerprint_s_text_names_what_was_found(take: Take) -> None:
    found = take("N = 3\ndef f(): return N\ndef load(s): return f()\n")
    assert found.lines == [
        "load = 'def load(s):\\n    return f()'",
        "load.f = 'def f():\\n    return N'",
        "load.f.N = 3",
    ]


def test_recursion_comes_to_an_end(take: Take) -> None:
    source = """
NODES = []
NODES.append({'all': NODES})
class A:
    def f(self): return B
class B(A):
    def g(self): return A, load
def even(n): return n == 0 or odd(n - 1)
def odd(n): return n != 0 and even(n - 1)
def load(s): return even(3), load, A, NODES
"""
    first = take(source).digest
    assert take(source).digest == first
    assert take(source.replace("n != 0", "n > 0")).digest != first


# What cannot be told

OPAQUE = {
    "a lock": ("import threading\nX = threading.Lock()\n", r"load\.X uses an object of _thread\.lock"),
    "an open file": ("X = open(__file__)\n", r"load\.X uses an object of _io\.TextIOWrapper"),
    "a generator": ("X = (n for n in range(3))\n", r"load\.X uses an object of builtins\.generator"),
    "an instance": ("X = object()\n", r"load\.X uses an object of builtins\.object"),
    "one in a list": ("X = [1, object()]\n", r"load\.X\[1\] uses an object of builtins\.object"),
    "one in a dict": ("X = {'a': object()}\n", r"load\.X\['a'\] uses an object of builtins\.object"),
    "one in a set": ("X = {object()}\n", r"load\.X uses an object of builtins\.object"),
    "one in an object": (
        "class A:\n    def __init__(self): self.inner = object()\nX = A()\n",
        r"load\.X\['inner'\] uses an object of builtins\.object",
    ),
    "a generator of random numbers": (
        "import numpy as np\nX = np.random.default_rng()\n",
        r"load\.X uses an object of numpy\.random\._generator\.Generator",
    ),
    "a vectorized function": (
        "import numpy as np\nX = np.frompyfunc(lambda n: n, 1, 1)\n",
        r"load\.X uses an object of numpy\.ufunc",
    ),
    "a function without a file": (
        "exec('def X(): pass')\n",
        r"load\.X uses the function X, whose source is not at hand",
    ),
}


@pytest.mark.parametrize("kind", OPAQUE)
def test_what_cannot_be_told_is_an_error_that_names_it(take: Take, kind: str) -> None:
    lines, message = OPAQUE[kind]
    with pytest.raises(UserError, match=message) as caught:
        take(f"{lines}def load(s): return X\n")
    assert caught.value.where == "models/a.py"
    assert "whether that changed from build to build cannot be told" in str(caught.value)
    assert caught.value.fix in ("make it inside the function, or use plain data", "define it in a file")


def test_an_own_module_that_is_missing_is_an_error_that_names_it(take: Take) -> None:
    with pytest.raises(UserError, match=r"load uses the import of helpers missing"):
        take("def load(s):\n    from helpers import missing\n    return missing\n", helpers="")


def test_an_optional_package_that_is_not_installed_does_no_harm(take: Take) -> None:
    source = "def load(s):\n    try:\n        import nosuch\n    except ImportError:\n        return 1\n"
    assert take(source).packages() == {}


# Packages


def test_the_packages_that_the_code_uses_are_listed_with_their_versions(take: Take) -> None:
    import jinja2
    import numpy as np

    source = """
import os, jinja2, json
from numpy import mean
import typer
def f():
    import rich.table
def load(s): return mean(1), jinja2.Template, f, os.path, json.dumps
"""
    found = {name.lower(): number for name, number in take(source).packages().items()}
    assert sorted(found) == ["jinja2", "numpy", "rich"]
    assert (found["jinja2"], found["numpy"]) == (jinja2.__version__, np.__version__)


def test_code_without_packages_lists_none(take: Take) -> None:
    assert take("import os\ndef load(s): return os.path\n").packages() == {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("N = tf.constant([1, 2])", "N = tf.constant([1, 3])"),
        ("N = tf.int8", "N = tf.uint8"),
        ("@tf.function\ndef N(): return 1", "@tf.function\ndef N(): return 2"),
        ("N = keras.optimizers.Adam(1e-3)", "N = keras.optimizers.Adam(1e-4)"),
        (
            "N = keras.losses.SparseCategoricalCrossentropy()",
            "N = keras.losses.SparseCategoricalCrossentropy(from_logits=True)",
        ),
        ("N = keras.metrics.TopKCategoricalAccuracy(2)", "N = keras.metrics.TopKCategoricalAccuracy(3)"),
    ],
)
def test_what_tensorflow_and_keras_make_counts(take: Take, before: str, after: str) -> None:
    source = "import keras, tensorflow as tf\n{}\ndef load(s): return N\n"
    first = take(source.format(before))
    assert take(source.format(after)).digest != first.digest
    assert take(source.format(before)).digest == first.digest
    assert {"keras", "tensorflow"} & set(first.packages())


@pytest.mark.slow
@pytest.mark.parametrize(
    "made", ["tf.data.Dataset.range(3)", "keras.layers.Dense(3)", "tf.TensorSpec([1], name='a')"]
)
def test_what_tensorflow_and_keras_keep_to_themselves_is_an_error(take: Take, made: str) -> None:
    with pytest.raises(UserError, match=r"load\.N uses an object of (tensorflow|keras)"):
        take(f"import keras, tensorflow as tf\nN = {made}\ndef load(s): return N\n")


def test_an_implementation_that_a_package_keeps_in_a_registry_counts(take: Take) -> None:
    text = """
import functools

@functools.singledispatch
def scaled(value):
    return value

@scaled.register
def _(value: int):
    return value * 2

def load(subset):
    return scaled(3)
"""
    assert take(text).digest != take(text.replace("value * 2", "value * 5")).digest


def test_packages_that_another_environment_lends_are_not_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path / "lender/site-packages")
    monkeypatch.syspath_prepend(tmp_path / "shared")
    trace._installed.cache_clear()
    trace.is_own.cache_clear()
    try:
        assert not trace.is_own(f"{tmp_path}/lender/site-packages/numpy/__init__.py", f"{tmp_path}/app")
        assert trace.is_own(f"{tmp_path}/shared/helpers.py", f"{tmp_path}/app")
    finally:
        trace._installed.cache_clear()
        trace.is_own.cache_clear()


def test_a_project_below_a_system_directory_is_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_SYSTEM", (str(tmp_path),))
    trace._installed.cache_clear()
    trace.is_own.cache_clear()
    try:
        assert trace.is_own(f"{tmp_path}/app/data.csv", f"{tmp_path}/app")
        assert not trace.is_own(f"{tmp_path}/elsewhere/data.csv", f"{tmp_path}/app")
    finally:
        trace._installed.cache_clear()
        trace.is_own.cache_clear()
