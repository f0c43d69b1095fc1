"""Shapes of what a run folder records. Keys that are not listed here may have any value."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=0, lt=2**53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Row(BaseModel):
    """Base of the shapes."""

    model_config = ConfigDict(strict=True, extra="allow")


class SymptomRow(Row):
    """A symptom in a row of metrics.jsonl."""

    name: str
    sentence: str = ""
    change: str = ""


class ReportRow(Row):
    """A row of metrics.jsonl: the losses and the speed since the last one."""

    step: Count
    images: Count = 0
    images_per_second: float = 0.0
    symptoms: list[SymptomRow] = []


class BestRow(Row):
    """The deciding metric of an evaluation."""

    name: str
    features: str = ""
    value: Finite
    better: Literal["lower", "higher"]


class MetricRow(Row):
    """A metric of an evaluation. `low` and `high` are its confidence interval."""

    name: str
    features: str = ""
    value: float | None
    low: float | None = None
    high: float | None = None


class EvaluationRow(Row):
    """A row of evaluations.jsonl. `metrics` are those of each direction."""

    step: Count
    best: BestRow
    metrics: dict[str, list[MetricRow]]


class SessionRow(Row):
    """The facts of a session in environment.json."""

    step: Count = 0
    last_step: Count | None = None
    started: str = ""
    command: list[str] = []
    fingerprint: str | None = None
    device_type: str = ""
    precision: Literal["float32", "bfloat16"] = "float32"


class RecipeRow(Row):
    """The parts of recipe.json that are read before the settings are known."""

    preprocess: dict[str, Any] = {}


class SheetRow(Row):
    """The layout of a sample sheet: positions and sizes of its cells in pixels."""

    width: Count
    columns: list[str]
    lefts: list[Count]
    tops: list[Count]
    heights: list[Count]
