# pyright: basic, reportMissingImports=false
"""Import it before a package of LabMCP: its drivers need a few names of FastMCP, and nothing else.

FastMCP brings seventy packages. Where it is not installed, whatever is asked of it, of mcp or of
pydantic is an exception class that takes any arguments.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
import types

STOOD_IN = ("fastmcp", "mcp", "pydantic")


class _Nothing(types.ModuleType):
    __path__: list = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(
            name, (Exception,), {"__init__": lambda self, *a, **k: Exception.__init__(self, *a)}
        )
        setattr(self, name, made)
        return made


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path, target=None):
        if fullname.partition(".")[0] in STOOD_IN:
            return importlib.machinery.ModuleSpec(fullname, self, is_package=True)
        return None

    def create_module(self, spec):
        return _Nothing(spec.name)

    def exec_module(self, module):
        pass


if importlib.util.find_spec("fastmcp") is None:
    sys.meta_path.insert(0, _Finder())
