"""What several parts of the API take and give."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

FIELDS_MAX = 100  # of one object


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL character cannot be kept")
    return text


Text = Annotated[str, AfterValidator(_storable)]  # what both databases take


class Body(BaseModel):
    """What somebody sends: a field that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, given: object) -> object:
        """Each field too many is an error of its own: of a hundred thousand they would take 100 MB."""
        if isinstance(given, dict) and len(given) > FIELDS_MAX:
            raise ValueError(f"more than {FIELDS_MAX} fields")
        return given


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    title: str = Field(description="What happened, and to what.")
    status: int = Field(description="The HTTP status.")
    detail: str | None = Field(None, description="What to do about it.")
