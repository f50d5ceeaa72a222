"""Prints the lines of src/pickle/catalogue.txt that come from installed packages: scikit-learn, SciPy, PyTorch,
XGBoost and LightGBM. Lines of other packages stand in the file by hand; `sort -u` puts both together.

One line is one global: module, name, and `()` where the library's own pickles call it with data.
"""
import importlib
import inspect
import pkgutil
import sys
import warnings

warnings.simplefilter("ignore")
lines = set()
# What tests, builds, downloads or runs things is no part of a model.
SKIP = ("tests", "externals", "datasets", "_build_utils", "experimental", "utils", "conftest", "callback",
        "__check_build", "_min_dependencies", "parallel", "quantizable", "_testing")


def modules(package):
    root = importlib.import_module(package)
    yield root
    for found in pkgutil.walk_packages(root.__path__, package + "."):
        if any(part in SKIP for part in found.name.split(".")):
            continue
        try:
            yield importlib.import_module(found.name)
        except Exception as error:
            print(found.name, error, file=sys.stderr)


def classes(package, keep):
    for module in modules(package):
        for name, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__ and value.__name__ == name and keep(value):
                # Types of Cython are remade by calling the type.
                compiled = not value.__flags__ & (1 << 9)
                lines.add(f"{module.__name__} {name}{'()' if compiled else ''}")


def functions(module):
    for name, value in vars(importlib.import_module(module)).items():
        if inspect.isfunction(value) and value.__module__.startswith("sklearn.") and not name.startswith("_"):
            lines.add(f"{value.__module__} {name}")


def is_data(cls):
    return not issubclass(cls, (BaseException, type)) and not inspect.isabstract(cls)


classes("sklearn", is_data)
functions("sklearn.feature_selection")
functions("sklearn.metrics")
functions("sklearn.metrics.pairwise")
for module in ("sklearn.neighbors._kd_tree", "sklearn.neighbors._ball_tree", "sklearn.metrics._dist_metrics"):
    lines.add(f"{module} newObj()")
lines.add("sklearn.utils._bunch Bunch()")
classes("scipy.sparse", lambda cls: cls.__name__.endswith(("_matrix", "_array")))
lines.add("scipy.interpolate._bsplines BSpline")
import torch  # noqa: E402

classes("torch.nn.modules", lambda cls: issubclass(cls, torch.nn.Module))
classes("torch.optim", lambda cls: issubclass(cls, torch.optim.Optimizer) or "Scheduler" in cls.__name__
        or cls.__name__.endswith("LR"))
for package, names in (("xgboost", ("Booster", "XGB")), ("lightgbm", ("Booster", "LGBM"))):
    for module in ("core", "basic", "sklearn"):
        try:
            found = importlib.import_module(f"{package}.{module}")
        except ImportError:
            continue
        for name, value in vars(found).items():
            if inspect.isclass(value) and value.__module__ == found.__name__ and name.startswith(names):
                lines.add(f"{found.__name__} {name}")
print("\n".join(sorted(lines)))
