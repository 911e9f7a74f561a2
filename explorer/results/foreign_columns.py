"""Columns of tables that were made elsewhere: new names for them, and what is said of unknown ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from explorer.columns import ROLES, nearest
from explorer.measures import tables
from explorer.settings import InputError, listed, suggest
from explorer.space.model import PACKAGES, module_of
from explorer.space.training import TrainingOptions

if TYPE_CHECKING:
    import pandas as pd

SHARES = "test_accuracy_percent"  # the one column whose values up to 1 cannot be percent


def settings() -> list[str]:
    """Return the names of all settings of data sets, architectures and training."""
    every = [(section, name) for section, (package, _) in PACKAGES.items() for name in package.NAMES]
    options = [module_of(*one).Options for one in every]
    fields = [*TrainingOptions.model_fields, *(name for one in options for name in one.model_fields)]
    return list(dict.fromkeys(fields))


def renamed(path: str, table: pd.DataFrame, new: Mapping[str, str]) -> pd.DataFrame:
    """Return the table with new names of columns, and without those whose new name is empty.

    Raises:
        InputError: the table has a column of a new name already.
    """
    names = {theirs: ours for theirs, ours in new.items() if theirs in table and ours not in ROLES}
    for theirs, ours in names.items():
        if ours in table and ours not in names:
            raise InputError(
                f"{path}: --columns {theirs}={ours}: there is a column {ours!r} already; leave it out with "
                f"{ours}="
            )
    dropped = [theirs for theirs, ours in names.items() if not ours]
    return table.drop(columns=dropped).rename(columns={k: v for k, v in names.items() if v})


def require_known(new: Mapping[str, str], loaded: Sequence[str]) -> None:
    """Raise InputError if no table has a column that gets a new name."""
    for theirs in new:
        if theirs not in loaded:
            raise InputError(
                f"--columns {theirs}={new[theirs]}: no table has a column {theirs!r}; there are "
                f"{suggest(theirs, list(dict.fromkeys(loaded)))}"
            )


def in_percent(path: str, table: pd.DataFrame, warn: Callable[[str], None]) -> pd.DataFrame:
    """Return the table with accuracies in percent, and warn if they were shares.

    Raises:
        InputError: an accuracy is above 100.
    """
    import pandas as pd

    if SHARES not in table:
        return table
    values = pd.to_numeric(table[SHARES], errors="coerce")
    if values.max() > 100:
        raise InputError(f"{path}: {SHARES} is {values.max():.4g}; it should be at most 100")
    if not 0 < values.max() <= 1:
        return table
    warn(f"{path}: {SHARES} is at most {values.max():.4g}; these shares are read as percent, times 100.")
    return table.assign(**{SHARES: 100 * values})


def hints(names: Sequence[str]) -> tuple[str, str]:
    """Return columns with the known names that are nearest, and the ``--columns`` that renames them."""
    known = [*tables.EVERY, *settings()]
    near = {name: nearest(name, known) for name in names}
    described = [f"{name!r}{f' (perhaps {other})' if other else ''}" for name, other in near.items()]
    renamed = (f"{name}={other}" for name, other in near.items() if other)
    return listed(described), listed(renamed, ",")


def unknown_columns(path: str, table: pd.DataFrame, axes: Sequence[str]) -> str:
    """Return a sentence about columns that nothing shows: no settings, measures or axes; often empty."""
    from pandas.api.types import is_numeric_dtype

    known = {*tables.EVERY, *settings(), *axes, "imported", "architecture", "dataset"}
    known -= {"loss"} if "loss" in table and is_numeric_dtype(table["loss"]) else set()  # not a setting then
    names = [name for name in map(str, table) if name.removesuffix("_std") not in known]
    if not names:
        return ""
    described, rename = hints(names)
    how = f"Rename them with --columns {rename}, or make" if rename else "Make"
    return (
        f"{path}: columns that are no settings or measures are kept and not shown: {described}. {how} one an "
        f"axis with --columns {names[-1]}=load"
    )


def gaps(path: str, table: pd.DataFrame, axes: Sequence[str]) -> str:
    """Return a sentence about rows without a value on an axis, or without a training loss; often empty."""
    results = () if "status" in table else ("train_loss",)  # a model that diverged may have none
    empty = {name: int(table[name].isna().sum()) for name in (*axes, *results) if name in table}
    counts = listed(f"{count} without {name}" for name, count in empty.items() if count)
    remark = f"{path}: of {len(table)} rows, there are {counts}; fill them in, or delete the rows."
    return remark if counts else ""


def repeated_models(path: str, table: pd.DataFrame, axes: Sequence[str]) -> str:
    """Return a sentence about models with the same axis values and seed, if there are any."""
    place = [*axes, "seed"]
    if not set(place) <= set(table) or not (twice := table.duplicated(place, keep=False)).any():
        return ""
    at = listed(f"{name} {table[name][twice].iloc[0]}" for name in place)
    return (
        f"{path}: {int(twice.sum())} models share their axis values and seed with another one, such as {at}; "
        f"they count as replicates.{differences(table[twice], place)}"
    )


def differences(table: pd.DataFrame, place: Sequence[str]) -> str:
    """Return a sentence that names the settings in which rows at the same place differ."""
    rows = table.astype(dict.fromkeys(table.columns.difference(place), str))  # lists too
    groups = rows.groupby(list(place), dropna=False)
    others = [
        str(name)
        for name in table.columns.difference([*place, *tables.EVERY], sort=False)
        if groups[name].nunique().gt(1).any()
    ]
    if not others:
        return " They differ in no setting: keep one row of each, or give a column for what differs."
    return f" They differ in {listed(map(repr, others))}: --columns {others[0]}=load makes it an axis."
