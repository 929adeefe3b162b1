"""The groups of bad inputs; a test runs the cases of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from bad_inputs import (
    broken_adapters,
    broken_models,
    datasets,
    environment,
    overrides,
    values,
    verbs,
    wrong_tasks,
    yaml_text,
)
from bad_inputs.case import BadInput

GROUPS: Mapping[str, Callable[[], Iterator[BadInput]]] = {
    "YAML": yaml_text.cases,
    "values": values.cases,
    "model": broken_models.cases,
    "data": datasets.cases,
    "overrides": overrides.cases,
    "adapters": broken_adapters.cases,
    "verbs": verbs.cases,
    "environment": environment.cases,
    "tasks": wrong_tasks.cases,
    "deploy": wrong_tasks.deployments,
    "pipelines": wrong_tasks.pipelines,
}
"""By the name that the table prints."""
