"""Models of other packages, by the short name of an entry point or of a class that this process registered.

A package names its models in the group `terrycloth.models` (importlib.metadata). A dotted path never travels
in a message: a device knows a model only by a short name, and loads it only if its policy lists that name.
In a simulation `--model package.module:Class` registers the class for this process.
"""

from terrycloth.models.catalogue import Catalogue
from terrycloth.models.plug_in_loading import load_entry_point, load_object
from terrycloth.models.recommenders.kinds import ENTRY_POINTS, KINDS, offered
from terrycloth.models.recommenders.recommender import Recommender

_registered: dict[str, type[Recommender]] = {}


def register(path: str) -> str:
    """Import `package.module:Class`, make it known to this process, and return its short name.

    Raises ValueError in one line if it cannot be imported, is no `Recommender`, or has a built-in's name.
    """
    return add(short_name(path.rpartition(":")[2]), imported(path))


def imported(path: str) -> type[Recommender]:
    """The class `package.module:Class`, not registered. Raises ValueError as `register` does."""
    return checked(path, load_object(path))


def wire_name(model: str) -> str:
    """The name under which a model travels: of a dotted path, the short name that it is registered under."""
    return register(model) if ":" in model else model


def short_name(class_name: str) -> str:
    """`MyModel` → `my-model`: what travels in messages and stands in tables."""
    words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in class_name)
    return words.replace("_", "-").strip("-")


def checked(path: str, found: object) -> type[Recommender]:
    """The class, if it is a recommender. Raises ValueError."""
    if not isinstance(found, type) or not issubclass(found, Recommender):
        raise ValueError(
            f"{path} is not a subclass of terrycloth.models.recommenders.recommender.Recommender"
        )
    return found


def add(name: str, model: type[Recommender]) -> str:
    """Make a class known to this process under a short name, and return the name.

    A class that was imported again, as in a notebook, replaces itself. Raises ValueError if the name belongs
    to another class.
    """
    if name in KINDS:
        raise ValueError(f"the name {name!r} belongs to a model of this project: rename the class")
    if name not in _registered and name in offered():
        load(name)
    known = _registered.get(name, model)
    if path_of(known) != path_of(model):
        raise ValueError(
            f"the name {name!r} belongs to {path_of(known)}: rename the class {path_of(model)}, because a "
            "message names a model by its short name alone"
        )
    _registered[name] = model
    return name


def path_of(model: type[Recommender]) -> str:
    """The path of a class: `package.module:Class`."""
    return f"{model.__module__}:{model.__qualname__}"


def names() -> list[str]:
    """The short names of the plug-ins that this process can load; nothing is imported."""
    return sorted({*_registered, *offered()})


def load(name: str) -> type[Recommender]:
    """The class of a plug-in. Raises ValueError if there is none of that name."""
    if name not in _registered:
        if name not in offered():
            raise ValueError(f"there is no model {name!r}")
        _registered[name] = checked(name, load_entry_point(ENTRY_POINTS, name))
    return _registered[name]


def build(name: str, catalogue: Catalogue, dim: int) -> Recommender:
    """The model of a plug-in over a catalogue, as `construct` makes it. Raises ValueError."""
    return construct(load(name), catalogue, dim)


def construct(model: type[Recommender], catalogue: Catalogue, dim: int) -> Recommender:
    """A model over a catalogue, by its class's `for_catalogue` if it has one, else `Class(items, dim)`."""
    make = getattr(model, "for_catalogue", None)
    return make(catalogue, dim) if make is not None else model(len(catalogue), dim)
